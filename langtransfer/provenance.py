"""Identity of cells: canonical JSON, keys, recipes, manifests. Knows no stage and no Snakemake.

A recipe holds everything that is meant to decide a cell's result; its hash is the key, and the key
is part of the cell's path. Stale therefore means absent, and no modification time is ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.job import write_atomically

KEY_LENGTH = 16  # hexadecimal digits: 64 bits, no accidental collision among millions of cells
RECEIVED = "data.received"
"""Beside data that came from another folder's run: what they hold was not made here."""
STAMP = ".cell.json"
MEND_RECIPE = "delete it and run again (it is written anew), or restore it from git"
RECIPES, RESULTS, WORK = Path("recipes"), Path("results"), Path("work")


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces. TypeError for what JSON cannot hold."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def digest(value: object) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def make_recipe(
    stage: str,
    version: int,
    cell: str,
    config: Mapping[str, Any],
    parents: Mapping[str, str],
    sources: Mapping[str, str],
    environment: str | None = None,
) -> dict[str, Any]:
    """Everything that decides a cell: parents by role as result folders, sources as sha256."""
    recipe: dict[str, Any] = {
        "stage": stage,
        "version": version,
        "cell": cell,
        "config": dict(config),
        "parents": dict(parents),
        "sources": dict(sources),
    }
    return recipe if environment is None else recipe | {"environment": environment}


def key_of(recipe: Mapping[str, Any]) -> str:
    """The cell's key: the recipe's hash, shortened."""
    return digest(recipe)[:KEY_LENGTH]


def recipe_path(cell: str, key: str) -> Path:
    """`recipes/<cell>/<key>.json`"""
    return RECIPES / cell / f"{key}.json"


def result_folder(cell: str, key: str) -> Path:
    """`results/<cell>/<key>`"""
    return RESULTS / cell / key


def write_recipe(recipe: Mapping[str, Any]) -> Path:
    """Write an immutable recipe; one that is there stays as it is. UserError when it was edited."""
    path = recipe_path(recipe["cell"], key_of(recipe))
    if path.exists():
        read_recipe(path)
    else:
        write_atomically(
            path, json.dumps(recipe, sort_keys=True, ensure_ascii=False, indent=1) + "\n"
        )
    return path


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe. UserError when missing, unreadable or not hashing to its own name."""
    try:
        recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            "recipe", str(path), "no such recipe; plan it with: snakemake -n all"
        ) from None
    except ValueError as error:
        raise UserError("recipe", str(path), f"not JSON ({error}); {MEND_RECIPE}") from None
    if path.stem != key_of(recipe):
        remedy = f"changed by hand, its hash is not its name; {MEND_RECIPE}"
        raise UserError("recipe", str(path), remedy)
    return recipe


@dataclass(frozen=True)
class Outputs:
    """Files a cell made: relative path -> (sha256, size in bytes)."""

    files: Mapping[str, tuple[str, int]]

    @property
    def digest(self) -> str:
        """One hash over all names and contents."""
        return digest({name: sha for name, (sha, _) in self.files.items()})

    def as_json(self) -> dict[str, Any]:
        """How a manifest holds them."""
        files = {name: {"sha256": sha, "bytes": size} for name, (sha, size) in self.files.items()}
        return {"digest": self.digest, "files": files}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outputs:
        """Read what `as_json` wrote."""
        return cls({n: (f["sha256"], f["bytes"]) for n, f in value["files"].items()})


def data_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files of a data folder but its stamp, as (relative path, path), sorted."""
    found = (path for path in folder.rglob("*") if path.is_file())
    named = ((path.relative_to(folder).as_posix(), path) for path in found)
    return iter(sorted((name, path) for name, path in named if name != STAMP))


def hash_outputs(folder: Path) -> Outputs:
    """Hash every file of a data folder."""
    return Outputs({n: (sha256_file(p), p.stat().st_size) for n, p in data_files(folder)})


def differing_files(folder: Path, outputs: Outputs, *, contents: bool) -> list[str]:
    """Names that are missing, extra or changed: by size, and by sha256 when contents is true."""
    present = dict(data_files(folder))
    bad = set(present) ^ set(outputs.files)
    for name in set(present) & set(outputs.files):
        sha, size = outputs.files[name]
        changed = present[name].stat().st_size != size
        if changed or (contents and sha256_file(present[name]) != sha):
            bad.add(name)
    return sorted(bad)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest with a digest of itself, so that a hand edit shows."""
    body = {name: value for name, value in manifest.items() if name != "self"}
    text = json.dumps(body | {"self": digest(body)}, sort_keys=True, ensure_ascii=False, indent=1)
    write_atomically(path, text + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of a result folder. UserError when missing, unreadable or edited by hand."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("manifest", str(path), "not there: the cell is not finished") from None
    except ValueError as error:
        raise UserError("manifest", str(path), f"not JSON ({error}); restore it or redo") from None
    body = {name: value for name, value in manifest.items() if name != "self"}
    if manifest.get("self") != digest(body):
        raise UserError("manifest", str(path), "edited by hand: restore it from git, or delete it")
    return manifest


def read_stamp(data: Path) -> dict[str, Any] | None:
    """Stamp inside a data folder, or None when there is none that can be read."""
    try:
        stamp: dict[str, Any] = json.loads((data / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return stamp


class SourceHashes:
    """sha256 of user-given files, remembered by (path, size, mtime_ns, inode)."""

    def __init__(self, cache: Path = Path(".langtransfer/source-hashes.json")) -> None:
        self._cache = cache
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        if cache.exists():
            try:
                self._known = json.loads(cache.read_text(encoding="utf-8"))
            except ValueError:  # a torn cache only costs hashing again
                self._known = {}

    def __call__(self, path: Path) -> str:
        """sha256 of a file; FileNotFoundError when it is not there."""
        stat = path.stat()
        fingerprint = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        name = os.path.abspath(path)
        known = self._known.get(name)
        if known is None or known[:3] != fingerprint:
            known = [*fingerprint, sha256_file(path)]
            self._known[name] = known
            self._changed = True
        return str(known[3])

    def save(self) -> None:
        """Keep what was learnt for the next run."""
        if self._changed:
            write_atomically(self._cache, json.dumps(self._known, sort_keys=True))
            self._changed = False
