"""The files of a data set, whether they came one by one or in archives.

What an archive says of itself is not trusted: names may lead elsewhere, members may be links, and
a few kilobytes may unpack to a full disk.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from errno import EINVAL
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import zstandard

from langtransfer.corpus.jsonl import CHUNK_BYTES, refuse_bomb
from langtransfer.errors import UserError

Member = tuple[str, int, Callable[[], AbstractContextManager[IO[bytes]]]]
"""Name, size in bytes and how to open it."""

# What a broken archive makes the standard library raise; encrypted members are RuntimeErrors.
LARGEST_HEADER = 1 << 20
"""our choice: bytes of a tar member's extra header; names are a few hundred."""
BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError,
    RuntimeError, ValueError, IndexError, OverflowError, struct.error,
)  # fmt: skip
SUFFIXES = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.zst",
)  # fmt: skip

MOST_MEMBERS = 200_000
"""our choice: ten times the files of any benchmark's whole repository."""
LONGEST_NAME = 255
"""Bytes that every file system takes in one part of a path."""
LONGEST_PATH = 800
"""Characters, so that the folder and the name stay below the 4,096 bytes a path may have."""


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(SUFFIXES)


def unpack(
    paths: Mapping[str, Path], folder: Path, wanted: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Path]:
    """Files by name, sorted, those of zip and tar archives unpacked below `folder`.

    A member is called `<archive>/<its name>`; links, devices and folders are left out, so nothing
    is ever written outside. wanted names, by archive, the members to take (patterns); all where
    it names none. Raises UserError for a broken or encrypted archive, for names that leave the
    folder, for more members or bytes than any data set has, and where nothing fits a pattern.
    """
    found: dict[str, Path] = {}
    for name, path in paths.items():
        if not is_archive(name):
            found[name] = path
            continue
        patterns = (wanted or {}).get(name, ())
        members = dict(_extract(path, folder / name, patterns))
        for pattern in patterns:
            if not any(fnmatchcase(member, pattern) for member in members):
                raise UserError(str(path), pattern, "no such file in the archive: mend the row")
        found |= {f"{name}/{member}": p for member, p in members.items()}
    return dict(sorted(found.items()))


def _extract(path: Path, folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, Path]]:
    # By name: a tar that ends with a zip has a zip's end record too.
    opened = _zip_members if folder.suffix.lower() == ".zip" else _tar_members
    packed, unpacked = path.stat().st_size, 0
    try:
        for count, (given, size, open_member) in enumerate(opened(path)):
            name = _checked_name(path, given, count)
            unpacked += size
            refuse_bomb(path, packed, unpacked)
            if patterns and not any(fnmatchcase(name, pattern) for pattern in patterns):
                continue
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, CHUNK_BYTES)
            yield name, target
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        remedy = "holds a file and a folder of one name: fetch another copy"
        raise UserError("file", str(path), remedy) from error
    except BROKEN as error:
        raise _broken(path, error) from error
    except OSError as error:  # bz2 and zipfile say so of a broken stream, the system of a full disk
        if error.errno not in (None, EINVAL):
            raise
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> UserError:
    return UserError("file", str(path), f"not a whole, plain archive ({error}): fetch it again")


def _checked_name(path: Path, name: str, count: int) -> str:
    """The member's name below the folder, without a leading `./`."""
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name
    if outside or not parts:
        raise UserError(str(path), name, "leads out of the archive's folder: fetch another copy")
    try:
        long = any(len(part.encode()) > LONGEST_NAME for part in parts) or len(name) > LONGEST_PATH
    except UnicodeEncodeError:  # tarfile keeps what is no UTF-8 as halves of surrogate pairs
        long = True
    if long or any(ord(character) < 32 for character in name):
        raise UserError(str(path), name[:80], "is no name for a file: fetch another copy")
    if count >= MOST_MEMBERS:
        raise UserError(str(path), count, "files are too many for a data set")
    return "/".join(parts)


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            link = stat.S_ISLNK(info.external_attr >> 16)
            if not info.is_dir() and not link:
                yield info.filename, info.file_size, partial(archive.open, info)


def _tar_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as raw, _opened_tar(path, raw) as archive:
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() else None
            if stream is not None:
                yield info.name, info.size, partial(_same, stream)


class ShortHeaders(tarfile.TarInfo):
    """A member whose long name or extra facts are refused where they would fill the memory.

    tarfile reads such headers whole before anybody sees the member.
    """

    LONG = (
        tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )  # fmt: skip

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in self.LONG and self.size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        # typeshed leaves out tarfile's inner methods
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def _opened_tar(path: Path, raw: IO[bytes]) -> tarfile.TarFile:
    if path.suffix.lower() != ".zst":
        return tarfile.open(fileobj=raw, tarinfo=ShortHeaders)
    unpacked = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return tarfile.open(fileobj=unpacked, mode="r|", tarinfo=ShortHeaders)


def _same(stream: IO[bytes]) -> IO[bytes]:
    return stream
