"""A tiny real checkpoint, and jobs without Snakemake, for the evaluation tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config import RuntimeConfig
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.job import Job

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

TEXT = [
    "The capital of France is Paris, and the capital of Kenya is Nairobi.",
    "Mji mkuu wa Kenya ni Nairobi. Leo ni Jumatatu, kesho ni Jumanne.",
    "中国的首都是北京。肯尼亚的首都是内罗毕。今天是星期一，明天是星期二。",
    "केन्या की राजधानी नैरोबी है। आज सोमवार है और कल मंगलवार होगा।",
    "Question: which one? A. red B. green C. blue D. white Answer: A",
]
POSITIONS = 128


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint folder of a random LLaMA: 2 layers, hidden 32, 128 positions, byte fallback."""
    from langtransfer.config.training import ModelShape
    from langtransfer.config.vocabulary import TrainTokenizerConfig
    from langtransfer.pretraining.models import new_model, save_model
    from langtransfer.vocabulary.contract import write_vocabulary
    from langtransfer.vocabulary.training import train_model

    folder = tmp_path_factory.mktemp("checkpoint")
    settings = TrainTokenizerConfig(size=400, character_coverage=1.0)
    proto = train_model(TEXT * 20, settings, "tiny")
    contract = write_vocabulary(proto, folder / "vocabulary")
    shape = ModelShape(
        hidden_size=32,
        intermediate_size=64,
        layers=2,
        heads=2,
        key_value_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
    )
    save_model(new_model(shape, contract, seed=3), folder / "vocabulary", folder / "model")
    return folder


@pytest.fixture
def loaded(checkpoint: Path) -> tuple[Any, Any]:
    """Model and tokenizer of the checkpoint, float32 on the CPU; each test its own.

    Both keep settings of whoever used them last: `generate` its config, the tokenizer its padding.
    """
    import torch

    from langtransfer.pretraining.models import load_checkpoint

    return load_checkpoint(checkpoint, None, torch.float32, "cpu")


MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """A job with fresh `out` and `work` folders; call again with `keep_work` for a rerun."""

    def make(
        cell: str,
        settings: Mapping[str, Any],
        parents: Mapping[str, Path],
        runtime: Mapping[str, Any] | None = None,
        name: str = "run",
    ) -> Job:
        out, work = tmp_path / name / "out", tmp_path / name / "work"
        out.mkdir(parents=True)
        work.mkdir(exist_ok=True)
        options = RuntimeConfig(device="cpu", eval_batch=4, **(runtime or {}))
        stage = cell.split("/")[0]
        return Job(stage, cell, f"key-{name}", settings, parents, out, work, options)

    return make


@pytest.fixture
def write_questions(tmp_path: Path) -> Callable[[list[dict[str, Any]]], Path]:
    """Writes `questions.jsonl` into a benchmark folder and returns the folder."""

    def write(rows: list[dict[str, Any]]) -> Path:
        folder = tmp_path / "benchmark"
        folder.mkdir(exist_ok=True)
        blank = {
            "category": "Factual_questions",
            "input": "",
            "reference": "",
            "keys": [],
            "wrong": [],
        }
        write_jsonl(folder / "questions.jsonl", [blank | row for row in rows])
        return folder

    return write
