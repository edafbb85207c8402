"""Whole MMLU and C-Eval, 5-shot: our scores against lm-evaluation-harness' stock backend.

One small random LLaMA (hidden 64, two layers, 2,048 positions) with a vocabulary of 4,000 pieces,
so that the stock backend gets through: MMLU in about twelve minutes of one core, C-Eval in one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from langtransfer.corpus.jsonl import read_jsonl
from tests.unit.evaluation.benchmark_cells import REAL, cell, fetch
from tests.unit.evaluation.knowledge_tasks import assert_agrees

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

pytestmark = pytest.mark.long
SHOTS, BATCH = 5, 8
QUESTIONS = {"mmlu": 14_042, "ceval": 1_346}  # upstream: test of 57 subjects, val of 52


@pytest.fixture(scope="module", params=["mmlu", "ceval"])
def benchmark(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Task files of all subjects from the upstream archive."""
    language, split = {"mmlu": ("en", "test"), "ceval": ("zh", "val")}[request.param]
    config = cell("knowledge", request.param, language, shots=SHOTS, split=split)
    return fetch(tmp_path_factory.mktemp("fetch") / request.param, REAL, request.param, config)


@pytest.fixture(scope="module")
def loaded(benchmark: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A random model with a vocabulary trained on the benchmark's own text."""
    from langtransfer.config.training import ModelShape
    from langtransfer.config.vocabulary import TrainTokenizerConfig
    from langtransfer.pretraining.models import load_tokenizer, new_model
    from langtransfer.vocabulary.contract import write_vocabulary
    from langtransfer.vocabulary.training import train_model

    files = sorted((benchmark / "items").glob("*.jsonl"))
    texts = [row[part] for file in files for row in read_jsonl(file) for part in ("question", "A")]
    folder = tmp_path_factory.mktemp("vocabulary")
    proto = train_model(texts, TrainTokenizerConfig(size=4000), "long")
    contract = write_vocabulary(proto, folder)
    shape = ModelShape(
        hidden_size=64,
        intermediate_size=176,
        layers=2,
        heads=2,
        key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.05,  # rounding 1.5e-6, median margin of the best option 0.28 nats
    )
    return new_model(shape, contract, seed=7).eval(), load_tokenizer(folder)


def test_every_subject_is_scored_as_the_stock_backend_scores_it(
    benchmark: Path, loaded: tuple[Any, Any], tmp_path: Path
) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from langtransfer.evaluation.knowledge import run_task, task_configs, wrap_model

    model, tokenizer = loaded
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, backend="causal")
    ours = wrap_model(model, tokenizer, BATCH)
    configs = task_configs(benchmark, tmp_path, SHOTS)
    questions = 0
    for name, config in configs.items():
        rows = run_task(ours, config, SHOTS)
        tasks: list[Any] = [dict(config)]
        manager = TaskManager(include_defaults=False)
        found = simple_evaluate(model=stock, tasks=tasks, task_manager=manager, bootstrap_iters=0)
        assert found is not None
        assert_agrees(rows, found["samples"][name])
        questions += len(rows)
    assert questions == QUESTIONS[name.split("_")[0]]
