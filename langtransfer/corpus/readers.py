"""Readers of the formats public corpora come in: each yields documents `{"id", "text"}`.

A reader gets one file and yields (number within the file, text); the id is
`<file name>:<number>`. Text is streamed wherever the format allows it.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langtransfer.config.references import nearest
from langtransfer.corpus.jsonl import parse_error, read_json, read_lines, read_numbered
from langtransfer.corpus.xml_readers import read_tmx, read_udhr, read_xml
from langtransfer.errors import UserError

Rows = Iterator[tuple[int, str]]
Reader = Callable[[Path, str], Rows]


def read_documents(format: str, paths: Mapping[str, Path], field: str) -> Iterator[dict[str, str]]:
    """Documents of all files, in the order of the file names.

    Raises UserError for an unknown format, a missing field (naming file, line and the keys that
    are there) and whatever is wrong with a file.
    """
    if format not in READERS:
        remedy = f"no reader of documents has this name; {nearest(format, READERS)}"
        raise UserError("format", format, remedy)
    for name in sorted(paths):
        for number, text in READERS[format](paths[name], field):
            yield {"id": f"{name}:{number}", "text": whole_characters(text)}


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON array or of JSON Lines, whichever the file holds, with their numbers.

    Published instruction data calls both `.json`; an array is read whole, lines are streamed.
    """
    first = next((line for _, line in read_lines(path) if line.strip()), "")
    if not first.lstrip().startswith("["):
        yield from read_numbered(path)
        return
    for number, row in enumerate(_read_array(path), start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, item {number}", str(row)[:80], "must be an object {...}")
        yield number, row


def read_table(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a delimited file with a header, by column name, with their line numbers."""
    lines = (line + "\n" for _, line in read_lines(path))
    csv.field_size_limit(1 << 30)  # documents are long: the default stops at 128 KiB
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        for row in rows:
            if row:
                if len(row) != len(header):
                    remedy = f"has {len(row)} cells for {len(header)} columns: quote or mend it"
                    raise UserError(f"{path}, line {rows.line_num}", row[0][:80], remedy)
                yield rows.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        remedy = f"not a table ({error}): mend or remove it"
        raise UserError("file", f"{path}, line {rows.line_num}", remedy) from error


def text_of(row: Mapping[str, Any], field: str, place: str) -> str:
    """A row's text; UserError naming the place and the keys there are when it has none."""
    if field not in row:
        keys = ", ".join(sorted(row)) or "none"
        remedy = f"has no such field; its keys: {keys}: name one in the registry or mend the file"
        raise UserError(place, field, remedy)
    if not isinstance(row[field], str):
        remedy = f"field {field} must be text, not {type(row[field]).__name__}"
        raise UserError(place, row[field], remedy)
    return str(row[field])


def paragraphs_of(row: Mapping[str, Any], field: str, place: str) -> str:
    """As `text_of`, a list of texts joined by line feeds: how books keep their paragraphs."""
    value = row.get(field)
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    return text_of(row, field, place)


def whole_characters(text: str) -> str:
    """Text with halves of surrogate pairs (`\\ud83d` alone in JSON) replaced: no UTF-8 has them."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read_array(path: Path) -> list[Any]:
    text = "\n".join(line for _, line in read_lines(path))
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise parse_error(str(path), text, error) from error
    return list(items)


def _jsonl(path: Path, field: str) -> Rows:
    for number, row in read_numbered(path):
        yield number, paragraphs_of(row, field, f"{path}, line {number}")


def _json(path: Path, field: str) -> Rows:
    for number, row in read_objects(path):
        yield number, paragraphs_of(row, field, f"{path}, item {number}")


def _squad(path: Path, field: str) -> Rows:
    """The paragraphs that questions are asked about, once each: SQuAD 1.1 and its translations."""
    number = 0
    for article in _list(read_json(path).get("data")):
        for paragraph in _list(article.get("paragraphs") if isinstance(article, dict) else None):
            number += 1
            row = paragraph if isinstance(paragraph, dict) else {}
            yield number, text_of(row, "context", f"{path}, paragraph {number}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _csv(path: Path, field: str) -> Rows:
    for number, row in read_table(path, ","):
        yield number, text_of(row, field, f"{path}, line {number}")


def _tsv(path: Path, field: str) -> Rows:
    for number, row in read_table(path, "\t"):
        yield number, text_of(row, field, f"{path}, line {number}")


def _parquet(path: Path, field: str) -> Rows:
    """Streamed row group by row group through `datasets`."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    try:
        rows = load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        for number, row in enumerate(rows, start=1):
            yield number, text_of(row, field, f"{path}, row {number}")
    # pyarrow.ArrowInvalid is a ValueError, its OSErrors have no number, and NotImplementedError is
    # what it says of encodings it cannot read: all of them are about the file.
    except (ValueError, DatasetGenerationError, OSError, NotImplementedError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise UserError("file", str(path), f"not Parquet ({error}): fetch it again") from error


def _txt(path: Path, field: str) -> Rows:
    """One document a line, blank lines skipped."""
    return ((number, line) for number, line in read_lines(path) if line.strip())


def _txt_file(path: Path, field: str) -> Rows:
    """The whole file is one document."""
    yield 1, "\n".join(line for _, line in read_lines(path))


def _alpaca(path: Path, field: str) -> Rows:
    """Instruction, input and output of a record as one text."""
    for number, row in read_objects(path):
        place = f"{path}, item {number}"
        parts = [text_of(row, "instruction", place), str(row.get("input") or "")]
        yield number, "\n".join(part for part in [*parts, text_of(row, "output", place)] if part)


def _storybook(path: Path, field: str) -> Rows:
    """A Global Storybooks file: `# title`, pages apart by lines `##`, a last block of metadata.

    upstream: https://github.com/global-asp/global-asp, section "Source format" of its README.
    """
    pages = re.split(r"(?m)^##[ \t]*$", "\n".join(line for _, line in read_lines(path)))
    texts = [page.strip() for page in pages if not re.match(r"\s*\* License", page)]
    yield 1, "\n".join(text.removeprefix("# ") for text in texts if text)


def _wikiextractor(path: Path, field: str) -> Rows:
    """Articles between `<doc ...>` and `</doc>`, without these lines and the title's.

    upstream: attardi/wikiextractor, its text form; what it writes with --json is `jsonl`.
    """
    article: list[str] | None = None
    number = 0
    for at, line in read_lines(path):
        if line.startswith("<doc "):
            if article is not None:
                raise UserError("file", f"{path}, line {at}", "<doc> in a <doc>: fetch it again")
            article, number = [], at
        elif line.strip() == "</doc>":
            if article is None:
                raise UserError("file", f"{path}, line {at}", "</doc> alone: fetch it again")
            if text := "\n".join(article[1:]).strip():  # the first line is the title
                yield number, text
            article = None
        elif article is not None:
            article.append(line)
        elif line.strip():
            raise UserError("file", f"{path}, line {at}", "text outside <doc>: not wikiextractor's")
    if article is not None:
        raise UserError("file", f"{path}, line {number}", "<doc> has no end: fetch it again")


READERS: dict[str, Reader] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
    "txt": _txt,
    "txt-file": _txt_file,
    "alpaca": _alpaca,
    "storybook": _storybook,
    "flores": _txt,
    "udhr": read_udhr,
    "tmx": read_tmx,
    "xml": read_xml,
    "wikiextractor": _wikiextractor,
    "squad": _squad,
}


def take(
    documents: Iterator[dict[str, str]], start: int, count: int | None, field: str
) -> Iterator[dict[str, str]]:
    """The documents from `start` on, `count` of them or all; UserError when there are fewer."""
    found = 0
    for document in itertools.islice(documents, start, None if count is None else start + count):
        found += 1
        yield document
    if found < (count or 1):
        mend = "ask for fewer" if found or start else "mend its files or name another"
        remedy = f"the dataset has only {found} from document {start} on: {mend}"
        raise UserError(field, "all" if count is None else count, remedy)
