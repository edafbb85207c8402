"""A pointer of another lab's can name files only inside the folder that its manifest describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from langtransfer.sharing.artifacts import Artifact
from langtransfer.sharing.receive import place
from langtransfer.sharing.store import Store


class Listing:
    """A cache that holds every object of one list of files; placing from it fails the test."""

    def __init__(self, names: dict[str, str], there: Path) -> None:
        self._names, self._there = names, there

    def names(self, oid: str) -> dict[str, str]:
        return self._names

    def path(self, part: str) -> Path:
        return self._there

    def place(self, oid: str, folder: Path) -> None:
        raise AssertionError("nothing may be put anywhere")


@pytest.mark.parametrize("name", ["../../../.bashrc", "/etc/passwd", "model/extra.bin"])
def test_a_file_that_the_manifest_does_not_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "results" / "0123456789abcdef"
    artifact = Artifact("train_base/base", folder)
    manifest: dict[str, Any] = {"outputs": {"files": {"kept.json": {}}}}
    artifact.__dict__["manifest"] = manifest  # as if it had been read
    store = Listing({"kept.json": "a", ".cell.json": "b", name: "c" * 32}, tmp_path)
    (problem,) = place(artifact, "d.dir", cast(Store, store))
    assert f"{name.removeprefix('/')}: not in the manifest (object files/md5/cc/" in problem
    assert not folder.exists()
