"""Response-quality questions: the atlas' with known answers, LLM-Eval's and GAOKAO-Bench's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.corpus.readers import read_objects, text_of
from langtransfer.corpus.sources import only_file
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.gaokao import read_subjective
from langtransfer.evaluation.benchmarks.subjects import chosen

Question = dict[str, Any]


def read_questions(config: FetchBenchmarkCell, paths: dict[str, Path]) -> list[Question]:
    """Questions `{"id","category","instruction","input","reference","keys","wrong"}`.

    GAOKAO-Bench's say their `points` as well.
    Cut to the categories (`subjects`) and the questions per category (`items`) asked for.
    Raises UserError for an unknown category and for files that are not of the format.
    """
    found = _found(config, paths)
    categories = list(dict.fromkeys(question["category"] for question in found))
    wanted = set(chosen(categories, config.subjects))
    seen: Counter[str] = Counter()
    cut = []
    for question in found:
        category = question["category"]
        seen[category] += 1
        if category in wanted and (config.items is None or seen[category] <= config.items):
            cut.append(question)
    return cut


def _found(config: FetchBenchmarkCell, paths: dict[str, Path]) -> list[Question]:
    if config.format == "atlas":
        return _atlas(config, paths)
    if config.format == "gaokao-subjective":
        return list(read_subjective(paths))
    return list(_llm_eval(paths))


def _atlas(config: FetchBenchmarkCell, paths: dict[str, Path]) -> list[Question]:
    from langtransfer.corpus import atlas

    assert config.items is not None  # the config demands it for the atlas
    templates = atlas.load_templates(only_file(paths))
    made = atlas.questions(templates, config.items, seed=config.seed)
    return [question.model_dump() for question in made]


def _llm_eval(paths: dict[str, Path]) -> Iterator[Question]:
    """LLMEval's files: one record per question, or per question and model (first one taken).

    upstream: llmeval/llmeval-1 (data/dialogs.json) and llmeval/llmeval-2 (data/*_data.json).
    """
    seen: set[str] = set()
    for name in sorted(paths):
        for number, row in read_objects(paths[name]):
            place = f"{paths[name]}, item {number}"
            uuid = text_of(row, "question_uuid", place)
            if uuid not in seen:
                seen.add(uuid)
                yield _llm_eval_question(uuid, row, place)


def _llm_eval_question(uuid: str, row: Mapping[str, Any], place: str) -> Question:
    return {
        "id": uuid,
        "category": uuid.rpartition("_")[0],
        "instruction": _asked(row, place),
        "input": "",
        "reference": "" if row.get("hint") is None else str(row["hint"]),  # some are numbers
        "keys": [],
        "wrong": [],
    }


def _asked(row: Mapping[str, Any], place: str) -> str:
    """The question's text, or the first thing the user says in the dialogue."""
    if "dialog" not in row:
        return text_of(row, "question", place)
    turns: Iterable[Mapping[str, Any]] = row["dialog"]
    for turn in turns:
        if turn.get("role") == "user":
            return text_of(turn, "content", place)
    raise UserError(place, "dialog", "no turn of role user: mend the file")
