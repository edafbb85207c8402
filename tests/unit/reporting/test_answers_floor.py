"""Advice is never drawn from answers that are all wrong."""

from __future__ import annotations

from dataclasses import replace

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.answers import Evidence, better
from langtransfer.statistics.paired import PairedDifference


def test_a_difference_between_models_without_a_right_answer_shows_nothing() -> None:
    result = PairedDifference(value=0.5, low=0.4, high=0.6, p=0.0001, n=50, standard_error=0.05)
    settings = ReportingConfig(title="t")
    evidence = Evidence("vocabulary", "ext", "original", "AVG", "target", result, p_holm=0.0001)
    assert better(evidence, settings) == "option"
    assert better(replace(evidence, floor=True), settings) == "neither"
