"""The dataset registry: what each dataset is (its identity) and where to get it (its location).

`resources/datasets.csv` has one row per (key, language); its columns are described in
`resources/README.md`. A lab with its own mirrors points `runtime.registry` at its own copy:
locations may differ as they like, no key depends on them.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from langtransfer.config.base import Language, Model, Name
from langtransfer.config.corpus import DatasetIdentity
from langtransfer.config.references import nearest
from langtransfer.corpus.download import download, download_from_hub, verify
from langtransfer.corpus.jsonl import read_lines
from langtransfer.errors import UserError
from langtransfer.resources import locate

COLUMNS = (
    "key", "language", "kind", "location", "revision", "files", "format", "field", "licence",
    "homepage", "note",
)  # fmt: skip
ANY_LANGUAGE = "*"
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class DatasetRow(Model):
    """One row of the registry."""

    key: Name
    language: Language | Literal["*"]
    """Language of the text, or `*` for any."""
    kind: Literal["atlas", "file", "https", "hub"]
    location: str = Field(min_length=1)
    """Folder (relative to the repository), URL of the folder, or hub id (`datasets/org/name`)."""
    revision: str = ""
    """Commit of a hub repository."""
    files: dict[str, Sha256] = Field(min_length=1)
    """File name under the location -> sha256 of its bytes, empty when not known."""
    format: str = ""
    field: str = ""
    licence: str = ""
    homepage: str = ""
    note: str = ""
    registry: str = ""
    """Path of the registry file, for messages."""
    line: int = 0
    """Line in the registry file, for messages."""

    @model_validator(mode="after")
    def _plain(self) -> DatasetRow:
        if self.kind == "https" and not re.match(r"https?://", self.location):
            raise ValueError("location of kind https must begin with http:// or https://")
        if bad := [n for n in self.files if Path(n).is_absolute() or ".." in Path(n).parts]:
            raise ValueError(f"files must be names below the location, not {bad[0]!r}")
        return self

    def place(self) -> str:
        """Where the row stands, for messages."""
        return f"{self.registry}, line {self.line}, key {self.key}"


@dataclass(frozen=True)
class Registry:
    """All rows of one registry file."""

    path: Path
    rows: Mapping[tuple[str, str], DatasetRow]

    def row(self, key: str, language: str) -> DatasetRow:
        """The row of a dataset for a language, `{language}` in its fields filled in.

        Raises UserError naming what is there when the key or the language is not.
        """
        found = self.rows.get((key, language)) or self.rows.get((key, ANY_LANGUAGE))
        if found is not None:
            return _for_language(found, language)
        languages = sorted(there for name, there in self.rows if name == key)
        if not languages:
            keys = {name for name, _ in self.rows}
            raise UserError("dataset", key, f"not in {self.path}; {nearest(key, keys)}")
        remedy = f"dataset {key} of {self.path} has {', '.join(languages)}: add a row"
        raise UserError("language", language, remedy)


def load_registry(path: Path) -> Registry:
    """Read and check a registry; UserError naming the line for anything wrong in it."""
    text = "\n".join(line for _, line in read_lines(path))
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, [])
    _check_header(path, header)
    rows: dict[tuple[str, str], DatasetRow] = {}
    for cells in reader:
        if not cells:
            continue
        row = _parse_row(path, reader.line_num, header, cells)
        if (other := rows.get((row.key, row.language))) is not None:
            value = f"{row.key}, {row.language}"
            raise UserError(f"{path}, line {row.line}", value, f"is on line {other.line}: keep one")
        rows[row.key, row.language] = row
    return Registry(path, rows)


def identity(row: DatasetRow, sha256: Callable[[Path], str]) -> DatasetIdentity:
    """What of a row decides the bytes; local files without a checksum are hashed.

    Raises UserError naming registry, key and path when a local source file is missing.
    """
    files = dict(row.files)
    if row.kind in ("atlas", "file"):
        files = {n: row.files.get(n) or sha256(p) for n, p in _paths(row).items()}
    return DatasetIdentity(
        key=row.key, revision=row.revision, files=files, format=row.format,
        field=row.field,
    )  # fmt: skip


def fetch(registry: Path, source: DatasetIdentity, language: str, work: Path) -> dict[str, Path]:
    """Local copies of a recipe's dataset by file name, verified against the recipe's checksums.

    The registry says only where to get them. Raises UserError as `local_files` does.
    """
    row = load_registry(registry).row(source.key, language)
    return local_files(row.model_copy(update=_pinned(source)), work)


def local_files(row: DatasetRow, work: Path) -> dict[str, Path]:
    """Files of a row by name, downloaded into `work` unless local, checksums verified.

    Raises UserError for missing files, wrong checksums, refused or failed downloads, and for
    remote files that neither a checksum nor a commit pins.
    """
    if row.kind == "hub":
        return download_from_hub(row.location, row.revision, row.files, work, row.place())
    if row.kind == "https":
        return {
            name: download(_url(row.location, name), work / name, digest, row.place())
            for name, digest in sorted(row.files.items())
        }
    paths = _paths(row)
    for name, path in paths.items():
        verify(path, row.files.get(name, ""), row.place())
    return paths


def _pinned(source: DatasetIdentity) -> dict[str, object]:
    """What a row takes from the recipe instead of from the registry."""
    return source.model_dump(include={"revision", "files", "format", "field"})


def _url(location: str, name: str) -> str:
    """URL of one file: `{file}` in the location, or a name below it."""
    from urllib.parse import quote

    if "{file}" in location:
        return location.replace("{file}", quote(name))
    return f"{location.rstrip('/')}/{quote(name)}"


def _paths(row: DatasetRow) -> dict[str, Path]:
    """Local files of a row by name, patterns (`*.md`) expanded and sorted."""
    folder = locate(row.location)
    paths: dict[str, Path] = {}
    for pattern in row.files:
        literal = folder / pattern
        wild = not literal.is_file() and any(c in pattern for c in "*?[")
        found = sorted(p for p in folder.glob(pattern) if p.is_file()) if wild else [literal]
        if not found or not all(path.is_file() for path in found):
            value = str(Path(row.location) / pattern)
            raise UserError(row.place(), value, "no such source file: put it there or mend the row")
        paths |= {path.relative_to(folder).as_posix(): path for path in found}
    return dict(sorted(paths.items()))


def _for_language(row: DatasetRow, language: str) -> DatasetRow:
    """The row with `{language}` filled in."""

    def fill(text: str) -> str:
        return text.replace("{language}", language)

    files = {fill(name): digest for name, digest in row.files.items()}
    return row.model_copy(update={"location": fill(row.location), "files": files})


def _check_header(path: Path, header: Sequence[str]) -> None:
    for name in header:
        if name not in COLUMNS:
            raise UserError(f"{path}, line 1", name, f"unknown column; {nearest(name, COLUMNS)}")
    if len(set(header)) < len(header):
        raise UserError(f"{path}, line 1", ",".join(header), "a column is named twice: keep one")
    if missing := set(COLUMNS[:6]) - set(header):
        remedy = f"column {sorted(missing)[0]} is missing: the header is {','.join(COLUMNS)}"
        raise UserError(f"{path}, line 1", ",".join(header), remedy)


def _parse_row(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> DatasetRow:
    if len(cells) != len(header):
        remedy = f"has {len(cells)} cells for {len(header)} columns: quote cells with commas"
        raise UserError(f"{path}, line {line}", ",".join(cells)[:80], remedy)
    values: dict[str, object] = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    values |= {"files": _parse_files(str(values["files"])), "registry": str(path), "line": line}
    try:
        return DatasetRow.model_validate(values)
    except ValidationError as error:
        raise _row_error(path, line, error) from error


def _row_error(path: Path, line: int, error: ValidationError) -> UserError:
    """The first thing pydantic found, as one line; a near miss of an allowed value is named."""
    first = error.errors()[0]
    column = str(first["loc"][0]) if first["loc"] else "row"
    value = first["input"] if first["loc"] else ""
    remedy = first["msg"].removeprefix("Value error, ")
    if column == "kind":
        near = difflib.get_close_matches(str(value), ("atlas", "file", "https", "hub"), n=1)
        remedy += f"; did you mean {near[0]}?" if near else ""
    return UserError(f"{path}, line {line}, {column}", value, remedy)


def _parse_files(cell: str) -> dict[str, str]:
    """`name=sha256` parts, apart by `;` where there is one (names with spaces), else by spaces."""
    files: dict[str, str] = {}
    for part in cell.split(";") if ";" in cell else cell.split():
        name, _, digest = part.strip().partition("=")
        if name:
            files[name] = digest.strip()
    return files
