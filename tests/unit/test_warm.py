"""The warm worker answers as a fresh process would, and its children die with their callers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from langtransfer import warm
from langtransfer.resources import ROOT

SERVER = """
import sys, types, time, os, pathlib
from langtransfer import warm, command
def fake(stage, argv):
    if stage == "tables":
        print("out", os.environ.get("OMP_NUM_THREADS"), os.getcwd()); sys.stderr.write("err\\n")
        return 2
    pathlib.Path(argv[0]).write_text(str(os.getpid()))
    time.sleep(60)
warm._run_stage = fake
warm.Worker(pathlib.Path(sys.argv[1]), os.getppid()).run()
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "w.sock"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(path)], env=environment)
    try:
        wait_until(path.exists)
        yield path
    finally:
        process.kill()
        process.wait()


def wait_until(condition: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def client(address: Path, *argv: str, **popen: object) -> subprocess.Popen[str]:
    code = (
        "import sys; from langtransfer import warm;"
        " sys.exit(warm.delegate(sys.argv[1], sys.argv[2:]))"
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        warm.SOCKET_VARIABLE: str(address),
        "OMP_NUM_THREADS": "3",
    }
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", code, *argv], env=environment, text=True, **popen
    )


def test_output_folder_environment_and_exit_code_are_the_caller_s(
    address: Path, tmp_path: Path
) -> None:
    process = client(
        address, "tables", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out.strip(), err.strip()) == (2, f"out 3 {tmp_path}", "err")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_child_dies_with_its_caller(address: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    process = client(address, "pretrain", str(note))
    wait_until(lambda: note.exists() and note.read_text())
    child = int(note.read_text())
    assert alive(child)
    process.kill()
    process.wait()
    wait_until(lambda: not alive(child))


def test_killed_child_is_a_failure(address: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    process = client(address, "pretrain", str(note))
    wait_until(lambda: note.exists() and note.read_text())
    os.kill(int(note.read_text()), signal.SIGKILL)
    assert process.wait(timeout=20) == 128 + signal.SIGKILL


def test_without_a_worker_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(warm.SOCKET_VARIABLE, raising=False)
    assert warm.delegate("pretrain", []) is None
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    monkeypatch.setenv(warm.SOCKET_VARIABLE, str(dead))
    assert warm.delegate("pretrain", []) is None
    assert warm.delegate("not-a-stage", []) is None


def test_worker_ends_with_its_parent_even_while_importing(tmp_path: Path) -> None:
    slow = "import time; time.sleep(1.0)"
    worker = f"from langtransfer import warm; warm.preload = lambda: exec({slow!r}); warm.main()"
    note = tmp_path / "pid"
    parent = (
        "import os, subprocess, sys, pathlib;"
        f"p = subprocess.Popen([sys.executable, '-c', {worker!r}, {str(tmp_path / 'w.sock')!r},"
        " str(os.getpid())]);"
        f"pathlib.Path({str(note)!r}).write_text(str(p.pid))"
    )
    subprocess.run(
        [sys.executable, "-c", parent], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
    )
    pid = int(note.read_text())
    wait_until(lambda: not alive(pid))
