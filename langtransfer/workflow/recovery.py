"""After a snakemake that was killed: what it left running, and what it left locked.

Jobs outlive it, on a cluster and here, and hold their cells' locks; a new run beside them would be
refused cell by cell. So they are waited for, or ended, first.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from langtransfer.errors import UserError
from langtransfer.job import write_atomically
from langtransfer.locking import Owner, owners
from langtransfer.provenance import WORK

RUN = Path(".langtransfer/run.json")
COMMENTS = ("rule_", "group_")
"""What the SLURM plugin's job comments begin with."""
LOOK_EVERY = 5.0
"""Seconds between two looks at the queue."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class QueuedJob:
    """A job of this folder's workflow that SLURM has not ended."""

    id: str
    state: str
    run: str
    """The run that submitted it: `SLURM run ID` of Snakemake's log."""
    comment: str

    def __str__(self) -> str:
        return f"SLURM job {self.id} ({self.comment}, {self.state.lower()}, run {self.run})"


def note_run(folder: Path) -> None:
    """Write down that this process runs the workflow of a folder."""
    write_atomically(folder / RUN, json.dumps(asdict(Owner.this_process())))


def forget_run(folder: Path) -> None:
    """The run is over, however it ended."""
    (folder / RUN).unlink(missing_ok=True)


def recover(
    folder: Path, *, cancel: bool, say: Say = print, pause: Callable[[float], object] = time.sleep
) -> None:
    """Wait until nothing of a killed run is left; with cancel, end it. The current folder's work.

    Jobs that have not begun are cancelled either way: nothing is lost. Raises UserError while the
    run itself is alive, or may be.
    """
    check_dead(folder / RUN)
    waiting = list(queued_jobs(folder))
    if ended := [job for job in waiting if cancel or job.state == "PENDING"]:
        for job in ended:
            say(f"cancelling {job}")
        subprocess.run(["scancel", *(job.id for job in ended)], check=True)
    if cancel:
        for owner in local_writers():
            say(f"ending {owner}")
            os.kill(owner.pid, signal.SIGTERM)
    said: set[str] = set()
    while left := [*map(str, queued_jobs(folder)), *map(str, local_writers())]:
        for name in left:
            if name not in said:
                say(f"waiting for {name}")
        said |= set(left)
        pause(LOOK_EVERY)
    forget_run(folder)


def check_dead(run: Path) -> None:
    """UserError while the snakemake that a note names runs, or nobody here can tell."""
    try:
        owner = Owner.read(run)
    except FileNotFoundError:
        return
    alive = owner.is_alive() if owner is not None else False
    if alive:
        raise UserError("snakemake", str(owner), "still runs: stop it, or let it end")
    if alive is None:
        remedy = f"run this on that machine; if it is gone, delete {run}"
        raise UserError("snakemake", str(owner), remedy)


def queued_jobs(folder: Path) -> Iterator[QueuedJob]:
    """This user's jobs that Snakemake submitted from a folder; none where there is no SLURM.

    Raises UserError where SLURM does not answer.
    """
    if shutil.which("squeue") is None:
        return
    command = ["squeue", "--me", "--noheader", "--format=%A|%T|%j|%k|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise UserError("squeue", "no answer", "ask for the controller, then try again") from None
    if done.returncode:
        if not (folder / ".snakemake" / "slurm_logs").exists():
            return  # clients without a cluster, and nothing was ever submitted from here
        message = done.stderr.strip().splitlines()[-1:]
        raise UserError("squeue", " ".join(message), "SLURM does not answer: try again later")
    # A run given --directory submits from elsewhere: its jobs are known by the cells they hold.
    holding = {owner.slurm_job for _, owner in owners(folder / WORK) if owner is not None}
    for line in done.stdout.splitlines():
        job, state, run, comment, place = line.split("|", 4)
        here = Path(place).resolve() == folder.resolve()
        if (comment.startswith(COMMENTS) and here) or job in holding:
            yield QueuedJob(job, state, run, comment)


def local_writers() -> Iterator[Owner]:
    """Processes of this machine, outside SLURM, that hold a cell of the current folder."""
    for _, owner in owners(WORK):
        if owner is not None and owner.slurm_job is None and owner.is_alive():
            yield owner
