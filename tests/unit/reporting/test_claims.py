"""Verdicts: true effects are found, no effect is never called one, what is missing is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langtransfer.config.evaluation import ReportingConfig, ReportRow
from langtransfer.errors import UserError
from langtransfer.reporting.claim_data import Alternative, Claim, Contrast, load_claims
from langtransfer.reporting.claims import COLUMNS, PART_COLUMNS, judge
from langtransfer.reporting.paper import CLAIMS
from langtransfer.reporting.parts import Part, together
from langtransfer.reporting.results import Observations
from langtransfer.reporting.selection import Side
from tests.unit.reporting.made_up import FakeStudy, Point, StudyMaker

CLAIM_LIST = load_claims(CLAIMS)


def verdicts(results: Sequence[Observations], settings: ReportingConfig) -> dict[Any, Any]:
    rows, _ = judge(CLAIM_LIST, results, settings)
    return {row["claim"]: row for row in rows}


@pytest.fixture(scope="module")
def judged(study: FakeStudy, settings: ReportingConfig) -> dict[Any, Any]:
    return verdicts(study.results(), settings)


def test_there_are_fifteen_claims_always(
    judged: dict[Any, Any], make_study: StudyMaker, settings: ReportingConfig
) -> None:
    assert list(judged) == list(range(1, 16))
    alone = make_study(points=[Point("LLaMA", "target-only", "original", "0")])
    for rows in (judged, verdicts(alone.results(), settings), verdicts([], settings)):
        assert len(rows) == 15
        assert all(set(row) == set(COLUMNS) for row in rows.values())
        assert all(row["text"] and row["paper"] and row["note"] for row in rows.values())


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (1, "contradicted"),  # extension +0.25, budgets +0.3 a step
        (2, "contradicted"),
        (3, "contradicted"),
        (4, "supported"),
        (5, "contradicted"),
        (8, "contradicted"),
        (10, "supported"),  # target -0.5, source +0.4 bits per byte a step
        (11, "supported"),  # with English: +0.04, within the margin of 0.05
        (12, "supported"),
        (14, "inconclusive"),  # 2 of 60: nobody can place that between 2 and 5 %
        (7, "not tested"),
        (9, "not tested"),
        (13, "not tested"),
        (15, "supported"),  # extension -0.4 of the documents, the probe's own half
    ],
)
def test_the_made_up_effects_are_found(judged: dict[Any, Any], claim: int, verdict: str) -> None:
    assert judged[claim]["verdict"] == verdict, judged[claim]["note"]


def test_no_effect_is_no_verdict(make_study: StudyMaker, settings: ReportingConfig) -> None:
    study = make_study(
        extended=0.0, per_budget=0.0, per_tuning=0.0, bits_per_budget=0.0, source_rise=0.0,
        source_rise_mixed=0.0,
    )  # fmt: skip
    rows = verdicts(study.results(), settings)
    assert {rows[i]["verdict"] for i in (1, 2, 3, 4, 10)} == {"inconclusive"}
    # No difference is what these two claim, and the margin is wide enough to show it.
    assert {rows[i]["verdict"] for i in (5, 8)} == {"supported"}


def test_the_other_way_round(make_study: StudyMaker, settings: ReportingConfig) -> None:
    study = make_study(extended=-0.3, per_budget=-0.1, per_tuning=-0.2)
    rows = verdicts(study.results(), settings)
    assert rows[2]["verdict"] == "supported"
    assert rows[4]["verdict"] == "contradicted"
    # Every budget agrees, but the claim reaches to tens of billions of tokens.
    assert rows[3]["verdict"] == "inconclusive"
    assert "10,000,000,000" in rows[3]["note"]


def test_estimates_are_the_true_effects(judged: dict[Any, Any]) -> None:
    # AVG is four fifths of the made-up level: harmlessness is always 3.
    assert judged[2]["estimate"] == pytest.approx(-0.8 * 0.25, abs=0.03)
    assert judged[2]["low"] < -0.2 < judged[2]["high"]
    assert judged[11]["low"] <= judged[11]["estimate"] <= judged[11]["high"]
    assert 0 < judged[2]["mde"] < 0.1


def test_p_is_corrected_over_the_tested_claims(judged: dict[Any, Any]) -> None:
    tested = [row for row in judged.values() if row["verdict"] != "not tested"]
    assert len(tested) == 12
    assert all(row["p"] <= row["p_holm"] <= 1 for row in tested)
    assert all(row["p_holm"] <= 12 * row["p"] + 1e-12 for row in tested)
    # The smallest above the floor of what is written stands after some already rejected.
    drawn = [row for row in tested if 1e-9 < row["p"] < 0.01]
    assert all(row["p_holm"] >= 2 * row["p"] for row in drawn)
    missing = [row for row in judged.values() if row["verdict"] == "not tested"]
    assert all(row["p"] is None and row["estimate"] is None for row in missing)


def test_one_seed_is_said_and_several_are_measured(
    judged: dict[Any, Any], make_study: StudyMaker, settings: ReportingConfig
) -> None:
    assert "One training seed" in judged[2]["note"]
    points = [Point("LLaMA", "target-only", "original", "0")] + [
        Point(f"LLaMA+200k (seed {seed})", "target-only", "original", "200k-tokens", seed)
        for seed in (1, 2, 3)
    ]
    rows = verdicts(make_study(points=points).results(), settings)
    assert "3 training seeds" in rows[4]["note"]


def test_models_that_guess_say_nothing_about_knowledge(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    study = make_study(knowledge=0.2, items=120)
    row = verdicts(study.results(), settings)[6]
    assert row["verdict"] == "inconclusive"
    assert "above chance" in row["note"]


def test_models_without_a_right_answer_say_nothing_about_quality(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    rows = verdicts(make_study(quality=-9.0).results(), settings)
    quality = [rows[claim] for claim in (1, 2, 3, 4, 5, 8)]
    assert {row["verdict"] for row in quality} == {"inconclusive"}
    assert all("right in any answer" in row["note"] for row in quality)


def silenced(results: Sequence[Observations], silent: Callable[[ReportRow], bool]) -> Any:
    """The results, some models' answers without a letter: no item of code-switching."""
    nothing = np.zeros(0)
    return [
        replace(
            found, ids=(), categories=(), intruders=(), values=dict.fromkeys(found.values, nothing)
        )
        if found.row.stage == "code_switching" and silent(found.row)
        else found
        for found in results
    ]


PAIRED = Claim(
    id=1, text="x", paper="x", otherwise="Needs an extension",
    alternatives=(
        Alternative(
            how="Extended against original",
            contrasts=(
                Contrast(
                    kind="difference", metric="switched", direction="less",
                    a=Side(vocabulary="extended"), b=Side(vocabulary="original"),
                    match=("language", "budget", "tuning"),
                ),
            ),
        ),
    ),
)  # fmt: skip


def test_empty_answers_cannot_be_paired(study: FakeStudy, settings: ReportingConfig) -> None:
    results = study.results()
    ((paired,), _) = judge([PAIRED], results, settings)
    assert paired["n"] == 60
    some = silenced(results, lambda row: row.vocabulary != "original" and row.language != "zh")
    ((paired,), _) = judge([PAIRED], some, settings)
    assert "Pooled" not in paired["note"]  # Chinese alone is left
    ((row,), parts) = judge([PAIRED], silenced(some, lambda row: row.language == "zh"), settings)
    assert (row["verdict"], row["p"], row["n"], parts) == ("not tested", None, None, [])
    assert "no answers with text" in row["note"]
    assert "extended against original" in row["note"]
    ((row,), _) = judge([PAIRED], [], settings)
    assert row["note"] == "Needs an extension"


def test_a_rate_of_empty_answers_is_not_tested(study: FakeStudy, settings: ReportingConfig) -> None:
    row = verdicts(silenced(study.results(), lambda row: True), settings)[14]
    assert row["verdict"] == "not tested"
    assert "no answers with text" in row["note"]


def test_claim_fifteen_needs_the_probe_and_tests_half_of_what_it_says(
    study: FakeStudy, judged: dict[Any, Any], make_study: StudyMaker, settings: ReportingConfig
) -> None:
    # Luck fills eight tenths of its range: 0.4 less of it is half of the documents.
    assert judged[15]["estimate"] == pytest.approx(-0.5, abs=0.1)
    assert judged[15]["n"] == 30, "documents that did not choose the layer; languages share them"
    assert "second half alone" in judged[15]["note"]
    without = [found for found in study.results() if found.row.stage != "alignment"]
    row = verdicts(without, settings)[15]
    assert (row["verdict"], row["p"]) == ("not tested", None)
    assert "does not run" in row["note"]
    # The extension before any training is no test: its pieces have never been read.
    untrained = [found for found in study.results() if found.row.budget == "0"]
    assert verdicts(untrained, settings)[15]["verdict"] == "not tested"
    opposite = make_study(alignment=0.4, alignment_extended=0.4)
    assert verdicts(opposite.results(), settings)[15]["verdict"] == "contradicted"
    same = make_study(alignment_extended=0.0)
    assert verdicts(same.results(), settings)[15]["verdict"] == "inconclusive"


def test_models_that_retrieve_nothing_say_nothing_of_alignment(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    row = verdicts(make_study(alignment=-1.0, alignment_floor=-1.0).results(), settings)[15]
    assert row["verdict"] == "inconclusive"
    assert "No side is above chance" in row["note"]


def test_the_paper_s_own_labels_come_first(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    points = [
        Point("LLaMA", "target-only", "original", "0"),
        Point("LLaMA+1M", "target-only", "original", "200k-tokens"),
        Point("Chinese LLaMA", "target-only", "original", "0", adopted=True),
        Point("LLaMA2", "target-only", "original", "0", adopted=True),
        Point("Open Chinese LLaMA", "target-only", "original", "800k-tokens", adopted=True),
    ]
    study = make_study(points=points)
    for row, cell in ((r, r.cell) for r in study.rows if r.adopted):
        assert row.label not in cell
    rows = verdicts(study.results(), settings)
    assert "The paper's pair" in rows[1]["note"]
    assert rows[9]["verdict"] != "not tested"


def test_languages_are_pooled_and_told_apart(study: FakeStudy, settings: ReportingConfig) -> None:
    _, parts = judge(CLAIM_LIST, study.results(), settings)
    assert all(set(part) == set(PART_COLUMNS) for part in parts)
    own = [part for part in parts if part["claim"] == 2]
    assert [part["role"] for part in own] == ["decides", "language", "language", "language"]
    pooled, *single = (part["estimate"] for part in own)
    assert pooled == pytest.approx(sum(single) / 3)


def test_claim_thirteen_compares_languages_over_the_same_questions(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    base = [Point("LLaMA", "target-only", "original", "0")]
    study = make_study(languages=("ar", "id", "sw", "hi"), points=base)
    row = verdicts(study.results(), settings)[13]
    assert row["verdict"] == "inconclusive"
    assert row["n"] == 60


def part(name: str, p_for: float, p_against: float) -> Part:
    return Part(name, "AVG", 0.0, 0.0, 0.0, p_for, p_against, 10, 0.1, ())


def test_support_needs_every_part_and_contradiction_one() -> None:
    outcome = together([part("a", 0.001, 1.0), part("b", 0.04, 1.0)])
    assert (outcome.part.name, outcome.p, outcome.for_claim) == ("b", 0.04, True)
    outcome = together([part("a", 0.001, 1.0), part("b", 1.0, 0.01)])
    assert (outcome.part.name, outcome.p, outcome.for_claim) == ("b", 0.02, False)


def test_a_metric_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="metric beauty"):
        Contrast(kind="difference", metric="beauty", a=Side())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {id: 1, text: x}", "paper"),
        ("- {id: 1, text: x, paper: y, otherwise: z, verdict: good}", "verdict"),
        ("{", "not a YAML list"),
        ("- {id: 1, text: x, paper: y, otherwise: z}\n" * 2, "same id"),
    ],
)
def test_a_bad_claims_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        load_claims(path)
