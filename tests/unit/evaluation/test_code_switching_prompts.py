"""Prompts with an English clause in them, and how answers to them are judged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config.evaluation import CodeSwitchingCell
from langtransfer.evaluation.code_switching import find_switches
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.switched_prompts import splice, switched_questions

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
