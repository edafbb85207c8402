"""The paper's first open question: at which budget does an extended vocabulary begin to pay?

Each vocabulary's results against the budget are fitted with one curve (statistics/scaling.py), over
the same items; the budget where the two meet, or "none within ten times the data".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.contrasts import METRICS, Metric, random_stream
from langtransfer.reporting.csvfile import Record
from langtransfer.reporting.results import PLAIN_MIX, Observations, amount
from langtransfer.reporting.selection import Side, TuningLevel, evaluated_on, select
from langtransfer.statistics.intervals import Floats, fold, resampling_weights
from langtransfer.statistics.scaling import (
    MIN_BUDGETS,
    crossings,
    fit_curves,
    log_budget,
    residual,
)

COLUMNS = (
    "language", "vocabulary", "metric", "benchmark", "tuning", "budgets", "largest_tokens",
    "original_intercept", "original_slope", "original_residual",
    "extended_intercept", "extended_slope", "extended_residual",
    "crossing_tokens", "low", "high", "crossed_share", "answer", "n",
)  # fmt: skip
MEASURES: tuple[tuple[str, TuningLevel], ...] = (("bits_per_byte", "none"), ("AVG", "largest"))
HORIZON = 10
"""Times the largest budget: beyond, a curve through a few points says nothing (our choice)."""


@dataclass(frozen=True)
class Series:
    """One vocabulary's models by budget: sums of the metric over shared items."""

    budgets: Floats
    numerators: Floats
    """(items, budgets)"""
    denominators: Floats


def crossover(results: Sequence[Observations], settings: ReportingConfig) -> list[Record]:
    """A row for every language, extension and metric with at least three common budgets."""
    languages = sorted({found.row.language for found in results})
    return [row for language in languages for row in _language(results, language, settings)]


def _language(
    results: Sequence[Observations], language: str, settings: ReportingConfig
) -> Iterator[Record]:
    own = [found for found in results if found.row.language == language]
    extensions = sorted({o.row.vocabulary for o in own if not o.row.adopted} - {"original"})
    for metric, tuning in MEASURES:
        rows = evaluated_on(own, METRICS[metric].stage, "target")
        side = Side(mixes=(PLAIN_MIX,), tuning=tuning)
        chosen = [o for o in select(rows, side) if o.row.budget_tokens is not None]
        for benchmark in sorted({o.row.benchmark for o in chosen}):
            within = [o for o in chosen if o.row.benchmark == benchmark]
            for name in extensions:
                told: Record = {
                    "language": language, "vocabulary": name, "metric": metric,
                    "benchmark": benchmark,
                }  # fmt: skip
                yield from _pair(within, told, METRICS[metric], settings)


def _pair(
    chosen: Sequence[Observations], told: Record, metric: Metric, settings: ReportingConfig
) -> Iterator[Record]:
    """The row of one extension on one benchmark, where both have budgets enough."""
    sides = [
        [o for o in chosen if o.row.vocabulary == vocabulary]
        for vocabulary in ("original", told["vocabulary"])
    ]
    shared = sorted(set.intersection(*({amount(o.row) for o in side} for side in sides)))
    if len(shared) < MIN_BUDGETS:
        return
    facts: Record = {
        "tuning": sides[0][0].row.tuning, "budgets": len(shared), "largest_tokens": shared[-1],
    }  # fmt: skip
    name = f"{told['language']} {told['vocabulary']} {told['benchmark']}"
    yield told | facts | _crossing(*_series(sides, shared, metric), metric, settings, name)


def _series(
    sides: Sequence[Sequence[Observations]], budgets: Sequence[int], metric: Metric
) -> tuple[Series, Series]:
    """Both vocabularies over the items all of their models have; seeds are averaged by item."""
    by_model = [
        [[o for o in side if amount(o.row) == budget] for budget in budgets] for side in sides
    ]
    rows = [o for side in by_model for group in side for o in group]
    items = sorted(set.intersection(*({(o.row.benchmark, i) for i in o.ids} for o in rows)))

    def column(group: Sequence[Observations], numerator: bool) -> Floats:
        read = metric.numerator if numerator else metric.denominator
        found = [
            dict(zip(((o.row.benchmark, i) for i in o.ids), read(o).tolist(), strict=True))
            for o in group
        ]
        return np.array([np.mean([row[item] for row in found]) for item in items])

    original, extended = (
        Series(
            np.array(budgets, dtype=np.float64),
            np.stack([column(group, True) for group in side], axis=1),
            np.stack([column(group, False) for group in side], axis=1),
        )
        for side in by_model
    )
    return original, extended


def _crossing(
    original: Series, extended: Series, metric: Metric, settings: ReportingConfig, name: str
) -> Record:
    """The two curves, and where they meet with an interval over items."""
    budgets = original.budgets
    scale, horizon = float(budgets[budgets > 0][0]), float(HORIZON * budgets[-1])
    x = log_budget(budgets, scale)
    means = [s.numerators.sum(axis=0) / s.denominators.sum(axis=0) for s in (original, extended)]
    curves = [fit_curves(x, mean) for mean in means]
    meets = float(crossings(curves[0], curves[1], scale, horizon))
    stream = random_stream(settings, f"crossover {name} {metric.name}")
    drawn = _resampled(original, extended, x, scale, horizon, settings, stream)
    tail = (1 - settings.confidence) / 2
    # "lower" and "higher" so that no quantile lies between a number and infinity.
    low = float(np.quantile(drawn, tail, method="lower"))
    high = float(np.quantile(drawn, 1 - tail, method="higher"))
    return {
        **{
            f"{side}_{what}": value
            for side, mean, curve in zip(("original", "extended"), means, curves, strict=True)
            for what, value in (
                ("intercept", float(curve[0])), ("slope", float(curve[1])),
                ("residual", residual(x, mean, curve)),
            )
        },
        "crossing_tokens": _tokens(meets), "low": _tokens(low), "high": _tokens(high),
        "crossed_share": float(np.isfinite(drawn).mean()),
        "answer": _answer(curves, metric, meets), "n": len(original.numerators),
    }  # fmt: skip


def _resampled(
    original: Series, extended: Series, x: Floats, scale: float, horizon: float,
    settings: ReportingConfig, stream: np.random.Generator,
) -> Floats:  # fmt: skip
    """Where the curves meet in each bootstrap sample of items."""
    folded = [fold(m) for s in (original, extended) for m in (s.numerators, s.denominators)]
    found = []
    for weights in resampling_weights(len(folded[0]), settings.bootstrap_samples, stream):
        sums = [weights @ matrix for matrix in folded]
        first, second = (fit_curves(x, sums[i] / sums[i + 1]) for i in (0, 2))
        found.append(crossings(first, second, scale, horizon))
    return np.concatenate(found)


def _tokens(budget: float) -> int | None:
    return round(budget) if np.isfinite(budget) else None


def _answer(curves: Sequence[Floats], metric: Metric, meets: float) -> str:
    """Who leads at budget 0 by the curves, and whether that changes."""
    ahead = (curves[1][0] > curves[0][0]) == metric.higher_is_better
    leader, other = ("extended", "original") if ahead else ("original", "extended")
    if not np.isfinite(meets):
        return f"{leader} leads; they meet nowhere within ten times the data"
    return f"{leader} leads first, {other} from {round(meets):,} tokens on"
