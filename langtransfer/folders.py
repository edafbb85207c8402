"""Whole folders put in their place: there or not there, at every moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def put_in_place(folder: Path, target: Path) -> None:
    """Make `folder` the new `target`, also across file systems; what was there gives way.

    Killed at any moment, `target` is the old folder, nothing, or the whole new one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = folder
    if folder.stat().st_dev != target.parent.stat().st_dev:  # a rename cannot cross
        source = target.with_name(f".{target.name}.arriving")
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(folder, source, symlinks=True)
        for file in source.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
    if target.is_symlink():  # an accepted result is not ours to remove
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
    os.replace(source, target)
    if source is not folder:
        shutil.rmtree(folder)
