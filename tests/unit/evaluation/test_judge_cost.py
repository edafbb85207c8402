"""Estimates, prices and the ledger that a cap is held against."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config.evaluation import Prices
from langtransfer.errors import UserError
from langtransfer.evaluation import judge_cost
from langtransfer.evaluation.judge_cost import (
    Budget,
    Cap,
    Ledger,
    Tokens,
    dollars,
    estimate_tokens,
    in_words,
)

GPT4 = Prices(prompt=30.0, completion=60.0, batch=0.5)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("word", 1), ("words", 2), ("中国的首都", 5), ("中国 is China", 2 + 3)],
)
def test_the_rule(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(st.text(), st.text())
def test_the_rule_adds_up(one: str, two: str) -> None:
    together = estimate_tokens(one + two)
    assert together <= estimate_tokens(one) + estimate_tokens(two) <= together + 1
    assert together <= len(one + two)


def test_prices_are_per_million_and_a_batch_pays_its_share() -> None:
    tokens = Tokens(1_000_000, 500_000)
    assert dollars(tokens, GPT4, batch=False) == 60.0
    assert dollars(tokens, GPT4, batch=True) == 30.0
    both = {("gpt-4", True): tokens, ("gpt-4", False): tokens}
    assert in_words({("gpt-4", True): tokens}, {"gpt-4": GPT4}).endswith("tokens, $30.0000")
    assert in_words(both, {"gpt-4": GPT4}).startswith("2,000,000 prompt and 1,000,000 completion")
    assert in_words(both, {"gpt-4": GPT4}).endswith(", $90.0000")
    assert "no price of x" in in_words({("x", False): tokens}, {"gpt-4": GPT4})


def test_the_ledger_adds_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_cost, "REFRESH_SECONDS", 0.0)
    one, two = Ledger(tmp_path, "one", "score/a/k"), Ledger(tmp_path, "two", "score/b/k")
    one.record("a", Tokens(10, 1))
    two.record("a", Tokens(20, 2))
    two.record("b", Tokens(5, 0))
    assert one.spent() == two.spent() == {("a", False): Tokens(30, 3), ("b", False): Tokens(5)}
    with (tmp_path / "two.jsonl").open("a") as handle:  # torn by a kill
        handle.write('{"model": "a", "prom')
    assert one.spent()["a", False] == Tokens(30, 3)
    one.enter_batch("token", "score/a/k", "a", 9, Tokens(100, 100))  # estimated, then taken
    two.enter_batch("token", "score/a/k", "a", 8, Tokens(70, 7))
    assert one.spent() == two.spent()
    assert one.spent()["a", True] == Tokens(70, 7)
    assert one.spent_here() == (9, {("a", False): Tokens(10, 1), ("a", True): Tokens(70, 7)})
    assert two.spent_here() == (2, {("a", False): Tokens(20, 2), ("b", False): Tokens(5)})
    two.drop_batch("token")
    assert ("a", True) not in one.spent()
    later = Ledger(tmp_path, "three", "score/a/k")
    later.record("a", Tokens(1, 1))
    assert later.spent()["a", False] == Tokens(31, 4)
    assert later.spent_here() == (2, {("a", False): Tokens(11, 2)})


def test_a_ledger_of_the_first_caches_counts_for_the_cap(tmp_path: Path) -> None:
    old = '{"model": "a", "prompt_tokens": 10, "completion_tokens": 1, "batch": false}\n'
    (tmp_path / "old.jsonl").write_text(old)
    ledger = Ledger(tmp_path, "new", "score/a/k")
    assert ledger.spent() == {("a", False): Tokens(10, 1)}
    assert ledger.spent_here() == (0, {})


def test_the_cap_counts_what_is_in_flight(tmp_path: Path) -> None:
    budget = Budget(Ledger(tmp_path, "one", "score/a/k"), Cap(tokens=100), {})
    assert budget.refusal("a", Tokens(90, 10), batch=False) is None
    assert budget.refusal("a", Tokens(90, 11), batch=False) is not None
    budget.in_flight += Tokens(50, 1)
    assert budget.refusal("a", Tokens(40, 10), batch=False) is not None
    budget.in_flight -= Tokens(50, 1)
    budget.ledger.record("a", Tokens(60, 0))
    assert budget.refusal("a", Tokens(40, 0), batch=False) is None
    assert budget.refusal("a", Tokens(40, 1), batch=False) is not None


def test_a_cap_in_dollars_knows_batches_and_models(tmp_path: Path) -> None:
    prices = {"gpt-4": GPT4, "cheap": Prices(prompt=1, completion=1)}
    budget = Budget(Ledger(tmp_path, "one", "score/a/k"), Cap(dollars=60.0), prices)
    million = Tokens(1_000_000, 0)
    budget.ledger.record("gpt-4", million)
    assert budget.refusal("gpt-4", million, batch=False) is None
    assert budget.refusal("gpt-4", million + Tokens(1, 0), batch=False) is not None
    assert budget.refusal("gpt-4", million + million, batch=True) is None
    budget.ledger.record("cheap", million)
    assert budget.refusal("gpt-4", million, batch=False) is not None
    assert budget.ledger_dollars() == 31.0
    budget.ledger.record("unknown", Tokens(1, 0))
    with pytest.raises(UserError, match="judge_prices has no unknown"):
        budget.refusal("gpt-4", Tokens(1, 0), batch=False)
