"""Advice is never drawn from answers that are all wrong."""

from __future__ import annotations

from dataclasses import replace

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.advice import answers
from langtransfer.reporting.answers import Evidence, better
from langtransfer.statistics.paired import PairedDifference


def test_a_difference_between_models_without_a_right_answer_shows_nothing() -> None:
    result = PairedDifference(value=0.5, low=0.4, high=0.6, p=0.0001, n=50, standard_error=0.05)
    settings = ReportingConfig(title="t")
    evidence = Evidence("vocabulary", "ext", "original", "AVG", "target", result, p_holm=0.0001)
    assert better(evidence, settings) == "option"
    assert better(replace(evidence, floor=True), settings) == "neither"


def pretraining(*steps: tuple[int, float, float]) -> list[Evidence]:
    """Evidence of budget steps: (amount, gain of answers, gain in bits per byte)."""

    def one(metric: str, value: float, amount: int) -> Evidence:
        result = PairedDifference(
            value=value, low=value, high=value, p=0.0, n=50, standard_error=0.01
        )
        name = f"{amount}-tokens"
        return Evidence(
            "pretraining", name, "less", metric, "target", result, option_amount=amount, p_holm=0.0
        )

    return [
        e
        for amount, answers, bits in steps
        for e in (one("AVG", answers, amount), one("bits_per_byte", -bits, amount))
    ]


def test_worse_answers_outweigh_better_prediction_of_text() -> None:
    settings = ReportingConfig(title="t")
    (advice,) = [
        a
        for a in answers(pretraining((25, 0.2, 0.5), (250, -0.2, 0.9)), settings)
        if a.question == "pretraining"
    ]
    assert advice.choice == "25-tokens"
    assert "beyond it no gain is shown" in advice.text
