"""Whatever moment `kill -9` comes at, the next run ends with the bytes of an undisturbed one."""

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

import pytest

from langtransfer import warm
from langtransfer.workflow.stages import STAGES
from tests.studies import (
    TINY,
    arguments_of,
    branch,
    digests,
    outputs_of,
    result_of,
    serving,
    snakemake,
    snakemake_process,
)

pytestmark = pytest.mark.system

KILLED = 128 + signal.SIGKILL
CHAT = "base/t40.zh.s1"


@dataclass(frozen=True)
class Kill:
    """A moment to die at: the n-th call of a function."""

    at: str
    call: int
    torn: bool = False

    def __str__(self) -> str:
        return f"{self.at.rpartition(':')[2]}-{self.call}{'-torn' * self.torn}"


TUNED = f"finetune/{CHAT}"
CHAINED = "pretrain/zh.target-only.original.16k-tokens.s1"
# Saved every 4 steps, so that in each of these something is to be resumed: 46 steps of 2 forward
# passes, steps 7 to 15 of 2, 15 of 2, 8 of 4.
TRAININGS = {
    "train_base/base": 60,
    CHAINED: 11,
    "pretrain/sw+zh.sequential.original.16k-tokens.s1": 20,
    TUNED: 22,
}
CHECKPOINTS = "langtransfer.pretraining.checkpoints"
# The Trainer calls torch.save four times a checkpoint; the sixth is the second optimizer.pt.
HALF_AN_OPTIMIZER = Kill("torch:save", 6, torn=True)
TRAINED = Kill("langtransfer.execution:_put_in_place", 1)
SAVING = [
    *[(name, HALF_AN_OPTIMIZER) for name in TRAININGS],
    *[(name, TRAINED) for name in TRAININGS],
    (CHAINED, Kill("transformers.modeling_utils:safe_save_file", 2, torn=True)),
    (TUNED, Kill("peft.peft_model:safe_save_file", 2, torn=True)),
    (CHAINED, Kill(f"{CHECKPOINTS}:publish", 2)),  # whole but not sealed
    (CHAINED, Kill(f"{CHECKPOINTS}:_clear", 2)),  # in place beside the older one
]
EVALUATION = "langtransfer.evaluation"
JOURNAL = Kill(f"{EVALUATION}.journal:Journal.append", 1, torn=True)
EVALUATIONS = [
    (f"generate/{CHAT}/llm-eval/zh", Kill(f"{EVALUATION}.generation:answer_batch", 2)),
    (f"generate/{CHAT}/llm-eval/zh", JOURNAL),
    (f"score/{CHAT}/llm-eval/zh", Kill(f"{EVALUATION}.reference_judge:judge", 9)),
    (f"code_switching/{CHAT}/llm-eval/zh", Kill(f"{EVALUATION}.code_switching:find_switches", 6)),
    (
        "knowledge/base/none/atlas-knowledge/zh",
        Kill(f"{EVALUATION}.prefix_scoring:PrefixScorer._score_batch", 2),
    ),
    ("knowledge/base/none/atlas-knowledge/zh", JOURNAL),
    ("perplexity/base/none/zh", Kill(f"{EVALUATION}.perplexity:score_windows", 2)),
    ("perplexity/base/none/zh", JOURNAL),
]
PUBLISHED = (
    "fetch_corpus/zh",
    "clean_corpus/zh",
    "split_corpus/zh",
    "train_tokenizer/zh/ext100",
    "extend_vocabulary/zh/ext100",
    "extend_embeddings/zh/ext100",
    "pack_tokens/zh/zh.ext100",
    "prepare_instructions/zh",
    "fetch_benchmark/llm-eval/zh",
    f"score/{CHAT}/llm-eval/zh",
    "tables/study",
)

AGAIN = (
    "pretrain/zh.with-english.original.16k-tokens.s1",
    "pretrain/sw.target-only.original.8k-tokens.s1",
    "finetune/base",
)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Address of a worker whose stages die on demand."""
    address = tmp_path_factory.mktemp("worker") / "w.sock"
    with serving(["-m", "tests.system.suicidal_worker"], address):
        yield address


@dataclass(frozen=True)
class Cell:
    """One cell, unfinished, in a study that is otherwise finished; the current folder."""

    folder: Path
    result: Path
    undisturbed: dict[str, object]

    def compute(self, kill: Kill | None = None) -> int | None:
        """Run the stage, to its end or up to a moment; its exit code."""
        if kill is not None:
            (self.folder / "kill.json").write_text(json.dumps(asdict(kill)))
        return warm.delegate(self.result.parts[1], arguments_of(self.result))

    def work(self) -> Path:
        """Where the cell keeps what survives."""
        return self.folder / "work" / self.result.relative_to("results")

    def check(self) -> None:
        """It is finished, as if nothing had happened."""
        assert outputs_of(self.folder, self.result) == self.undisturbed
        assert not self.work().exists()


@pytest.fixture
def unfinished(
    finished_tiny: Path, worker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Cell]:
    """A cell by its name, to be computed through the worker."""

    def make(name: str) -> Cell:
        folder = branch(finished_tiny, tmp_path / "study", name)
        monkeypatch.chdir(folder)
        result = result_of(finished_tiny, name)
        return Cell(folder, result, outputs_of(finished_tiny, result))

    monkeypatch.setenv(warm.SOCKET_VARIABLE, str(worker))
    monkeypatch.setattr(warm, "STAGES", frozenset(STAGES))
    return make


@pytest.mark.parametrize("name", TRAININGS)
def test_training_half_way(name: str, unfinished: Callable[[str], Cell]) -> None:
    cell = unfinished(name)
    kill = Kill("transformers:Trainer.training_step", TRAININGS[name])
    assert cell.compute(kill) == KILLED
    assert not cell.result.exists()
    assert list(cell.work().glob("checkpoints/checkpoint-*"))
    assert cell.compute(kill) == 0, "resumed, it has fewer steps to go and is not killed"
    cell.check()


@pytest.mark.parametrize(("name", "kill"), SAVING, ids=str)
def test_training_in_and_after_a_checkpoint_save(
    name: str, kill: Kill, unfinished: Callable[[str], Cell]
) -> None:
    cell = unfinished(name)
    assert cell.compute(kill) == KILLED
    assert not cell.result.exists()
    assert cell.compute() == 0
    cell.check()


@pytest.mark.parametrize(("name", "kill"), EVALUATIONS, ids=str)
def test_evaluation(name: str, kill: Kill, unfinished: Callable[[str], Cell]) -> None:
    cell = unfinished(name)
    assert cell.compute(kill) == KILLED
    assert not cell.result.exists()
    assert cell.compute() == 0
    cell.check()


@pytest.mark.parametrize("name", PUBLISHED)
def test_between_data_and_manifest(name: str, unfinished: Callable[[str], Cell]) -> None:
    cell = unfinished(name)
    assert cell.compute(Kill("langtransfer.execution:write_manifest", 1)) == KILLED
    assert [path.name for path in cell.result.iterdir()] == ["data"]
    made = (cell.result / "data").stat()
    # Were it computed again, it would be killed.
    assert cell.compute(Kill("langtransfer.execution:_compute", 1)) == 0
    assert (cell.result / "data").stat().st_ino == made.st_ino
    cell.check()


def jobs(folder: Path) -> list[int]:
    """Process ids of the stages that run in a study's folder, workers' children left out."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            here = process.name.isdecimal() and (process / "cwd").readlink() == folder
            words = (process / "cmdline").read_bytes().split(b"\0") if here else []
        except OSError:  # it ended, or is another user's
            continue
        if any(word.startswith(b"scripts.") for word in words[:4]):
            found.append(int(process.name))
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def kill_jobs(folder: Path, process: subprocess.Popen[bytes], count: int) -> int:
    """Kill the first stages that Snakemake starts; how many were killed."""
    killed: set[int] = set()
    while process.poll() is None and len(killed) < count:
        running = set(jobs(folder)) - killed
        for job in sorted(running)[: count - len(killed)]:  # several may start between two looks
            time.sleep(0.3)  # not always at the very beginning
            try:
                os.kill(job, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.add(job)
        time.sleep(0.02)
    return len(killed)


def test_jobs_and_snakemake_itself(finished_tiny: Path, tiny_copy: Path) -> None:
    """Kill running jobs, then Snakemake; each time a plain rerun goes on, and the end is equal."""
    for cells in AGAIN:
        shutil.rmtree(tiny_copy / "results" / cells)
    with snakemake_process(tiny_copy, TINY, "models") as first:
        assert kill_jobs(tiny_copy, first, 2) == 2
        assert first.wait(timeout=120) != 0
    with snakemake_process(tiny_copy, TINY, "models") as second:
        wait_for(lambda: bool(jobs(tiny_copy)))
        second.kill()
        second.wait()
    wait_for(lambda: not jobs(tiny_copy))  # what it had started ends by itself
    refused = snakemake(tiny_copy, TINY, "models", check=False)
    assert refused.returncode != 0
    assert "unlock" in refused.stderr + refused.stdout
    snakemake(tiny_copy, TINY, "--unlock")
    snakemake(tiny_copy, TINY, "models")
    assert digests(tiny_copy) == digests(finished_tiny)
