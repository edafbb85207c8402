"""A finished cell as git and DVC carry it: manifest, pointer, data; and what of it is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from langtransfer.errors import UserError
from langtransfer.job import write_atomically
from langtransfer.provenance import (
    Outputs,
    differing_files,
    read_manifest,
    read_stamp,
    result_folder,
)
from langtransfer.workflow.cells import Cell

CONFLICT = "belongs to another manifest: take both from one side, git checkout --ours results/"


@dataclass(frozen=True)
class Artifact:
    """The folder that holds a finished cell's own data: for an accepted result the older one."""

    cell: str
    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Its manifest; UserError when missing or edited by hand."""
        return read_manifest(self.folder)

    @property
    def data(self) -> Path:
        """What DVC carries."""
        return self.folder / "data"

    @property
    def pointer_file(self) -> Path:
        """What git carries of the data."""
        return self.folder / "data.dvc"

    @property
    def bytes(self) -> int:
        """Size of the data, by the manifest."""
        return sum(file["bytes"] for file in self.manifest["outputs"]["files"].values())

    def oid(self) -> str:
        """The data's object, by the pointer. UserError without one, and for a wrong one."""
        pointer = self._pointer()
        if pointer is None:
            remedy = "never published, and its data are not here: publish it where it was made"
            raise UserError("pointer", str(self.pointer_file), remedy)
        if pointer.get("meta", {}).get("manifest") != self.manifest["self"]:
            raise UserError("pointer", str(self.pointer_file), CONFLICT)
        return str(pointer["outs"][0]["md5"])

    def is_published(self) -> bool:
        """Whether there is a pointer and it was made with this very manifest."""
        pointer = self._pointer()
        return (
            pointer is not None and pointer.get("meta", {}).get("manifest") == self.manifest["self"]
        )

    def write_pointer(self, out: Mapping[str, Any]) -> None:
        """Write the pointer, as DVC would, with the manifest it was made with."""
        pointer = {"outs": [dict(out)], "meta": {"manifest": self.manifest["self"]}}
        write_atomically(self.pointer_file, yaml.safe_dump(pointer, sort_keys=False))

    def problems(self, data: Path | None = None, *, contents: bool) -> list[str]:
        """Files of the data that are not as the manifest says; the stamp speaks for `none here`."""
        data = data or self.data
        outputs = self.manifest["outputs"]
        stamp = read_stamp(data)
        bad = differing_files(data, Outputs.from_json(outputs), contents=contents)
        if stamp is None or (stamp["key"], stamp["outputs"]) != (self.manifest["key"], outputs):
            bad.append(".cell.json")
        return bad

    def is_here(self) -> bool:
        """Whether the data are here and have the manifest's names and sizes."""
        return self.data.is_dir() and not self.problems(contents=False)

    def _pointer(self) -> dict[str, Any] | None:
        try:
            text = self.pointer_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            pointer: dict[str, Any] = yaml.safe_load(text)
            assert pointer["outs"][0]["md5"].endswith(".dir")
        except (yaml.YAMLError, AssertionError, KeyError, TypeError, IndexError, AttributeError):
            remedy = "not a pointer to a folder: restore it from git"
            raise UserError("pointer", str(self.pointer_file), remedy) from None
        return pointer


def artifact_of(cell: Cell) -> Artifact:
    """The artifact behind a finished cell."""
    accepted = read_manifest(cell.folder).get("accepted")
    folder = cell.folder if accepted is None else result_folder(cell.path, accepted["key"])
    return Artifact(cell.path, folder)


def artifacts_of(cells: Iterable[Cell]) -> Iterator[Artifact]:
    """Artifacts of the finished ones among some cells."""
    return (artifact_of(cell) for cell in cells if cell.finished())


def size(count: int) -> str:
    """`12.3 MB`; whole bytes below 1,000."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit holds everything")
