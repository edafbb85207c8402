"""Intervals over evaluation items: Wilson for rates, percentile bootstrap for means and ratios.

Everything here takes plain arrays. A *unit* is what is resampled (a question, a document); a
*stratum* is a cell of the grid in which the units were measured (a language, a tuning).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

# Resampling weights held in memory at once, in numbers (80 MB of float64).
WEIGHTS_AT_ONCE = 10_000_000

# More units than this are resampled in groups (our choice: 200,000 documents times 2,000 samples
# would take minutes; sums of groups are as independent as the units, the interval is the same).
MAX_UNITS = 4_096


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A point estimate and its two-sided confidence interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a rate; ValueError unless 0 <= successes <= n and n > 0.

    Source: Wilson (1927), as computed by scipy's binomtest.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"wilson: {successes} of {n} is not a rate")
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def resampling_weights(n: int, samples: int, rng: Generator) -> Iterator[Floats]:
    """How often each of n units is drawn, (samples, n) in all, some rows at a time."""
    at_once = max(1, WEIGHTS_AT_ONCE // n)
    for start in range(0, samples, at_once):
        rows = min(at_once, samples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def bootstrap_mean(values: Floats, *, confidence: float, samples: int, rng: Generator) -> Estimate:
    """Mean of values (n,) with a percentile interval over its units."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    return bootstrap_ratio(
        column, np.ones_like(column), confidence=confidence, samples=samples, rng=rng
    )


def bootstrap_ratio(
    numerators: Floats, denominators: Floats, *, confidence: float, samples: int, rng: Generator
) -> Estimate:
    """Mean over strata of the ratio of sums, with a percentile interval over units.

    numerators, denominators: (units, strata); a unit absent from a stratum is 0 in both. Bits per
    byte is the ratio sum(bits) / sum(bytes), never the mean of ratios. Units are drawn once for
    all strata, so what they share (the same question in two languages) stays together.
    ValueError when a stratum has no denominator at all.
    """
    ratios = ratio_of_sums(numerators, denominators)
    numerators, denominators = fold(numerators), fold(denominators)
    drawn = np.concatenate(
        [
            _ratios(weights @ numerators, weights @ denominators)
            for weights in resampling_weights(len(numerators), samples, rng)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(ratios, float(low), float(high))


def ratio_of_sums(numerators: Floats, denominators: Floats) -> float:
    """Mean over strata of sum(numerators) / sum(denominators); ValueError on an empty stratum."""
    if not len(numerators) or not np.all(denominators.sum(axis=0) > 0):
        raise ValueError("ratio_of_sums: a stratum has no units")
    return float(_ratios(numerators.sum(axis=0)[None], denominators.sum(axis=0)[None])[0])


def fold(values: Floats, at_most: int = MAX_UNITS) -> Floats:
    """Sum units (n, ...) into at most so many groups: unit i into group i mod at_most."""
    if len(values) <= at_most:
        return values
    groups = np.zeros((at_most, *values.shape[1:]))
    np.add.at(groups, np.arange(len(values)) % at_most, values)
    return groups


def _ratios(numerators: Floats, denominators: Floats) -> Floats:
    # A stratum with few units may be drawn empty: the mean is then over the others.
    with np.errstate(invalid="ignore"):
        ratios: Floats = np.nanmean(numerators / denominators, axis=1)
    return ratios
