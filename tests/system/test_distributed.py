"""Several processes learn what one does: DDP, ZeRO, resumed runs, adapters, tuning."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.launch import Placement, run_ranks
from langtransfer.pretraining.models import load_model
from tests.unit.finetuning.tiny_tuning import instructions, settings
from tests.unit.pretraining.tiny_study import (
    base,
    extended,
    make_job,
    pretrain_settings,
    sentences,
    tokens,
    vocabulary,
)

__all__ = ["base", "extended", "instructions", "sentences", "tokens", "vocabulary"]
pytestmark = pytest.mark.system

ONE, TWO = Placement(1, 1), Placement(1, 2)
STEPS, HALF = 50, 25
TOLERANCE = 1e-4
LORA = {"rank": 4, "alpha": 8, "modules_to_save": ["embed_tokens", "lm_head"]}
NEW_ROWS = {"rank": 4, "alpha": 8, "trainable_tokens": "new"}
Make = Callable[..., Job]


def curve(folder: Path) -> list[float]:
    """Loss of each step."""
    lines = (folder / "losses.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [float(line.split(",")[2]) for line in lines]


def apart(one: Path, other: Path) -> float:
    """Largest difference between two curves of the same length."""
    pairs = zip(curve(one), curve(other), strict=True)
    most = max(abs(a - b) for a, b in pairs)
    print(f"{one.parent.name}, {other.parent.name}: {most:.1e} apart")  # pytest -rP shows it
    return most


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def make(folder: Path, base: Path, tokens: Path) -> Make:
    """A pretrain job of 50 steps in a folder of this name."""

    def call(name: str, deepspeed: str = "none", parent: Path = base, **changes: Any) -> Job:
        budget = changes.pop("budget", f"{STEPS * 128}-tokens")
        # At half the embeddings still learn alone: optimizer groups differ when a run goes on.
        changes = {"embeddings_first": f"{(HALF + 5) * 128}-tokens"} | changes
        return make_job(
            folder / name, f"pretrain/{name}", pretrain_settings(budget, **changes),
            {"checkpoint": parent, "tokens.zh": tokens},
            deepspeed=deepspeed, checkpoint_steps=HALF,
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def plain(make: Make) -> Path:
    """Data of the same training in one process."""
    from scripts.pretrain import run

    job = make("plain")
    run(job)
    return job.out


def interrupted(job: Job) -> Path:
    """Work folder of a run killed with -9 after its checkpoint at half; its ranks die with it."""
    child = multiprocessing.get_context("fork").Process(target=run_ranks, args=(job, TWO))
    child.start()
    checkpoints = job.work / "checkpoints"
    deadline = time.monotonic() + 120
    while not (checkpoints / f"checkpoint-{HALF}").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    rank = json.loads((job.work / "progress.json").read_text(encoding="utf-8"))["pid"]
    assert child.pid is not None
    child.kill()
    child.join()
    while Path(f"/proc/{rank}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (checkpoints / f"checkpoint-{STEPS}").exists()
    assert not list(job.out.iterdir())
    return job.work


def resumed(job: Job, work: Path, place: Placement) -> Path:
    """Data of a job that goes on from a killed one's work."""
    shutil.rmtree(job.work)
    shutil.copytree(work, job.work)
    result = run_ranks(job, place)
    assert result["tokens"] == (STEPS - HALF) * 128, "it began anew"
    return job.out


def test_ddp(make: Make, plain: Path) -> None:
    from scripts.pretrain import run

    job = make("ddp")
    result = run_ranks(job, TWO)
    assert (result["processes"], result["tokens"]) == (2, STEPS * 128)
    assert apart(plain, job.out) < TOLERANCE
    assert (job.out / "training.json").read_bytes() == (plain / "training.json").read_bytes()
    # A plain checkpoint does not tell how many processes wrote it: a larger budget takes any.
    larger = make("ddp-larger", parent=job.out, budget=f"{(STEPS + 10) * 128}-tokens")
    straight = make("straight-larger", parent=plain, budget=f"{(STEPS + 10) * 128}-tokens")
    for job in (larger, straight):
        run(job)
    assert len(curve(larger.out)) == STEPS + 10
    assert apart(larger.out, straight.out) < TOLERANCE


@pytest.mark.parametrize("kind", ["zero2", "zero3"])
def test_zero(make: Make, plain: Path, base: Path, kind: str) -> None:
    whole = make(kind, kind)
    run_ranks(whole, TWO)
    assert apart(plain, whole.out) < TOLERANCE
    trained = load_model(whole.out / "model").state_dict()
    expected = load_model(plain / "model").state_dict()
    before = load_model(base / "model").state_dict()
    assert trained.keys() == expected.keys()
    for name, weights in trained.items():
        assert weights.dtype == expected[name].dtype
        assert torch.allclose(weights, expected[name], atol=5e-3), name
        assert not torch.equal(weights, before[name]), name

    work = interrupted(make(f"{kind}-killed", kind))
    assert apart(whole.out, resumed(make(f"{kind}-2", kind), work, TWO)) < TOLERANCE
    # ZeRO checkpoints are cut by process and stage: they are converted on the way.
    assert apart(whole.out, resumed(make(f"{kind}-1", kind), work, ONE)) < TOLERANCE


def test_chained_budget_on_other_processes(make: Make, plain: Path) -> None:
    small = make("chain-small", "zero2", budget=f"{HALF * 128}-tokens")
    run_ranks(small, TWO)
    large = make("chain-large", "zero2-offload", parent=small.out)
    run_ranks(large, ONE)
    assert apart(plain, large.out) < TOLERANCE
    # What the next budget finds was written by this run's processes.
    assert [p.name for p in (large.out / "trainer").glob("global_step*")] == [f"global_step{STEPS}"]
    for kind in ("none", "zero3"):
        refused = make(f"chain-{kind}", kind, parent=small.out)
        with pytest.raises(UserError, match=f"'{kind}': .* ZeRO 2: set zero2 or zero2-offload$"):
            run_ranks(refused, ONE)


@pytest.mark.parametrize(
    ("adapter", "kind"),
    [(LORA, "zero3"), (NEW_ROWS, "none"), (NEW_ROWS, "zero3")],
    ids=["lora-zero3", "rows-ddp", "rows-zero3"],
)
def test_adapters(
    make: Make, extended: dict[bool, Path], adapter: dict[str, Any], kind: str
) -> None:
    from scripts.pretrain import run

    name = "rows" if adapter is NEW_ROWS else "lora"
    changes = {
        "parent": extended[False], "method": "lora", "lora": adapter, "budget": "1280-tokens",
        "embeddings_first": "384-tokens",
    }  # fmt: skip
    one = make(f"{name}-{kind}-one", **changes)
    run(one)
    two = make(f"{name}-{kind}-two", kind, **changes)
    run_ranks(two, TWO)
    assert apart(one.out, two.out) < TOLERANCE
    facts = [json.loads((job.out / "training.json").read_text("utf-8")) for job in (one, two)]
    assert facts[0] == facts[1]
    weights = [load_model(job.out / "model").state_dict() for job in (one, two)]
    for name, values in weights[0].items():
        assert torch.allclose(values, weights[1][name], atol=5e-3), name


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("none", {"method": "full", "lora": None}),
        ("zero3", {"lora": LORA}),
        ("zero2", {"lora": NEW_ROWS}),
    ],
    ids=["ddp-full", "zero3-lora", "zero2-rows"],
)
def test_tuning(
    folder: Path, extended: dict[bool, Path], instructions: dict[str, Path], kind: str,
    changes: dict[str, Any], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    from scripts.finetune import run

    name = request.node.callspec.id
    parents = {f"instructions.{language}": path for language, path in instructions.items()}
    one, two = (
        make_job(
            folder / f"{name}-{backend}", "finetune/base/x",
            settings(lora={"rank": 4, "alpha": 8}, epochs=3) | changes,
            parents | {"checkpoint": extended[False]}, checkpoint_steps=4, deepspeed=backend,
        )
        for backend in ("none", kind)
    )  # fmt: skip
    run(one)
    if kind == "none":
        one = replace(one, out=one.out.rename(one.out.with_name("one")))
        shutil.rmtree(two.work)
        two.out.mkdir()
    run_ranks(two, TWO)
    assert apart(one.out, two.out) < TOLERANCE
    # No pair twice, none left out, empty blocks not counted: steps and tokens are the same.
    seen = [
        [line.split(",")[:2] for line in (job.out / "losses.csv").read_text("utf-8").splitlines()]
        for job in (one, two)
    ]
    assert seen[0] == seen[1]
    files = [sorted(p.relative_to(j.out).as_posix() for p in j.out.rglob("*")) for j in (one, two)]
    assert files[0] == files[1]


def test_a_rank_s_bad_input_is_the_owner_s(make: Make) -> None:
    job = make("diverges", optimization={"learning_rate": 1e30})
    with pytest.raises(UserError, match=r"learning_rate: 1e\+30: the loss is .* lower it"):
        run_ranks(job, TWO)
    assert not list(job.out.iterdir())


def test_a_killed_rank_ends_the_run(make: Make) -> None:
    job = make("killed-rank", budget="8192-tokens")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def owner() -> None:
        try:
            run_ranks(job, TWO)
        except RuntimeError as error:
            answers.put(str(error))

    child = context.Process(target=owner)
    child.start()
    deadline = time.monotonic() + 120
    while not (job.work / "progress.json").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    rank = json.loads((job.work / "progress.json").read_text(encoding="utf-8"))["pid"]
    os.kill(rank, signal.SIGKILL)
    # The other one says that its peer is gone, or torchrun ends it first.
    assert re.search("by peer|out of memory", answers.get(timeout=60))
    child.join(60)
    assert child.exitcode == 0
