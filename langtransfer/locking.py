"""One writer a cell, on any file system, and locks that outlive nobody.

A lock is a row of record files, `<name>.owner.0`, `.1`, ...: each is created exclusively (one
winner, on NFS too, where flock may hold for one host alone) and says who made it. The holder made
the last record; all before it belong to processes that are gone and stay until the holder lets go,
so two who find the same dead owner compete for one next number.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from langtransfer.errors import UserError

BOOT = Path("/proc/sys/kernel/random/boot_id")
SQUEUE_SECONDS = 30
# States after which no process of a job is left; all others may still write: COMPLETING, and a
# NODE_FAIL whose node only lost its way to the controller.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
}  # fmt: skip


@dataclass(frozen=True)
class Owner:
    """A process, told apart from any other at any time."""

    host: str
    boot: str
    """The kernel's id of this run of the machine."""
    namespace: str
    """Of process ids: containers of one host number theirs apart."""
    pid: int
    started: int
    """Clock ticks from the machine's start to the process'."""
    slurm_job: str | None
    since: str

    @classmethod
    def this_process(cls) -> Owner:
        """The process that asks."""
        return cls(
            host=socket.gethostname(), boot=_boot(), namespace=_namespace(), pid=os.getpid(),
            started=_start_ticks(os.getpid()) or 0, slurm_job=os.environ.get("SLURM_JOB_ID"),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
        )  # fmt: skip

    @classmethod
    def read(cls, record: Path) -> Owner | None:
        """Who a record names; None where its writer did not come to write it, FileNotFoundError."""
        try:
            return cls(**json.loads(record.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        job = f" (SLURM job {self.slurm_job})" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"

    def is_here(self) -> bool:
        """Whether its number means something to this process."""
        return (self.host, self.namespace) == (socket.gethostname(), _namespace())

    def is_alive(self) -> bool | None:
        """Whether the process is there; None where nobody here can tell."""
        if self.host == socket.gethostname() and self.boot != _boot():
            return False
        if self.is_here():
            return _start_ticks(self.pid) == self.started
        if self.slurm_job is None:
            return None
        if self.slurm_job == os.environ.get("SLURM_JOB_ID"):
            # Requeued: SLURM ends a job before it begins again. (Within one allocation start stages
            # on one node: Snakemake's executor hides how often a job was begun.)
            return False
        return in_queue(self.slurm_job)


def in_queue(job: str) -> bool | None:
    """Whether a SLURM job may still run processes; None where SLURM does not answer."""
    command = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SQUEUE_SECONDS)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return False if "Invalid job id" in done.stderr else None
    return any(state not in ENDED for state in done.stdout.split())


@contextlib.contextmanager
def only_writer(work: Path) -> Iterator[None]:
    """Hold the lock of a cell's work folder; UserError while somebody else does, or may."""
    work.parent.mkdir(parents=True, exist_ok=True)
    records = _acquire(work)
    try:
        yield
    finally:
        # Its own goes last: a lower number that is free may be taken while this one is held.
        for record in records:
            record.unlink(missing_ok=True)


def owners(folder: Path) -> Iterator[tuple[Path, Owner | None]]:
    """Every lock record below a folder, and whose it is."""
    for record in sorted(folder.rglob("*.owner.*")):
        with contextlib.suppress(FileNotFoundError):  # let go of meanwhile
            yield record, Owner.read(record)


def _acquire(work: Path) -> list[Path]:
    """Records of the gone, and last the one this process made; UserError as `only_writer`."""
    passed: dict[Path, Owner] = {}
    while True:
        record = _record(work, len(passed))
        if not _create(record):
            if (gone := _gone(record, work)) is None:
                passed.clear()  # let go of since: begin again
            else:
                passed[record] = gone
        elif all(_read(path) == owner for path, owner in passed.items()):
            return [*passed, record]
        else:  # the holder let go between two looks, and freed a number below this one
            record.unlink()
            passed.clear()


def _record(work: Path, number: int) -> Path:
    return work.with_name(f"{work.name}.owner.{number}")


def _create(record: Path) -> bool:
    """Write a record of this process; False where there is one."""
    # Written first and linked then: a record is never there without its owner's name.
    staged = record.with_name(f".new-owner-{socket.gethostname()}-{os.getpid()}-{record.stem}")
    try:
        with staged.open("w", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(Owner.this_process())))
            handle.flush()
            os.fsync(handle.fileno())
        os.link(staged, record)
    except FileExistsError:
        return False
    finally:
        staged.unlink(missing_ok=True)
    return True


def _read(record: Path) -> Owner | None:
    try:
        return Owner.read(record)
    except FileNotFoundError:
        return None


def _gone(record: Path, work: Path) -> Owner | None:
    """A record's owner that is gone; None where the record is. UserError for one that may live."""
    try:
        owner = Owner.read(record)
    except FileNotFoundError:
        return None
    alive = None if owner is None else owner.is_alive()
    if alive is False:
        return owner
    if alive:
        raise UserError("cell", str(work), f"is being written by {owner}: wait")
    who = owner or "somebody who left no name"
    remedy = f"is held by {who}, and nothing here can tell if that still runs: if not, delete it"
    raise UserError("lock", str(record), remedy)


def _boot() -> str:
    return BOOT.read_text(encoding="ascii").strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine's start; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
