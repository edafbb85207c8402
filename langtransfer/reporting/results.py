"""Evaluation results as arrays: one `Observations` per row of the study."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from langtransfer.budget import Budget
from langtransfer.config.evaluation import ReportRow
from langtransfer.corpus.jsonl import read_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.retrieval import best_layer
from langtransfer.reporting.paper import ASPECTS
from langtransfer.statistics.intervals import Floats

# Aspect as the tables call it -> field of scores.jsonl.
FIELDS = dict(
    zip(
        ASPECTS,
        ("accuracy", "fluency", "informativeness", "logicality", "harmlessness"),
        strict=True,
    )
)
# The mix every other is compared with: further pretraining on the target alone.
PLAIN_MIX = "target-only"
FILES = {
    "score": "scores.jsonl",
    "knowledge": "predictions.jsonl",
    "perplexity": "documents.jsonl",
    "code_switching": "code_switching.jsonl",
    "alignment": "alignment.jsonl",
}


@dataclass(frozen=True)
class Observations:
    """The items of one evaluation cell, sorted by id.

    values: by name, arrays (items,); for score ACC F INFO LC H AVG AVG_without_H (0-3), for
    knowledge correct (0 or 1, or a share of the points), chance and points (nan where questions
    have none), for perplexity nats tokens
    bytes characters, for code_switching any by_line by_word (0 or 1), for alignment correct (0, 0.5
    or 1, at the best layer), the layer, chance, and layer_0, layer_1 ... of every layer; its items
    are the documents that did not choose the layer.
    """

    row: ReportRow
    ids: tuple[str, ...]
    categories: tuple[str, ...]
    values: Mapping[str, Floats]
    intruders: tuple[tuple[str, ...], ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    """For code_switching and knowledge: what `summary.json` says of the answers as a whole."""
    subjects: tuple[str, ...] = ()
    """For knowledge: the subject of each item, which may be finer than its category."""

    @property
    def n(self) -> int:
        """Items."""
        return len(self.ids)


def load_results(rows: Sequence[ReportRow], folders: Mapping[str, Path]) -> list[Observations]:
    """Read every row's cell once, in the order of rows.

    folders: `<cell>` -> its data folder. Cells whose right answers are not public are left out.
    Raises UserError for a cell that is not there, a file without items, a missing field or an id
    twice.
    """
    by_cell: dict[str, Observations] = {}
    for row in rows:
        if row.cell not in folders:
            raise UserError("rows", row.cell, "has no parent of the same name: plan again")
        if row.cell not in by_cell:
            by_cell[row.cell] = _load(row, folders[row.cell] / FILES[row.stage])
    found = ((row, by_cell[row.cell]) for row in rows)
    return [replace(read, row=row) for row, read in found if not _is_hidden(read)]


def _is_hidden(found: Observations) -> bool:
    """Whether no answer is public (C-Eval's test questions): there is nothing to report."""
    return found.row.stage == "knowledge" and bool(np.isnan(found.values["correct"]).all())


def _load(row: ReportRow, path: Path) -> Observations:
    items = sorted(read_jsonl(path), key=lambda item: str(item.get("id")))
    if not items and row.stage != "code_switching":
        raise UserError(str(path), 0, "holds no item: run the cell again")
    try:
        items = _reported(items) if row.stage == "alignment" else items
        ids = tuple(str(item["id"]) for item in items)
        values = _VALUES[row.stage](items)
        categories = tuple(str(i.get("category", i.get("subject", ""))) for i in items)
        intruders = tuple(tuple(item.get("languages", ())) for item in items)
        subjects = tuple(str(item.get("subject", "")) for item in items)
    except (KeyError, TypeError, ValueError) as error:
        remedy = "missing or not a number in some item: run the cell again"
        raise UserError(str(path), str(error), remedy) from error
    if len(set(ids)) < len(ids):
        twice = next(a for a, b in pairwise(ids) if a == b)
        raise UserError(str(path), twice, "the id occurs twice; ids pair the models")
    return Observations(
        row, ids, categories, values, intruders, _summary(row, path.parent), subjects
    )


def _summary(row: ReportRow, folder: Path) -> Mapping[str, Any]:
    """What is no item's: answers without a language, pass rates, averages over subjects."""
    if row.stage not in ("code_switching", "knowledge"):
        return {}
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found


def _column(items: Sequence[Mapping[str, Any]], name: str) -> Floats:
    return np.array([float(item[name]) for item in items], dtype=np.float64)


def _score_values(items: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    values = {aspect: _column(items, field) for aspect, field in FIELDS.items()}
    values["AVG"] = np.mean([values[a] for a in ASPECTS], axis=0)
    values["AVG_without_H"] = np.mean([values[a] for a in ASPECTS if a != "H"], axis=0)
    return values


def _knowledge_values(items: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    correct = [math.nan if i["correct"] is None else float(i["correct"]) for i in items]
    points = [float(item.get("points", math.nan)) for item in items]
    return {
        "correct": np.array(correct),
        "chance": np.array(list(_chances(items))),
        "points": np.array(points),
    }


def _chances(items: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    """What knowing nothing scores: one in k, or always the letter that is right most often.

    The commonest letter is counted over the whole benchmark: within a subject of twenty questions
    it is right in a third of them by accident alone, which no model can know. Written answers have
    the chance their row states (benchmarks/marking.py), nan where it states none.
    """
    letters = [item for item in items if item.get("loglikelihoods")]
    answers = Counter(str(item["answer"]) for item in letters if item.get("answer"))
    most = max(answers.values(), default=0) / max(answers.total(), 1)
    for item in items:
        options = len(item.get("loglikelihoods") or ())
        yield max(1 / options, most) if options else float(item.get("chance", math.nan))


def _perplexity_values(items: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    return {name: _column(items, name) for name in ("nats", "tokens", "bytes", "characters")}


def _reported(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The documents that did not choose the best layer, with what all documents decide."""
    known = {"layer": best_layer(items), "chance": 1 / len(items)}
    return [{**item, **known} for item in items if item["half"] == "report"]


def _alignment_values(items: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    by_layer = np.array([item["layers"] for item in items], dtype=np.float64)
    named = {f"layer_{index}": hits for index, hits in enumerate(by_layer.T)}
    known = {name: _column(items, name) for name in ("layer", "chance")}
    return {"correct": by_layer[:, items[0]["layer"]], **known, **named}


def _switching_values(items: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    line, word = _column(items, "by_line") > 0, _column(items, "by_word") > 0
    return {
        "any": (line | word).astype(np.float64),
        "by_line": line.astype(np.float64),
        "by_word": word.astype(np.float64),
    }


_VALUES: dict[str, Callable[[Sequence[Mapping[str, Any]]], dict[str, Floats]]] = {
    "score": _score_values,
    "knowledge": _knowledge_values,
    "perplexity": _perplexity_values,
    "code_switching": _switching_values,
    "alignment": _alignment_values,
}


def amount(row: ReportRow) -> int:
    """How much further pretraining, in tokens where they are known, else in the budget's unit."""
    return Budget.parse(row.budget).amount if row.budget_tokens is None else row.budget_tokens


def model_name(row: ReportRow) -> str:
    """The label without the seed the planner adds where a model is trained several times."""
    return re.sub(r" \(seed \d+\)$", "", row.label)


def is_base(row: ReportRow) -> bool:
    """The English model as it is: original vocabulary, no further pretraining."""
    return not row.adopted and row.vocabulary == "original" and amount(row) == 0


def on_target(row: ReportRow) -> bool:
    """Evaluated in the row's target language, not in the source language."""
    return row.evaluated == row.language


def sort_key(row: ReportRow) -> tuple[Any, ...]:
    """Order of every table: language, then the grid from little to much, adopted last."""
    return (
        row.language, row.adopted, row.vocabulary != "original", row.vocabulary,
        row.mix != PLAIN_MIX, row.mix,
        amount(row), row.label, row.seed, row.tuning_examples, row.tuning, row.benchmark,
        row.evaluated != row.language, row.cell,
    )  # fmt: skip
