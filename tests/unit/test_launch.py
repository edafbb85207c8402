"""Where training runs, the line that starts it, and what the owner makes of its end."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from langtransfer import launch
from langtransfer.config import RuntimeConfig
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.launch import Placement, allocated_nodes, launch_line, placement


def on(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(launch, "visible_gpus", lambda: gpus)


@pytest.mark.parametrize(
    ("gpus", "nodes", "runtime", "expected"),
    [
        (0, 1, {}, None),
        (1, 1, {}, None),
        (8, 1, {}, Placement(1, 8)),
        (8, 1, {"processes": 4}, Placement(1, 4)),
        # One process that sees eight GPUs needs a launcher to keep to one of them.
        (8, 1, {"processes": 1}, Placement(1, 1)),
        (8, 1, {"device": "cpu"}, None),
        (0, 1, {"processes": 2}, Placement(1, 2)),
        (8, 4, {}, Placement(4, 8)),
        (0, 2, {}, Placement(2, 1)),
        (1, 2, {}, Placement(2, 1)),
    ],
)
def test_placement(
    monkeypatch: pytest.MonkeyPatch, gpus: int, nodes: int, runtime: dict[str, Any],
    expected: Placement | None,
) -> None:  # fmt: skip
    on(monkeypatch, gpus)
    environment = {"SLURM_JOB_NUM_NODES": str(nodes)}
    assert placement("pretrain", RuntimeConfig(**runtime), environment) == expected
    assert placement("generate", RuntimeConfig(**runtime), environment) is None


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, 2)
    with pytest.raises(UserError, match=r"runtime.processes: 4: 2 GPUs are visible on a node"):
        placement("finetune", RuntimeConfig(processes=4), {})
    assert placement("finetune", RuntimeConfig(processes=4, device="cpu"), {}) == Placement(1, 4)


def test_nodes_where_the_executor_hides_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/sh\n[ "$*" = "--noheader --jobs 17 --format %D" ] && echo 3\n')
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    assert allocated_nodes({}) == 1
    assert allocated_nodes({"SLURM_NNODES": "2", "SLURM_JOB_ID": "17"}) == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    assert allocated_nodes({"SLURM_JOB_ID": "17"}) == 3
    monkeypatch.setenv("PATH", "/nowhere")
    assert allocated_nodes({"SLURM_JOB_ID": "17"}) == 1


def test_line_on_one_node() -> None:
    line = launch_line(Placement(1, 8), Path("work/job.json"), "host", 5000, "17")
    assert line == [
        sys.executable, "-m", "torch.distributed.run", "--max-restarts=0",
        "--shutdown-timeout=240", "--standalone",
        "--local-addr=127.0.0.1",
        "--nproc-per-node=8", "-m", "langtransfer.launch", "work/job.json",
    ]  # fmt: skip


def test_line_on_several_nodes() -> None:
    line = launch_line(Placement(4, 8), Path("work/job.json"), "n1", 5000, "17")
    at = line.index(sys.executable)
    assert line[0] == "srun"
    assert {"--nodes=4", "--ntasks=4", "--ntasks-per-node=1", "--overlap"} <= set(line[:at])
    assert line[at:] == [
        sys.executable, "-m", "torch.distributed.run", "--max-restarts=0",
        "--shutdown-timeout=240", "--nnodes=4", "--rdzv-backend=c10d",
        "--rdzv-endpoint=n1:5000", "--rdzv-id=17",
        "--nproc-per-node=8", "-m", "langtransfer.launch", "work/job.json",
    ]  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose stage is never run: `ranks` stands in for the launched processes."""
    runtime = RuntimeConfig(processes=2, checkpoint_steps=7)
    parents = {"checkpoint": tmp_path / "parent"}
    return Job(
        "pretrain", "pretrain/x", "k", {"seed": 1}, parents, tmp_path, tmp_path / "work", runtime
    )


def ranks(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Launch a Python script in the place of torchrun; `folder` is where owner and ranks meet."""
    text = (
        f"import json, os, pathlib, signal, sys, time\nfolder = pathlib.Path(sys.argv[1])\n{script}"
    )

    def line(place: Placement, request: Path, *others: Any) -> list[str]:
        return [sys.executable, "-c", text, str(request.parent)]

    monkeypatch.setattr(launch, "launch_line", line)


def test_what_rank_0_returned(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    ranks(monkeypatch, """
said = json.loads((folder / "job.json").read_text())
threads = os.environ["OMP_NUM_THREADS"]
(folder / "result.json").write_text(json.dumps(said | {"threads": threads}))
""")  # fmt: skip
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    result = launch.run_ranks(job, Placement(1, 2))
    assert result.pop("threads") == "4"
    assert launch._from_json(result) == job


def error(rank: int, kind: str, arguments: list[Any], when: float) -> str:
    said = {"kind": kind, "args": arguments, "text": f"{kind}: text", "time": when}
    return f'(folder / "error-{rank}.json").write_text({json.dumps(said)!r})\n'


def test_bad_input_in_a_rank_ends_all_at_once(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    bad = error(1, "UserError", ["budget", 7, "lower it"], 2.0)
    ranks(monkeypatch, error(0, "RuntimeError", [], 1.0) + bad + "time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(UserError, match="budget: 7: lower it"):
        launch.run_ranks(job, Placement(1, 2))
    assert time.monotonic() - begun < 10


def test_the_first_crash_counts(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    ranks(monkeypatch, error(0, "OSError", [], 2.0) + error(1, "ValueError", ["x"], 1.0))
    with pytest.raises(RuntimeError, match="ValueError: text"):
        launch.run_ranks(job, Placement(1, 2))


def test_an_exit_code_of_a_rank(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    ranks(monkeypatch, error(0, "SystemExit", [75], 1.0))
    with pytest.raises(SystemExit) as leaving:
        launch.run_ranks(job, Placement(1, 2))
    assert leaving.value.code == 75


@pytest.mark.parametrize("script", ["sys.exit(1)", "pass"])
def test_ranks_that_say_nothing(monkeypatch: pytest.MonkeyPatch, job: Job, script: str) -> None:
    ranks(monkeypatch, script)
    with pytest.raises(RuntimeError, match="no word: out of memory"):
        launch.run_ranks(job, Placement(1, 2))


def test_a_signal_reaches_the_ranks(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    ranks(monkeypatch, """
os.kill(os.getppid(), signal.SIGTERM)
while not (folder / "signal").exists():
    time.sleep(0.01)
sys.exit(1)
""")  # fmt: skip
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as leaving:
        launch.run_ranks(job, Placement(1, 2))
    assert leaving.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    assert (job.work / "ranks" / "signal").read_text() == str(int(signal.SIGTERM))


def test_a_rank_takes_the_owner_s_signal(tmp_path: Path) -> None:
    taken = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: taken.append(number))
    try:
        (tmp_path / "signal").write_text(str(int(signal.SIGUSR1)))
        launch._take_signals(tmp_path)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert taken == [signal.SIGUSR1]


def test_stages_of_one_process_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, 0)
    monkeypatch.setattr(os, "environ", {"PATH": ""})
    runtime = RuntimeConfig()
    assert launch.spread("pretrain", launch.take_part, runtime) is launch.take_part  # type: ignore[arg-type]
