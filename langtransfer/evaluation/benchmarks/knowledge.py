"""Knowledge benchmarks in their upstream layouts, as subjects with items.

An item is `{"id", "subject", "category", "question", "A", "B", "C", "D", "answer"}`, in some
benchmarks with more; its answer is empty where upstream keeps it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.corpus.readers import text_of
from langtransfer.corpus.sources import only_file
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.agieval import read_agieval
from langtransfer.evaluation.benchmarks.gaokao import read_objective
from langtransfer.evaluation.benchmarks.subjects import (
    Item,
    Subject,
    averages_of,
    chosen,
    read_csv,
    table_of,
)

Paths = Mapping[str, Path]
Reader = Callable[[FetchBenchmarkCell, Paths], Iterator[Subject]]


def read_subjects(config: FetchBenchmarkCell, paths: Paths) -> list[Subject]:
    """Subjects of a benchmark, cut to the `subjects` and `items` asked for, sorted by name.

    `paths` are its files by upstream's names, archives unpacked. Raises UserError for an unknown
    subject, too few worked examples, files without a question, and broken ones.
    """
    found = (subject for subject in READERS[config.format](config, paths) if subject.items)
    subjects = sorted(found, key=lambda subject: subject.name)
    if not subjects:
        raise UserError("files", ", ".join(paths)[:80], "hold no question: fetch them again")
    names = set(chosen([subject.name for subject in subjects], config.subjects))
    return [_shown(subject, config.shots) for subject in subjects if subject.name in names]


def _shown(subject: Subject, shots: int) -> Subject:
    if len(subject.dev) < shots:
        remedy = f"{subject.name} has only {len(subject.dev)} worked examples: ask for fewer shots"
        raise UserError("benchmark, shots", shots, remedy)
    return replace(subject, dev=subject.dev[:shots])


def _item(place: str, subject: str, category: str, number: int, row: Mapping[str, str]) -> Item:
    """A four-option item from a row with question, A, B, C, D and, where it is public, answer."""
    texts = {name: text_of(row, name, place) for name in ("question", *"ABCD")}
    answer = text_of(row, "answer", place) if "answer" in row else ""
    if "answer" in row and answer not in ("A", "B", "C", "D"):
        raise UserError(place, answer, "the answer must be A, B, C or D: mend the file")
    name = f"{subject}-{number}"
    return {"id": name, "subject": subject, "category": category, **texts, "answer": answer}


def _tables(
    config: FetchBenchmarkCell, paths: Paths, suffix: str, columns: Sequence[str] | None
) -> Iterator[Subject]:
    """One subject per file `<split>/<subject><suffix>`, its worked examples from `dev/`.

    `{split}` stands in the suffix for the folder; the header is the first row where columns is
    None. Titles, categories and averages are those of the format's `subjects.csv`.
    """
    known = table_of(config.format, "subjects.csv")
    files = {
        split: _split_files(paths, split, suffix.format(split=split))
        for split in ("dev", config.split)
    }
    if not files[config.split]:
        ending = suffix.format(split=config.split)
        remedy = f"no files */{config.split}/*{ending} among them: are they upstream's?"
        raise UserError("files", ", ".join(paths)[:80], remedy)
    for name, path in files[config.split].items():
        about = known.get(name, {})
        dev = files["dev"].get(name)
        read = [
            _records(name, about.get("category", ""), file, columns) if file else []
            for file in (path, dev)
        ]
        yield Subject(
            name,
            read[0][: config.items],
            read[1],
            {"subject": about.get("title", name.replace("_", " "))},
            averages=averages_of(about),
        )


def _split_files(paths: Paths, split: str, suffix: str) -> dict[str, Path]:
    """Files of one split by subject."""
    return {
        PurePosixPath(name).name.removesuffix(suffix): path
        for name, path in sorted(paths.items())
        if PurePosixPath(name).parent.name == split and name.endswith(suffix)
    }


def _records(subject: str, category: str, path: Path, columns: Sequence[str] | None) -> list[Item]:
    rows = read_csv(path)
    header, body = (rows[0], rows[1:]) if columns is None and rows else (columns or (), rows)
    names = [name.lower() if name in ("Question", "Answer") else name for name in header]
    records = (dict(zip(names, row, strict=False)) for row in body)
    return [_item(str(path), subject, category, n, record) for n, record in enumerate(records)]


def _ceval(config: FetchBenchmarkCell, paths: Paths) -> Iterator[Subject]:
    """{dev,val,test}/<subject>_<split>.csv with a header; test without answers."""
    return _tables(config, paths, "_{split}.csv", None)


def _mmlu(config: FetchBenchmarkCell, paths: Paths) -> Iterator[Subject]:
    """data/{dev,val,test}/<subject>_<split>.csv without a header."""
    columns = ("question", "A", "B", "C", "D", "answer")
    return _tables(config, paths, "_{split}.csv", columns)


def _cmmlu(config: FetchBenchmarkCell, paths: Paths) -> Iterator[Subject]:
    """{dev,test}/<subject>.csv with the header `,Question,A,B,C,D,Answer`."""
    return _tables(config, paths, ".csv", None)


def _atlas(config: FetchBenchmarkCell, paths: Paths) -> Iterator[Subject]:
    """The atlas' facts; the worked examples are its first ones."""
    from langtransfer.corpus import atlas

    assert config.items is not None  # the config demands it for the atlas
    templates = atlas.load_templates(only_file(dict(paths)))
    tests = atlas.knowledge(templates, config.shots + config.items, seed=config.seed)
    items: list[Item] = [{**test, "subject": "atlas"} for test in tests]
    yield Subject("atlas", items[config.shots :], items[: config.shots])


READERS: dict[str, Reader] = {
    "atlas": _atlas,
    "ceval": _ceval,
    "mmlu": _mmlu,
    "cmmlu": _cmmlu,
    "gaokao": read_objective,
    "agieval": read_agieval,
}
