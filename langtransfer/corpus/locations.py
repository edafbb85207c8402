"""Where the files of a registry row lie: folders, URLs and their mirrors, members of archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from langtransfer.corpus.download import is_pattern
from langtransfer.errors import UserError
from langtransfer.resources import locate

MEMBER = "!"
"""Parts an archive's name from that of a file in it."""


class Part(NamedTuple):
    """A file of a data set made of several rows, as its identity names it: `key@revision/name`."""

    key: str
    revision: str
    name: str

    @staticmethod
    def parse(text: str) -> Part:
        """The parts of a name written by `str`."""
        key, _, rest = text.partition("@")
        return Part(key, *rest.partition("/")[::2])

    def __str__(self) -> str:
        return f"{self.key}@{self.revision}/{self.name}"


def fetched(files: Mapping[str, str]) -> dict[str, str]:
    """What must be fetched -> sha256: the files, and the archives of `archive!member`."""
    return {name.partition(MEMBER)[0]: "" for name in files} | {
        name: digest for name, digest in files.items() if MEMBER not in name
    }


def members(files: Mapping[str, str]) -> dict[str, list[str]]:
    """Archive -> names or patterns of the files wanted of it; none named, all are."""
    wanted: dict[str, list[str]] = {}
    for name in files:
        archive, mark, member = name.partition(MEMBER)
        if mark:
            wanted.setdefault(archive, []).append(member)
    return wanted


def urls(locations: Sequence[str], name: str, digest: str) -> list[str]:
    """URLs of one file: `{file}` and `{sha256}` in a location, or the name below it."""
    return [_url(location, name, digest) for location in locations]


def _url(location: str, name: str, digest: str) -> str:
    if "{file}" in location or "{sha256}" in location:
        return location.replace("{file}", quote(name)).replace("{sha256}", digest)
    return f"{location.rstrip('/')}/{quote(name)}"


def local_paths(location: str, names: Sequence[str], place: str) -> dict[str, Path]:
    """Files of a local folder by name, patterns (`*.md`) expanded and sorted.

    Raises UserError naming registry, key and path where there is none.
    """
    folder = locate(location)
    paths: dict[str, Path] = {}
    for pattern in names:
        literal = folder / pattern
        wild = not literal.is_file() and is_pattern(pattern)
        found = sorted(p for p in folder.glob(pattern) if p.is_file()) if wild else [literal]
        if not found or not all(path.is_file() for path in found):
            value = str(Path(location) / pattern)
            raise UserError(place, value, "no such source file: put it there or mend the row")
        paths |= {path.relative_to(folder).as_posix(): path for path in found}
    return dict(sorted(paths.items()))
