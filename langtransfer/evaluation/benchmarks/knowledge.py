"""Multiple-choice benchmarks in their upstream layouts, as subjects with single-answer items.

An item is `{"id", "subject", "question", "A", "B", "C", "D", "answer"}` (GAOKAO-Bench states the
options inside the question; AGIEval has five in places and says so in `letters`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.config.references import nearest
from langtransfer.corpus.jsonl import read_json, read_numbered
from langtransfer.corpus.readers import text_of
from langtransfer.corpus.sources import only_file
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.archives import read_csv_members
from langtransfer.evaluation.resources import benchmark_folder

LETTERS = "ABCDE"
Item = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One part of a benchmark; becomes one task."""

    name: str
    items: list[Item]
    dev: list[Item] = field(default_factory=list)
    """Worked examples, in the order they are shown."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What fills the placeholders of the template's description."""
    left_out: int = 0
    """Items of kinds other than one right letter."""


def read_subjects(config: FetchBenchmarkCell, paths: dict[str, Path]) -> list[Subject]:
    """Subjects of a benchmark, cut to the `subjects` and `items` asked for, sorted by name.

    Subjects of other kinds of question are among them, without items.

    Raises UserError for an unknown subject, too few worked examples, and broken files.
    """
    subjects = sorted(READERS[config.format](config, paths), key=lambda subject: subject.name)
    names = chosen([subject.name for subject in subjects], config.subjects)
    cut = [_cut(subject, config) for subject in subjects if subject.name in names]
    if not any(subject.items for subject in cut):
        remedy = "no item has a single right letter: other kinds of question are not scored yet"
        raise UserError("benchmark, subjects", ", ".join(names), remedy)
    return cut


def chosen(there: Sequence[str], wanted: Collection[str] | None) -> list[str]:
    """Names asked for (all when None), in the order they are there; UserError for an unknown."""
    for name in wanted or ():
        if name not in there:
            raise UserError(
                "benchmark, subjects", name, f"not in this benchmark; {nearest(name, there)}"
            )
    return [name for name in there if wanted is None or name in wanted]


def _cut(subject: Subject, config: FetchBenchmarkCell) -> Subject:
    if len(subject.dev) < config.shots:
        remedy = f"{subject.name} has only {len(subject.dev)} worked examples: ask for fewer shots"
        raise UserError("benchmark, shots", config.shots, remedy)
    items, dev = subject.items[: config.items], subject.dev[: config.shots]
    return Subject(subject.name, items, dev, subject.words, subject.left_out)


def _item(place: str, subject: str, number: int, row: Mapping[str, str]) -> Item:
    """A four-option item from a row with question, A, B, C, D and answer."""
    texts = {name: text_of(row, name, place) for name in ("question", *"ABCD", "answer")}
    if texts["answer"] not in ("A", "B", "C", "D"):
        raise UserError(place, texts["answer"], "the answer must be A, B, C or D: mend the file")
    return {"id": f"{subject}-{number}", "subject": subject, **texts}


def _table(
    path: Path, split: str, columns: Sequence[str] | None
) -> Iterator[tuple[str, list[Item]]]:
    """Subjects of one split of an archive of CSV files; the header is the first row if None."""
    for subject, rows in read_csv_members(path, split, f"_{split}.csv").items():
        header, body = (rows[0], rows[1:]) if columns is None and rows else (columns or (), rows)
        place = f"{path}, {split}/{subject}_{split}.csv"
        if columns is None and "answer" not in header:
            raise UserError(place, split, "holds no answers: use split: val")
        records = (dict(zip(header, row, strict=False)) for row in body)
        yield subject, [_item(place, subject, n, record) for n, record in enumerate(records)]


def _archive(
    config: FetchBenchmarkCell, paths: dict[str, Path], columns: Sequence[str] | None
) -> Iterator[tuple[str, list[Item], list[Item]]]:
    path = only_file(paths)
    dev = dict(_table(path, "dev", columns))
    items = list(_table(path, config.split, columns))
    if not items:
        remedy = (
            f"no files */{config.split}/*_{config.split}.csv inside: is it the upstream archive?"
        )
        raise UserError("file", str(path), remedy)
    for subject, found in items:
        yield subject, found, dev.get(subject, [])


def _ceval(config: FetchBenchmarkCell, paths: dict[str, Path]) -> Iterator[Subject]:
    """Zip of {dev,val,test}/<subject>_<split>.csv with a header; titles from subjects.csv."""
    path = benchmark_folder("ceval") / "subjects.csv"
    with path.open(encoding="utf-8", newline="") as file:
        titles = {row["subject"]: row["title"] for row in csv.DictReader(file)}
    for name, items, dev in _archive(config, paths, None):
        yield Subject(name, items, dev, {"subject": titles.get(name, name)})


def _mmlu(config: FetchBenchmarkCell, paths: dict[str, Path]) -> Iterator[Subject]:
    """Archive of data/{dev,val,test}/<subject>_<split>.csv without a header."""
    columns = ("question", "A", "B", "C", "D", "answer")
    for name, items, dev in _archive(config, paths, columns):
        yield Subject(name, items, dev, {"subject": name.replace("_", " ")})


def _gaokao(config: FetchBenchmarkCell, paths: dict[str, Path]) -> Iterator[Subject]:
    """GAOKAO-Bench's objective question files beside its Obj_Prompt.json."""
    prompt_files = [path for name, path in paths.items() if name.endswith("Obj_Prompt.json")]
    if not prompt_files:
        raise UserError("files", ", ".join(paths), "Bench/Obj_Prompt.json must be among them")
    prompts = {p["keyword"]: p for p in read_json(prompt_files[0])["examples"]}
    for path in (path for path in paths.values() if path not in prompt_files):
        data = read_json(path)
        keyword = text_of(data, "keywords", str(path))
        if keyword not in prompts:
            raise UserError(
                str(path), keyword, f"not in Obj_Prompt.json; {nearest(keyword, prompts)}"
            )
        prompt, rows = prompts[keyword], data["example"]
        single = [row for row in rows if _single(row) and prompt["type"] == "single_choice"]
        yield Subject(
            keyword,
            [_gaokao_item(keyword, row) for row in single],
            words={"prompt": prompt["prefix_prompt"]},
            left_out=len(rows) - len(single),
        )


def _single(row: Mapping[str, Any]) -> bool:
    """Whether one letter answers the question."""
    answer = row["answer"]
    return isinstance(answer, list) and len(answer) == 1 and answer[0] in ("A", "B", "C", "D")


def _gaokao_item(keyword: str, row: Mapping[str, Any]) -> Item:
    options = dict.fromkeys("ABCD", "")  # they stand inside the question
    answer = row["answer"][0]
    name = f"{keyword}-{row['index']}"
    return {
        "id": name,
        "subject": keyword,
        "question": row["question"],
        **options,
        "answer": answer,
    }


def _agieval(config: FetchBenchmarkCell, paths: dict[str, Path]) -> Iterator[Subject]:
    """AGIEval v1 JSON Lines, one file a subject.

    Left out: cloze items, and those with several right letters (["A", "D"], or "AD").
    """
    for path in paths.values():
        rows = list(read_numbered(path))
        single = [pair for pair in rows if pair[1]["options"] and pair[1]["label"] in [*LETTERS]]
        items = [_agieval_item(path, number, row) for number, row in single]
        yield Subject(path.stem, items, left_out=len(rows) - len(items))


def _agieval_item(path: Path, number: int, row: Mapping[str, Any]) -> Item:
    letters = LETTERS[: len(row["options"])]
    if row["label"] not in letters:
        remedy = f"the label must be one of {letters}: mend the file"
        raise UserError(f"{path}, line {number}", row["label"], remedy)
    return {
        "id": f"{path.stem}-{number - 1}",
        "subject": path.stem,
        "passage": row.get("passage") or "",
        "question": row["question"],
        **dict(zip(letters, row["options"], strict=False)),
        "options": " ".join(row["options"]),
        "letters": list(letters),
        "answer": row["label"],
    }


def _atlas(config: FetchBenchmarkCell, paths: dict[str, Path]) -> Iterator[Subject]:
    """The atlas' facts; the worked examples are its first ones."""
    from langtransfer.corpus import atlas

    assert config.items is not None  # the config demands it for the atlas
    templates = atlas.load_templates(only_file(paths))
    tests = atlas.knowledge(templates, config.shots + config.items, seed=config.seed)
    items = [{**test, "subject": "atlas"} for test in tests]
    yield Subject("atlas", items[config.shots :], items[: config.shots])


READERS: dict[str, Callable[[FetchBenchmarkCell, dict[str, Path]], Iterator[Subject]]] = {
    "atlas": _atlas,
    "ceval": _ceval,
    "mmlu": _mmlu,
    "gaokao": _gaokao,
    "agieval": _agieval,
}
