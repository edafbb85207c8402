"""What a comparison could have seen, and how many items would settle it."""

from __future__ import annotations

import math

from scipy import stats

POWER = 0.8


def minimum_detectable_effect(
    standard_error: float, n: int, confidence: float = 0.95, power: float = POWER
) -> float:
    """Smallest true paired difference a two-sided test finds with the given power.

    standard_error: of the mean difference over n units, in the unit of the difference; t
    quantiles with n - 1 degrees of freedom. inf with fewer than two units.
    """
    if n < 2 or not math.isfinite(standard_error):
        return math.inf
    alpha = 1 - confidence
    quantiles = stats.t.ppf(1 - alpha / 2, n - 1) + stats.t.ppf(power, n - 1)
    return float(quantiles * standard_error)


def smallest_provable_margin(
    standard_error: float, n: int, confidence: float = 0.95, power: float = POWER
) -> float:
    """Smallest margin in which TOST would place two equal models with the given power."""
    if n < 2 or not math.isfinite(standard_error):
        return math.inf
    quantiles = stats.t.ppf(confidence, n - 1) + stats.t.ppf(1 - (1 - power) / 2, n - 1)
    return float(quantiles * standard_error)


def minimum_detectable_rate(
    rate: float, n: int, confidence: float = 0.95, power: float = POWER
) -> float:
    """Smallest true distance from `rate` that n yes/no items find with the given power."""
    if n == 0:
        return math.inf
    quantiles = stats.norm.ppf(1 - (1 - confidence) / 2) + stats.norm.ppf(power)
    return float(quantiles * math.sqrt(rate * (1 - rate) / n))


def items_needed(
    effect: float, standard_error: float, n: int, confidence: float = 0.95, power: float = POWER
) -> int | None:
    """Units needed to find a true difference `effect`, given its standard error over n units.

    None where no number would do: no effect, or too few units to know their spread.
    """
    if effect == 0 or n < 2 or not math.isfinite(standard_error):
        return None
    quantiles = float(stats.norm.ppf(1 - (1 - confidence) / 2) + stats.norm.ppf(power))
    deviation = standard_error * math.sqrt(n)
    return max(2, math.ceil((quantiles * deviation / abs(effect)) ** 2))
