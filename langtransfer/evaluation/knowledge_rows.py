"""Rows of `predictions.jsonl` beyond one letter out of four, and the figures made of them.

Written answers, questions with several sub-questions, points, categories, chance, and questions
whose answers are not public.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.marking import MARKINGS, mark

Row = Mapping[str, Any]
Config = Mapping[str, Any]

PARTS = ("question_id", "part", "parts")
"""Fields of an item that is one of several sub-questions."""


def is_written(config: Config) -> bool:
    """Whether a task's answers are written out by the model, not chosen from options."""
    return bool(config.get("output_type") == "generate_until")


def task_marking(config: Config) -> str:
    """How a task's written answers are marked; UserError where its `metadata` do not say."""
    marking = str((config.get("metadata") or {}).get("marking"))
    if marking not in MARKINGS:
        remedy = f"cannot mark written answers: name one of {', '.join(MARKINGS)}"
        raise UserError(f"{config['task']}: metadata, marking", marking, remedy)
    return marking


def with_marks(config: Config) -> dict[str, Any]:
    """A task's settings, written answers marked as its `metadata` say; others as they are."""
    if not is_written(config):
        return dict(config)
    marking = task_marking(config)

    def process_results(item: Mapping[str, Any], answers: Sequence[str]) -> dict[str, float]:
        return {"acc": mark(marking, item, answers[0])[1]}

    return dict(config) | {"process_results": process_results}


def written_row(sample: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """A row for a written answer; `correct` is its share of the points."""
    item, text = sample["doc"], str(sample["filtered_resps"][0])
    prediction, share = mark(task_marking(config), item, text)
    return {
        "id": str(item["id"]),
        "subject": str(item["subject"]),
        "answer": str(item["answer"]),
        "prediction": prediction,
        "correct": share,
        "generated": text,
    }


def completed(row: Row, item: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """A row with what the item and the task say of it: category, chance, points.

    A question whose answer is not public has neither `answer` nor `correct` (both null). Chance
    is that of the item's subject (`benchmarks.marking.chance`); without one in the task file, one
    in as many as there are options.
    """
    options = len(row.get("loglikelihoods") or ())
    even = 1 / options if options else None
    chance = (config.get("metadata") or {}).get("chance", even)
    facts: dict[str, Any] = {"category": str(item.get("category") or row["subject"])}
    facts |= {} if chance is None else {"chance": chance}
    facts |= {} if item.get("points") is None else {"points": item["points"]}
    facts |= {name: item[name] for name in PARTS if item.get("parts", 1) > 1}
    hidden = not is_written(config) and item.get("answer") == ""
    return dict(row) | facts | ({"answer": None, "correct": None} if hidden else {})


def join_parts(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One row per question: sub-questions become its `parts`, in order.

    Letters are joined, `correct` is the share of the points, which all sub-questions have alike.
    """
    whole: list[dict[str, Any]] = []
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if "part" in row:
            groups[str(row["question_id"])].append(row)
        else:
            whole.append(dict(row))
    return whole + [_joined(name, group) for name, group in groups.items()]


def _joined(name: str, group: Sequence[Row]) -> dict[str, Any]:
    parts = sorted(group, key=lambda row: int(row["part"]))
    first = parts[0]
    return {
        "id": name,
        "subject": first["subject"],
        "answer": "".join(row["answer"] for row in parts),
        "prediction": "".join(row["prediction"] for row in parts),
        "correct": fmean(row["correct"] for row in parts),
        "category": first["category"],
        "chance": first["chance"],
        "points": sum(row["points"] for row in parts),
        "truncated": any(row["truncated"] for row in parts),
        "parts": [
            {key: row[key] for key in ("answer", "prediction", "loglikelihoods")} for row in parts
        ],
    }


def figures(rows: Sequence[Row], configs: Mapping[str, Config]) -> dict[str, Any]:
    """Accuracy, chance, points and averages over all rows, by subject and by category.

    Accuracies are null where answers are not public.
    """
    by_subject = dict(_groups(rows, "subject"))
    subjects = {name: _rates(group) for name, group in by_subject.items()}
    if any(row["correct"] is None for row in rows):
        hidden = {"accuracy": None, "subject_mean": None}
        return hidden | {"by_subject": subjects, "by_category": {}, "averages": {}}
    return _rates(rows) | {
        "subject_mean": fmean(found["accuracy"] for found in subjects.values()),
        "by_subject": subjects,
        "by_category": {name: _rates(group) for name, group in _groups(rows, "category")},
        "averages": dict(_averages(subjects, configs)),
    }


def _groups(rows: Sequence[Row], field: str) -> Iterator[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row.get(field, row["subject"]))].append(row)
    yield from sorted(groups.items())


def _rates(rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy, chance and, where questions have points, upstream's scoring rate."""
    correct = [row["correct"] for row in rows]
    found = {"n": len(rows), "accuracy": None if None in correct else fmean(correct)}
    if all("chance" in row for row in rows):
        found["chance"] = fmean(row["chance"] for row in rows)
    if all("points" in row for row in rows):
        full = sum(row["points"] for row in rows)
        earned = sum(row["correct"] * row["points"] for row in rows)
        found |= {"points": full, "points_earned": earned, "scoring_rate": earned / full}
    return found


def _averages(
    subjects: Mapping[str, Mapping[str, Any]], configs: Mapping[str, Config]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Means over subjects, and which those are, by the names task files give them."""
    members: dict[str, set[str]] = defaultdict(set)
    for config in configs.values():
        metadata = config.get("metadata") or {}
        for name in metadata.get("averages", ()):
            members[name].add(str(metadata["subject"]))
    for name, chosen in sorted(members.items()):
        mean = fmean(subjects[subject]["accuracy"] for subject in sorted(chosen))
        yield name, {"accuracy": mean, "subjects": sorted(chosen)}


def submission(rows: Iterable[Row]) -> dict[str, dict[str, str]] | None:
    """Predictions in the form C-Eval's official scorer takes; None where all answers are public.

    upstream: hkust-nlp/ceval, submission_example.json: subject -> number of the question -> letter.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    open_answers = True
    for row in rows:
        open_answers &= row["correct"] is not None
        found[row["subject"]][str(row["id"]).rpartition("-")[2]] = row["prediction"]
    return None if open_answers else dict(found)
