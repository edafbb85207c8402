"""Downloads against a server of our own: cut connections resume, wrong bytes are refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langtransfer.corpus.download import ATTEMPTS, download, download_from_any
from langtransfer.errors import UserError

BODY = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()


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
    requests: int = 0


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET(head=True)

        def do_GET(self, head: bool = False) -> None:
            server.requests += 1
            if "absent" in self.path:
                return self.refuse(404)
            if "private" in self.path:
                return self.refuse(401)
            if server.statuses:
                return self.refuse(server.statuses.pop(0))
            return self.serve(head)

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
    assert server.requests == 1


def test_a_wrong_checksum_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"has sha256 {DIGEST}, not {'0' * 64}"):
        get(server, tmp_path / "a.bin", digest="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_bytes_nobody_vouches_for_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no sha256 is given.*{DIGEST}"):
        get(server, tmp_path / "a.bin", digest="")


def test_a_part_of_another_file_is_not_built_upon(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"x" * 500)
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert server.asked == ["bytes=500-", None]


def from_any(server: Server, target: Path, *paths: str, digest: str = DIGEST) -> None:
    urls = [server.url + path for path in paths]
    download_from_any(urls, target, digest, "registry, key a", sleep=lambda seconds: None)


def test_a_mirror_takes_over(server: Server, tmp_path: Path) -> None:
    from_any(server, tmp_path / "a.bin", "/absent", "/private", "/a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY


def test_a_mirror_goes_on_where_the_first_was_cut(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000]
    server.statuses = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langtransfer.corpus.download.ATTEMPTS", 1)
        server.cuts = [300_000, 0]
        from_any(server, tmp_path / "a.bin", "/a.bin", "/b.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert server.asked == [None, "bytes=262144-", "bytes=262144-"]


def test_all_places_failing_is_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent'.*\(404\).*1 other places failed too.*\(401\)"):
        from_any(server, tmp_path / "a.bin", "/absent", "/private")
    with pytest.raises(UserError, match=f"not {'0' * 64}.*1 other places failed too"):
        from_any(server, tmp_path / "a.bin", "/a.bin", "/b.bin", digest="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_on_terminals_alone(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    get(server, tmp_path / "a.bin")
    assert capfd.readouterr() == ("", "")
