"""Marks for written answers, and what answering blindly earns."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.marking import chance, mark
from langtransfer.evaluation.benchmarks.mathematics import boxed, canonical, matching
from langtransfer.evaluation.knowledge_rows import join_parts, submission, with_marks


@pytest.mark.parametrize(
    ("marking", "answer", "text", "expected"),
    [
        ("letters", "AD", "D、A。", ("AD", 1.0)),
        ("letters", "AD", "A", ("A", 0.0)),
        ("letters", "AD", "(A)(B)(D)", ("ABD", 0.0)),
        ("letters", "", "以上都不对", ("", 1.0)),
        ("letters-half", "BC", " CB <", ("BC", 1.0)),
        ("letters-half", "BC", " C", ("C", 0.5)),
        ("letters-half", "BC", " AC", ("AC", 0.0)),
        ("letters-half", "B", "", ("", 0.0)),
        ("sequence", "CFAED", " C F A D E G", ("CFADE", 0.6)),
        ("sequence", "CFAED", " C F A E", ("CFAE", 0.0)),
    ],
)
def test_letters(marking: str, answer: str, text: str, expected: tuple[str, float]) -> None:
    assert mark(marking, {"answer": answer}, text) == expected


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("5", " $x = 5$."),
        ("5", " 5."),
        ("$y=2x$", " $y=2x$"),
        ("$5$;$10$", " 5；10"),
        ("\\frac{1}{2}", " \\boxed{0.5}"),
        ("\\frac{2}{3}", " 2/3"),
        ("0.25\\,\\text{ cm}", " .25"),
        ("$90^{\\circ}$", " 90°。"),
        ("2\\sqrt{3}", " the area is therefore $2\\sqrt3$"),
    ],
)
def test_mathematics_that_means_the_same(key: str, text: str) -> None:
    assert matching(key, text)[1]


@pytest.mark.parametrize(
    ("key", "text"),
    [("5", ""), ("5", " 15"), ("5", " no idea"), ("12", " 1 and 2"), ("x+1", " x-1")],
)
def test_mathematics_that_does_not(key: str, text: str) -> None:
    assert not matching(key, text)[1]


@given(st.text("ab{}\\ ", max_size=20), st.text(max_size=9))
def test_a_box_is_read_to_its_own_brace(inside: str, after: str) -> None:
    balanced = inside.replace("{", "").replace("}", "") + "{x}"
    text = f"so \\boxed{{{balanced}}}" + after.replace("\\boxed{", "")
    assert boxed(text) == balanced


FORMS = (" {}.", " ${}$.", "\\boxed{{{}}}", "so x = {}")


def keys_of(shared_data: Path, name: str) -> list[str]:
    path = shared_data / "benchmarks" / "agieval" / "data" / "v1" / f"{name}.jsonl"
    return [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", ["math", "gaokao-mathcloze"])
def test_all_that_upstream_marks_right_is_right(shared_data: Path, name: str) -> None:
    """Upstream's rules, as lm-evaluation-harness ships them, over every pair of real keys."""
    from lm_eval.tasks.agieval import utils

    def upstream(text: str, key: str) -> bool:
        reading = utils.parse_math_answer(text)
        return bool(reading) and utils._strip_string(reading) == utils._strip_string(key)

    keys = keys_of(shared_data, name)
    assert all(matching(key, form.format(key))[1] for key in keys for form in FORMS[:3])
    some = sorted(set(keys))[:: 1 if len(keys) < 200 else 5]
    more = 0
    for said, key, form in product(some, some, FORMS):
        text = form.format(said)
        ours, theirs = matching(key, text)[1], upstream(text, key)
        assert ours or not theirs, (text, key)
        more += ours and not theirs and canonical(said) != canonical(key)
    assert more <= 1  # "19 \text{ and }43": both take what follows \text{ for a unit


def brute_chance(items: list[dict[str, Any]], letters: str) -> float:
    """The better of guessing evenly and of always saying one letter, by counting."""
    shares = [sum(item["answer"] == letter for item in items) / len(items) for letter in letters]
    return max(max(shares), 1 / len(letters))


@given(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=30))
def test_chance_is_the_share_of_the_commonest_letter(answers: list[str]) -> None:
    items = [{"id": str(n), "answer": answer} for n, answer in enumerate(answers)]
    assert chance("choice", items) == pytest.approx(brute_chance(items, "ABCD"), abs=1e-6)
    hidden = [item | {"answer": ""} for item in items]
    assert chance("choice", hidden) == 0.25


def test_chance_of_written_answers() -> None:
    def items(*answers: str) -> list[dict[str, Any]]:
        return [{"id": str(n), "answer": answer} for n, answer in enumerate(answers)]

    assert chance("letters", items("AB", "AB", "C", "D")) == 0.5
    assert chance("letters-half", items("AB", "AC", "A")) == pytest.approx(2 / 3)  # always A
    assert chance("math", items("0.5", "\\frac12", "3")) == pytest.approx(2 / 3, abs=1e-6)
    assert chance("sequence", items("AABCD")) == 0.4
    assert chance("sequence", items("ABCDE", "FGABC")) == pytest.approx(0.2)


def test_chance_of_sub_questions_is_by_question() -> None:
    parts = [
        {"id": f"q{q}.{n}", "question_id": f"q{q}", "answer": answer}
        for q, answers in enumerate(["AAB", "C"])
        for n, answer in enumerate(answers)
    ]
    assert chance("choice", parts) == 0.5  # always C: all of the second question


def test_sub_questions_become_one_row() -> None:
    rows = [
        {
            "id": f"q.{n}", "question_id": "q", "part": n, "parts": 3, "subject": "s",
            "category": "c", "chance": 0.3, "points": 2, "answer": answer, "prediction": "A",
            "correct": answer == "A", "loglikelihoods": {"A": -1.0}, "truncated": n == 2,
        }
        for n, answer in [(2, "B"), (1, "A"), (3, "A")]
    ]  # fmt: skip
    alone = {"id": "q", "subject": "s"}
    *others, joined = join_parts([alone, *rows, alone])
    assert others == [alone, alone]  # an id twice is for the report to refuse
    assert (joined["id"], joined["answer"], joined["prediction"]) == ("q", "ABA", "AAA")
    assert (joined["correct"], joined["points"], joined["truncated"]) == (2 / 3, 6, True)
    assert [part["answer"] for part in joined["parts"]] == ["A", "B", "A"]


def test_a_submission_only_where_answers_are_not_public() -> None:
    row = {"subject": "law", "id": "law-0", "prediction": "B", "correct": None}
    more = row | {"id": "law-1", "prediction": "D"}
    assert submission([row, more]) == {"law": {"0": "B", "1": "D"}}
    assert submission([row | {"correct": True}]) is None


def test_written_answers_that_nobody_says_how_to_mark() -> None:
    task = {"task": "t", "output_type": "generate_until", "metadata": {"version": 1}}
    with pytest.raises(UserError, match="t: metadata, marking: 'None': cannot mark"):
        with_marks(task)
