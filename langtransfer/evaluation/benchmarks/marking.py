"""Marks for answers to knowledge questions, and what answering blindly earns.

Shares are of a question's points: 0, 1, or between them where upstream gives points for parts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from langtransfer.evaluation.benchmarks.mathematics import canonical, matching

Item = Mapping[str, Any]
Mark = tuple[str, float]
"""What was understood as the answer, and its share of the points."""

HALF = 0.5  # upstream: GAOKAO-Bench, OBJ_score_evaluation.py, 3 of 6 points in physics
DECIMALS = 6


def mark(marking: str, item: Item, text: str) -> Mark:
    """The mark for an answer written out as text; `marking` is a key of MARKINGS."""
    return MARKINGS[marking](str(item["answer"]), text)


def _letters(answer: str, text: str) -> Mark:
    """Exactly the right letters, in any order. upstream: AGIEval, parse_qa_multiple_answer."""
    named = "".join(sorted(set(re.findall("[A-F]", text))))
    return named, float(named == answer)


def _letters_half(answer: str, text: str) -> Mark:
    """As `_letters` among A to D; some of the right ones and no wrong one is half.

    upstream: GAOKAO-Bench, extract_choice_answer and OBJ_score_evaluation.py. There the letters
    must be in the order of the key for full marks; order is no part of an answer here.
    """
    named = "".join(sorted(set(re.findall("[A-D]", text))))
    if named == answer:
        return named, 1.0
    return named, HALF if named and set(named) <= set(answer) else 0.0


def _sequence(answer: str, text: str) -> Mark:
    """The first letters in order, each with its points; too few are none.

    upstream: GAOKAO-Bench, extract_choice_answer and check_length_equal.
    """
    named = "".join(re.findall("[A-G]", text)[: len(answer)])
    if len(named) < len(answer):
        return named, 0.0
    return named, fmean(n == a for n, a in zip(named, answer, strict=True))


def _mathematics(answer: str, text: str) -> Mark:
    """A formula or number that means the same as the key."""
    reading, right = matching(answer, text)
    return reading, float(right)


MARKINGS: dict[str, Callable[[str, str], Mark]] = {
    "letters": _letters,
    "letters-half": _letters_half,
    "sequence": _sequence,
    "math": _mathematics,
}
"""How answers that are written out are marked, by the name task templates give it."""


def chance(marking: str, items: Sequence[Item]) -> float:
    """Mean share that a model earns which knows nothing: the larger of two.

    Guessing evenly (one in k letters, one in 2^k - 1 sets of letters), or always giving the one
    answer that earns most here, which is the share of the commonest right letter. Only the first
    counts where answers are not public; a written formula cannot be guessed evenly.
    """
    questions = list(_questions(items))
    even = fmean(_even(marking, question) for question in questions)
    if not is_public(marking, items):
        return round(even, DECIMALS)
    if marking == "math":
        keys = Counter(canonical(str(item["answer"])) for item in items)
        return round(max(keys.values()) / len(items), DECIMALS)
    constant = (
        fmean(_share(marking, question, guess) for question in questions)
        for guess in _guesses(marking, items)
    )
    return round(max(even, *constant), DECIMALS)


def is_public(marking: str, items: Iterable[Item]) -> bool:
    """Whether the key is known; to written answers an empty one is a key: no letter is right."""
    return marking != "choice" or all(item["answer"] for item in items)


def _questions(items: Sequence[Item]) -> Iterable[list[Item]]:
    """Items by question: several only where there are sub-questions."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(str(item.get("question_id", item["id"])), []).append(item)
    return found.values()


def _even(marking: str, question: Sequence[Item]) -> float:
    """Expected share of a guess among all possible answers."""
    if marking == "math":
        return 0.0
    if marking == "sequence":
        return 1 / len(SEVEN)  # a letter at each place
    if marking == "choice":
        return fmean(1 / len(item.get("letters", FOUR)) for item in question)
    return fmean(_share(marking, question, guess) for guess in _guesses(marking, question))


def _guesses(marking: str, items: Sequence[Item]) -> list[str]:
    """Answers that can be given without looking at the question."""
    letters = sorted({letter for item in items for letter in item.get("letters", FOUR)})
    if marking == "choice":
        return letters
    if marking == "sequence":
        return [letter * len(items[0]["answer"]) for letter in SEVEN]
    sizes = range(1, len(letters) + 1)
    return ["".join(some) for size in sizes for some in combinations(letters, size)]


def _share(marking: str, question: Sequence[Item], guess: str) -> float:
    if marking == "choice":
        return fmean(item["answer"] == guess for item in question)
    return fmean(mark(marking, item, guess)[1] for item in question)


FOUR, SEVEN = "ABCD", "ABCDEFG"
