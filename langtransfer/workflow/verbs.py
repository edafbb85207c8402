"""Questions about cells and acts on them: where, why, diff, redo, gc, verify, accept."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.job import write_atomically
from langtransfer.provenance import (
    KEY_LENGTH,
    RECIPES,
    RESULTS,
    WORK,
    Outputs,
    differing_files,
    read_manifest,
    recipe_path,
    result_folder,
    write_manifest,
)
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.study import Study

ACCEPTED = Path("accepted")
KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")


@dataclass(frozen=True)
class Leaf:
    """One value two recipes disagree on: in which cell, where in it, what it was and is."""

    cell: str
    field: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.cell}: {self.field}: {self.old!r} -> {self.new!r}"


def find(study: Study, name: str) -> list[Cell]:
    """Cells of the study by full path, or by a part of it. UserError when there is none."""
    exact = [cell for cell in study.cells if name in (cell.path, cell.folder.as_posix())]
    found = exact or [cell for cell in study.cells if name in cell.path]
    if not found:
        raise UserError(
            "CELL", name, "no such cell; a part of a path such as finetune/base will do"
        )
    return found


def find_one(study: Study, name: str) -> Cell:
    """The one cell with a name. UserError when there are several."""
    found = find(study, name)
    if len(found) > 1:
        some = ", ".join(cell.path for cell in found[:3])
        raise UserError("CELL", name, f"names {len(found)} cells; be exact: {some}, ...")
    return found[0]


# -- why ----------------------------------------------------------------------------------------


def why(cell: Cell) -> list[Leaf] | None:
    """Leaves that differ from the nearest finished key; None when no key is finished."""
    finished = list(finished_recipes(cell.path))
    if not finished:
        return None
    return min((list(differences(recipe, cell.recipe)) for recipe in finished), key=len)


def finished_recipes(path: str) -> Iterator[dict[str, Any]]:
    """Recipes of a cell's finished keys, sorted by key."""
    for manifest in sorted((RESULTS / path).glob("*/manifest.json")):
        recipe: dict[str, Any] = read_manifest(manifest.parent)["recipe"]
        yield recipe


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Leaf]:
    """Leaves two recipes of one cell disagree on, through their parents, each once."""
    seen: set[str] = set()
    for leaf in _differences(old, new):
        if str(leaf) not in seen:
            seen.add(str(leaf))
            yield leaf


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Leaf]:
    cell = new["cell"]
    for part in ("version", "config", "sources", "environment"):
        yield from _leaves(cell, part, old.get(part), new.get(part))
    for role in sorted({*old["parents"], *new["parents"]}):
        before, after = old["parents"].get(role), new["parents"].get(role)
        if before == after:
            continue
        if before is None or after is None or _cell(before) != _cell(after):
            yield Leaf(cell, f"parent {role}", before, after)
        else:
            yield from _differences(_recipe(before), _recipe(after))


def _cell(folder: str) -> str:
    return Path(folder).parent.relative_to(RESULTS).as_posix()


def _recipe(folder: str) -> dict[str, Any]:
    path = recipe_path(_cell(folder), Path(folder).name)
    if not path.exists():
        raise UserError("recipe", str(path), "not there; restore recipes/ from git")
    recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return recipe


def _leaves(cell: str, field: str, old: object, new: object) -> Iterator[Leaf]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from _leaves(cell, f"{field}.{name}", old.get(name), new.get(name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _leaves(cell, f"{field}[{index}]", before, after)
    elif old != new:
        yield Leaf(cell, field, old, new)


# -- verify -------------------------------------------------------------------------------------


def verify(folders: Sequence[Path]) -> Iterator[str]:
    """One line for everything that is not as the manifests say, after hashing all of it again."""
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except UserError as error:
            yield str(error)
            continue
        if (folder / "data").is_symlink() and not (folder / "data").exists():
            yield f"{folder / 'data'}: the accepted result it points to is gone; redo the cell"
        elif (folder / "data").is_dir():
            outputs = Outputs.from_json(manifest["outputs"])
            for name in differing_files(folder / "data", outputs, contents=True):
                yield f"{folder / 'data' / name}: not as in the manifest; redo or fetch the cell"
        yield from _changed_parents(folder, manifest)


def _changed_parents(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    for role, parent in manifest["parents"].items():
        path = Path(parent["folder"])
        if not (path / "manifest.json").exists():
            continue  # made elsewhere and not received: its digest stands in this manifest
        if read_manifest(path)["outputs"]["digest"] != parent["digest"]:
            yield f"{folder}: its parent {role} ({path}) now has other bytes; redo the cell"


def finished_folders() -> list[Path]:
    """Result folders that have a manifest, sorted."""
    return sorted(
        path.parent for path in RESULTS.rglob("manifest.json") if "data" not in path.parts
    )


# -- gc, redo, accept ---------------------------------------------------------------------------


def garbage(keep: set[str]) -> list[Path]:
    """Result folders to remove: not among `keep` (folder paths) and without a published pointer."""
    found = {folder for folder in RESULTS.rglob("*") if KEY.fullmatch(folder.name)}
    found = {folder for folder in found if folder.is_dir() and "data" not in folder.parts}
    kept = keep | {link for folder in found if (link := accepted_by(folder)) is not None}
    return sorted(f for f in found if f.as_posix() not in kept and not (f / "data.dvc").exists())


def accepted_by(folder: Path) -> str | None:
    """The older result folder whose data stand for this one's, if any."""
    data = folder / "data"
    return (
        (folder / data.readlink()).resolve().parent.relative_to(Path.cwd()).as_posix()
        if (data.is_symlink())
        else None
    )


def remove(folder: Path) -> None:
    """Remove a result folder with its recipe and working state."""
    cell, key = folder.parent.relative_to(RESULTS), folder.name
    shutil.rmtree(folder)
    shutil.rmtree(WORK / cell / key, ignore_errors=True)
    (RECIPES / cell / f"{key}.json").unlink(missing_ok=True)


def set_aside(cell: Cell) -> Path:
    """Move a finished cell's folder out of the way, so that it is computed again."""
    if not cell.folder.exists():
        raise UserError("CELL", cell.path, "is not finished; run it: snakemake all")
    aside = WORK / "redo" / cell.path / cell.key
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(cell.folder, aside))


def accept(cell: Cell, key: str, reason: str) -> Path:
    """Record that an older key's result stands for the expected one; children keep expecting it."""
    if not reason.strip():
        raise UserError("REASON", reason, "say why the older result is equivalent")
    older = result_folder(cell.path, key)
    read_manifest(older)  # UserError when there is no such finished key
    if cell.finished():
        raise UserError("CELL", cell.path, f"is finished with key {cell.key}; nothing to accept")
    path = ACCEPTED / cell.path / f"{cell.key}.json"
    note = {"expected": cell.key, "accepted": key, "reason": reason}
    write_atomically(path, json.dumps(note, sort_keys=True, ensure_ascii=False, indent=1) + "\n")
    apply_accepted(study_cells=[cell])
    return path


def apply_accepted(study_cells: Sequence[Cell]) -> None:
    """Give every cell with an accept file the accepted key's manifest and a link to its data."""
    for cell in study_cells:
        path = ACCEPTED / cell.path / f"{cell.key}.json"
        if not path.exists() or cell.finished():
            continue
        note = json.loads(path.read_text(encoding="utf-8"))
        older = result_folder(cell.path, note["accepted"])
        manifest = read_manifest(older)
        cell.folder.mkdir(parents=True, exist_ok=True)
        link = cell.folder / "data"
        if not link.exists():
            link.symlink_to(Path("..") / note["accepted"] / "data")
        accepted = {"key": note["accepted"], "reason": note["reason"]}
        changed = {"key": cell.key, "recipe": cell.recipe, "accepted": accepted}
        write_manifest(cell.manifest, manifest | changed)
