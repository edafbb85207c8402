"""Small benchmarks as task files of lm-evaluation-harness, for the knowledge tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from langtransfer.corpus.jsonl import write_jsonl

LETTER_TASK = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}} A. {{A}} B. {{B}} C. {{C}} D. {{D}} Answer:",
    "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "{{['A', 'B', 'C', 'D'].index(answer)}}",
    "target_delimiter": " ",
    "fewshot_delimiter": "\n\n",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 3},
}
TEXT_TASK = LETTER_TASK | {
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{[A, B, C, D]}}",
    "target_delimiter": "\n",
    "metric_list": [
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
}
COLOURS = ["red", "green", "blue as the sky", "white"]


def item(number: int, subject: str) -> dict[str, Any]:
    """A question with four options and a key, all of which the number decides."""
    options = dict(zip("ABCD", COLOURS[number % 4 :] + COLOURS[: number % 4], strict=True))
    answer = "ABCD"[number * 7 % 4]
    return {
        "id": f"{subject}-{number}",
        "subject": subject,
        "question": f"which {number}?",
        "answer": answer,
        **options,
    }


def close(expected: Sequence[float]) -> Any:
    """Within 1e-5, and from 30 nats on within three steps of float32."""
    return pytest.approx(expected, abs=1e-5, rel=3.6e-7)


def assert_agrees(
    rows: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]], metric: str = "acc"
) -> None:
    """Our rows of a task against lm-evaluation-harness' samples: scores, choices, correctness."""
    assert [row["id"] for row in rows] == [sample["doc"]["id"] for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        scores = [response[0] for response in sample["filtered_resps"]]
        found = list(row["loglikelihoods"].values())
        assert found == close(scores), f"{row['id']}: {found}, stock {scores}"
        if metric == "acc":
            best = scores.index(max(scores))
            assert row["prediction"] == list(row["loglikelihoods"])[best], row["id"]
        assert row["correct"] == bool(sample[metric]), row["id"]


def write_task(
    folder: Path, name: str, template: dict[str, Any], items: list[Any], worked: int = 2
) -> None:
    """Add a task with items and worked examples to a benchmark's folder."""
    write_jsonl(folder / "items" / f"{name}.test.jsonl", items)
    examples = [item(90 + number, name) for number in range(worked)]
    write_jsonl(folder / "items" / f"{name}.dev.jsonl", examples)
    task = template | {
        "task": name,
        "dataset_path": "json",
        "test_split": "test",
        "fewshot_split": "dev",
        "dataset_kwargs": {"data_files": {s: f"items/{name}.{s}.jsonl" for s in ("test", "dev")}},
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": 5,
    }
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
