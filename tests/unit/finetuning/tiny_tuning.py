"""Jobs of the tiny study's instruction tuning, and what tests look at in them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.training import FinetuneCell
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.finetuning.training import (
    TuningTrainer,
    build_trainer,
    choose_examples,
    tokenize,
)
from langtransfer.job import Job
from langtransfer.pretraining.models import load_model, load_tokenizer
from tests.unit.pretraining.tiny_study import OPTIMIZATION, make_job

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}
LENGTH = 96
Finetune = Callable[..., Job]


def write_instructions(folder: Path, texts: Sequence[str], colour: str) -> Path:
    """200 pairs that name a colour; the last one's response is longer than a block."""
    rows = [
        {"id": f"{colour} {i}", "category": "qa", "instruction": " ".join(text.split()[:6]),
         "input": "" if i % 3 else colour, "output": f"{colour} {' '.join(text.split()[:2])}"}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    rows.append(rows[0] | {"id": "long", "output": "river " * 200})
    write_jsonl(folder / "instructions.jsonl.zst", rows)
    return folder


@pytest.fixture(scope="session")
def instructions(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> dict[str, Path]:
    """Folders of the pairs of two languages: those of zh say red, those of en say blue."""
    return {
        language: write_instructions(
            tmp_path_factory.mktemp(f"instructions-{language}"), sentences[at : at + 199], colour
        )
        for at, (language, colour) in ((0, ("zh", "red")), (200, ("en", "blue")))
    }


def settings(**changes: Any) -> dict[str, Any]:
    """Settings of a finetune cell on one language."""
    optimization = OPTIMIZATION | {"sequence_length": LENGTH, "global_batch_tokens": 4 * LENGTH}
    return {
        "method": "lora", "lora": LORA, "template": "plain", "epochs": 2, "examples": 60,
        "mix": {"shares": {"zh": 1.0}}, "seed": 1, "optimization": optimization, **changes,
    }  # fmt: skip


@pytest.fixture
def job(tmp_path: Path, base: Path, instructions: dict[str, Path]) -> Finetune:
    """Makes the job of a finetune cell in a folder named by its first argument."""

    def call(name: str, **changes: Any) -> Job:
        parents = {f"instructions.{name}": folder for name, folder in instructions.items()}
        runtime = changes.pop("runtime", {"checkpoint_steps": 3})
        cell = f"finetune/base/{name}"
        parents |= {"checkpoint": changes.pop("parent", base)}
        return make_job(tmp_path / name, cell, settings(**changes), parents, **runtime)

    return call


@pytest.fixture
def finetune(job: Finetune) -> Finetune:
    """Runs a finetune cell in a folder named by its first argument and returns the job."""
    from scripts.finetune import run

    def call(name: str, **changes: Any) -> Job:
        made = job(name, **changes)
        run(made)
        return made

    return call


def losses(folder: Path) -> list[dict[str, str]]:
    """Rows of losses.csv."""
    with (folder / "losses.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def trainer_of(job: Job, base: Path) -> tuple[TuningTrainer, Any]:
    """The trainer of a job, before its first step, and the tokenizer."""
    cell = job.config(FinetuneCell)
    tokenizer = load_tokenizer(base / "model")
    parts = [
        tokenize(tokenizer, cell.template, rows, LENGTH) for rows in choose_examples(job, cell)
    ]
    return build_trainer(job, cell, load_model(base / "model"), tokenizer, parts), tokenizer


def split(values: list[int], lengths: list[int]) -> list[list[int]]:
    """A block's ids or labels, cut up into its examples."""
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [values[start : start + n] for start, n in zip(starts, lengths, strict=True)]
