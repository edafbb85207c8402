"""Members of an upstream archive, read in memory: nothing is ever unpacked to disk."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from langtransfer.errors import UserError

Member = tuple[str, int, Callable[[], bytes]]
"""Name, size and how to read it."""

BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError)

LARGEST_MEMBER_BYTES = 64 << 20
"""our choice: far above any benchmark file, far below what an archive bomb needs."""


def read_csv_members(path: Path, folder: str, suffix: str) -> dict[str, list[list[str]]]:
    """CSV files of one folder of a zip or tar archive, by name without `suffix`, sorted.

    `folder` is the last one of the member's path: `dev` takes `data/dev/anatomy_dev.csv`.
    Raises UserError for a missing or broken archive and for text that is not UTF-8.
    """
    found: dict[str, list[list[str]]] = {}
    for name, data in _members(path, folder, suffix):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(str(path), name, "not UTF-8: fetch it again") from error
        rows = csv.reader(io.StringIO(text, newline=""))
        found[PurePosixPath(name).name.removesuffix(suffix)] = [row for row in rows if row]
    return dict(sorted(found.items()))


def _members(path: Path, folder: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the members wanted; UserError for a broken archive or a bomb."""
    opened = _zip_members if zipfile.is_zipfile(path) else _tar_members
    try:
        for name, size, read in opened(path):
            member = PurePosixPath(name)
            if member.parent.name == folder and member.name.endswith(suffix):
                if size > LARGEST_MEMBER_BYTES:
                    raise UserError(str(path), name, f"{size} bytes are too many for a benchmark")
                yield name, read()
    except (*BROKEN, RuntimeError) as error:  # zipfile raises the last for encrypted members
        remedy = f"not a whole, plain archive ({error}): fetch it again"
        raise UserError("file", str(path), remedy) from error


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield info.filename, info.file_size, partial(archive.read, info)


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            stream = archive.extractfile(info)
            if stream is not None:
                yield info.name, info.size, stream.read
