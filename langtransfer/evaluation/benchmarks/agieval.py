"""AGIEval v1: one JSON Lines file a subject, of three kinds of question.

upstream: ruixiangcui/AGIEval, data/v1 and src/dataset_loader.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.config.references import nearest
from langtransfer.corpus.jsonl import read_numbered
from langtransfer.corpus.readers import text_of
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.subjects import Item, Subject, averages_of, table_of

LETTERS = "ABCDE"
EDITION = "v1"
"""Folder of the edition read here, where an archive of the repository holds several."""


def read_agieval(config: FetchBenchmarkCell, paths: Mapping[str, Path]) -> Iterator[Subject]:
    """Every file as a subject; `files.csv` says its language, its kind and its averages.

    In a file of single answers, questions whose label names several letters become a task of their
    own. Raises UserError for files that are not AGIEval's and labels that name no option.
    """
    known = table_of("agieval", "files.csv")
    for path in _files(paths, known):
        name, about = path.stem, known[path.stem]
        rows = list(read_numbered(path))[: config.items]
        items: dict[str, list[Item]] = {}
        for number, row in rows:
            kind, item = _item(path, number, row, about["kind"])
            items.setdefault(kind, []).append(item)
        for kind, found in items.items():
            yield Subject(
                name,
                found,
                template=f"{'task' if kind == 'choice' else kind}.{about['language']}",
                variant="" if kind == about["kind"] else kind,
                averages=averages_of(about),
            )


def _files(paths: Mapping[str, Path], known: Mapping[str, Any]) -> list[Path]:
    """The JSON Lines files by subject; those of the edition where several are there."""
    names = [name for name in paths if name.endswith(".jsonl")]
    here = [name for name in names if PurePosixPath(name).parent.name == EDITION] or names
    stems = [PurePosixPath(name).stem for name in here]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise UserError("files", twice[0], "is there twice: name the files of one edition")
    for name, stem in zip(here, stems, strict=True):
        if stem not in known:
            raise UserError("files", name, f"no file of AGIEval; {nearest(stem, known)}")
    if not here:
        raise UserError("files", ", ".join(paths)[:80], "no .jsonl among them: name AGIEval's")
    return [paths[name] for name in here]


def _item(path: Path, number: int, row: Mapping[str, Any], kind: str) -> tuple[str, Item]:
    """Kind of a question and the question itself; `number` is its line."""
    place = f"{path}, line {number}"
    item: Item = {
        "id": f"{path.stem}-{number - 1}",
        "subject": path.stem,
        "passage": row.get("passage") or "",
        "question": text_of(row, "question", place),
    }
    if kind == "cloze":
        return kind, item | {"answer": text_of(row, "answer", place)}
    options = list(row["options"] or ())
    letters, right = LETTERS[: len(options)], _right(row["label"])
    if set(right) - set(letters) or not (right or kind == "letters"):
        raise UserError(place, row["label"], f"the label must be among {letters}: mend the file")
    several = kind == "letters" or len(right) > 1
    return "letters" if several else "choice", item | {
        **dict(zip(letters, options, strict=True)),
        "options": " ".join(options),
        "letters": list(letters),
        "answer": right,
    }


def _right(label: Any) -> str:
    """Letters of a label, in order: "A", ["A", "D"].

    Seven rows of gaokao-mathqa say "A B D"; one of jec-qa-ca has a full stop among its letters, and
    one of jec-qa-kd no letter at all: upstream takes it that none is right.
    """
    text = "".join(label) if isinstance(label, list) else str(label)
    return "".join(sorted(set(re.findall("[A-Z]", text))))
