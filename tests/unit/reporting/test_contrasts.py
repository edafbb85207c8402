"""Pairing: what is one unit, what two sides must share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.errors import UserError
from langtransfer.reporting.contrasts import Stratum, compare, estimate
from langtransfer.reporting.results import Observations
from tests.unit.reporting.made_up import FakeStudy, Point, StudyMaker


def pick(study: FakeStudy, label: str, stage: str, language: str = "zh") -> Observations:
    return next(
        o for o in study.results()
        if (o.row.label, o.row.stage, o.row.language, o.row.evaluated)
        == (label, stage, language, language)
    )  # fmt: skip


def pair(study: FakeStudy, stage: str, language: str = "zh") -> Stratum:
    a, b = (pick(study, label, stage, language) for label in ("LLaMA+200k", "LLaMA"))
    return Stratum(language, (a,), (b,))


def test_quality_is_the_mean_difference(study: FakeStudy, settings: ReportingConfig) -> None:
    stratum = pair(study, "score")
    result = compare([stratum], "AVG", settings, "x")
    means = [side[0].values["AVG"].mean() for side in (stratum.a, stratum.b)]
    assert result.value == pytest.approx(means[0] - means[1])
    assert result.low < result.value < result.high
    assert result.n == 60


def test_bits_per_byte_is_a_ratio_of_sums(study: FakeStudy, settings: ReportingConfig) -> None:
    found = pick(study, "LLaMA", "perplexity")
    nats, size = found.values["nats"].sum(), found.values["bytes"].sum()
    assert estimate(found, "bits_per_byte", settings).value == pytest.approx(
        nats / np.log(2) / size
    )


def test_the_same_question_in_three_languages_is_one_unit(
    study: FakeStudy, settings: ReportingConfig
) -> None:
    strata = [pair(study, "score", language) for language in ("hi", "sw", "zh")]
    assert compare(strata, "AVG", settings, "x").n == 60


def test_repeating_a_language_adds_no_evidence(study: FakeStudy, settings: ReportingConfig) -> None:
    once = compare([pair(study, "score")], "AVG", settings, "x")
    thrice = compare([pair(study, "score")] * 3, "AVG", settings, "x")
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert thrice.standard_error == pytest.approx(once.standard_error)


def test_seeds_of_a_side_are_averaged_by_item(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    points = [
        Point("LLaMA", "target-only", "original", "0"),
        Point("LLaMA+200k (seed 1)", "target-only", "original", "200k-tokens", 1),
        Point("LLaMA+200k (seed 2)", "target-only", "original", "200k-tokens", 2),
    ]
    study = make_study(points=points)
    base, first, second = (pick(study, p.label, "score") for p in points)
    both = compare([Stratum("", (first, second), (base,))], "AVG", settings, "x")
    each = [compare([Stratum("", (s,), (base,))], "AVG", settings, "x") for s in (first, second)]
    assert both.value == pytest.approx(np.mean([r.value for r in each]))
    assert both.n == 60


def test_sides_without_a_shared_item_are_refused(
    study: FakeStudy, settings: ReportingConfig
) -> None:
    stratum = pair(study, "score")
    other = replace(stratum.a[0], ids=tuple(f"other{i}" for i in range(60)))
    with pytest.raises(UserError, match="share no item"):
        compare([Stratum("", (other,), stratum.b)], "AVG", settings, "x")


def test_bits_per_byte_over_other_text_is_refused(
    study: FakeStudy, settings: ReportingConfig
) -> None:
    stratum = pair(study, "perplexity")
    values = dict(stratum.a[0].values) | {"bytes": stratum.a[0].values["bytes"] + 1}
    longer = replace(stratum.a[0], values=values)
    with pytest.raises(UserError, match="differs in bytes"):
        compare([Stratum("", (longer,), stratum.b)], "bits_per_byte", settings, "x")


def test_right_and_wrong_is_tested_by_mcnemar(study: FakeStudy, settings: ReportingConfig) -> None:
    from langtransfer.statistics.paired import mcnemar_exact

    stratum = pair(study, "knowledge")
    a, b = (side[0].values["correct"] for side in (stratum.a, stratum.b))
    assert (a != b).any()
    assert compare([stratum], "accuracy", settings, "x").p == mcnemar_exact(a, b)


def test_figures_depend_on_their_name_only(study: FakeStudy, settings: ReportingConfig) -> None:
    first = compare([pair(study, "score")], "AVG", settings, "one")
    compare([pair(study, "score")], "AVG", settings, "two")
    assert compare([pair(study, "score")], "AVG", settings, "one") == first
