"""Prompts with an English clause in them, and how answers to them are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config.evaluation import CodeSwitchingCell
from langtransfer.corpus.jsonl import read_json, read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.code_switching import find_switches
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.switched_prompts import splice, switched_questions
from scripts import switch_prompts

CLAUSE = "what is the capital"
TEXT = st.lists(st.sampled_from(["mji", "wa", "内罗毕，", "है", "ni?", "\n"]), max_size=12).map(
    " ".join
)


@given(TEXT, st.text(max_size=8))
def test_nothing_of_the_text_is_lost(text: str, key: str) -> None:
    mixed = splice(text, CLAUSE, key)
    assert mixed == splice(text, CLAUSE, key)
    assert mixed.count(CLAUSE) == 1
    assert mixed.replace(CLAUSE, " ").split() == text.split()


def test_places_vary_with_the_key_and_words_stay_whole() -> None:
    text = "Mji mkuu wa Kenya ni upi?"
    mixed = {splice(text, CLAUSE, f"q{number}") for number in range(40)}
    assert len(mixed) == 6  # between any two words, and at the end; not at the start
    chinese = {splice("请问，肯尼亚的首都在哪里？", CLAUSE, f"q{number}") for number in range(40)}
    assert chinese == {
        f"请问， {CLAUSE} 肯尼亚的首都在哪里？",
        f"请问，肯尼亚的首都在哪里？ {CLAUSE}",
    }


def question(number: int, instruction: str) -> Question:
    return Question(id=f"q{number}", category="Factual_questions", instruction=instruction)


def test_a_switched_prompt_asks_for_its_own_language() -> None:
    swahili = [question(1, "Mji mkuu wa Kenya ni upi?"), question(2, "Nani aliandika?")]
    english = [question(1, "What is the capital of the country that is called Kenya?")]
    (mixed,) = switched_questions(swahili, english)
    assert "What is the capital of the country that" in mixed.instruction
    assert (mixed.id, mixed.category) == ("q1", "Factual_questions")
    settings = CodeSwitchingCell(language="sw")
    answers = {
        "Mji mkuu wa nchi hiyo ni Nairobi, mji mkubwa sana.": [],
        "Kuhusu what is the capital of the country: ni Nairobi.": [],  # said back
        "It has been Nairobi for more than a hundred years now.": ["en"],
    }
    for answer, languages in answers.items():
        assert find_switches(answer, mixed, "sw", settings).languages == languages


def test_the_stage_mixes_what_both_languages_have(make_job: Any, tmp_path: Path) -> None:
    asked, source = tmp_path / "asked", tmp_path / "source"
    row = {"category": "Factual_questions", "input": "", "keys": [["Nairobi"]], "points": 3}
    swahili = [("q1", "Mji mkuu wa Kenya ni upi?"), ("q2", "Nani aliandika?")]
    write_jsonl(
        asked / "questions.jsonl", [row | {"id": id, "instruction": text} for id, text in swahili]
    )
    english = row | {"id": "q1", "instruction": "What is the capital of Kenya?"}
    write_jsonl(source / "questions.jsonl", [english])
    parents = {"questions": asked, "source": source}
    job = make_job("switch_prompts/qa/sw", {"language": "sw", "source": "en"}, parents, name="a")
    assert switch_prompts.run(job) == {"items": 1}
    (mixed,) = read_jsonl(job.out / "questions.jsonl")
    assert "What is the capital of Kenya" in mixed.pop("instruction")
    assert mixed == row | {"id": "q1"}
    facts = {"items": 1, "clause": "en", "left_out": ["q2"]}
    assert read_json(job.out / "stats.json") == facts
    write_jsonl(source / "questions.jsonl", [english | {"id": "q9"}])
    job = make_job("switch_prompts/qa/sw", {"language": "sw", "source": "en"}, parents, name="b")
    with pytest.raises(UserError, match="share no id with those in en"):
        switch_prompts.run(job)
    assert not list(job.out.iterdir())
