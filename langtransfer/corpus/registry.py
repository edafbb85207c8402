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
from langtransfer.corpus.archives import is_archive, unpack
from langtransfer.corpus.download import download_from_any, download_from_hub, verify
from langtransfer.corpus.jsonl import read_lines
from langtransfer.corpus.locations import MEMBER, Part, fetched, local_paths, members, urls
from langtransfer.errors import UserError

COLUMNS = (
    "key", "language", "kind", "location", "revision", "files", "format", "field", "licence",
    "homepage", "note", "mirrors", "base",
)  # fmt: skip
ANY_LANGUAGE = "*"
KINDS = ("atlas", "file", "https", "hub", "hub-stream", "rows")
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class DatasetRow(Model):
    """One row of the registry."""

    key: Name
    language: Language | Literal["*"]
    """Language of the text, or `*` for any."""
    kind: Literal["atlas", "file", "https", "hub", "hub-stream", "rows"]
    location: str = ""
    """Folder (relative to the repository), URL of the folder, or hub id (`datasets/org/name`)."""
    revision: str = ""
    """Commit of a hub repository."""
    files: dict[str, Sha256] = Field(min_length=1)
    """File name under the location -> sha256 of its bytes, empty when not known; of kind `rows`
    keys of other rows."""
    format: str = ""
    field: str = ""
    licence: str = ""
    homepage: str = ""
    note: str = ""
    mirrors: tuple[str, ...] = ()
    """URLs as of kind `https`, asked in turn where the location fails."""
    base: str = ""
    """Of a model that is no checkpoint by itself: key of the one it changes."""
    parts: tuple[DatasetRow, ...] = ()
    """Of kind `rows`: the rows, once looked up."""
    registry: str = ""
    """Path of the registry file, for messages."""
    line: int = 0
    """Line in the registry file, for messages."""

    @model_validator(mode="after")
    def _plain(self) -> DatasetRow:
        places = (*([self.location] if self.kind == "https" else []), *self.mirrors)
        if not all(re.match(r"https?://", place) for place in places):
            raise ValueError(
                "location of kind https and mirrors must begin with http:// or https://"
            )
        if not self.location and self.kind != "rows":
            raise ValueError("location is missing: a folder, URL or hub id")
        names = [part for name in self.files for part in name.split(MEMBER)]
        if bad := [n for n in names if Path(n).is_absolute() or ".." in Path(n).parts]:
            raise ValueError(f"files must be names below the location, not {bad[0]!r}")
        if bad := [n for n in self.files if MEMBER in n and not is_archive(n.split(MEMBER)[0])]:
            raise ValueError(f"{bad[0]!r} names a file in an archive, and that is none")
        if self.mirrors and not all(fetched(self.files).values()):
            raise ValueError("mirrors need the sha256 of every file: nothing else says they agree")
        if (self.format in ("lora", "delta")) != bool(self.base):
            raise ValueError("a row of format lora or delta, and no other, names its base")
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
        if found is not None and found.kind == "rows":
            return found.model_copy(update={"parts": self._parts(found, language)})
        if found is not None:
            return _for_language(found, language)
        languages = sorted(there for name, there in self.rows if name == key)
        if not languages:
            keys = {name for name, _ in self.rows}
            raise UserError("dataset", key, f"not in {self.path}; {nearest(key, keys)}")
        remedy = f"dataset {key} of {self.path} has {', '.join(languages)}: add a row"
        raise UserError("language", language, remedy)

    def _parts(self, row: DatasetRow, language: str) -> tuple[DatasetRow, ...]:
        parts = tuple(self.row(key, language) for key in row.files if key != row.key)
        if not parts or any(part.kind in ("atlas", "rows") for part in parts):
            raise UserError(row.place(), ";".join(row.files), "must be keys of rows with files")
        return parts


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
    files = _hashed(row, sha256)
    for part in row.parts:
        named = _hashed(part, sha256).items()
        files |= {str(Part(part.key, part.revision, name)): digest for name, digest in named}
    return DatasetIdentity(
        key=row.key, revision=row.revision, files=files, format=row.format,
        field=row.field,
    )  # fmt: skip


def _hashed(row: DatasetRow, sha256: Callable[[Path], str]) -> dict[str, str]:
    """Files of a row with their checksums; none of a row made of others."""
    if row.kind == "rows":
        return {}
    if row.kind not in ("atlas", "file"):
        return dict(row.files)
    paths = local_paths(row.location, list(fetched(row.files)), row.place())
    inside = {name: digest for name, digest in row.files.items() if MEMBER in name}
    return {n: row.files.get(n) or sha256(p) for n, p in paths.items()} | inside


def fetch(registry: Path, source: DatasetIdentity, language: str, work: Path) -> dict[str, Path]:
    """Local copies of a recipe's dataset by file name, archives unpacked.

    All are verified against the recipe's checksums; the registry says only where to get them.
    Raises UserError as `local_files` and `unpack` do.
    """
    row = load_registry(registry).row(source.key, language)
    if not row.parts:
        return _fetch(pinned(row, source), work)
    parts: dict[str, DatasetRow] = {part.key: part for part in row.parts}
    paths: dict[str, Path] = {}
    names = [Part.parse(name) for name in source.files]
    for key in sorted({name.key for name in names}):
        if key not in parts:
            raise UserError(row.place(), key, "was among its rows when this was planned: plan anew")
        own = [name for name in names if name.key == key]
        files = {name.name: source.files[str(name)] for name in own}
        revision = {"revision": own[0].revision, "files": files, "key": key}
        part = pinned(parts[key], source.model_copy(update=revision))
        paths |= {f"{key}/{name}": path for name, path in _fetch(part, work / key).items()}
    return paths


def _fetch(row: DatasetRow, work: Path) -> dict[str, Path]:
    paths = local_files(row, work)
    if row.format == "tmx":  # its reader opens the zip that a translation memory comes in
        return paths
    unpacked = unpack(paths, work / "unpacked", members(row.files))
    for name, digest in row.files.items():
        if digest and MEMBER in name:
            verify(unpacked[name.replace(MEMBER, "/")], digest, row.place())
    return unpacked


def local_files(row: DatasetRow, work: Path) -> dict[str, Path]:
    """Files of a row by name, downloaded into `work` unless local, checksums verified.

    Raises UserError for missing files, wrong checksums, refused or failed downloads, and for
    remote files that neither a checksum nor a commit pins.
    """
    files = fetched(row.files)
    if row.kind in ("hub", "hub-stream"):
        try:
            return download_from_hub(row.location, row.revision, files, work, row.place())
        except UserError:
            if not row.mirrors:
                raise
            return _from_urls(row, row.mirrors, work)
    if row.kind == "https":
        return _from_urls(row, (row.location, *row.mirrors), work)
    paths = local_paths(row.location, list(files), row.place())
    for name, path in paths.items():
        verify(path, files.get(name, ""), row.place())
    return paths


def _from_urls(row: DatasetRow, places: Sequence[str], work: Path) -> dict[str, Path]:
    return {
        name: download_from_any(urls(places, name, digest), work / name, digest, row.place())
        for name, digest in sorted(fetched(row.files).items())
    }


def pinned(row: DatasetRow, source: DatasetIdentity) -> DatasetRow:
    """A row with what decides the bytes taken from the recipe instead of from the registry."""
    kept = source.model_dump(include={"revision", "files", "format", "field"})
    return row.model_copy(update=kept)


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
    values["mirrors"] = tuple(str(values.get("mirrors", "")).split())
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
        near = difflib.get_close_matches(str(value), KINDS, n=1)
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
