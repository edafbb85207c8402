"""Intervals: known values, coverage on synthetic data, properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langtransfer.statistics.intervals import (
    bootstrap_mean,
    bootstrap_ratio,
    fold,
    ratio_of_sums,
    resampling_weights,
    wilson,
)


def test_wilson_known_values() -> None:
    # Newcombe (1998), table I: 81/263, 15/148, 0/20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_rate(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        wilson(successes, n)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_and_mirrors(pair: tuple[int, int]) -> None:
    k, n = pair
    low, high = wilson(k, n)
    assert 0 <= low <= k / n + 1e-12
    assert k / n - 1e-12 <= high <= 1
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_weights_draw_every_unit_equally_and_n_a_row() -> None:
    weights = np.concatenate(list(resampling_weights(7, 4_000, np.random.default_rng(0))))
    assert weights.shape == (4_000, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.06)


def test_weights_do_not_depend_on_the_memory_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resampling_weights(5, 100, np.random.default_rng(3))))
    monkeypatch.setattr("langtransfer.statistics.intervals.WEIGHTS_AT_ONCE", 35)
    pieces = list(resampling_weights(5, 100, np.random.default_rng(3)))
    assert len(pieces) > 1
    assert (np.concatenate(pieces) == whole).all()


def test_bootstrap_mean_covers_the_true_mean() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(400):
        low, high = bootstrap_mean(rng.exponential(2.0, 80), confidence=0.9, samples=400, rng=rng)[
            1:
        ]
        covered += low <= 2.0 <= high
    assert 0.83 <= covered / 400 <= 0.94


def test_bootstrap_ratio_covers_the_ratio_not_the_mean_of_ratios() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        size = rng.integers(10, 1_000, 100).astype(float)[:, None]
        bits = size * 1.5 + rng.normal(0, 30, size.shape)
        low, high = bootstrap_ratio(bits, size, confidence=0.9, samples=300, rng=rng)[1:]
        covered += low <= 1.5 <= high
    assert 0.83 <= covered / 300 <= 0.95


def test_ratio_is_the_mean_over_strata_of_sums() -> None:
    numerators = np.array([[2.0, 9.0], [4.0, 0.0]])
    denominators = np.array([[1.0, 3.0], [2.0, 0.0]])
    assert ratio_of_sums(numerators, denominators) == (6 / 3 + 9 / 3) / 2


def test_an_empty_stratum_is_refused() -> None:
    with pytest.raises(ValueError, match="no units"):
        ratio_of_sums(np.ones((2, 1)), np.zeros((2, 1)))


def test_same_seed_same_interval() -> None:
    values = np.arange(30.0)
    first, second = (
        bootstrap_mean(values, confidence=0.95, samples=200, rng=np.random.default_rng(4))
        for _ in range(2)
    )
    assert first == second


def test_folding_keeps_sums_and_the_interval_s_width() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(1.0, 1.0, (20_000, 1))
    assert fold(values, 64).sum() == pytest.approx(values.sum())
    ones = np.ones_like(values)
    low, high = bootstrap_ratio(values, ones, confidence=0.95, samples=1_000, rng=rng)[1:]
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(20_000), rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20), st.floats(-5, 5))
def test_a_shift_of_the_values_shifts_the_interval(values: list[float], shift: float) -> None:
    one, other = (
        bootstrap_mean(np.array(v), confidence=0.9, samples=60, rng=np.random.default_rng(1))
        for v in (values, [x + shift for x in values])
    )
    assert other == pytest.approx([x + shift for x in one], abs=1e-9)
