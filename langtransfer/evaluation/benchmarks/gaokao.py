"""GAOKAO-Bench: objective questions by points, and subjective ones for a judge.

upstream: OpenLMLab/GAOKAO-Bench, Data/ and Bench/{Obj,Sub}_Prompt.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.config.references import nearest
from langtransfer.corpus.jsonl import read_json
from langtransfer.corpus.readers import text_of
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.subjects import Item, Subject, table_of

# upstream's types of question -> task template, letters an answer may name
TYPES = {
    "single_choice": ("task", "ABCD"),
    "multi_question_choice": ("task", "ABCD"),
    "multi_choice": ("letters", "ABCD"),
    "five_out_of_seven": ("sequence", "ABCDEFG"),
}


def read_objective(config: FetchBenchmarkCell, paths: Mapping[str, Path]) -> Iterator[Subject]:
    """The objective files as subjects, their prompts from Obj_Prompt.json.

    A question with several sub-questions gives one item for each (`part` of `parts`, one
    `question_id`). Raises UserError for a missing prompt file, a file without prompt, and answers
    that name no option.
    """
    categories = table_of("gaokao", "files.csv")
    for path, keyword, prompt, rows in _files(paths, "Objective", "Obj_Prompt.json"):
        if prompt["type"] not in TYPES:
            raise UserError(str(path), prompt["type"], f"no type of question; {', '.join(TYPES)}")
        template, letters = TYPES[prompt["type"]]
        category = categories.get(keyword, {}).get("category", "")
        about = {"subject": keyword, "category": category}
        asked = rows[: config.items]
        for row in asked:
            _check(f"{path}, index {row['index']}", row["answer"], prompt["type"], letters)
        make = _parts if template == "task" else _whole
        items = [about | item for row in asked for item in make(keyword, row)]
        yield Subject(keyword, items, words={"prompt": prompt["prefix_prompt"]}, template=template)


def read_subjective(paths: Mapping[str, Path]) -> Iterator[Item]:
    """The subjective questions for a judge, with upstream's answer as the reference.

    `points` is what upstream gives for a full answer. Raises UserError as `read_objective`.
    """
    for path, keyword, prompt, rows in _files(paths, "Subjective", "Sub_Prompt.json"):
        # error correction has two prompts, the second for listing what the first one changed
        prefix = prompt["prefix_prompt"]
        first = prefix[0] if isinstance(prefix, list) else prefix
        for row in rows:
            place = f"{path}, index {row['index']}"
            yield {
                "id": f"{keyword}-{row['index']}",
                "category": keyword,
                "instruction": str(first).strip(),
                "input": text_of(row, "question", place).strip(),
                "reference": text_of(row, "answer", place).strip(),
                "keys": [],
                "wrong": [],
                "points": row["score"],
            }


def _files(
    paths: Mapping[str, Path], kind: str, prompts: str
) -> Iterator[tuple[Path, str, dict[str, Any], list[dict[str, Any]]]]:
    """Path, keyword, prompt and questions of each file of a kind.

    Question files are those in `<kind>_Questions/`, or all others where there is no such folder.
    """
    prompt_files = [path for name, path in paths.items() if PurePosixPath(name).name == prompts]
    if not prompt_files:
        raise UserError("files", ", ".join(paths)[:80], f"Bench/{prompts} must be among them")
    by_keyword = {entry["keyword"]: entry for entry in read_json(prompt_files[0])["examples"]}
    names = [name for name, path in paths.items() if path not in prompt_files]
    folder = f"{kind}_Questions"
    here = [name for name in names if PurePosixPath(name).parent.name == folder] or names
    for name in here:
        data = read_json(paths[name])
        keyword = text_of(data, "keywords", str(paths[name]))
        if keyword not in by_keyword:
            remedy = f"not in {prompts}; {nearest(keyword, by_keyword)}"
            raise UserError(str(paths[name]), keyword, remedy)
        yield paths[name], keyword, by_keyword[keyword], data["example"]


def _check(place: str, answers: Any, type: str, letters: str) -> None:
    """UserError unless the answers are of the type: one letter each, several in multi_choice."""
    remedy = f"no answer to a question of type {type}: mend the file"
    if not isinstance(answers, list) or not answers:
        raise UserError(place, answers, remedy)
    several = type == "multi_choice"
    for answer in answers:
        if not answer or set(answer) - set(letters) or (len(answer) > 1 and not several):
            raise UserError(place, answers, remedy)
    if len(answers) > 1 and type in ("single_choice", "multi_choice"):
        raise UserError(place, answers, remedy)


def _parts(keyword: str, row: Mapping[str, Any]) -> Iterator[Item]:
    """One item per sub-question; options stand inside the question.

    upstream: the forms of an answer in Obj_Prompt.json, `【答案】: A` and `（1）【答案】 A`.
    """
    name, answers = f"{keyword}-{row['index']}", row["answer"]
    for part, answer in enumerate(answers, start=1):
        alone = len(answers) == 1
        yield {
            "id": name if alone else f"{name}.{part}",
            "question_id": name,
            "part": part,
            "parts": len(answers),
            "points": row["score"],
            "question": row["question"],
            "cue": "【答案】:" if alone else f"（{part}）【答案】",
            "answer": answer,
        }


def _whole(keyword: str, row: Mapping[str, Any]) -> Iterator[Item]:
    """One item for a question whose letters are written out, its points those of all answers."""
    yield {
        "id": f"{keyword}-{row['index']}",
        "points": row["score"] * len(row["answer"]),
        "question": row["question"],
        "answer": "".join(row["answer"]),
    }
