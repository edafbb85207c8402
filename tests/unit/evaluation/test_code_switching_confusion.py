"""Pass rates of the Language Confusion Benchmark: upstream's rules, and its released answers."""

from __future__ import annotations

import csv
import string
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from langtransfer.evaluation.code_switching import load_identifier
from langtransfer.evaluation.language_confusion import (
    UNSPACED,
    Confusion,
    confusion,
    count_words,
    load_english,
    pass_rates,
)

ENGLISH = frozenset({"essentially", "large"})


def by_first_letter(line: str) -> tuple[str, float]:
    """Latin letters are English, others Hindi, question marks nothing sure."""
    letter = next((c for c in line if c.isalpha()), "x")
    return ("en" if letter.isascii() else "hi"), (0.3 if "…" in line else 1.0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", None),
        ("केन्या की राजधानी नैरोबी", None),  # four words
        ("केन्या की राजधानी नैरोबी है", Confusion(1, 0, False)),
        ("केन्या की राजधानी essentially, नैरोबी है", Confusion(1, 0, True)),
        ("केन्या की राजधानी Large नैरोबी है", Confusion(1, 0, False)),  # not lower case
        ("केन्या की राजधानी नैरोबी है\nThe capital is a large city", Confusion(2, 1, True)),
        ("केन्या की राजधानी नैरोबी है\nQ: what is a large city", Confusion(1, 0, False)),
        ("केन्या की राजधानी … नैरोबी है", Confusion(1, 1, False)),  # 0.3 is in no language
    ],
)
def test_one_answer(answer: str, expected: Confusion | None) -> None:
    assert confusion(answer, "hi", by_first_letter, ENGLISH) == expected


def test_words_of_unspaced_scripts() -> None:
    assert count_words("首都是内罗毕吗") == 4
    assert count_words("首都 is 内罗毕") == 4
    assert confusion("首都是large内罗毕的城市之一", "hi", by_first_letter, ENGLISH) == Confusion(
        1, 0, True
    )


def test_varieties_count_as_their_language() -> None:
    found = confusion("首都是内罗毕它是很大的城市", "zh", lambda line: ("yue", 0.9), ENGLISH)
    assert found == Confusion(1, 0, False)


def test_rates() -> None:
    found = [None, Confusion(1, 0, False), Confusion(2, 1, True), *[Confusion(1, 0, True)] * 2]
    rates = pass_rates(found, "hi", 0.95)
    assert (rates["n"], rates["lpr_n"], rates["wpr_n"]) == (4, 4, 3)
    assert (rates["lpr"], rates["wpr"]) == (0.75, pytest.approx(1 / 3))
    assert rates["lpr_low"] < 0.75 < rates["lpr_high"]
    assert pass_rates(found, "sw", 0.95)["wpr"] is None  # Latin: no word says that it is English
    assert pass_rates([None], "hi", 0.95)["lpr"] is None


PUNCTUATION = str.maketrans("", "", string.punctuation)


def upstream(answer: str, language: str, identify: Any, words: frozenset[str]) -> Any:
    """compute_metrics.py's rules for a language with spaces, told again with another identifier."""
    text = answer.split("\nQ:")[0].strip().translate(PUNCTUATION)
    text = text.replace("—", " ").replace("،", "")
    lines = [line for line in text.split("\n") if len(line.split()) >= 5]
    if not lines:
        return None
    wrong = sum(identify(line)[0] != language or identify(line)[1] <= 0.3 for line in lines)
    return Confusion(len(lines), wrong, any(w in words for line in lines for w in line.split()))


@pytest.fixture(scope="module")
def released(shared_data: Path) -> dict[tuple[str, str], list[str]]:
    """command-r's answers by task and language."""
    csv.field_size_limit(1 << 30)
    answers: dict[tuple[str, str], list[str]] = {}
    path = shared_data / "language-confusion" / "outputs" / "command-r.csv"
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            answers.setdefault((row["task"], row["language"]), []).append(row["completion"])
    return answers


def test_released_answers_as_upstream_judges_them(
    released: dict[tuple[str, str], list[str]], shared_data: Path
) -> None:
    """Lines alike for every answer, and the word rule for 99 of 100 with the benchmark's list."""
    lines = (shared_data / "language-confusion" / "words").read_text("utf-8").split()
    words = frozenset(word for word in lines if word.islower() and len(word) > 3)
    identify = lru_cache(maxsize=None)(load_identifier().classify)
    judged = alike = 0
    for language in ("ar", "hi"):
        for task in ("monolingual", "crosslingual"):
            for answer in released[task, language]:
                ours = confusion(answer, language, identify, load_english())
                if UNSPACED.search(answer):
                    continue  # upstream cuts it into words only where Chinese is asked for
                theirs = upstream(answer, language, identify, words)
                assert (ours is None) == (theirs is None)
                if ours is None:
                    continue
                if language == "hi":  # Arabic's varieties count as Arabic with us
                    assert ours.line_errors == theirs.line_errors
                judged += 1
                alike += ours.word_error == theirs.word_error
    assert judged > 700
    assert alike >= 0.99 * judged


def rates_of(answers: Iterable[str], language: str) -> dict[str, Any]:
    identify = load_identifier().classify
    found = (confusion(a, language, identify, load_english()) for a in answers)
    return pass_rates(found, language, 0.95)


def test_released_answers_pass_as_the_paper_says(
    released: dict[tuple[str, str], list[str]],
) -> None:
    """Command R nearly always answers a monolingual prompt in its language; when told in English
    to use another one, often not; an English answer never passes for Hindi."""
    for language in ("ar", "hi", "zh", "id", "vi"):
        monolingual = rates_of(released["monolingual", language], language)
        crosslingual = rates_of(released["crosslingual", language], language)
        assert monolingual["lpr"] >= 0.92
        assert crosslingual["lpr"] < monolingual["lpr"] - 0.1
    assert rates_of(released["monolingual", "en"], "hi")["lpr"] == 0
