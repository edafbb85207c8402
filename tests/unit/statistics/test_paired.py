"""Paired tests: known values, false-positive rate, agreement of exact and drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from langtransfer.statistics.paired import (
    PairedDifference,
    equivalence,
    greater_than,
    mcnemar_exact,
    outside,
    paired_difference,
    sign_flip,
    standard_error,
)


def compare(a: np.ndarray, b: np.ndarray, seed: int = 0) -> PairedDifference:
    return paired_difference(
        (a - b)[:, None],
        np.ones((len(a), 1)),
        confidence=0.95,
        samples=400,
        permutations=999,
        rng=np.random.default_rng(seed),
    )


def test_sign_flip_small_is_exact() -> None:
    differences = np.array([0.3, 0.9, -0.1, 0.4, 0.0])
    sums = [
        abs(sum(s * d for s, d in zip(signs, [0.3, 0.9, -0.1, 0.4], strict=True)))
        for signs in itertools.product([1, -1], repeat=4)
    ]
    expected = sum(s >= 1.5 - 1e-12 for s in sums) / 16
    assert sign_flip(differences, draws=1, rng=np.random.default_rng(0)) == expected == 0.25


def test_all_one_way_gives_two_patterns() -> None:
    p = sign_flip(np.full(10, 0.5), draws=1, rng=np.random.default_rng(0))
    assert p == 2 / 2**10


def test_no_difference_at_all_is_p_one() -> None:
    assert sign_flip(np.zeros(9), draws=10, rng=np.random.default_rng(0)) == 1.0


def test_drawn_agrees_with_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(2).normal(0.4, 1, 14)
    exact = sign_flip(differences, draws=1, rng=np.random.default_rng(0))
    monkeypatch.setattr("langtransfer.statistics.paired.EXACT_UNITS", 2)
    drawn = sign_flip(differences, draws=40_000, rng=np.random.default_rng(0))
    assert drawn == pytest.approx(exact, abs=0.01)


def test_false_positive_rate_is_the_stated_level() -> None:
    rng = np.random.default_rng(21)
    hits = sum(sign_flip(rng.normal(0, 1, 40), draws=499, rng=rng) < 0.05 for _ in range(1_000))
    # Binomial(1000, 0.05): three standard deviations either side.
    assert 29 <= hits <= 71


def test_a_true_effect_is_found() -> None:
    rng = np.random.default_rng(1)
    b = rng.normal(1.5, 0.6, 200)
    result = compare(b + rng.normal(0.3, 0.5, 200), b)
    assert result.low < 0.3 < result.high
    assert result.p == pytest.approx(1 / 1_000)
    assert result.n == 200


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=2, max_size=12))
def test_swapping_the_sides_negates(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    one, other = compare(a, b), compare(b, a)
    assert one.value == pytest.approx(-other.value)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert one.p == pytest.approx(other.p)


def test_standard_error_of_scores_is_the_textbook_one() -> None:
    differences = np.random.default_rng(0).normal(0, 2, 57)
    error = standard_error(differences[:, None], np.ones((57, 1)))
    assert error == pytest.approx(stats.sem(differences))


def test_standard_error_of_a_ratio_matches_simulation() -> None:
    rng = np.random.default_rng(3)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        size = rng.integers(50, 500, (120, 1)).astype(float)
        return size * 0.2 + rng.normal(0, 20, (120, 1)), size

    ratios = [(lambda d, w: d.sum() / w.sum())(*draw()) for _ in range(2_000)]
    errors = [standard_error(*draw()) for _ in range(200)]
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.1)


def test_one_unit_says_nothing() -> None:
    assert standard_error(np.ones((1, 1)), np.ones((1, 1))) == float("inf")
    assert greater_than(5.0, float("inf"), 1, 0.0, 3.0) == 1.0


def test_mcnemar_known_value() -> None:
    # 8 discordant against 2: 2 * sum(C(10, k), k <= 2) / 2**10.
    a = np.array([1.0] * 8 + [0.0] * 2 + [1.0] * 5)
    b = np.array([0.0] * 8 + [1.0] * 2 + [1.0] * 5)
    assert mcnemar_exact(a, b) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar_exact(a, a) == 1.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=14))
def test_mcnemar_is_the_sign_flip_of_binary_scores(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    flipped = sign_flip(a - b, draws=1, rng=np.random.default_rng(0))
    assert mcnemar_exact(a, b) == pytest.approx(flipped)


def test_equivalence_is_the_interval_inside_the_margin() -> None:
    error, n = 0.05, 60
    half = stats.t.ppf(0.95, n - 1) * error
    assert equivalence(0.02, error, n, 0.02 + half, 3) == pytest.approx(0.05)
    assert equivalence(-0.02, error, n, 0.02 + half, 3) == pytest.approx(0.05)
    assert equivalence(0.2, 0.0, n, 0.1, 3) == 1.0


def test_units_all_alike_prove_as_much_as_their_number() -> None:
    """Simulated at the margin: one item in thirty differs, by three points."""
    assert equivalence(0.0, 0.0, 30, 0.1, 3) == pytest.approx((29 / 30) ** 30)
    assert equivalence(0.0, 0.0, 300, 0.1, 3) == pytest.approx((29 / 30) ** 300)
    rng = np.random.default_rng(0)
    n, found = 60, []
    for _ in range(2_000):
        items = 3.0 * (rng.random(n) < 1 / 30)
        error = float(items.std(ddof=1) / np.sqrt(n))
        found.append(error == 0 and equivalence(0.0, error, n, 0.1, 3) < 0.14)
    # All alike in (29/30)^60 = 13 % of them, where p is 0.13.
    assert np.mean(found) == pytest.approx((29 / 30) ** n, abs=0.02)


def test_outside_needs_more_than_the_margin() -> None:
    assert outside(0.5, 0.05, 60, 0.1, 3) < 1e-6
    assert outside(-0.5, 0.05, 60, 0.1, 3) < 1e-6
    assert outside(0.1, 0.05, 60, 0.1, 3) == pytest.approx(1.0)
