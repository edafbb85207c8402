"""A server on this machine that speaks the hub's protocol, and can misbehave as hubs do.

What huggingface_hub and datasets ask of the real one: a repository at a revision, its tree, what is
known of some paths, and files, small ones by themselves and large ones by a redirect to storage of
their own, in ranges. Started with `serving`; HF_ENDPOINT is its `url`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_SUFFIXES = (".gz", ".parquet", ".safetensors", ".bin", ".zip", ".jsonl")


@dataclass
class Repository:
    """Files by path at the one commit; who has no token does not see it where one is set."""

    files: dict[str, bytes]
    token: str = ""
    gated: bool = False
    """Seen by everybody, given to who was let in."""


@dataclass
class Fault:
    """What the server does wrong the next time a path that fits is asked for."""

    path: str
    """Regular expression searched in the path."""
    status: int = 0
    retry_after: str = ""
    cut: int | None = None
    """Bytes of the body to send before the connection is cut."""
    spoil: bool = False
    """Send other bytes, as many."""
    method: str = "GET"


@dataclass
class Hub:
    """What is served, what goes wrong, and what was asked."""

    repositories: dict[str, Repository]
    """By `datasets/org/name` or `org/name`."""
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and range of each request."""
    tokens: set[str | None] = field(default_factory=set)
    ranges: bool = True

    @property
    def storage(self) -> str:
        """Another host by name: the client follows redirects within the hub's own by itself."""
        return self.url.replace("127.0.0.1", "localhost")

    def ranges_of(self, name: str) -> list[str | None]:
        """Ranges that the stored bytes of a file were asked for, in order."""
        return [
            asked for method, path, asked in self.asked if method == "GET" and path.endswith(name)
        ]


@contextmanager
def serving(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """The hub, running until the block ends."""
    hub = Hub(repositories)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(hub))
    hub.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        listening.shutdown()
        listening.server_close()


def is_large(path: str) -> bool:
    """Whether the file is kept outside git, as the hub does with large and binary ones."""
    return path.endswith(LARGE_SUFFIXES)


def entry(path: str, data: bytes) -> dict[str, Any]:
    """What the tree says of a file."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    known: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if is_large(path):
        digest = hashlib.sha256(data).hexdigest()
        known["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
    return known


class Refused(Exception):
    """Answer with this status and the hub's own code for the reason."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


API = re.compile(
    r"/api/(?P<kind>datasets|models)/(?P<repo>[^/]+/[^/]+)"
    r"(/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(/(?P<under>.+))?)?"
)
RESOLVE = re.compile(r"/(?P<repo>(datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
STORED = re.compile(r"/storage/(?P<repo>(datasets/)?[^/]+/[^/]+)/-/(?P<path>.+)")


def _handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        do_HEAD = do_POST = do_GET

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("Range")))
            hub.tokens.add(self.token())
            length = int(self.headers.get("Content-Length") or 0)
            self.posted = self.rfile.read(length)
            fault = next(
                (f for f in hub.faults if f.method == self.command and re.search(f.path, path)),
                Fault(path),
            )
            if fault in hub.faults:
                hub.faults.remove(fault)
            try:
                if fault.status:
                    raise Refused(fault.status)
                self.route(path, fault)
            except Refused as refusal:
                headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.code}
                if fault.retry_after:
                    headers["Retry-After"] = fault.retry_after
                self.send(refusal.status, b"", headers)

        def token(self) -> str | None:
            given = self.headers.get("Authorization")
            return given and given.removeprefix("Bearer ")

        def route(self, path: str, fault: Fault) -> None:
            if found := API.fullmatch(path):
                prefix = "datasets/" if found["kind"] == "datasets" else ""
                return self.api(self.repository(prefix + found["repo"]), found)
            if found := RESOLVE.fullmatch(path):
                return self.resolve(found, fault)
            if found := STORED.fullmatch(path):  # signed addresses: no token is asked for
                data = hub.repositories[found["repo"]].files[found["path"]]
                return self.stored(data, {"ETag": '"storage"'}, fault)
            raise Refused(404)

        def repository(self, name: str, content: bool = False) -> Repository:
            repository = hub.repositories.get(name)
            if repository is None:
                raise Refused(401 if self.token() is None else 404, "RepoNotFound")
            if repository.token and self.token() != repository.token:
                if not repository.gated:
                    raise Refused(401, "RepoNotFound")
                if content:
                    raise Refused(401 if self.token() is None else 403, "GatedRepo")
            return repository

        def api(self, repository: Repository, found: re.Match[str]) -> None:
            if found["revision"] not in (None, "main", COMMIT):
                raise Refused(404, "RevisionNotFound")
            entries = [entry(path, data) for path, data in sorted(repository.files.items())]
            if found["what"] == "tree":
                under = f"{found['under']}/" if found["under"] else ""
                there = [e for e in entries if e["path"].startswith(under)]
                if under and not there:
                    raise Refused(404, "EntryNotFound")
                return self.json(there)
            if found["what"] == "paths-info":
                asked = self.paths()
                return self.json([e for e in entries if e["path"] in asked])
            siblings = [{"rfilename": e["path"]} for e in entries]
            self.json(
                {"id": found["repo"], "sha": COMMIT, "siblings": siblings, "private": False,
                 "tags": [], "downloads": 0, "likes": 0}
            )  # fmt: skip

        def paths(self) -> list[str]:
            if "json" in (self.headers.get("Content-Type") or ""):
                given = json.loads(self.posted)["paths"]
                return [given] if isinstance(given, str) else given
            return parse_qs(self.posted.decode())["paths"]

        def resolve(self, found: re.Match[str], fault: Fault) -> None:
            repository = self.repository(found["repo"], content=True)
            if found["revision"] not in ("main", COMMIT):
                raise Refused(404, "RevisionNotFound")
            data = repository.files.get(found["path"])
            if data is None:
                raise Refused(404, "EntryNotFound")
            known = entry(found["path"], data)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{known["oid"]}"'}
            if not is_large(found["path"]):
                return self.stored(data, headers, fault)
            headers |= {
                "X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{known["lfs"]["oid"]}"',
                "Location": f"{hub.storage}/storage/{found['repo']}/-/{found['path']}",
            }  # fmt: skip
            self.send(302, b"", headers)

        def stored(self, data: bytes, headers: dict[str, str], fault: Fault) -> None:
            if fault.spoil:
                data = bytes(byte ^ 1 for byte in data)
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            headers = {**headers, "Accept-Ranges": "bytes"}
            if asked is None or not hub.ranges:
                return self.send(200, data, headers, fault.cut)
            first, last = int(asked[1]), int(asked[2] or len(data) - 1)
            if first >= len(data):
                return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            last = min(last, len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            self.send(206, data[first : last + 1], headers, fault.cut)

        def json(self, value: object) -> None:
            self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def send(
            self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            if cut is not None:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if cut is None else body[:cut])

    return Handler
