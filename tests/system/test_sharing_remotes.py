"""Every kind of remote there is a server for on loopback: ssh, S3, and HTTP to read from."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langtransfer.resources import ROOT
from tests.labs import Lab, objects
from tests.system.conftest import World

pytestmark = pytest.mark.system

SOME = "perplexity/"  # cells that are received from each kind of remote
KEYS = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "not-to-be-written-anywhere"}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
                return
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An sshd of our own: its port, a key it takes, and a folder."""
    if shutil.which("sshd") is None or os.geteuid() != 0:
        pytest.skip("needs sshd (Debian: openssh-server) and root")
    folder = tmp_path_factory.mktemp("sshd")
    port = free_port()
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    (folder / "authorized").chmod(0o600)
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(
        [shutil.which("sshd") or "sshd", "-D", "-e", "-f", str(folder / "config")],
        stderr=(folder / "log").open("wb"),
    )
    try:
        wait_for(port, server)
        yield {"port": str(port), "keyfile": str(folder / "user"), "folder": str(folder / "remote")}
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3-compatible server with an empty bucket `lab`."""
    environment = ROOT / ".cache" / "s3-server"
    if not (environment / "ready").exists():
        uv = Path(sys.executable).with_name("uv")
        shutil.rmtree(environment, ignore_errors=True)
        for command in (
            [str(uv), "venv", "--quiet", str(environment)],
            [str(uv), "pip", "install", "--quiet", "--python", str(environment / "bin/python"),
             "--requirement", str(ROOT / "tests/requirements-system.txt")],
        ):  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no S3 server could be installed: {done.stderr.strip()[-200:]}")
        (environment / "ready").touch()
    port = free_port()
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    command = [str(environment / "bin/python"), "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(port, server)
        client = "import boto3, sys; client = boto3.client('s3', endpoint_url=sys.argv[1])"
        make = f"{client}; client.create_bucket(Bucket='lab')"
        address = f"http://127.0.0.1:{port}"
        subprocess.run(
            [str(environment / "bin/python"), "-c", make, address],
            env=os.environ | KEYS | {"AWS_DEFAULT_REGION": "us-east-1"}, check=True,
        )  # fmt: skip
        yield address
    finally:
        server.terminate()
        server.wait()


def publish_and_receive(world: World, prepare: list[list[str]], **variables: str) -> None:
    """The first lab publishes to a second remote, another lab receives some of it."""
    a, b = world.first, world.clone("b")
    module = [sys.executable, "-m", "scripts.share"]
    for lab in (a, b):
        for command in prepare:
            lab.dvc("remote", *command)
    done = a.run(*module, "publish", "--remote", "other", **variables)
    assert f"{len(objects(world.remote))} objects uploaded" in done.stdout
    again = a.run(*module, "publish", "--remote", "other", **variables)
    assert "0 objects uploaded" in again.stdout
    check_received(b, "other", **variables)


def check_received(lab: Lab, remote: str, **variables: str) -> None:
    arguments = ("receive", "--remote", remote, "--cells", SOME)
    done = lab.run(sys.executable, "-m", "scripts.share", *arguments, **variables)
    assert "27 results received" in done.stdout
    assert not any("secret" in path.read_text() for path in (lab.folder / "results").rglob("*.dvc"))


def test_ssh(world: World, sshd: dict[str, str]) -> None:
    address = f"ssh://root@127.0.0.1:{sshd['port']}{sshd['folder']}"
    prepare = [
        ["add", "--local", "other", address],
        ["modify", "--local", "other", "keyfile", sshd["keyfile"]],
    ]
    publish_and_receive(world, prepare)


def test_s3(world: World, s3: str) -> None:
    prepare = [
        ["add", "--local", "other", "s3://lab/study"],
        ["modify", "--local", "other", "endpointurl", s3],
    ]
    publish_and_receive(world, prepare, **KEYS)
    b = Lab(world.root / "b")
    for path in (b.folder / ".dvc/config", b.folder / ".dvc/config.local"):
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in path.read_text()
    without = b.run(
        sys.executable, "-m", "scripts.share", "receive", "--remote", "other", check=False,
        AWS_EC2_METADATA_DISABLED="true", HOME=str(world.root),
    )  # fmt: skip
    assert without.returncode == 2
    assert without.stderr.splitlines()[-1].startswith("error: remote: 'other':")


def test_http_is_read_from(world: World) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(world.remote))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        b = world.clone("b")
        b.dvc("remote", "add", "--local", "web", f"http://127.0.0.1:{server.server_port}")
        check_received(b, "web")
        server.shutdown()


def test_no_remote_and_one_that_is_gone(world: World) -> None:
    b = world.clone("b")
    b.dvc("remote", "add", "--local", "gone", f"ssh://127.0.0.1:{free_port()}/nowhere")
    for name, expected in (
        ("gone", "error: remote: 'gone':"),
        ("never", "error: remote: 'never':"),
    ):
        done = b.share("receive", "--remote", name, check=False)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(expected)
        assert b.data_folders() == set()
