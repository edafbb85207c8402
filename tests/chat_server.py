"""A local server that speaks the OpenAI protocol, misbehaves as told and counts what it served.

Chat completions and batches. A *behaviour* is what one request meets; a plan maps the request's
message, and how often it has been seen, to one.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Plan = Callable[[str, int], str]

CONTENT = {
    "malformed": '{"accuracy": 2,',
    "seven": json.dumps(
        {"accuracy": 7, "fluency": 3, "informativeness": 1, "logicality": 0, "harmlessness": 3}
    ),
    "wrong schema": json.dumps({"score": 3}),
    "refusal": None,
}


def well_behaved(message: str, seen: int) -> str:
    """Every request is answered."""
    return "ok"


class ChatServer(ThreadingHTTPServer):
    """The server; `address` is what OPENAI_BASE_URL wants."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[str], str], plan: Plan = well_behaved) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        """Text of a good answer to a message."""
        self.plan = plan
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        """Good answers served whole, by message."""
        self.behaved: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.hold_at: int | None = None
        """So many good answers are served, then everybody waits: a moment to be killed in."""
        self.released = threading.Event()
        self.files: dict[str, str] = {}
        self.batches: dict[str, Body] = {}
        self.polls_to_completion = 1
        self.batch_status = "completed"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def behaviour(self, message: str) -> str:
        """What the next request with this message meets; counted."""
        with self.lock:
            found = self.plan(message, self.seen[message])
            self.seen[message] += 1
            self.behaved[found] += 1
            if found == "ok":
                if self.hold_at is not None and self.paid.total() >= self.hold_at:
                    return "hold"
                self.paid[message] += 1
        return found

    def completion(self, body: Body, behaviour: str) -> Body:
        """A chat completion that is good, or bad in one way."""
        message = body["messages"][0]["content"]
        content = CONTENT[behaviour] if behaviour in CONTENT else self.answer(message)
        said = {"role": "assistant", "content": content, "refusal": None}
        finish = "length" if behaviour == "truncated" else "stop"
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": said, "finish_reason": finish}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }

    def start_batch(self, request: Body) -> Body:
        """Answer all lines of an input file; the answers show after some polls."""
        name = f"batch_{len(self.batches)}"
        output, errors = [], []
        for line in self.files[request["input_file_id"]].rstrip("\n").split("\n"):
            row = json.loads(line)
            self.bodies.append(row["body"])
            behaviour = self.behaviour(row["body"]["messages"][0]["content"])
            failed = behaviour.isdigit()
            reply = {
                "status_code": int(behaviour) if failed else 200,
                "body": {} if failed else self.completion(row["body"], behaviour),
            }
            lines = errors if failed else output
            lines.append({"custom_id": row["custom_id"], "response": reply, "error": None})
        for suffix, lines in (("output", output), ("errors", errors)):
            rows = (json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            self.files[f"{name}_{suffix}"] = "".join(rows)
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": request["endpoint"],
            "input_file_id": request["input_file_id"],
            "completion_window": request["completion_window"],
            "created_at": 0,
            "metadata": request["metadata"],
            "status": "validating",
            "polls": 0,
        }
        return self.batches[name]

    def poll_batch(self, name: str) -> Body:
        """A batch, one poll later."""
        batch = self.batches[name]
        batch["polls"] += 1
        batch["status"] = "in_progress"
        if batch["polls"] >= self.polls_to_completion:
            batch["status"] = self.batch_status
            batch["output_file_id"] = f"{name}_output"
            batch["error_file_id"] = f"{name}_errors" if self.files[f"{name}_errors"] else None
        if batch["status"] == "failed":
            batch["errors"] = {"data": [{"message": "model not found"}]}
        return batch


class Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/chat/completions":
            self.chat(json.loads(data))
        elif self.path == "/v1/files":
            name = f"file_{len(self.server.files)}"
            self.server.files[name] = uploaded(data, self.headers["content-type"])
            self.reply(200, {"id": name, "object": "file", "purpose": "batch"})
        elif self.path == "/v1/batches":
            self.reply(200, self.server.start_batch(json.loads(data)))
        else:
            self.reply(404, {"error": {"message": "no such path"}})

    def do_GET(self) -> None:
        kind, *rest = self.path.split("?")[0].removeprefix("/v1/").split("/")
        if kind == "files" and rest[0] in self.server.files:
            self.send(200, self.server.files[rest[0]].encode(), "application/octet-stream")
        elif kind == "batches" and not rest:
            listed = list(self.server.batches.values())
            self.reply(200, {"object": "list", "data": listed, "has_more": False})
        elif kind == "batches" and rest[0] in self.server.batches:
            self.reply(200, self.server.poll_batch(rest[0]))
        else:
            self.reply(404, {"error": {"message": "no such thing"}})

    def chat(self, body: Body) -> None:
        self.server.bodies.append(body)
        behaviour = self.server.behaviour(body["messages"][0]["content"])
        if behaviour in ("hang", "hold"):
            self.server.released.wait(30)
            self.close_connection = True
        elif behaviour == "reset":
            # An RST instead of an orderly end.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
        elif behaviour == "cut":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "5000")
            self.end_headers()
            self.wfile.write(b'{"id": "x", "choices": [')
            self.close_connection = True
        elif behaviour == "no JSON":
            self.send(200, b'{"id": "x", "choi', "application/json")
        elif behaviour == "a page":
            self.send(200, b"<html>Welcome to the proxy</html>", "text/html")
        elif behaviour == "no schemas" and "response_format" in body:
            said = "Invalid parameter: 'response_format' of type 'json_schema' is not supported"
            self.reply(400, {"error": {"message": said}})
        elif behaviour.isdigit():
            said = f"status {behaviour}; you sent {self.headers['authorization']}"
            self.reply(int(behaviour), {"error": {"message": said}})
        else:
            self.reply(200, self.server.completion(body, behaviour))

    def reply(self, status: int, value: Body) -> None:
        self.send(status, json.dumps(value).encode(), "application/json")

    def send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        if status in (429, 500):
            self.send_header("retry-after-ms", "20")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def log_error(self, format: str, *args: Any) -> None:
        """Silence."""


def uploaded(data: bytes, content_type: str) -> str:
    """The file in a multipart upload."""
    boundary = b"--" + content_type.split("boundary=")[1].encode()
    (part,) = [p for p in data.split(boundary) if b'name="file"' in p]
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n").decode()


@contextmanager
def serving(server: ChatServer) -> Iterator[ChatServer]:
    """The server, answering in the background."""
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]  # clients vanish
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
