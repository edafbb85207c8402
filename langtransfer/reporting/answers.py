"""What the user came for, per target language: extend or not, mix or not, how much of each.

Every answer follows from paired comparisons within the language, Holm-corrected over all of the
language's comparisons. Rules (our choice, stated on the report's page):

* Response quality decides; bits per byte of the target decides where quality shows nothing.
* Without a difference the cheaper option is advised: the original vocabulary, the target alone,
  the smaller budget, the smaller instruction set.
* A mix is judged by what it keeps of the source language and what it costs the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from langtransfer.config.evaluation import ReportingConfig, ReportRow
from langtransfer.reporting.contrasts import METRICS, Stratum, at_floor, compare
from langtransfer.reporting.csvfile import Record, written
from langtransfer.reporting.results import PLAIN_MIX, Observations, amount, on_target
from langtransfer.reporting.selection import (
    Key,
    Matching,
    Side,
    TuningLevel,
    Where,
    evaluated_on,
    select,
    strata,
)
from langtransfer.statistics.corrections import holm
from langtransfer.statistics.paired import PairedDifference
from langtransfer.statistics.power import items_needed, minimum_detectable_effect

QUESTIONS = ("vocabulary", "mix", "pretraining", "tuning", "together")
Question = Literal["vocabulary", "mix", "pretraining", "tuning", "together"]
MIX_METRICS: tuple[tuple[str, TuningLevel, Where], ...] = (
    ("bits_per_byte", "none", "source"),
    ("bits_per_byte", "none", "target"),
    ("AVG", "largest", "target"),
)
TARGET_METRICS: tuple[tuple[str, TuningLevel], ...] = (
    ("AVG", "largest"),
    ("bits_per_byte", "none"),
)

EVIDENCE_COLUMNS = (
    "language", "question", "option", "against", "metric", "evaluated", "estimate", "low",
    "high", "p", "p_holm", "better", "n", "mde", "items_needed",
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """One comparison within a language: an option against the cheaper one."""

    question: Question
    option: str
    against: str
    metric: str
    evaluated: Where
    result: PairedDifference
    option_amount: int = 0
    p_holm: float = 1.0
    floor: bool = False
    """Whether neither side has an answer that is right even in part: nothing follows then."""

    @property
    def gain(self) -> float:
        """Difference with the sign of an improvement."""
        return self.result.value if METRICS[self.metric].higher_is_better else -self.result.value


def language_evidence(
    results: Sequence[Observations], language: str, settings: ReportingConfig
) -> list[Evidence]:
    """Every comparison that bears on a language's questions, Holm-corrected together."""
    own = [found for found in results if found.row.language == language]
    found = [
        *_vocabulary(own, settings), *_mix(own, settings), *_pretraining(own, settings),
        *_tuning(own, settings), *_together(own, settings),
    ]  # fmt: skip
    adjusted = holm([evidence.result.p for evidence in found])
    return [replace(e, p_holm=p) for e, p in zip(found, adjusted, strict=True)]


def _vocabulary(own: Sequence[Observations], settings: ReportingConfig) -> Iterator[Evidence]:
    """Each extension against the original, at the largest budget both have."""
    names = sorted({o.row.vocabulary for o in own if not o.row.adopted} - {"original"})
    for name in names:
        pool = [o for o in own if o.row.vocabulary in (name, "original")]
        for metric, tuning in TARGET_METRICS:
            found = _pairs(
                pool, metric,
                Side(vocabulary="extended", mixes=(PLAIN_MIX,), budget="positive", tuning=tuning),
                Side(vocabulary="original", mixes=(PLAIN_MIX,), budget="positive", tuning=tuning),
                ("language", "budget", "tuning"),
            )  # fmt: skip
            yield from _evidence("vocabulary", name, "original", metric, found, settings)


def _mix(own: Sequence[Observations], settings: ReportingConfig) -> Iterator[Evidence]:
    """Each mix that holds the source against the target alone: what it keeps, what it costs."""
    sources = {o.row.evaluated for o in own if not on_target(o.row)}
    for name in sorted({o.row.mix for o in own if _holds(o.row, sources)}):
        for metric, tuning, where in MIX_METRICS:
            found = _pairs(
                own, metric,
                Side(mixes=(name,), budget="positive", tuning=tuning),
                Side(mixes=(PLAIN_MIX,), budget="positive", tuning=tuning),
                ("language", "vocabulary", "budget", "tuning"), where,
            )  # fmt: skip
            yield from _evidence("mix", name, PLAIN_MIX, metric, found, settings, where)


def _holds(row: ReportRow, sources: set[str]) -> bool:
    """Whether a further pretrained model's mix holds a source language, as far as is known."""
    if row.adopted or amount(row) == 0 or row.mix == PLAIN_MIX:
        return False
    return not row.mix_languages or bool(sources & set(row.mix_languages))


def _pairs(
    pool: Sequence[Observations], metric: str, a: Side, b: Side, match: tuple[Key, ...],
    where: Where = "target",
) -> list[Stratum]:  # fmt: skip
    rows = evaluated_on(pool, METRICS[metric].stage, where)
    matching = Matching(match=match, keep_budget="largest")
    return strata(select(rows, a), select(rows, b), matching)


def _pretraining(own: Sequence[Observations], settings: ReportingConfig) -> Iterator[Evidence]:
    """Each budget against the next smaller one, within a vocabulary, on the target alone."""
    for metric, tuning in TARGET_METRICS:
        rows = evaluated_on(own, METRICS[metric].stage, "target")
        chosen = select(rows, Side(mixes=(PLAIN_MIX,), tuning=tuning))
        for low, high in pairwise(sorted({amount(o.row) for o in chosen})):
            smaller, larger = (
                [o for o in chosen if amount(o.row) == value] for value in (low, high)
            )
            found = strata(larger, smaller, Matching(match=("language", "vocabulary", "tuning")))
            names = larger[0].row.budget, smaller[0].row.budget
            for evidence in _evidence("pretraining", *names, metric, found, settings):
                yield replace(evidence, option_amount=high)


def _tuning(own: Sequence[Observations], settings: ReportingConfig) -> Iterator[Evidence]:
    """Each instruction set against the next smaller one, over every grid model."""
    rows = select(evaluated_on(own, "score", "target"), Side(tuning="tuned"))
    for low, high in pairwise(sorted({o.row.tuning_examples for o in rows})):
        smaller, larger = ([o for o in rows if o.row.tuning_examples == v] for v in (low, high))
        match: tuple[Key, ...] = ("language", "vocabulary", "mix", "budget")
        found = strata(larger, smaller, Matching(match=match))
        names = larger[0].row.tuning, smaller[0].row.tuning
        for evidence in _evidence("tuning", *names, "AVG", found, settings):
            yield replace(evidence, option_amount=high)


def _together(own: Sequence[Observations], settings: ReportingConfig) -> Iterator[Evidence]:
    """Sets with several languages against the target's own set of the same size.

    The paper's third open question: one tuning for each language, or one for all of them.
    """
    scored = evaluated_on(own, "score", "target")
    alone = select(scored, Side(tuning="tuned"))
    mixed = [o for o in scored if o.row.tuning_mix in ("joint", "sequential")]
    for name in sorted({o.row.tuning for o in mixed}):
        several = [o for o in mixed if o.row.tuning == name]
        size = several[0].row.tuning_examples
        same = [o for o in alone if o.row.tuning_examples == size]
        match: tuple[Key, ...] = ("language", "vocabulary", "mix", "budget")
        found = strata(several, same, Matching(match=match))
        if found:
            against = found[0].b[0].row.tuning
            yield from _evidence("together", name, against, "AVG", found, settings)


def _evidence(
    question: Question, option: str, against: str, metric: str, found: Sequence[Stratum],
    settings: ReportingConfig, where: Where = "target",
) -> Iterator[Evidence]:  # fmt: skip
    if not found:
        return
    language = found[0].a[0].row.language
    name = f"{language} {question} {option} {against} {metric} {where}"
    result = compare(found, metric, settings, name)
    floor = at_floor(found, metric, settings)
    yield Evidence(question, option, against, metric, where, result, floor=floor)


def better(evidence: Evidence, settings: ReportingConfig) -> str:
    """option, against, or neither where the difference is not shown."""
    if evidence.floor or evidence.p_holm >= 1 - settings.confidence:
        return "neither"
    return "option" if evidence.gain > 0 else "against"


def evidence_row(language: str, evidence: Evidence, settings: ReportingConfig) -> Record:
    """One row of evidence.csv."""
    result, confidence = evidence.result, settings.confidence
    shown = better(evidence, settings)
    needed = items_needed(result.value, result.standard_error, result.n, confidence)
    return {
        "language": language, "question": evidence.question, "option": evidence.option,
        "against": evidence.against, "metric": evidence.metric, "evaluated": evidence.evaluated,
        "estimate": result.value, "low": result.low, "high": result.high, "p": written(result.p),
        "p_holm": written(evidence.p_holm), "better": shown, "n": result.n,
        "mde": minimum_detectable_effect(result.standard_error, result.n, confidence),
        "items_needed": needed if shown == "neither" else None,
    }  # fmt: skip
