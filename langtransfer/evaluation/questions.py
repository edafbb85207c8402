"""Response-quality questions and the answers given to them, as stages hand them on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from langtransfer.corpus.jsonl import read_jsonl, require_characters
from langtransfer.errors import UserError


class Question(BaseModel):
    """One line of `questions.jsonl`.

    keys are groups of spellings: a complete answer holds one spelling of every group. wrong are
    strings that only a wrong answer holds. Both may be empty, as in upstream sets.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    category: str
    instruction: str
    input: str = ""
    reference: str = ""
    keys: tuple[tuple[str, ...], ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is asked, without a prompt template."""
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


def read_questions(benchmark: Path) -> list[Question]:
    """Questions of a benchmark's data folder, in file order.

    Raises UserError for a line that is not a question, for an id seen before, and for half a
    surrogate pair.
    """
    path = benchmark / "questions.jsonl"
    questions = [_question(row, path) for row in read_jsonl(path)]
    seen: set[str] = set()
    for question in questions:
        require_characters(question.text, f"{path}: question", question.id)
        if question.id in seen:
            raise UserError(str(path), question.id, "the id occurs twice: make ids unique")
        seen.add(question.id)
    if not questions:
        raise UserError(str(path), 0, "no questions: check the benchmark's subjects and items")
    return questions


def _question(row: Mapping[str, Any], path: Path) -> Question:
    try:
        return Question.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{path}: {row.get('id', '?')}.{'.'.join(map(str, first['loc']))}"
        raise UserError(place, first["input"], first["msg"]) from error


@contextmanager
def missing_questions_explained(format: str, dataset: str, registry: Path) -> Iterator[None]:
    """LLM-Eval's questions are not published: an error in fetching them says where to put them."""
    try:
        yield
    except UserError as error:
        if format != "llm-eval":
            raise
        remedy = (
            f"{error.remedy}. LLM-Eval's questions cannot be downloaded: ask its authors, put "
            f"dialogs.json into a folder, and write that folder as location, and kind file, into "
            f"the row {dataset} of {registry}"
        )
        raise UserError(error.field, error.value, remedy) from error


def answered(benchmark: Path, answers: Path) -> Iterator[tuple[Question, dict[str, Any]]]:
    """Each question with its row of `answers.jsonl`, in question order.

    Raises UserError where a question has no answer.
    """
    path = answers / "answers.jsonl"
    by_id = {row["id"]: row for row in read_jsonl(path)}
    for question in read_questions(benchmark):
        if question.id not in by_id:
            raise UserError(str(path), question.id, "no answer: `make redo` the generate cell")
        yield question, by_id[question.id]
