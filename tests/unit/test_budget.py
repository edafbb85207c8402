"""Budgets: one amount, one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.budget import Budget


@pytest.mark.parametrize(
    ("text", "amount", "unit", "canonical"),
    [
        (0, 0, None, "0"),
        ("0", 0, None, "0"),
        ("10k-samples", 10_000, "samples", "10k-samples"),
        ("1M-samples", 1_000_000, "samples", "1M-samples"),
        ("0.5B-tokens", 500_000_000, "tokens", "0.5B-tokens"),
        ("500M-tokens", 500_000_000, "tokens", "0.5B-tokens"),
        ("25k-tokens", 25_000, "tokens", "25k-tokens"),
        ("1.25M-tokens", 1_250_000, "tokens", "1250k-tokens"),
        ("7-tokens", 7, "tokens", "7-tokens"),
    ],
)
def test_parse(text: object, amount: int, unit: str | None, canonical: str) -> None:
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit, str(budget)) == (amount, unit, canonical)


@pytest.mark.parametrize(
    "text", ["10k", "ten-tokens", 5, 1.5, None, True, "-1k-tokens", "0.5-tokens"]
)
def test_refuses(text: object) -> None:
    with pytest.raises(ValueError, match=r"write 0|whole number"):
        Budget.parse(text)


@given(st.integers(1, 10**13), st.sampled_from(["samples", "tokens"]))
def test_round_trip(amount: int, unit: str) -> None:
    budget = Budget(amount, unit)  # type: ignore[arg-type]
    assert Budget.parse(str(budget)) == budget


def test_order() -> None:
    assert Budget.parse("10k-samples") < Budget.parse("1M-samples")
    assert Budget.parse(0) < Budget.parse("1k-tokens")
    with pytest.raises(ValueError, match="units differ"):
        _ = Budget.parse("1k-tokens") < Budget.parse("1k-samples")
