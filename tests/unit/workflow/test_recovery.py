"""After a killed snakemake: its jobs are found, and nothing is unlocked while it may live."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from langtransfer.errors import UserError
from langtransfer.locking import Owner, only_writer
from langtransfer.workflow import recovery
from langtransfer.workflow.recovery import RUN, forget_run, note_run, recover

# Three jobs of this folder, then two that are none of its.
QUEUE = """\
11|RUNNING|aaaa|rule_pretrain_wildcards_zh|{here}
12|PENDING|aaaa|rule_pretrain_wildcards_sw|{here}
13|RUNNING|bbbb|group_documents|{here}
14|RUNNING|cccc|rule_pretrain_wildcards_zh|/elsewhere
15|RUNNING|dddd|(null)|{here}
"""
SQUEUE = """\
#!/bin/sh
echo squeue >> {folder}/calls
cat {folder}/queue
"""
SCANCEL = """\
#!/bin/sh
echo scancel "$@" >> {folder}/calls
for job; do sed -i "/^$job|/d" {folder}/queue; done
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study's folder, and the clients of a SLURM that shows and shortens a queue."""
    here, clients = tmp_path / "study", tmp_path / "bin"
    for place in (here, clients):
        place.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{clients}:{os.environ['PATH']}")
    (tmp_path / "queue").write_text(QUEUE.format(here=here))
    for name, script in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (clients / name).write_text(script.format(folder=tmp_path))
        (clients / name).chmod(0o755)
    return here


def end_running(queue: Path) -> None:
    """The first running job of the queue ends."""
    lines = queue.read_text().splitlines(keepends=True)
    first = next(line for line in lines if "RUNNING" in line)
    queue.write_text("".join(line for line in lines if line != first))


def cancelled(folder: Path) -> str:
    calls = (folder.parent / "calls").read_text().splitlines()
    return " ".join(line for line in calls if line.startswith("scancel"))


def test_waits_for_what_runs(folder: Path) -> None:
    said: list[str] = []
    queue = folder.parent / "queue"
    recover(folder, cancel=False, say=said.append, pause=lambda _: end_running(queue))
    assert cancelled(folder) == "scancel 12"
    assert [line.split(" (")[0] for line in said] == [
        "cancelling SLURM job 12", "waiting for SLURM job 11", "waiting for SLURM job 13",
    ]  # fmt: skip


def test_cancels_all_when_told(folder: Path) -> None:
    recover(folder, cancel=True, say=lambda _: None)
    assert cancelled(folder) == "scancel 11 12 13"


def test_job_of_a_run_with_directory_is_known_by_its_cell(folder: Path) -> None:
    (folder / "work" / "a").mkdir(parents=True)
    owner = replace(Owner.this_process(), host="node17", slurm_job="14")
    (folder / "work" / "a" / "0.owner.0").write_text(json.dumps(asdict(owner)))
    assert [job.id for job in recovery.queued_jobs(folder)] == ["11", "12", "13", "14"]


def test_refuses_while_snakemake_lives(folder: Path) -> None:
    note_run(folder)
    with pytest.raises(UserError, match="still runs"):
        recover(folder, cancel=True)
    assert not (folder.parent / "calls").exists()
    forget_run(folder)
    recover(folder, cancel=True, say=lambda _: None)


def test_refuses_where_nobody_can_tell(folder: Path) -> None:
    note_run(folder)
    owner = replace(Owner.this_process(), host="login2", slurm_job=None)
    (folder / RUN).write_text(json.dumps(asdict(owner)))
    with pytest.raises(UserError, match="run this on that machine"):
        recover(folder, cancel=True)


def test_dead_run_is_forgotten(folder: Path) -> None:
    note_run(folder)
    (folder / RUN).write_text(json.dumps(asdict(replace(Owner.this_process(), started=1))))
    recover(folder, cancel=True, say=lambda _: None)
    assert not (folder / RUN).exists()


def test_ends_orphans_of_this_machine(folder: Path) -> None:
    (folder.parent / "queue").write_text("")
    program = "import time; from pathlib import Path; from langtransfer.locking import *\n"
    program += "with only_writer(Path('work/a/0')): print('held', flush=True); time.sleep(60)"
    orphan = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(recovery.__file__).parents[2])},
    )  # fmt: skip
    assert orphan.stdout is not None
    assert orphan.stdout.readline() == b"held\n"
    said: list[str] = []
    recover(folder, cancel=True, say=said.append, pause=lambda _: orphan.wait(10))
    assert orphan.wait(10) == -signal.SIGTERM
    orphan.stdout.close()
    assert said[0].startswith(f"ending process {orphan.pid} on ")
    with only_writer(folder / "work" / "a" / "0"):
        pass


def test_slurm_that_does_not_answer(folder: Path) -> None:
    squeue = folder.parent / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    recover(folder, cancel=False)  # nothing was ever submitted from here
    (folder / ".snakemake" / "slurm_logs").mkdir(parents=True)
    with pytest.raises(UserError, match="Unable to contact slurm controller"):
        recover(folder, cancel=False)


def test_no_slurm_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    recover(folder, cancel=True)
