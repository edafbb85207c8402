"""Comparing models over shared items: what a metric is, and the paired difference of two sides."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.random import Generator
from scipy import stats

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.errors import UserError
from langtransfer.reporting.results import Observations
from langtransfer.statistics.intervals import Estimate, Floats, bootstrap_ratio
from langtransfer.statistics.paired import (
    PairedDifference,
    greater_than,
    mcnemar_exact,
    paired_difference,
)

Stage = Literal["score", "knowledge", "perplexity", "alignment", "code_switching"]


@dataclass(frozen=True)
class Metric:
    """A ratio of sums over items: scores over 1, bits over bytes."""

    name: str
    stage: Stage
    numerator: Callable[[Observations], Floats]
    denominator: Callable[[Observations], Floats]
    unit: str
    span: float
    """Largest difference two models can show on one item."""
    higher_is_better: bool = True
    binary: bool = False

    def margin(self, settings: ReportingConfig) -> float:
        """Difference within which two models count as equal."""
        return {
            "score": settings.equivalence_margin,
            "knowledge": settings.knowledge_margin,
            "perplexity": settings.bits_per_byte_margin,
            "code_switching": settings.knowledge_margin,
            "alignment": settings.knowledge_margin,
        }[self.stage]


def _ones(observations: Observations) -> Floats:
    return np.ones(observations.n)


def _value(name: str) -> Callable[[Observations], Floats]:
    return lambda observations: observations.values[name]


def _bits(observations: Observations) -> Floats:
    return observations.values["nats"] / math.log(2)


METRICS = {
    **{
        name: Metric(name, "score", _value(name), _ones, "points of 3", 3.0)
        for name in ("ACC", "F", "INFO", "LC", "H", "AVG", "AVG_without_H")
    },
    "accuracy": Metric(
        "accuracy", "knowledge", _value("correct"), _ones, "share", 1.0, binary=True
    ),
    # 8 bits a byte is what knowing nothing costs; a log perplexity has no such end (our choice:
    # that of a vocabulary of 160,000 pieces).
    "bits_per_byte": Metric(
        "bits_per_byte", "perplexity", _bits, _value("bytes"), "bits per byte", 8.0, False
    ),
    "log_perplexity": Metric(
        "log_perplexity",
        "perplexity",
        _value("nats"),
        _value("tokens"),
        "nats per token",
        12.0,
        False,
    ),
    "retrieval": Metric("retrieval", "alignment", _value("correct"), _ones, "share", 1.0),
    "switched": Metric(
        "switched", "code_switching", _value("any"), _ones, "share", 1.0, False, binary=True
    ),
}


def random_stream(settings: ReportingConfig, name: str) -> Generator:
    """A generator of its own for each named figure: none depends on what was computed before."""
    return np.random.default_rng([settings.seed, zlib.crc32(name.encode("utf-8"))])


def estimate(
    observations: Observations, metric: str, settings: ReportingConfig, items: Floats | None = None
) -> Estimate:
    """A metric of one row with its interval over items (or over a boolean selection of them)."""
    kind = METRICS[metric]
    columns = [kind.numerator(observations)[:, None], kind.denominator(observations)[:, None]]
    if items is not None:
        columns = [column[items] for column in columns]
    # The cell, not the row: rows that share a cell show the same interval.
    stream = random_stream(settings, f"{observations.row.cell} {metric}")
    return bootstrap_ratio(
        *columns, confidence=settings.confidence, samples=settings.bootstrap_samples, rng=stream
    )


@dataclass(frozen=True)
class Stratum:
    """Two sides measured on the same items; several rows a side (seeds) are averaged by item."""

    name: str
    a: tuple[Observations, ...]
    b: tuple[Observations, ...]


def compare(
    strata: Sequence[Stratum], metric: str, settings: ReportingConfig, name: str
) -> PairedDifference:
    """a - b, averaged over strata with equal weight, paired by item.

    An item asked in several strata (the same question in three languages) is one unit: what it
    has in common across them is not counted as evidence three times. Raises UserError when the
    two sides of a stratum share no item, or for bits per byte were given different texts.
    """
    kind = METRICS[metric]
    differences, weights = _matrices(strata, kind)
    stream = random_stream(settings, name)
    result = paired_difference(
        differences, weights, confidence=settings.confidence,
        samples=settings.bootstrap_samples, permutations=settings.permutations, rng=stream,
    )  # fmt: skip
    if kind.binary and len(strata) == 1 and np.isin(differences, (-1, 0, 1)).all():
        only = differences[:, 0]
        return replace(result, p=mcnemar_exact(only.clip(min=0), (-only).clip(min=0)))
    return result


def has_items(stratum: Stratum, metric: str) -> bool:
    """Whether two sides have anything to compare: empty answers are no items of code-switching.

    Of other stages every question has an item, and sides that share none are a mistake.
    """
    kind = METRICS[metric]
    return kind.stage != "code_switching" or bool(_shared(stratum, kind))


def at_floor(strata: Sequence[Stratum], metric: str, settings: ReportingConfig) -> bool:
    """Whether a comparison is between models that both know nothing of what is asked.

    Two models at chance, or without one answer that is right even in part, are equal whatever is
    claimed, so nothing follows. A side is above chance when its answers are (one-sided test over
    items at the level of the report; an item asked in several languages or of several seeds
    counts once).
    """
    sides = [o for s in strata for o in s.a], [o for s in strata for o in s.b]
    if METRICS[metric].stage == "score":
        return not any(found.values["ACC"].any() for side in sides for found in side)
    if metric not in ("accuracy", "retrieval"):
        return False
    return not any(_above_chance(side, 1 - settings.confidence) for side in sides)


def _above_chance(side: Sequence[Observations], level: float) -> bool:
    correct = item_means(side, "correct")
    chance = item_means(side, "chance")
    if np.isnan(chance).any():  # generated answers have no chance level: taken to be above it
        return True
    if len(side) == 1 and np.isin(correct, (0, 1)).all():
        hits, n = int(correct.sum()), len(correct)
        return bool(stats.binomtest(hits, n, chance.mean(), "greater").pvalue < level)
    excess = correct - chance
    error = float(excess.std(ddof=1) / math.sqrt(len(excess))) if len(excess) > 1 else math.inf
    span = METRICS["accuracy"].span
    return greater_than(float(excess.mean()), error, len(excess), 0.0, span) < level


def item_means(rows: Sequence[Observations], name: str) -> Floats:
    """A value's mean over rows for every item (benchmark and id) any of them has, sorted."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for item, value in zip(row.ids, row.values[name].tolist(), strict=True):
            found.setdefault((row.row.benchmark, item), []).append(value)
    return np.array([np.mean(found[item]) for item in sorted(found)])


def _matrices(strata: Sequence[Stratum], kind: Metric) -> tuple[Floats, Floats]:
    """Differences and weights, (units, strata), units sorted by benchmark and id."""
    columns = [_stratum_units(stratum, kind) for stratum in strata]
    units = sorted(set().union(*columns))
    differences, weights = np.zeros((2, len(units), len(strata)))
    for index, column in enumerate(columns):
        for row, unit in enumerate(units):
            if unit in column:
                differences[row, index], weights[row, index] = column[unit]
    return differences, weights


def _stratum_units(stratum: Stratum, kind: Metric) -> dict[tuple[str, str], tuple[float, float]]:
    """Unit -> (difference, weight) for the units every row of both sides has."""
    sides = [[_by_unit(row, kind) for row in side] for side in (stratum.a, stratum.b)]
    shared = _shared(stratum, kind)
    if not shared:
        cells = f"{stratum.a[0].row.cell}, {stratum.b[0].row.cell}"
        raise UserError("results", cells, "share no item and cannot be paired: rerun both")
    units = {}
    for unit in sorted(shared):
        a, b = (np.array([row[unit] for row in side]).mean(axis=0) for side in sides)
        if kind.name == "bits_per_byte" and a[1] != b[1]:
            cells = f"{stratum.a[0].row.cell}, {stratum.b[0].row.cell}"
            raise UserError("results", cells, f"document {unit[1]} differs in bytes: rerun both")
        units[unit] = (float(a[0] - b[0]), float(b[1]))
    return units


def _shared(stratum: Stratum, kind: Metric) -> set[tuple[str, str]]:
    """Units that every row of both sides has."""
    return set.intersection(*(set(_by_unit(row, kind)) for row in (*stratum.a, *stratum.b)))


def _by_unit(row: Observations, kind: Metric) -> dict[tuple[str, str], tuple[float, float]]:
    pairs = zip(kind.numerator(row).tolist(), kind.denominator(row).tolist(), strict=True)
    names = ((row.row.benchmark, unit) for unit in row.ids)
    return dict(zip(names, pairs, strict=True))
