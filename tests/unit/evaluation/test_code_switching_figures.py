"""What the rule flags and finds on text that fixed nothing; the whole of it is `long`.

The figures are those of docs/code-switching.md, made by benchmarks/code_switching.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.code_switching import (
    CHOSEN_ON,
    FLORES,
    TICO,
    flagged,
    flores,
    pairs,
    recall,
    tico,
)

SAME, OTHER = sorted(pairs(same_script=True)), sorted(pairs(same_script=False))
FEW_OTHER = OTHER[::11]


@pytest.fixture(scope="module")
def lines(shared_data: Path) -> dict[str, list[str]]:
    return {language: flores(shared_data / "text", language) for language in FLORES}


def test_the_pairs_are_all_pairs() -> None:
    assert len(SAME) == 3 * 2 + 2 + 4 * 3
    assert len(OTHER) == 15 * 14 - len(SAME)


@pytest.mark.parametrize("language", sorted(FLORES))
def test_monolingual_lines_sampled(
    lines: dict[str, list[str]], shared_data: Path, language: str
) -> None:
    assert len(lines[language]) == 1012 - CHOSEN_ON
    assert flagged(lines[language][::3], language).share <= 0.03
    if language in TICO:
        assert flagged(tico(shared_data / "text", language)[::8], language).share <= 0.03


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_clauses_in_the_same_script_sampled(lines: dict[str, list[str]]) -> None:
    five = [recall(lines, *pair, words=5, count=20).recall for pair in SAME]
    eight = [recall(lines, *pair, words=8, count=20).recall for pair in SAME]
    assert mean(five) >= 0.93
    assert min(five) >= 0.75  # of 20 drawn
    assert mean(eight) >= 0.97


def test_clauses_in_another_script_sampled(lines: dict[str, list[str]]) -> None:
    five = [recall(lines, *pair, words=5, count=20).recall for pair in FEW_OTHER]
    assert mean(five) >= 0.98


@pytest.mark.long
@pytest.mark.parametrize("language", sorted(FLORES))
def test_monolingual_lines(lines: dict[str, list[str]], shared_data: Path, language: str) -> None:
    assert flagged(lines[language], language).share <= 0.02
    if language in TICO:
        assert flagged(tico(shared_data / "text", language), language).share <= 0.02


@pytest.mark.long
def test_clauses_in_the_same_script(lines: dict[str, list[str]]) -> None:
    five = {pair: recall(lines, *pair, words=5, count=200).recall for pair in SAME}
    eight = {pair: recall(lines, *pair, words=8, count=200).recall for pair in SAME}
    for script in ({"hi", "mr", "ne"}, {"ar", "ur"}, {"en", "id", "sw", "vi"}):
        assert mean([value for pair, value in five.items() if pair[0] in script]) >= 0.90
        assert mean([value for pair, value in eight.items() if pair[0] in script]) >= 0.95
    assert min(five.values()) >= 0.80
    assert min(eight.values()) >= 0.95


@pytest.mark.long
@pytest.mark.parametrize("words", [5, 8])
def test_clauses_in_another_script(lines: dict[str, list[str]], words: int) -> None:
    assert min(recall(lines, *pair, words=words, count=100).recall for pair in OTHER) >= 0.95
