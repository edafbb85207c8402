"""A metric against the training budget: a two-parameter curve, and where two curves cross.

The curve is a + b log(1 + D / scale), linear in its parameters and finite at budget 0. A power law
with an asymptote has a third one, which the three or four budgets of a study cannot hold down (our
choice); what the curve misses is reported as its residual.
"""

from __future__ import annotations

import numpy as np

from langtransfer.statistics.intervals import Floats

MIN_BUDGETS = 3
"""With fewer, two parameters fit anything."""


def log_budget(budgets: Floats, scale: float) -> Floats:
    """The curve's abscissa: 0 at budget 0, about the logarithm far above scale."""
    return np.log1p(np.asarray(budgets, dtype=np.float64) / scale)


def fit_curves(x: Floats, values: Floats) -> Floats:
    """Least-squares (a, b) of each row: x (budgets,), values (..., budgets) -> (..., 2).

    ValueError with fewer than MIN_BUDGETS different abscissae.
    """
    if len(np.unique(x)) < MIN_BUDGETS:
        raise ValueError(f"fit_curves: {len(np.unique(x))} budgets do not make a curve")
    design = np.stack([np.ones_like(x), x], axis=1)
    coefficients: Floats = values @ np.linalg.pinv(design).T
    return coefficients


def residual(x: Floats, values: Floats, curve: Floats) -> float:
    """Root mean square of what a curve misses."""
    return float(np.sqrt(np.mean(np.square(values - (curve[0] + curve[1] * x)))))


def crossings(first: Floats, second: Floats, scale: float, horizon: float) -> Floats:
    """Budgets at which pairs of curves (..., 2) meet, inf where not between 0 and the horizon."""
    gap = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        budgets: Floats = scale * np.expm1(-gap[..., 0] / gap[..., 1])
    outside = ~((budgets > 0) & (budgets <= horizon))
    return np.where(outside, np.inf, budgets)
