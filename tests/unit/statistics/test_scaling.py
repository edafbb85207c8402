"""Curves over budgets, and where they meet."""

from __future__ import annotations

import numpy as np
import pytest

from langtransfer.statistics.scaling import crossings, fit_curves, log_budget, residual

BUDGETS = np.array([0.0, 1e5, 1e6, 1e7])


def test_a_curve_is_found_again() -> None:
    x = log_budget(BUDGETS, 1e5)
    curve = fit_curves(x, 3.0 - 0.25 * x)
    assert curve == pytest.approx([3.0, -0.25])
    assert residual(x, 3.0 - 0.25 * x, curve) == pytest.approx(0.0, abs=1e-12)
    assert residual(x, 3.0 - 0.25 * x + np.array([0.1, -0.1, 0.1, -0.1]), curve) == pytest.approx(
        0.1
    )


def test_noise_moves_a_curve_as_least_squares_says() -> None:
    x = log_budget(BUDGETS, 1e5)
    values = 3.0 - 0.25 * x + np.random.default_rng(0).normal(0, 0.05, (4_000, 4))
    slopes = fit_curves(x, values)[:, 1]
    assert slopes.mean() == pytest.approx(-0.25, abs=0.003)
    assert slopes.std() == pytest.approx(0.05 / np.sqrt(np.square(x - x.mean()).sum()), rel=0.05)


def test_two_budgets_make_no_curve() -> None:
    with pytest.raises(ValueError, match="2 budgets"):
        fit_curves(np.array([0.0, 1.0, 1.0]), np.zeros(3))


def test_curves_meet_where_they_are_equal() -> None:
    first, second = np.array([3.0, -0.2]), np.array([3.5, -0.4])
    meets = float(crossings(first, second, 1e5, 1e9))
    x = log_budget(np.array([meets]), 1e5)[0]
    assert first[0] + first[1] * x == pytest.approx(second[0] + second[1] * x)
    assert np.isinf(crossings(first, second, 1e5, meets * 0.9))


@pytest.mark.parametrize("second", [(3.0, -0.2), (3.5, -0.2), (3.5, -0.1), (2.0, -0.3)])
def test_curves_that_do_not_meet(second: tuple[float, float]) -> None:
    assert np.isinf(crossings(np.array([3.0, -0.2]), np.array(second), 1e5, 1e9))
