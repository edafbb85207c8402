"""Prompts with a clause of another language in them, to see whether the answer follows it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import regex  # type: ignore[import-untyped]

from langtransfer.evaluation.questions import Question

# Where a clause may go: after white space, or after punctuation where words are not set apart.
GAP = regex.compile(r"(?<=\s)(?=\S)|(?<=[，。、；：？！])(?=[^\s，。、；：？！”』」》）])|\Z")
CLAUSE_WORDS = 8  # our choice: long enough for a phrase with its verb
SENTENCE_END = ".!?。！？।۔؟"


def splice(text: str, clause: str, key: str) -> str:
    """The text with a clause put between two of its words; the place depends on the key alone.

    Nothing of the text is lost; the clause is set apart by spaces.
    """
    places = [match.start() for match in GAP.finditer(text)] or [len(text)]
    digest = hashlib.sha256(key.encode()).digest()
    place = places[int.from_bytes(digest[:8], "big") % len(places)]
    before, after = text[:place].rstrip(" "), text[place:].lstrip(" ")
    return " ".join(part for part in (before, clause, after) if part)


def switched_questions(
    questions: Iterable[Question], source: Iterable[Question]
) -> Iterator[Question]:
    """Questions whose instruction holds the first words of the same question in the source
    language; one that the source set lacks (by id) is left out."""
    originals = {question.id: question for question in source}
    for question in questions:
        if question.id in originals:
            words = originals[question.id].instruction.rstrip(SENTENCE_END).split()
            clause = " ".join(words[:CLAUSE_WORDS])
            mixed = splice(question.instruction, clause, question.id)
            yield question.model_copy(update={"instruction": mixed})
