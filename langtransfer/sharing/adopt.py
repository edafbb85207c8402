"""Adopt: a cell of another lab's repository, once its key, commit and outputs are agreed to.

Trust is a person's act: the first call shows what there is and adopts nothing; the second names
the digest of the outputs, and what was trusted goes into `adopted/`, which git carries.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.job import write_atomically
from langtransfer.provenance import (
    RECIPES,
    RESULTS,
    key_of,
    read_recipe,
    recipe_path,
    result_folder,
    write_manifest,
)
from langtransfer.sharing.addresses import without_credentials
from langtransfer.sharing.artifacts import Artifact, size
from langtransfer.sharing.git import git
from langtransfer.sharing.publish import ADOPTED
from langtransfer.sharing.receive import drop_wrong, place
from langtransfer.sharing.store import Store, open_store
from langtransfer.workflow.cells import Cell

PIN = 12  # digits of the outputs' digest that name it beyond doubt


@dataclass(frozen=True)
class Offer:
    """A published cell of another repository, checked out in a folder of its own."""

    repository: str
    commit: str
    tree: Path
    cell: str
    key: str

    @property
    def artifact(self) -> Artifact:
        """The cell there."""
        return Artifact(self.cell, self.tree / result_folder(self.cell, self.key))

    @property
    def digest(self) -> str:
        """One hash over names and contents of all outputs."""
        return str(self.artifact.manifest["outputs"]["digest"])

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe the key is the hash of."""
        return read_recipe(self.tree / recipe_path(self.cell, self.key))


@contextmanager
def offer(repository: str, revision: str, cell: Cell, key: str | None) -> Iterator[Offer]:
    """A cell of another repository at a revision; UserError when it is not there or not whole."""
    with tempfile.TemporaryDirectory(prefix="langtransfer-adopt-") as folder:
        tree = Path(folder) / "tree"
        git("clone", "--quiet", "--no-checkout", "--", repository, str(tree))
        commit = git("rev-parse", "--verify", f"{revision}^{{commit}}", folder=tree).strip()
        git("checkout", "--quiet", "--detach", commit, folder=tree)
        found = Offer(without_credentials(repository), commit, tree, cell.path, key or cell.key)
        if not (found.artifact.folder / "manifest.json").exists():
            keys = sorted(p.parent.name for p in (tree / RESULTS / cell.path).glob("*/data.dvc"))
            remedy = f"not finished there; KEY={' or '.join(keys)} is" if keys else "not there"
            raise UserError("KEY", found.key, f"{cell.path} is {remedy} (at {commit[:12]})")
        _check(found)
        yield found


def _check(found: Offer) -> None:
    manifest = found.artifact.manifest
    if manifest["key"] != found.key or manifest["recipe"] != found.recipe:
        raise UserError("manifest", str(found.artifact.folder), "is of another recipe")
    found.artifact.oid()


def describe(found: Offer) -> str:
    """What a person trusts when adopting."""
    with open_store(found.tree) as theirs:
        address = theirs.address()
    return "\n".join(
        [
            f"cell     {found.cell}",
            f"from     {found.repository} at {found.commit}",
            f"remote   {address}",
            f"recipe   {found.key}",
            f"outputs  {found.digest} ({size(found.artifact.bytes)})",
        ]
    )


def adopt(
    found: Offer, pinned: str, store: Store, *, remote: str | None = None
) -> tuple[Path, str]:
    """Take an offered cell over; the note of what was trusted, and the result's folder.

    `remote` is one of this repository's remotes; their own default remote without it.
    Raises UserError when `pinned` is not the digest, or when what arrives is not as it says.
    """
    if len(pinned) < PIN or not found.digest.startswith(pinned):
        raise UserError("OUTPUTS", pinned, f"{found.cell} there has outputs {found.digest}")
    folder = result_folder(found.cell, found.key)
    if (folder / "manifest.json").exists():
        raise UserError("CELL", found.cell, f"{folder} is finished here already")
    theirs, mine = found.artifact, Artifact(found.cell, folder)
    oid = theirs.oid()
    address = _download(found, oid, store, remote)
    folder.mkdir(parents=True, exist_ok=True)
    # The data come first: a manifest would call the cell finished.
    if wrong := list(place(theirs, oid, store, target=mine.data)):
        raise UserError("adopt", found.cell, wrong[0])
    for path in _recipes(found.tree, found.recipe):
        target = RECIPES / path.relative_to(found.tree / RECIPES)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    note = ADOPTED / found.cell / f"{found.key}.json"
    trusted = {
        "repository": found.repository,
        "commit": found.commit,
        "remote": address,
        "recipe": found.key,
        "outputs": found.digest,
    }
    write_atomically(note, json.dumps(trusted, sort_keys=True, indent=1) + "\n")
    write_manifest(folder / "manifest.json", theirs.manifest)
    return note, folder.as_posix()


def _download(found: Offer, oid: str, store: Store, remote: str | None) -> str:
    drop_wrong(found.artifact, oid, store)
    if remote is not None:
        store.download([oid], remote)
        return store.address(remote)
    with open_store(found.tree) as theirs:
        store.download([oid], source=theirs)
        return theirs.address()


def _recipes(tree: Path, recipe: dict[str, Any]) -> Iterator[Path]:
    """Recipes of a cell and of all its ancestors: `why` compares them."""
    found: dict[Path, None] = {}
    todo = [recipe_path(recipe["cell"], key_of(recipe))]
    while todo:
        path = tree / todo.pop()
        if path not in found:
            found[path] = None
            for folder in read_recipe(path)["parents"].values():
                parent = Path(folder)
                cell = parent.parent.relative_to(RESULTS).as_posix()
                todo.append(recipe_path(cell, parent.name))
    return iter(found)
