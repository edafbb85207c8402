"""Advice follows the made-up effects, and says when there is nothing to go by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.advice import advise, answers
from langtransfer.reporting.answers import Evidence, language_evidence
from langtransfer.statistics.paired import PairedDifference
from tests.unit.reporting.made_up import FakeStudy, Point, StudyMaker, grid


def given(study: FakeStudy, settings: ReportingConfig) -> dict[str, tuple[str, bool, str]]:
    rows = advise(study.results(), settings).answers
    return {
        str(r["question"]): (str(r["choice"]), bool(r["shown"]), str(r["answer"])) for r in rows
    }


def test_large_effects_are_advised(make_study: StudyMaker, settings: ReportingConfig) -> None:
    found = given(make_study(), settings)
    assert found["vocabulary"][:2] == ("ext500", True)
    assert found["mix"][:2] == ("with-english", True)
    assert "keeps English" in found["mix"][2]
    assert found["pretraining"][:2] == ("800k-tokens", True)
    assert "more may help" in found["pretraining"][2]
    assert found["tuning"][:2] == ("1k", True)


def test_without_a_difference_the_cheaper_choice(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    study = make_study(
        extended=0.0, bits_extended=0.0, per_budget=0.0, bits_per_budget=0.0, per_tuning=0.0,
        source_rise_mixed=0.4,
    )  # fmt: skip
    found = given(study, settings)
    assert [found[q][0] for q in ("vocabulary", "mix", "pretraining", "tuning")] == [
        "original", "target-only", "0", "200",
    ]  # fmt: skip
    assert not any(shown for _, shown, _ in found.values())


@pytest.mark.parametrize(
    ("gain", "choice", "shown"),
    [(0.4, "1k-joint", True), (-0.4, "alone", True), (0.0, "1k-joint", False)],
)
def test_several_languages_at_once(
    gain: float, choice: str, shown: bool, make_study: StudyMaker, settings: ReportingConfig
) -> None:
    """Against the target's own set of the same size, whatever other sets there are."""
    results = make_study().results()
    joint = []
    for found in results:
        if found.row.stage == "score" and found.row.tuning == "1k":
            update = {
                "tuning": "1k-joint",
                "tuning_mix": "joint",
                "cell": f"{found.row.cell}-joint",
            }
            values = {name: value + gain for name, value in found.values.items()}
            noise = np.resize([0.1, -0.1], found.n) if not gain else 0.0
            values["AVG"] = found.values["AVG"] + gain + noise
            joint.append(replace(found, row=found.row.model_copy(update=update), values=values))
    rows = {(r["language"], r["question"]): r for r in advise([*results, *joint], settings).answers}
    row = rows["zh", "together"]
    assert (row["choice"], row["shown"]) == (choice, shown)
    assert rows["zh", "tuning"]["choice"] == "1k", "sets of several languages are no larger set"


def test_one_language_alone_is_not_studied(study: FakeStudy, settings: ReportingConfig) -> None:
    assert given(study, settings)["together"] == (
        "alone", False, "Not studied: no set of several languages.",
    )  # fmt: skip


def test_a_harmful_extension_is_refused(make_study: StudyMaker, settings: ReportingConfig) -> None:
    choice, shown, text = given(make_study(extended=-0.3), settings)["vocabulary"]
    assert (choice, shown) == ("original", True)
    assert text.startswith("Keep the original")


def test_bits_per_byte_decides_where_quality_shows_nothing(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    choice, _, text = given(make_study(extended=0.0), settings)["vocabulary"]
    assert choice == "ext500"
    assert "answer quality shows no difference" in text


def test_a_mix_that_costs_the_target_says_so(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    assert "costs the target" in given(make_study(mixed=-0.4), settings)["mix"][2]
    assert "helps the target too" in given(make_study(mixed=0.4), settings)["mix"][2]


def test_a_mix_of_targets_alone_is_no_mix_with_the_source(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    points = [p for p in grid() if p.mix == "target-only"]
    study = make_study(points=[*points, Point("joint", "joint", "original", "800k-tokens")])
    assert given(study, settings)["mix"][2].startswith("Not studied")


def test_what_was_not_run_is_said(make_study: StudyMaker, settings: ReportingConfig) -> None:
    study = make_study(points=[Point("LLaMA", "target-only", "original", "0")])
    found = given(study, settings)
    assert all("Not studied" in found[q][2] for q in ("vocabulary", "mix", "pretraining"))


def test_the_recipe_is_a_row_that_was_run(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    (row,) = advise(make_study().results(), settings).recipes
    assert (row["label"], row["tuning"]) == ("LLaMA-EXT+800k", "1k")
    assert row["exact"] is False  # extended and mixed together was not run
    assert row["base_AVG"] < row["low"] < row["AVG"] < row["high"]
    (kept,) = advise(make_study(extended=-0.3, bits_extended=0.3).results(), settings).recipes
    assert (kept["label"], kept["exact"]) == ("LLaMA+800k+en", True)


def test_evidence_is_corrected_within_the_language(
    study: FakeStudy, settings: ReportingConfig
) -> None:
    evidence = language_evidence(study.results(), "zh", settings)
    assert len(evidence) == 10
    assert all(e.p_holm >= e.result.p for e in evidence)
    smallest = min(evidence, key=lambda e: e.result.p)
    assert smallest.p_holm == pytest.approx(min(1, 10 * smallest.result.p))


def test_what_is_not_shown_says_how_many_items_would(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    rows = advise(make_study(extended=0.0).results(), settings).evidence
    open_rows = [r for r in rows if r["better"] == "neither"]
    assert open_rows
    assert all(r["items_needed"] is None or r["items_needed"] > r["n"] for r in open_rows)
    assert all(r["items_needed"] is None for r in rows if r["better"] != "neither")


def step(option: str, amount: int, value: float, p: float, against: str = "0") -> Evidence:
    result = PairedDifference(value, value, value, p, 50, 0.1)
    return Evidence("pretraining", option, against, "AVG", "target", result, amount, p)


def test_the_budget_stops_where_gains_stop(settings: ReportingConfig) -> None:
    steps = [step("10k-samples", 10_000, 0.2, 0.001), step("1M-samples", 10**6, 0.01, 0.8)]
    answer = next(a for a in answers(steps, settings) if a.question == "pretraining")
    assert answer.choice == "10k-samples"
    assert "beyond it no gain is shown" in answer.text
