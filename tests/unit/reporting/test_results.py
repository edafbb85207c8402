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
    (folder / "summary.json").write_text('{"averages": {}}', encoding="utf-8")
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


def test_always_the_commonest_letter_is_chance_too(tmp_path: Path) -> None:
    items = [
        {"id": str(i), "subject": s, "answer": a, "correct": True, "loglikelihoods": [-1.0] * 4}
        for i, (s, a) in enumerate([("law", "A"), ("law", "A"), ("law", "B"), ("art", "C")])
    ]
    (found,) = load_results(
        [row(stage="knowledge")], write(tmp_path / "c", "predictions.jsonl", *items)
    )
    assert found.values["chance"].tolist() == pytest.approx([0.5] * 4)


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


def probed(name: str, half: str, *layers: float) -> dict:
    return {"id": name, "half": half, "layers": list(layers)}


def test_the_layer_is_chosen_on_the_documents_that_are_not_reported(tmp_path: Path) -> None:
    items = [
        probed("1", "choice", 1, 1, 0.5), probed("2", "choice", 1, 0.5, 0),
        probed("4", "report", 1, 0.5, 1), probed("3", "report", 1, 0, 1),
    ]  # fmt: skip
    folders = write(tmp_path / "c", "alignment.jsonl", *items)
    (found,) = load_results([row(stage="alignment", tuning="none")], folders)
    assert found.ids == ("3", "4")
    # Layer 1, though 2 is better here, and the embeddings everywhere.
    assert found.values["correct"].tolist() == [0.0, 0.5]
    assert found.values["layer"].tolist() == [1.0, 1.0]
    assert found.values["layer_2"].tolist() == [1.0, 1.0]
    assert found.values["chance"].tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    "broken",
    [{"id": "2", "half": "report"}, {"id": "2", "layers": [1.0]}, probed("2", "choice", 1)],
)
def test_a_bad_probe_is_named(tmp_path: Path, broken: dict) -> None:
    items = [probed("1", "choice", 0, 1), probed("3", "report", 1, 1), broken]
    folders = write(tmp_path / "c", "alignment.jsonl", *items)
    with pytest.raises(UserError, match=r"missing or not a number.*run the cell again"):
        load_results([row(stage="alignment", tuning="none")], folders)


def test_a_row_without_its_cell_is_named() -> None:
    with pytest.raises(UserError, match="has no parent"):
        load_results([row()], {})


def test_no_judged_answer_is_no_error_for_code_switching(tmp_path: Path) -> None:
    folders = write(tmp_path / "c", "code_switching.jsonl")
    (tmp_path / "c" / "summary.json").write_text('{"empty": {"Summary": 3}}')
    (found,) = load_results([row(stage="code_switching")], folders)
    assert found.n == 0
    assert found.summary["empty"] == {"Summary": 3}


def test_what_a_row_is() -> None:
    assert is_base(row())
    assert not is_base(row(adopted=True))
    assert not is_base(row(vocabulary="ext500"))
    assert amount(row(budget="10k-samples", budget_tokens=None)) == 10_000
    assert amount(row(budget="10k-samples", budget_tokens=5_000_000)) == 5_000_000
    assert model_name(row(label="LLaMA+1M (seed 2)")) == "LLaMA+1M"
