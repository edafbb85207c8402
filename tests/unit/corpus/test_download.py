"""Downloads against a server of our own: cut connections resume, wrong bytes are refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langtransfer.corpus.download import ATTEMPTS, download, download_from_hub
from langtransfer.errors import UserError

BODY = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Server:
    """What the server does next, and what it was asked."""

    url: str = ""
    cuts: list[int] = field(default_factory=list)
    """Bytes to send before cutting the connection, request by request."""
    statuses: list[int] = field(default_factory=list)
    """Statuses to answer with before serving normally."""
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def refuse(self, status: int, code: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET(head=True)

        def do_GET(self, head: bool = False) -> None:
            server.authorization.append(self.headers.get("Authorization"))
            if self.path.startswith("/api/"):
                return self.api()
            if "absent" in self.path:
                return self.refuse(404, "EntryNotFound")
            if "private" in self.path:
                return self.refuse(401, "RepoNotFound")
            if server.statuses:
                return self.refuse(server.statuses.pop(0))
            return self.serve(head)

        def api(self) -> None:
            names = b'[{"type":"file","path":"data/a.jsonl","size":3,"oid":"1"}]'
            body = names if "/tree/" in self.path else f'{{"id":"o/n","sha":"{COMMIT}"}}'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def serve(self, head: bool) -> None:
            asked = self.headers.get("Range")
            if not head:
                server.asked.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            if asked and server.ranges and start >= len(BODY):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(BODY)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            partial = bool(asked) and server.ranges
            body = BODY[start:] if partial else BODY
            self.send_response(206 if partial else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{DIGEST}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
            self.end_headers()
            if not head:
                self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state))
    state.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield state
    listening.shutdown()
    listening.server_close()


def get(server: Server, target: Path, digest: str = DIGEST, path: str = "/a.bin") -> list[float]:
    waits: list[float] = []
    download(server.url + path, target, digest, "registry, key a", sleep=waits.append)
    return waits


def test_a_cut_connection_resumes_where_it_was_cut(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 100_000]
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    # Whole pieces of 64 KiB survive a cut: four of 300,000 bytes, one more of 100,000.
    assert server.asked == [None, "bytes=262144-", "bytes=327680-"]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [300_000], False
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_what_an_earlier_run_left_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY[:700_000])
    get(server, tmp_path / "a.bin")
    assert server.asked == ["bytes=700000-"]
    get(server, tmp_path / "a.bin")
    assert len(server.asked) == 1, "a finished file is not asked for again"


def test_a_part_that_is_whole_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY)
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY + b"x")
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_passing_refusals_are_waited_out_longer_each_time(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429, 500]
    assert get(server, tmp_path / "a.bin") == [1.0, 2.0, 4.0]


def test_it_gives_up_after_some_attempts(server: Server, tmp_path: Path) -> None:
    server.statuses = [503] * ATTEMPTS
    with pytest.raises(UserError, match=r"download: .*status 503, 5 times"):
        get(server, tmp_path / "a.bin")


def test_nobody_listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=r"connection failed .*check network and proxy"):
        get(Server(url="http://127.0.0.1:9"), tmp_path / "a.bin")


@pytest.mark.parametrize(("path", "status"), [("/absent", 404), ("/private", 401)])
def test_final_refusals_are_not_tried_again(
    server: Server, tmp_path: Path, path: str, status: int
) -> None:
    with pytest.raises(UserError, match=f"{path}'.*\\({status}\\)"):
        get(server, tmp_path / "a.bin", path=path)
    assert len(server.authorization) == 1


def test_a_wrong_checksum_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"has sha256 {DIGEST}, not {'0' * 64}"):
        get(server, tmp_path / "a.bin", digest="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_bytes_nobody_vouches_for_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no sha256 is given.*{DIGEST}"):
        get(server, tmp_path / "a.bin", digest="")


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return server


def test_hub_files_come_at_the_pinned_commit(hub: Server, tmp_path: Path) -> None:
    files = {"data/*.jsonl": ""}
    paths = download_from_hub("datasets/o/n", COMMIT, files, tmp_path, "row")
    assert list(paths) == ["data/a.jsonl"]
    assert paths["data/a.jsonl"].read_bytes() == BODY
    assert set(hub.authorization) == {None}


def test_the_hub_token_comes_from_the_environment(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download_from_hub("o/n", COMMIT, {"a.bin": DIGEST}, tmp_path, "row")
    assert "Bearer hf_secret" in hub.authorization


@pytest.mark.parametrize(
    ("location", "revision", "files", "message"),
    [
        ("datasets/o/n", "", {"a": ""}, f"no revision is given: the newest is {COMMIT}"),
        ("datasets/o/n", COMMIT, {"absent": ""}, "no such file at this revision"),
        ("datasets/o/private", COMMIT, {"a": ""}, "gated, private or unknown: .*HF_TOKEN"),
        ("datasets/o/n", COMMIT, {"*.zip": ""}, "'\\*.zip': matches no file of o/n"),
        ("datasets/o/n", COMMIT, {"a": "0" * 64}, f"has sha256 {DIGEST}"),
    ],
)
def test_hub_refusals_are_one_line(
    hub: Server, tmp_path: Path, location: str, revision: str, files: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        download_from_hub(location, revision, files, tmp_path, "row")


@pytest.mark.parametrize("files", [{"*": ""}, {"a": ""}])
def test_a_hub_out_of_reach_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict
) -> None:
    import huggingface_hub.constants
    import huggingface_hub.utils._http

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"row: 'datasets/o/n': .*the hub"):
        download_from_hub("datasets/o/n", COMMIT, files, tmp_path, "row")


def test_offline_mode_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        download_from_hub("datasets/o/n", COMMIT, {"a": ""}, tmp_path, "row")
