"""Power: the stated 80 % is what simulation finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from langtransfer.statistics.paired import equivalence
from langtransfer.statistics.power import (
    items_needed,
    minimum_detectable_effect,
    minimum_detectable_rate,
    smallest_provable_margin,
)


def test_the_minimum_detectable_effect_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(7)
    n, deviation = 50, 1.3
    effect = minimum_detectable_effect(deviation / math.sqrt(n), n)
    draws = rng.normal(effect, deviation, (4_000, n))
    found = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    assert found == pytest.approx(0.8, abs=0.025)


def test_the_smallest_margin_is_proved_four_times_in_five() -> None:
    rng = np.random.default_rng(8)
    n, deviation = 80, 1.0
    margin = smallest_provable_margin(deviation / math.sqrt(n), n)
    proved = [
        equivalence(x.mean(), x.std(ddof=1) / math.sqrt(n), n, margin, 3.0) < 0.05
        for x in rng.normal(0, deviation, (3_000, n))
    ]
    assert np.mean(proved) == pytest.approx(0.8, abs=0.03)


def test_items_needed_inverts_the_effect() -> None:
    n = 400
    effect = minimum_detectable_effect(0.05, n)
    assert items_needed(effect, 0.05, n) == pytest.approx(n, rel=0.02)
    assert items_needed(effect / 2, 0.05, n) == pytest.approx(4 * n, rel=0.02)


def test_detectable_rate_of_the_paper_s_sample() -> None:
    # 453 answers at 5 %: (1.96 + 0.8416) * sqrt(.05 * .95 / 453)
    assert minimum_detectable_rate(0.05, 453) == pytest.approx(0.02869, abs=1e-4)


def test_what_cannot_be_known_is_said() -> None:
    assert minimum_detectable_effect(math.inf, 1) == math.inf
    assert smallest_provable_margin(0.1, 1) == math.inf
    assert minimum_detectable_rate(0.5, 0) == math.inf
    assert items_needed(0.0, 0.1, 50) is None
    assert items_needed(0.1, math.inf, 1) is None
    assert items_needed(9.0, 0.1, 50) == 2
