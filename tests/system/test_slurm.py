"""`snakemake --profile slurm all` on a real SLURM, and whatever may happen to its jobs.

Every failure ends in success with the bytes of an undisturbed run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from langtransfer.provenance import read_manifest
from langtransfer.resources import ROOT
from tests.studies import checkout, digests, environment
from tests.system.slurm import Slurm, missing, slurm

reason = missing()
if reason is None and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
    reason = "the SLURM plugins are not installed: make slurm"
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(reason is not None, reason=f"no SLURM can be started here: {reason}"),
]

FAULTS = Path(__file__).parent / "faults"
ON_GPUS = {"train_base", "pretrain", "finetune", "generate", "perplexity"}
ON_CPUS = {"clean_corpus", "split_corpus", "train_tokenizer", "check_vocabulary", "pack_tokens"}
HERE = {
    "fetch_corpus", "fetch_benchmark", "prepare_instructions", "score", "code_switching", "tables",
    "figures", "claims", "report",
}  # fmt: skip
# Two forward passes a step: the 21st is in step 11 of 16; steps 4 and 8 are saved.
IN_STEP_11 = {"stage": "pretrain", "at": "transformers:Trainer.training_step", "call": 21}
CELL = "pretrain/sw.target-only.original.16k-tokens.s1"


@dataclass(frozen=True)
class Study:
    """A copy of the repository with the tests' study for config.yaml, and the cluster."""

    tree: Path
    slurm: Slurm

    @property
    def environment(self) -> dict[str, str]:
        """A user's, on the login node; every stage shows itself."""
        variables = environment() | {"PYTHONPATH": str(FAULTS)}
        return variables | {"PATH": f"{self.slurm.clients}:{variables['PATH']}"}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start snakemake as a user would, but for looking at jobs sooner than after 40 s."""
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *arguments]
        command += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
        with (self.tree / "snakemake.out").open("ab") as out:
            return subprocess.Popen(
                command, cwd=self.tree, env=self.environment, stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def run(self, *arguments: str) -> None:
        """Run snakemake to its end; it must succeed."""
        with self.start(*arguments) as process:
            assert process.wait(timeout=1800) == 0, self.said()

    def said(self) -> str:
        """What snakemake and the stages printed, for messages of failed tests."""
        logs = sorted((self.tree / "logs").rglob("*.log"), key=lambda log: log.stat().st_mtime)
        stages = "".join(f"\n{log.name}: {log.read_text()[-800:]}" for log in logs[-3:])
        return (self.tree / "snakemake.out").read_text()[-5000:] + stages

    def submitted(self) -> list[str]:
        """Command lines of sbatch so far."""
        return self.slurm.submitted(self.tree)

    def seen(self, stage: str) -> list[dict[str, Any]]:
        """What the processes of a stage saw of their jobs."""
        return [json.loads(p.read_text()) for p in (self.tree / "seen").glob(f"{stage}.*.json")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def finished(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The whole study, run by `snakemake --profile slurm all` in a clone's root."""
    tree = checkout(tmp_path_factory.mktemp("clone"))
    shutil.copyfile(ROOT / "tests" / "configs" / "cluster.yaml", tree / "config.yaml")
    (tree / ".venv").symlink_to(Path(sys.executable).parent.parent)
    study = Study(tree, cluster)
    study.run("all")
    return study


def test_what_is_asked_of_the_cluster(finished: Study) -> None:
    lines = finished.submitted()
    by_rule = {
        line.split("--comment ")[1].split()[0].split("_wildcards")[0]: line for line in lines
    }
    assert len(lines) == 11
    for rule in ON_GPUS:
        line = by_rule[f"rule_{rule}"]
        assert "-p gpu" in line
        assert "--gres=gpu:1" in line
    for line in lines:
        assert ("--gres" in line) == ("-p gpu" in line), "CPU work holds no GPU"
    assert "-t 61 --mem 16050" in by_rule["rule_pretrain"]
    assert "--signal=TERM@300" in by_rule["rule_pretrain"]
    assert (finished.tree / "results" / "report" / "index.html").exists()


def test_what_jobs_see(finished: Study) -> None:
    for stage in ON_GPUS:
        for seen in finished.seen(stage):
            assert seen["CUDA_VISIBLE_DEVICES"] in ("0", "1"), stage
    for stage in ON_GPUS | ON_CPUS:
        for seen in finished.seen(stage):
            assert seen["SLURM_JOB_ID"], stage
            assert (seen["HF_HUB_OFFLINE"], seen["HF_DATASETS_OFFLINE"]) == ("1", "1"), stage
    for stage in ON_CPUS:
        assert {seen["CUDA_VISIBLE_DEVICES"] for seen in finished.seen(stage)} == {None}, stage
    for stage in HERE:
        assert {seen["SLURM_JOB_ID"] for seen in finished.seen(stage)} == {None}, stage
        assert {seen["HF_DATASETS_OFFLINE"] for seen in finished.seen(stage)} == {None}, stage


def test_second_run_submits_nothing(finished: Study) -> None:
    before = finished.submitted()
    finished.run("all")
    assert finished.submitted() == before


def without_the_cell(finished: Study, tree: Path) -> Study:
    """The study with one cell, further pretraining, to compute; its parents are finished."""
    traces = shutil.ignore_patterns("logs", "seen", ".snakemake", "work", "snakemake.out")
    shutil.copytree(finished.tree, tree, symlinks=True, ignore=traces)
    shutil.rmtree(tree / "results" / CELL)
    return Study(tree, finished.slurm)


@pytest.fixture
def unfinished(finished: Study, tmp_path: Path) -> Study:
    return without_the_cell(finished, tmp_path / "clone")


Overrun = tuple[Study, subprocess.Popen[bytes]]


@pytest.fixture(scope="module", autouse=True)
def overrun(finished: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Overrun]:
    """A study whose job cannot end by itself: its minute passes beside the other tests.

    The limit is a minute at the first attempt and two at the second.
    """
    study = without_the_cell(finished, tmp_path_factory.mktemp("overrun") / "clone")
    (study.tree / "fault.json").write_text(json.dumps(IN_STEP_11 | {"do": "pause"}))
    limits = ("pretrain:runtime=attempt", "pretrain:slurm_extra=--nodelist=n2")
    with study.start(target(study), "--set-resources", *limits) as process:
        try:
            yield study, process
        finally:
            process.kill()


@contextmanager
def computing(study: Study, fault: dict[str, Any], *arguments: str) -> Iterator[None]:
    """Compute the cell with a fault; inside, its stage has come to it. Success at the end."""
    (study.tree / "fault.json").write_text(json.dumps(IN_STEP_11 | fault))
    with study.start(target(study), *arguments) as process:
        try:
            if fault["do"] == "pause":
                wait_for(study, (study.tree / "paused").exists)
            yield
            assert process.wait(timeout=900) == 0, study.said()
        finally:
            process.kill()


def target(study: Study) -> str:
    """The manifest of the cell."""
    (recipe,) = (study.tree / "recipes" / CELL).glob("*.json")
    return f"results/{CELL}/{recipe.stem}/manifest.json"


def wait_for(study: Study, condition: Callable[[], object], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited too long\n{study.said()}"
        time.sleep(0.1)


def job_of(study: Study) -> str:
    """Id of the SLURM job of the first process of the stage."""
    jobs = {seen["SLURM_JOB_ID"] for seen in study.seen("pretrain")} - {None}
    return min(jobs, key=int)


def check(study: Study, finished: Study, jobs: int) -> None:
    """The cell is as if nothing had happened, after so many jobs; nobody holds it."""
    manifest = target(study)
    assert digests(study.tree)[manifest] == digests(finished.tree)[manifest]
    assert len(study.submitted()) == jobs
    assert not list((study.tree / "work").rglob("*.owner.*"))


def test_job_that_exits_1(unfinished: Study, finished: Study) -> None:
    with computing(unfinished, {"do": "exit"}):
        pass
    check(unfinished, finished, jobs=2)
    first, second = unfinished.submitted()
    assert "-t 61 --mem 16050" in first
    assert "-t 121 --mem 24075" in second, "more memory and time at the second attempt"


def test_scancel(unfinished: Study, finished: Study) -> None:
    with computing(unfinished, {"do": "pause"}):
        job = job_of(unfinished)
        unfinished.slurm.run("scancel", job)
        wait_for(unfinished, lambda: unfinished.slurm.state(job) == "CANCELLED")
    check(unfinished, finished, jobs=2)


def take_the_node(study: Study) -> str:
    """Submit an urgent job that wants all of node n1; its id."""
    urgent = ("-p", "gpu", "-w", "n1", "--exclusive", "--gres=gpu:2", "-t", "5", "-o", "/dev/null")
    return study.slurm.run("sbatch", "--parsable", *urgent, "--wrap", "sleep 2")


ON_N1 = "pretrain:slurm_extra=--nodelist=n1"


def test_preempted_and_requeued(unfinished: Study, finished: Study) -> None:
    """SLURM kills the job without a word and begins it again, as the same job."""
    place = ("--set-resources", "pretrain:slurm_partition=spot", ON_N1)
    with computing(unfinished, {"do": "pause"}, *place):
        job = job_of(unfinished)
        urgent = take_the_node(unfinished)
        wait_for(unfinished, lambda: unfinished.slurm.state(urgent) == "COMPLETED")
        wait_for(unfinished, lambda: unfinished.slurm.state(job) == "PENDING")
        unfinished.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # not in 2 min
    assert unfinished.slurm.details(job)["Restarts"] == "1"
    check(unfinished, finished, jobs=1)


def test_preempted_with_a_grace_time(unfinished: Study, finished: Study) -> None:
    """SLURM sends SIGTERM first: the step is finished and saved, and the next job goes on there."""
    place = ("--set-resources", "pretrain:slurm_partition=graceful", ON_N1)
    with computing(unfinished, {"do": "pause"}, *place):
        take_the_node(unfinished)
        time.sleep(3)  # SLURM's signal comes with its next look at the queue
        (unfinished.tree / "go").touch()
        saved = f"work/{CELL}/*/checkpoints/checkpoint-11"
        wait_for(unfinished, lambda: list(unfinished.tree.glob(saved)))
    check(unfinished, finished, jobs=2)


def kill_job(job: str) -> None:
    """`kill -9` of all that slurmd started for a job."""
    mark = f"SLURM_JOB_ID={job}".encode()
    for process in Path("/proc").iterdir():
        try:
            mine = process.name.isdecimal() and mark in (process / "environ").read_bytes()
            if mine and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:  # it has ended
            continue


def test_kill_9_of_the_job(unfinished: Study, finished: Study) -> None:
    with computing(unfinished, {"do": "pause"}):
        kill_job(job_of(unfinished))
    check(unfinished, finished, jobs=2)


def make(study: Study, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A verb of the Makefile, in the clone."""
    command = ["make", "--old-file=.venv/.ready", *arguments]
    return subprocess.run(
        command, cwd=study.tree, env=study.environment, capture_output=True, text=True, timeout=400
    )


@pytest.mark.parametrize("way", ["waits", "cancels"])
def test_kill_9_of_snakemake_and_make_recover(unfinished: Study, finished: Study, way: str) -> None:
    (unfinished.tree / "fault.json").write_text(json.dumps(IN_STEP_11 | {"do": "pause"}))
    with unfinished.start(target(unfinished)) as process:
        wait_for(unfinished, (unfinished.tree / "paused").exists)
        running = make(unfinished, "recover")
        assert running.returncode == 2
        assert f"process {process.pid} on" in running.stderr
        assert "still runs" in running.stderr
        process.kill()
    job = job_of(unfinished)
    assert unfinished.slurm.state(job) == "RUNNING"
    second = compute_beside(unfinished)
    assert second.returncode == 2, "never two writers"
    assert f"(SLURM job {job})" in second.stderr
    if way == "waits":
        threading.Timer(8, (unfinished.tree / "go").touch).start()
    recovered = make(unfinished, "recover", *(["CANCEL=1"] if way == "cancels" else []))
    assert recovered.returncode == 0, recovered.stderr
    said = "waiting for" if way == "waits" else "cancelling"
    assert f"{said} SLURM job {job} (rule_pretrain" in recovered.stdout
    ended = "COMPLETED" if way == "waits" else "CANCELLED"
    assert unfinished.slurm.state(job) == ended
    if way == "waits":
        assert (unfinished.tree / target(unfinished)).exists(), "the job went on to its end"
    unfinished.run(target(unfinished))
    check(unfinished, finished, jobs=1 if way == "waits" else 2)


def compute_beside(study: Study) -> subprocess.CompletedProcess[str]:
    """Start the cell's stage by hand, as a second snakemake would."""
    recipe = Path("recipes", *Path(target(study)).parent.parts[1:]).with_suffix(".json")
    command = [sys.executable, "-m", "scripts.pretrain", "--recipe", str(recipe)]
    return subprocess.run(
        command, cwd=study.tree, env=study.environment, capture_output=True, text=True
    )


def test_training_on_two_nodes(unfinished: Study, finished: Study) -> None:
    """The table says two nodes: srun starts a torchrun on each, and they train together."""
    table = unfinished.tree / "slurm" / "resources.yaml"
    text = table.read_text().replace("billions_per_gpu: 1\n", "billions_per_gpu: 1\n    nodes: 2\n")
    table.write_text(text)
    unfinished.run(target(unfinished))
    (line,) = unfinished.submitted()
    assert "--nodes=2" in line
    assert "--gres=gpu:1" in line
    ranks = unfinished.seen("launch")
    assert {seen["SLURMD_NODENAME"] for seen in ranks} == {"n1", "n2"}
    assert {seen["RANK"] for seen in ranks} == {"0", "1"}
    assert {seen["CUDA_VISIBLE_DEVICES"] for seen in ranks} <= {"0", "1"}
    result = Path(target(unfinished)).parent
    assert read_manifest(unfinished.tree / result)["volatile"]["processes"] == 2
    alone, together = (
        [float(row.rpartition(",")[2]) for row in rows.read_text().splitlines()[1:]]
        for rows in (
            study.tree / result / "data" / "losses.csv" for study in (finished, unfinished)
        )
    )
    assert together == pytest.approx(alone, abs=1e-4)


def test_job_that_exceeds_its_run_time(overrun: Overrun, finished: Study) -> None:
    study, process = overrun
    assert process.wait(timeout=900) == 0, study.said()
    assert study.slurm.state(job_of(study)) == "TIMEOUT"
    check(study, finished, jobs=2)
