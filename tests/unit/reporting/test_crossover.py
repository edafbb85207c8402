"""Where an extended vocabulary begins to pay, on made-up studies with a known answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.crossover import COLUMNS, crossover
from tests.unit.reporting.made_up import StudyMaker


def rows(
    make_study: StudyMaker, settings: ReportingConfig, **effects: float
) -> dict[tuple[str, str], dict[str, object]]:
    found = crossover(make_study(**effects).results(), settings)
    assert all(set(row) == set(COLUMNS) for row in found)
    return {(str(row["language"]), str(row["metric"])): dict(row) for row in found}


def test_parallel_curves_never_meet(make_study: StudyMaker, settings: ReportingConfig) -> None:
    row = rows(make_study, settings)["zh", "bits_per_byte"]
    assert row["crossing_tokens"] is None
    assert row["crossed_share"] == 0.0
    assert row["answer"] == "extended leads; they meet nowhere within ten times the data"
    assert row["budgets"] == 3
    gap = float(str(row["extended_intercept"])) - float(str(row["original_intercept"]))
    assert gap == pytest.approx(-0.3, abs=0.02)  # bits_extended


def test_a_steeper_extension_overtakes(make_study: StudyMaker, settings: ReportingConfig) -> None:
    """It starts 0.3 bits behind and gains 0.3 a step: equal after the first step of 200,000."""
    effects = {"bits_extended": 0.3, "bits_extended_per_budget": -0.3}
    row = rows(make_study, settings, **effects)["zh", "bits_per_byte"]
    low, tokens, high = (int(str(row[name])) for name in ("low", "crossing_tokens", "high"))
    assert low <= tokens <= high
    assert 120_000 < tokens < 350_000
    assert row["crossed_share"] == 1.0
    assert str(row["answer"]).startswith("original leads first, extended from ")


def test_it_does_not_depend_on_other_rows(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    study = make_study()
    everything = crossover(study.results(), settings)
    alone = crossover([o for o in study.results() if o.row.language == "zh"], settings)
    assert alone == [row for row in everything if row["language"] == "zh"]


def test_benchmarks_are_apart(make_study: StudyMaker, settings: ReportingConfig) -> None:
    results = make_study().results()
    other = [
        replace(o, row=o.row.model_copy(update={"benchmark": "other", "cell": f"{o.row.cell}x"}))
        for o in results
        if o.row.stage == "score"
    ]
    rows = crossover([*results, *other], settings)
    own = [row for row in rows if row["benchmark"] != "other"]
    assert own == crossover(results, settings)
    assert sum(row["benchmark"] == "other" for row in rows) == sum(
        row["metric"] == "AVG" for row in own
    )
