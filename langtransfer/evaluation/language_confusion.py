"""Line and word pass rate of the Language Confusion Benchmark, for any set of answers.

Source: Marchisio et al. (2024), Understanding and Mitigating Language Confusion in LLMs,
arXiv 2406.20052; upstream: compute_metrics.py of github.com/for-ai/language-confusion.

* LPR: share of answers all of whose lines are in the language asked for.
* WPR: share of the answers that pass every line and hold no English word. Upstream computes it
  for ar hi ja ko ru zh only; here for every language that is not written in Latin letters.

As upstream: ASCII punctuation is dropped, lines of fewer than five words are skipped, answers
without any other line are not counted, a line identified with a probability of 0.3 or less is in no
language, and an English word is a lower-case one of more than three letters in a list.

Not as upstream: the identifier is py3langid over all its languages instead of fastText's lid.176
(its Chinese and Arabic varieties count as Chinese and Arabic); the list is made from our own
English text (resources/identification) and shorter; text without spaces is not segmented, whatever
the language asked for: two characters count as one word for the minimum of five, and a run of other
letters is a word. Against upstream's rules with the same identifier, jieba and its own list, on
command-r's 1,497 answers asked for in ar, hi and zh: the same answers are counted but for 2, lines
are judged alike in all but 2 answers, words in all but 11.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import regex  # type: ignore[import-untyped]

from langtransfer.corpus.jsonl import read_lines
from langtransfer.evaluation.scripts_of_text import scripts_of_language
from langtransfer.resources import RESOURCES
from langtransfer.statistics.intervals import wilson

ENGLISH_WORDS = RESOURCES / "identification" / "english-words.txt.zst"

MIN_WORDS = 5  # upstream: len(tokens) >= 5
MIN_WORD_LETTERS = 4  # upstream: len(word) > 3
MIN_PROBABILITY = 0.3  # upstream: score > 0.3
DROPPED = str.maketrans({**dict.fromkeys(string.punctuation + "،", ""), "—": " "})  # upstream
# Our choice: jieba, which upstream uses, makes words of 1.6 characters.
UNSPACED = regex.compile(r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]+")
UNSPACED_WORD = 2
VARIETIES = {"wuu": "zh", "yue": "zh", "ary": "ar", "arz": "ar"}  # ISO 639-3 macrolanguages

Identify = Callable[[str], tuple[str, float]]


@dataclass(frozen=True)
class Confusion:
    """One answer: lines long enough to be identified, those in another language, and whether an
    English word stands in the others."""

    lines: int
    line_errors: int
    word_error: bool


def confusion(
    answer: str, language: str, identify: Identify, english: frozenset[str]
) -> Confusion | None:
    """Judge one answer; None for one without a line of MIN_WORDS words."""
    # upstream: what follows "\nQ:" is a base model's next question
    text = answer.split("\nQ:")[0].strip().translate(DROPPED)
    lines = [line for line in text.split("\n") if count_words(line) >= MIN_WORDS]
    if not lines:
        return None
    errors = sum(not _passes(line, language, identify) for line in lines)
    found = any(word in english for line in lines for word in UNSPACED.sub(" ", line).split())
    return Confusion(len(lines), errors, found)


def count_words(line: str) -> int:
    """Words between spaces, and one for every UNSPACED_WORD characters of unspaced scripts."""
    unspaced = sum(-(-len(run) // UNSPACED_WORD) for run in UNSPACED.findall(line))
    return unspaced + len(UNSPACED.sub(" ", line).split())


def _passes(line: str, language: str, identify: Identify) -> bool:
    found, probability = identify(line)
    return probability > MIN_PROBABILITY and VARIETIES.get(found, found) == language


def pass_rates(
    found: Iterable[Confusion | None], language: str, confidence: float
) -> dict[str, Any]:
    """LPR and WPR with Wilson intervals, and what they are made from.

    A rate is None where no answer counts for it; upstream says 1 there.
    """
    judged = [answer for answer in found if answer is not None]
    passed = [answer for answer in judged if not answer.line_errors]
    clean = sum(not answer.word_error for answer in passed)
    words = "Latin" not in scripts_of_language(language)
    return {
        "identifier": identifier(),
        "english_words": len(load_english()),
        "n": len(judged),
        **_rate("lpr", len(passed), len(judged), confidence),
        **_rate("wpr", clean, len(passed) if words else 0, confidence),
    }


def _rate(name: str, passed: int, n: int, confidence: float) -> dict[str, Any]:
    if not n:
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{name}_n": 0}
    interval = wilson(passed, n, confidence)
    return {
        name: passed / n,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
        f"{name}_n": n,
    }


def identifier() -> str:
    """Name and version of the identifier the line pass rate is computed with."""
    return f"py3langid {version('py3langid')}"


@cache
def load_english() -> frozenset[str]:
    """The English words of the word pass rate."""
    return frozenset(line for _, line in read_lines(ENGLISH_WORDS))
