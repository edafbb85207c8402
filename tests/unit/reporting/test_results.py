"""Loading evaluation cells: values, order, shared cells, bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from langtransfer.config.evaluation import ReportRow
from langtransfer.errors import UserError
from langtransfer.reporting.results import amount, is_base, load_results, model_name


def row(**changes: object) -> ReportRow:
    known = {
        "cell": "c", "stage": "score", "label": "LLaMA", "model": "base", "language": "zh",
        "evaluated": "zh", "mix": "target-only", "vocabulary": "original", "budget": "0",
        "budget_tokens": 0, "seed": 1, "tuning": "1k", "tuning_examples": 1000,
        "benchmark": "llm-eval", "format": "atlas", "adopted": False,
    }  # fmt: skip
    return ReportRow.model_validate(known | changes)


def write(folder: Path, name: str, *items: dict) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(i) + "\n" for i in items), encoding="utf-8")
    return {"c": folder}


SCORE = {
    "id": "2", "category": "总结", "accuracy": 1, "fluency": 2, "informativeness": 3,
    "logicality": 0, "harmlessness": 3,
}  # fmt: skip


def test_scores_are_sorted_by_id_and_averaged(tmp_path: Path) -> None:
    folders = write(tmp_path / "c", "scores.jsonl", SCORE, SCORE | {"id": "1", "accuracy": 3})
    (found,) = load_results([row()], folders)
    assert found.ids == ("1", "2")
    assert found.categories == ("总结", "总结")
    assert found.values["AVG"].tolist() == pytest.approx([11 / 5, 9 / 5])
    assert found.values["AVG_without_H"].tolist() == pytest.approx([8 / 4, 6 / 4])


def test_rows_of_one_cell_share_what_was_read(tmp_path: Path) -> None:
    folders = write(tmp_path / "c", "scores.jsonl", SCORE)
    zh, hi = load_results([row(), row(language="hi")], folders)
    assert zh.values is hi.values
    assert (zh.row.language, hi.row.language) == ("zh", "hi")


def test_chance_comes_from_the_number_of_options(tmp_path: Path) -> None:
    item = {"id": "1", "subject": "law", "correct": True, "loglikelihoods": [-1.0, -2.0]}
    generated = {"id": "2", "subject": "law", "correct": 0.5}
    folders = write(tmp_path / "c", "predictions.jsonl", item, generated)
    (found,) = load_results([row(stage="knowledge")], folders)
    assert found.values["correct"].tolist() == [1.0, 0.5]
    assert found.values["chance"][0] == 0.5
    assert np.isnan(found.values["chance"][1])


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([], "holds no item"),
        ([SCORE, SCORE], "the id occurs twice"),
        ([{**SCORE, "fluency": None}], "missing or not a number"),
        ([{"id": "1", "category": "x"}], "missing or not a number"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, items: list[dict], told: str) -> None:
    folders = write(tmp_path / "c", "scores.jsonl", *items)
    with pytest.raises(UserError, match=told):
        load_results([row()], folders)


def test_a_row_without_its_cell_is_named() -> None:
    with pytest.raises(UserError, match="has no parent"):
        load_results([row()], {})


def test_no_judged_answer_is_no_error_for_code_switching(tmp_path: Path) -> None:
    folders = write(tmp_path / "c", "code_switching.jsonl")
    (found,) = load_results([row(stage="code_switching")], folders)
    assert found.n == 0


def test_what_a_row_is() -> None:
    assert is_base(row())
    assert not is_base(row(adopted=True))
    assert not is_base(row(vocabulary="ext500"))
    assert amount(row(budget="10k-samples", budget_tokens=None)) == 10_000
    assert amount(row(budget="10k-samples", budget_tokens=5_000_000)) == 5_000_000
    assert model_name(row(label="LLaMA+1M (seed 2)")) == "LLaMA+1M"
