"""Two models over the same items: paired differences, exact tests, equivalence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import stats

from langtransfer.statistics.intervals import (
    WEIGHTS_AT_ONCE,
    Floats,
    bootstrap_ratio,
    fold,
)

# All sign patterns are enumerated up to 2**16; beyond, they are drawn.
EXACT_UNITS = 16


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference a - b over n shared units.

    p is two-sided against no difference; standard_error is the linearised one, from which power
    and equivalence are computed.
    """

    value: float
    low: float
    high: float
    p: float
    n: int
    standard_error: float


def paired_difference(
    differences: Floats,
    weights: Floats,
    *,
    confidence: float,
    samples: int,
    permutations: int,
    rng: Generator,
) -> PairedDifference:
    """Difference of two models: interval by paired bootstrap, p by sign flips.

    differences: (units, strata), what a has more than b on each unit; weights: the same shape,
    the denominators (1 for scores, bytes for bits per byte, 0 where a unit is absent).
    """
    interval = bootstrap_ratio(
        differences, weights, confidence=confidence, samples=samples, rng=rng
    )
    contributions = (differences / weights.sum(axis=0)).mean(axis=1)
    return PairedDifference(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        p=sign_flip(contributions, draws=permutations, rng=rng),
        n=len(differences),
        standard_error=standard_error(differences, weights),
    )


def standard_error(differences: Floats, weights: Floats) -> float:
    """Linearised standard error of `ratio_of_sums`; inf with fewer than two units."""
    n = len(differences)
    if n < 2:
        return float("inf")
    totals = weights.sum(axis=0)
    residuals = (differences - weights * (differences.sum(axis=0) / totals)) / totals
    return float(np.sqrt(n / (n - 1) * np.square(residuals.mean(axis=1)).sum()))


def sign_flip(differences: Floats, *, draws: int, rng: Generator) -> float:
    """Two-sided p of a paired permutation test: labels a and b swapped within units.

    differences: (n,), one a - b a unit. Exact (all sign patterns) up to EXACT_UNITS non-zero
    differences, drawn beyond, where the observed pattern counts as one draw (so p > 0).
    """
    folded = fold(differences)
    moved = folded[folded != 0]
    if not len(moved):
        return 1.0
    observed = abs(moved.sum())
    # Sums in another order differ in the last bits: such ties count as reached.
    reached = observed - 1e-9 * np.abs(moved).sum()
    if len(moved) <= EXACT_UNITS:
        signs = 1.0 - 2.0 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
        return float(np.mean(np.abs(signs @ moved) >= reached))
    hits = sum(
        int(np.sum(np.abs(signs @ moved) >= reached))
        for signs in _drawn_signs(len(moved), draws, rng)
    )
    return (hits + 1) / (draws + 1)


def _drawn_signs(n: int, draws: int, rng: Generator) -> Iterator[Floats]:
    at_once = max(1, WEIGHTS_AT_ONCE // n)
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        bits = rng.integers(0, 2, size=(rows, n), dtype=np.int8)
        yield bits.astype(np.float64) * 2 - 1


def mcnemar_exact(a: Floats, b: Floats) -> float:
    """Two-sided p of McNemar's exact test on paired binary outcomes (n,), (n,)."""
    only_a, only_b = int(np.sum((a > 0) & (b == 0))), int(np.sum((a == 0) & (b > 0)))
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def greater_than(value: float, error: float, n: int, bound: float, span: float) -> float:
    """One-sided p that the true difference exceeds bound (t distribution, n - 1 freedom).

    span is the largest difference one unit can show. Units that are all alike have no spread to
    estimate, yet a few of them prove little: were the true mean at the bound, at least the share
    (value - bound) / span of all units would differ from those seen, and n draws that show none
    have probability (1 - share) ** n.
    """
    if not np.isfinite(error) or (error == 0 and value <= bound):
        return 1.0
    if error == 0:
        return float((1 - min(1.0, (value - bound) / span)) ** n)
    return float(stats.t.sf((value - bound) / error, n - 1))


def equivalence(value: float, error: float, n: int, margin: float, span: float) -> float:
    """p of two one-sided tests (TOST) that the true difference lies within +-margin."""
    return max(
        greater_than(value, error, n, -margin, span), greater_than(-value, error, n, -margin, span)
    )


def outside(value: float, error: float, n: int, margin: float, span: float) -> float:
    """p that the true difference lies beyond +-margin (minimal-effect test, two-sided)."""
    sides = (greater_than(side, error, n, margin, span) for side in (value, -value))
    return min(1.0, 2 * min(sides))
