"""Locks: one holder, whoever finds a dead owner; no lock is broken that may be held."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from langtransfer import locking
from langtransfer.errors import UserError
from langtransfer.locking import Owner, only_writer, owners

ELSEWHERE = replace(Owner.this_process(), host="node17", boot="other")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work" / "pretrain" / "zh" / "0123456789abcdef"


def left_by(work: Path, owner: Owner, number: int = 0) -> Path:
    """A lock record of an owner."""
    record = work.with_name(f"{work.name}.owner.{number}")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(asdict(owner)))
    return record


def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a squeue on PATH that does what a script says."""
    tool = tmp_path / "squeue"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_held_by_one_and_gone_afterwards(work: Path) -> None:
    with only_writer(work):
        ((_, owner),) = owners(work.parent)
        assert owner is not None
        assert (owner.pid, owner.is_alive()) == (os.getpid(), True)
        with pytest.raises(UserError, match=f"written by process {os.getpid()} on"):
            only_writer(work).__enter__()
    assert list(work.parent.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [{"boot": "an earlier one"}, {"pid": 2**22 + 1}, {"started": 1}],
    ids=["before a restart", "no such process", "another process by this number"],
)
def test_dead_process_of_this_host_gives_way(work: Path, change: dict[str, object]) -> None:
    left_by(work, replace(Owner.this_process(), **change))  # type: ignore[arg-type]
    with only_writer(work):
        assert len(list(owners(work.parent))) == 2
    assert list(work.parent.iterdir()) == []


def test_killed_process_gives_way(work: Path, tmp_path: Path) -> None:
    program = "import sys, time; from pathlib import Path; from langtransfer.locking import *\n"
    program += "with only_writer(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    held = subprocess.Popen([sys.executable, "-c", program, str(work)], stdout=subprocess.PIPE)
    assert held.stdout is not None
    assert held.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=f"process {held.pid}"):
        only_writer(work).__enter__()
    held.send_signal(signal.SIGKILL)
    time.sleep(0.2)  # dead and not yet waited for: a zombie writes nothing
    with only_writer(work):
        pass
    held.wait()
    held.stdout.close()


def test_other_host_without_slurm_is_never_broken(work: Path) -> None:
    record = left_by(work, replace(ELSEWHERE, slurm_job=None))
    with pytest.raises(UserError, match=r"node17.*if not, delete it"):
        only_writer(work).__enter__()
    record.unlink()
    with only_writer(work):
        pass


def test_nameless_record_is_never_broken(work: Path) -> None:
    left_by(work, ELSEWHERE).write_text("")
    with pytest.raises(UserError, match="somebody who left no name"):
        only_writer(work).__enter__()


@pytest.mark.parametrize(
    ("script", "alive"),
    [
        ("echo RUNNING", True),
        ("echo COMPLETING", True),
        ("echo FAILED", False),
        ("echo CANCELLED", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("true", False),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", None),
    ],
)
def test_slurm_job_elsewhere(
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    alive: bool | None,
) -> None:
    squeue(tmp_path, monkeypatch, script)
    owner = replace(ELSEWHERE, slurm_job="77")
    assert owner.is_alive() is alive
    left_by(work, owner)
    if alive is False:
        with only_writer(work):
            pass
    else:
        with pytest.raises(UserError, match="SLURM job 77"):
            only_writer(work).__enter__()


def test_a_record_is_never_there_without_a_name(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        assert list(owners(work.parent)) == []
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        only_writer(work).__enter__()
    assert list(work.parent.iterdir()) == []


def test_requeued_job_takes_its_own_lock(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by(work, replace(ELSEWHERE, slurm_job="77"))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with only_writer(work):
        pass


def test_no_squeue_means_nobody_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert locking.in_queue("77") is None


def _compete(work: Path, journal: Path, rounds: int) -> None:
    """Take the lock again and again; between `+` and `-` of one nobody else may write."""
    for _ in range(rounds):
        try:
            with only_writer(work), journal.open("a") as log:
                log.write(f"+{os.getpid()}\n")
                log.flush()
                time.sleep(0.0005)
                log.write(f"-{os.getpid()}\n")
                log.flush()
                if os.getpid() % 3 == 0:  # some die holding it, and leave their record
                    os._exit(0)
        except UserError:
            time.sleep(0.0002)


def test_never_two_among_many_who_find_dead_owners(work: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    dead = replace(Owner.this_process(), boot="an earlier one")
    left_by(work, dead, 0)
    left_by(work, dead, 1)
    fork = multiprocessing.get_context("fork")
    crowd = [fork.Process(target=_compete, args=(work, journal, 150)) for _ in range(12)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join()
    lines = journal.read_text().split()
    assert len(lines) > 20
    for begun, ended in zip(lines[::2], lines[1::2], strict=True):
        assert (begun[0], ended[0]) == ("+", "-")
        assert begun[1:] == ended[1:]
