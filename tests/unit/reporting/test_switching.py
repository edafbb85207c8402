"""Who intrudes where, and whether switched answers are worse than clean ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.results import Observations
from langtransfer.reporting.switching import (
    MATRIX_COLUMNS,
    QUALITY_COLUMNS,
    matrix_rows,
    quality_rows,
)
from tests.unit.reporting.made_up import StudyMaker


def with_switches(results: list[Observations], every: int, cost: float) -> list[Observations]:
    """Every so-manieth answer of the budget models switched to Russian, at a cost in quality."""
    changed = []
    for found in results:
        budget = found.row.budget != "0"
        flags = np.array([budget and i % every == 0 for i in range(found.n)])
        if found.row.stage == "code_switching":
            names = tuple(("ru",) if flag else () for flag in flags)
            values = {name: flags.astype(float) for name in found.values}
            found = replace(found, values=values, intruders=names)
        elif found.row.stage == "score":
            values = dict(found.values)
            values["AVG"] = 2.0 - cost * flags
            found = replace(found, values=values)
        changed.append(found)
    return changed


def test_the_matrix_counts_answers_once(make_study: StudyMaker, settings: ReportingConfig) -> None:
    results = with_switches(make_study().results(), 4, 0.5)
    rows = {(r["language"], r["intruder"]): r for r in matrix_rows(results, settings)}
    assert all(set(row) == set(MATRIX_COLUMNS) for row in rows.values())
    own = {
        o.row.cell: o
        for o in results
        if o.row.stage == "code_switching" and o.row.evaluated == "zh"
    }
    assert rows["zh", "ru"]["answers"] == sum(int(o.values["any"].sum()) for o in own.values())
    assert rows["zh", "ru"]["n"] == sum(o.n for o in own.values())
    again = list(matrix_rows([*results, *results], settings))
    assert again == list(rows.values())


def test_switched_answers_cost_what_they_cost(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    rows = {
        r["language"]: r
        for r in quality_rows(with_switches(make_study().results(), 4, 0.5), settings)
    }
    assert all(set(row) == set(QUALITY_COLUMNS) for row in rows.values())
    assert rows["zh"]["difference"] == pytest.approx(-0.5)
    assert rows["zh"]["questions"] == 15  # every fourth of 60, clean in the base's answers
    assert float(str(rows["zh"]["p"])) < 0.001


def test_nothing_switched_is_no_row(make_study: StudyMaker, settings: ReportingConfig) -> None:
    results = [o for o in make_study().results() if o.row.budget == "0"]
    assert not list(quality_rows(with_switches(results, 4, 0.5), settings))


def test_weak_models_that_switch_more_are_no_difference(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    """Quality that depends on the model alone: a poor one switches often, the base never."""
    results = []
    for found in with_switches(make_study().results(), 3, 0.0):
        if found.row.stage == "score":
            poor = found.row.budget != "0"
            noise = np.resize([0.1, -0.1, 0.0, 0.05], found.n)
            values = dict(found.values) | {"AVG": np.full(found.n, 0.5 if poor else 2.0) + noise}
            found = replace(found, values=values)
        results.append(found)
    rows = {row["language"]: row for row in quality_rows(results, settings)}
    assert rows["zh"]["difference"] == pytest.approx(0.0, abs=0.05)
