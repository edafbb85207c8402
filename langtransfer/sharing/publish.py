"""Publish: every finished cell of a study under DVC, its words in git, both pushed.

The order makes a cut at any moment harmless: the cache has the data before the pointer is written,
the remote has them before git has the pointer. Published again, what is missing follows.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from langtransfer.errors import UserError
from langtransfer.sharing import git
from langtransfer.sharing.artifacts import Artifact, artifact_of, size
from langtransfer.sharing.store import Store
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.verbs import ACCEPTED, verify

LOCK = Path(".langtransfer/publish.lock")
ADOPTED = Path("adopted")
# What `dvc metrics` and `dvc plots` compare between revisions: see dvc.yaml.
COMPARED = ("metrics.json", "table1_response_quality.csv", "table2_perplexity.csv")


@dataclass(frozen=True)
class Published:
    """What a publish did."""

    cells: int
    new: int
    bytes: int
    uploaded: int
    committed: bool
    branch: str | None
    not_committed: tuple[str, ...]
    """Changed files that other labs will not see: code or data of somebody's own."""

    def __str__(self) -> str:
        words = f"{self.cells} cells published, {self.new} of them new ({size(self.bytes)})"
        words += f"; {self.uploaded} objects uploaded"
        words += "; committed" if self.committed else "; nothing to commit"
        words += f", pushed {self.branch}" if self.branch else ", no branch to push to"
        if self.not_committed:
            words += f"\nchanged, and not committed: {', '.join(self.not_committed[:5])}"
        return words


def publish(
    cells: Sequence[Cell],
    config: Path,
    store: Store,
    *,
    remote: str | None = None,
    again: Sequence[Cell] = (),
) -> Published:
    """Publish a study's cells; `again` names those whose remote objects are brought anew.

    Raises UserError for cells that are unfinished, not as their manifests say or nowhere, for a
    second publish at the same time, and for a remote or a git server that does not take them.
    """
    with _only_publisher():
        check_finished(cells)
        artifacts = list({a.folder: a for a in map(artifact_of, cells)}.values())
        new = [artifact for artifact in artifacts if not artifact.is_published()]
        check_data(new)
        for artifact in new:
            artifact.write_pointer(store.add(artifact.data))
        here = [artifact for artifact in artifacts if artifact.is_here()]
        _check_nothing_lost(artifacts, here)
        oids = [artifact.oid() for artifact in here]
        renewed = {artifact_of(cell).folder for cell in again}
        # Hashed before the remote's copy goes: it may be the only good one.
        check_data([artifact for artifact in artifacts if artifact.folder in renewed])
        store.forget([o for a, o in zip(here, oids, strict=True) if a.folder in renewed], remote)
        uploaded = store.upload(oids, remote)
        words = f"Publish {len(new)} results of {config}"
        committed = git.commit_files(words_of(cells, artifacts, config), words)
        branch = git.push()
        left = tuple(git.changed_files())
    return Published(
        len(cells), len(new), sum(a.bytes for a in new), uploaded, committed, branch, left
    )


def check_finished(cells: Sequence[Cell]) -> None:
    """UserError when a cell has no manifest, or was made from a parent that has other bytes now."""
    unfinished = [cell.path for cell in cells if not cell.finished()]
    if unfinished:
        remedy = f"{len(unfinished)} of {len(cells)} cells are not finished: run snakemake first"
        raise UserError("publish", ", ".join(unfinished[:3]), remedy)


def check_data(artifacts: Sequence[Artifact]) -> None:
    """Hash data again before they are handed on; UserError naming the first that differ."""
    absent = [artifact.folder for artifact in artifacts if not artifact.data.is_dir()]
    if absent:
        remedy = "neither data nor pointer: redo the cell, or receive it from where it was made"
        raise UserError("publish", str(absent[0]), remedy)
    bad = list(verify([artifact.folder for artifact in artifacts]))
    if bad:
        raise UserError("publish", bad[0].split(": ")[0], f"{len(bad)} problems: see make verify")


def _check_nothing_lost(artifacts: Sequence[Artifact], here: Sequence[Artifact]) -> None:
    """UserError for data that were published from here and are now broken here."""
    good = {artifact.folder for artifact in here}
    for artifact in artifacts:
        if artifact.folder not in good and artifact.data.is_dir():
            remedy = f"not as in its manifest: make receive CELLS={artifact.cell}"
            raise UserError("publish", str(artifact.data), remedy)


def words_of(cells: Sequence[Cell], artifacts: Sequence[Artifact], config: Path) -> Iterator[Path]:
    """What git carries: the config, recipes, manifests, pointers, accepted and adopted notes."""
    yield config
    for cell in cells:
        yield cell.recipe_file
        yield cell.manifest
        note = ACCEPTED / cell.path / f"{cell.key}.json"
        if note.exists():
            yield note
        if (cell.folder / "data").is_symlink():
            yield cell.folder / "data"
    for artifact in artifacts:
        yield artifact.folder / "manifest.json"
        yield artifact.pointer_file
        key = artifact.folder.name
        for path in (
            Path("recipes") / artifact.cell / f"{key}.json",
            ADOPTED / artifact.cell / f"{key}.json",
        ):
            if path.exists():
                yield path
    report = Path("results/report")
    yield from (report / name for name in COMPARED if (report / name).exists())


@contextmanager
def _only_publisher() -> Iterator[None]:
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            remedy = f"process {handle.read()} is publishing here: wait for it"
            raise UserError("publish", str(Path.cwd()), remedy) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
