"""What a benchmark's files are, whether they came one by one or in an archive."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from langtransfer.errors import UserError

Member = tuple[str, int, Callable[[], AbstractContextManager[IO[bytes]]]]
"""Name, size in bytes and how to open it."""

BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError)
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

LARGEST_MEMBER_BYTES = 64 << 20
"""our choice: far above any benchmark file, far below what an archive bomb needs."""
MOST_MEMBERS = 20_000
"""our choice: several times the files of any benchmark's whole repository."""


def unpack(paths: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Files by name, sorted, those of zip and tar archives unpacked below `folder`.

    A member is called `<archive>/<its name>`; links, devices and folders are left out, so nothing
    is ever written outside. Raises UserError for a broken or encrypted archive, for names that
    leave the folder, and for more or larger members than any benchmark has.
    """
    found: dict[str, Path] = {}
    for name, path in paths.items():
        if name.lower().endswith(SUFFIXES):
            found |= {f"{name}/{member}": p for member, p in _extract(path, folder / name)}
        else:
            found[name] = path
    return dict(sorted(found.items()))


def _extract(path: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    opened = _zip_members if zipfile.is_zipfile(path) else _tar_members
    try:
        for count, (name, size, open_member) in enumerate(opened(path)):
            _check_member(path, name, size, count)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
            yield name, target
    except (*BROKEN, RuntimeError) as error:  # zipfile raises the last for encrypted members
        remedy = f"not a whole, plain archive ({error}): fetch it again"
        raise UserError("file", str(path), remedy) from error


def _check_member(path: Path, name: str, size: int, count: int) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name:
        raise UserError(str(path), name, "leads out of the archive's folder: fetch another copy")
    if size > LARGEST_MEMBER_BYTES:
        raise UserError(str(path), name, f"{size} bytes are too many for a benchmark")
    if count >= MOST_MEMBERS:
        raise UserError(str(path), count, "files are too many for a benchmark")


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, partial(archive.open, info)


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() else None
            if stream is not None:
                yield info.name, info.size, partial(_same, stream)


def _same(stream: IO[bytes]) -> IO[bytes]:
    return stream
