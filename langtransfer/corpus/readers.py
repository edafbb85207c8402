"""Readers of the formats public corpora come in: each yields documents `{"id", "text"}`.

A reader gets one file and yields (number within the file, text); the id is
`<file name>:<number>`. Text is streamed wherever the format allows it.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from langtransfer.config.references import nearest
from langtransfer.corpus.archives import BROKEN
from langtransfer.corpus.jsonl import parse_error, read_lines, read_numbered
from langtransfer.errors import UserError

Rows = Iterator[tuple[int, str]]
Reader = Callable[[Path, str], Rows]

UDHR = "{http://efele.net/udhr}"
"""XML name space of the Universal Declaration files, https://efele.net/udhr"""
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


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
    rows = csv.reader(lines, delimiter=delimiter)
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
        yield number, text_of(row, field, f"{path}, line {number}")


def _json(path: Path, field: str) -> Rows:
    for number, row in read_objects(path):
        yield number, text_of(row, field, f"{path}, item {number}")


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
    # pyarrow.ArrowInvalid is a ValueError, and its OSErrors have no number.
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


def _udhr(path: Path, field: str) -> Rows:
    """One document per article (and the preamble): title and paragraphs."""
    try:
        root = ElementTree.parse(path).getroot()  # expat bounds entity expansion by itself
    except NOT_XML as error:
        raise UserError("file", str(path), f"not XML ({error}): fetch it again") from error
    sections = (node for node in root if node.tag in (f"{UDHR}preamble", f"{UDHR}article"))
    for number, section in enumerate(sections):
        texts = (node.text or "" for node in section.iter() if node.tag in UDHR_TEXT)
        yield number, "\n".join(text.strip() for text in texts if text.strip())


NOT_XML = (ElementTree.ParseError, LookupError, ValueError)
"""The last two are for an encoding that is unknown or that expat does not read."""
UDHR_TEXT = (f"{UDHR}title", f"{UDHR}para")


def _tmx(path: Path, field: str) -> Rows:
    """Segments of one language (`field`, as xml:lang) of a translation memory, zipped or not.

    upstream: TMX 1.4b. Formatting codes inside a segment are read as its text.
    """
    there: set[str] = set()
    found = False
    try:
        with _opened_tmx(path) as file:
            nodes = (node for _, node in ElementTree.iterparse(file))  # streamed, bombs as above
            for number, unit in enumerate((node for node in nodes if node.tag == "tu"), start=1):
                for variant in unit.iter("tuv"):
                    there.add(language := variant.get(XML_LANG, ""))
                    text = "".join(s for seg in variant.iter("seg") for s in seg.itertext()).strip()
                    if text and language.lower() == field.lower():
                        found = True
                        yield number, text
                        break
                unit.clear()
    except (*NOT_XML, *BROKEN, NotImplementedError) as error:
        raise UserError("file", str(path), f"not TMX ({error}): fetch it again") from error
    if not found:
        remedy = f"no segment of {path} is in this language: name one of {', '.join(sorted(there))}"
        raise UserError("field", field, remedy)


def _xml(path: Path, field: str) -> Rows:
    """The text of every element called `field`, whatever its name space: `seg` of cesDoc."""
    found: set[str] = set()
    number = 0
    try:
        with path.open("rb") as file:
            for _, node in ElementTree.iterparse(file):
                found.add(name := str(node.tag).rpartition("}")[2])
                if name == field:
                    number += 1
                    if text := "".join(node.itertext()).strip():
                        yield number, text
                    node.clear()
    except NOT_XML as error:
        raise UserError("file", str(path), f"not XML ({error}): fetch it again") from error
    if not number:
        remedy = f"no element of {path} has this name: name one of {', '.join(sorted(found)[:20])}"
        raise UserError("field", field, remedy)


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


@contextmanager
def _opened_tmx(path: Path) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".tmx")]
        if len(names) != 1:
            remedy = f"must hold one file .tmx, not {len(names)}: unpack it and name them"
            raise UserError("file", str(path), remedy)
        with archive.open(names[0]) as file:
            yield file


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
    "udhr": _udhr,
    "tmx": _tmx,
    "xml": _xml,
    "wikiextractor": _wikiextractor,
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
