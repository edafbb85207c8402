"""Receive: the data of published cells, checked against their manifests before they are in place.

Data are put together in a hidden folder beside their place and renamed once every hash agrees:
nothing wrong is ever where a stage would read it, whenever the process dies.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from langtransfer.disk import full_disk_explained
from langtransfer.errors import UserError
from langtransfer.folders import put_in_place
from langtransfer.provenance import RECEIVED, STAMP, sha256_file
from langtransfer.sharing.artifacts import Artifact, size
from langtransfer.sharing.store import Store, object_name

HIDDEN = ".data.received"  # and the process: two receives may meet


@dataclass(frozen=True)
class Received:
    """What a receive did; problems are whole lines, each naming what is wrong."""

    here: int
    placed: int
    bytes: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        words = f"{self.placed} results received ({size(self.bytes)}), {self.here} were here"
        return f"{words}; {len(self.problems)} problems" if self.problems else words


def receive(
    artifacts: Sequence[Artifact],
    store: Store,
    *,
    remote: str | None = None,
    contents: bool = False,
) -> Received:
    """Bring the data of some artifacts; what is here already is checked by size, or by contents.

    Artifacts that cannot be had are told in `problems`; all others are in place afterwards.
    Raises UserError for a remote that does not answer and for a full disk.
    """
    problems: list[str] = []
    wanted: list[tuple[Artifact, str]] = []
    for artifact in artifacts:
        try:
            if artifact.data.is_dir() and not artifact.problems(contents=contents):
                continue
            wanted.append((artifact, artifact.oid()))
        except UserError as error:
            problems.append(str(error))
    here = len(artifacts) - len(wanted) - len(problems)
    for artifact, oid in wanted:
        drop_wrong(artifact, oid, store)
    placed = []
    with full_disk_explained(Path.cwd()):
        if wanted:
            store.download([oid for _, oid in wanted], remote)
        for artifact, oid in wanted:
            wrong = list(place(artifact, oid, store))
            problems += wrong
            placed += [] if wrong else [artifact]
    return Received(here, len(placed), sum(a.bytes for a in placed), tuple(problems))


def place(artifact: Artifact, oid: str, store: Store, target: Path | None = None) -> Iterator[str]:
    """Put cached data in their place once all are as the manifest says; else name what is not."""
    target = target or artifact.data
    lacking = list(_lacking(artifact, oid, store))
    yield from lacking
    if lacking:
        return
    hidden = target.with_name(f"{HIDDEN}.{os.getpid()}")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        store.place(oid, hidden)
        wrong = artifact.problems(hidden, contents=True)
        if not wrong:
            target.with_name(RECEIVED).touch()
            put_in_place(hidden, target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    objects = store.names(oid)
    for name in wrong:
        part = objects.get(name, oid)
        yield _line(artifact, name, part, "not as in the manifest")
        store.drop(part)


def _lacking(artifact: Artifact, oid: str, store: Store) -> Iterator[str]:
    """A line for every object that the remote did not have, or that has no business here."""
    objects = store.names(oid)
    if not objects:
        yield _line(artifact, "", oid, "the remote's list of files is missing or damaged")
    known = {*artifact.manifest["outputs"]["files"], STAMP}
    for name, part in sorted(objects.items()):
        if name not in known:  # a pointer of another lab's could name files outside the folder
            yield _line(artifact, name, part, "not in the manifest")
        elif not store.path(part).exists():
            yield _line(artifact, name, part, "missing on the remote")


def _line(artifact: Artifact, name: str, part: str, what: str) -> str:
    remedy = f"whoever has the data runs make publish AGAIN={artifact.cell}"
    return f"{artifact.data / name}: {what} (object {object_name(part)}); {remedy}"


def drop_wrong(artifact: Artifact, oid: str, store: Store) -> None:
    """Drop from the cache what is not as the manifest says: it will be downloaded again."""
    files = artifact.manifest["outputs"]["files"]
    for name, part in store.names(oid).items():
        path = store.path(part)
        if name in files and path.exists() and sha256_file(path) != files[name]["sha256"]:
            store.drop(part)
