"""Whole MMLU and C-Eval, 5-shot: our scores against lm-evaluation-harness' stock backend.

One small random LLaMA (hidden 64, two layers, 2,048 positions) with a vocabulary of 4,000 pieces,
so that the stock backend gets through: MMLU in about twelve minutes of one core, C-Eval in two.
In bf16 the two batch differently and round differently, so there only accuracies are compared. Run
with `-s` to see the figures that stand in the benchmarks' READMEs.
"""

from __future__ import annotations

import copy
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
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


class Both:
    """Every subject by our scorer and by the stock backend."""

    def __init__(self, benchmark: Path, model: Any, tokenizer: Any, cache: Path) -> None:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        from langtransfer.evaluation.knowledge import run_task, task_configs, wrap_model

        stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, backend="causal")
        ours = wrap_model(model, tokenizer, BATCH)
        self.seconds = {"ours": 0.0, "stock": 0.0}
        self.rows: list[Mapping[str, Any]] = []
        self.samples: list[Mapping[str, Any]] = []
        for name, config in task_configs(benchmark, cache, SHOTS).items():
            begun = time.process_time()
            self.rows += run_task(ours, config, SHOTS)
            between = time.process_time()
            tasks: list[Any] = [dict(config)]
            manager = TaskManager(include_defaults=False)
            found = simple_evaluate(
                model=stock, tasks=tasks, task_manager=manager, bootstrap_iters=0
            )
            assert found is not None
            self.seconds["ours"] += between - begun
            self.seconds["stock"] += time.process_time() - between
            self.samples += found["samples"][name]
        self.name = name.split("_")[0]
        assert len(self.rows) == QUESTIONS[self.name]

    def scores(self) -> list[tuple[Sequence[float], Sequence[float]]]:
        """Log-likelihoods of a question's options, ours and the stock backend's."""
        return [
            (list(row["loglikelihoods"].values()), [r[0] for r in sample["filtered_resps"]])
            for row, sample in zip(self.rows, self.samples, strict=True)
        ]

    def told(self, words: str) -> None:
        """Say what was found, for the READMEs."""
        times = self.seconds["stock"] / self.seconds["ours"]
        letters = sorted(Counter(row["prediction"] for row in self.rows).items())
        words += f" ({', '.join(f'{letter} {count}' for letter, count in letters)})"
        seconds = ", ".join(f"{name} {taken:.0f} s" for name, taken in self.seconds.items())
        print(f"\n{self.name}, {len(self.rows):,} questions: {words}; {seconds}, {times:.1f} times")


def test_every_subject_is_scored_as_the_stock_backend_scores_it(
    benchmark: Path, loaded: tuple[Any, Any], tmp_path: Path
) -> None:
    both = Both(benchmark, *loaded, tmp_path)
    largest = max(abs(a - b) for pair in both.scores() for a, b in zip(*pair, strict=True))
    both.told(f"log-likelihoods within {largest:.1e}, every prediction equal")
    assert_agrees(both.rows, both.samples)


def test_in_bf16_the_accuracy_is_the_stock_backends(
    benchmark: Path, loaded: tuple[Any, Any], tmp_path: Path
) -> None:
    import torch

    model, tokenizer = loaded
    both = Both(benchmark, copy.deepcopy(model).to(torch.bfloat16), tokenizer, tmp_path)
    equal = sum(a.index(max(a)) == b.index(max(b)) for a, b in both.scores())
    ours = sum(bool(row["correct"]) for row in both.rows) / len(both.rows)
    stock = sum(bool(sample["acc"]) for sample in both.samples) / len(both.samples)
    largest = max(abs(a - b) for pair in both.scores() for a, b in zip(*pair, strict=True))
    both.told(
        f"bf16: log-likelihoods within {largest:.2g}, accuracy {ours:.4f}, stock {stock:.4f}, "
        f"{equal / len(both.rows):.2%} of predictions equal"
    )
    assert ours == pytest.approx(stock, abs=0.02)
