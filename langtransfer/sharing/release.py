"""The model registry: an entry in dvc.yaml for every checkpoint that was released."""

from __future__ import annotations

import re
from pathlib import Path

from langtransfer.errors import UserError
from langtransfer.sharing.addresses import without_credentials
from langtransfer.sharing.artifacts import artifact_of
from langtransfer.sharing.git import git
from langtransfer.sharing.hub import MODELS
from langtransfer.workflow.cells import Cell

DVC_YAML = Path("dvc.yaml")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")  # what DVC's registry takes


def release(cell: Cell, name: str) -> str:
    """Name a published checkpoint in dvc.yaml; the git commands that give it a version.

    Raises UserError for a bad or taken name and for a cell that is no model or not published.
    """
    if not NAME.fullmatch(name):
        raise UserError("NAME", name, "small letters, digits and hyphens")
    if cell.stage not in MODELS:
        raise UserError("CELL", cell.path, f"is no model; those of {', '.join(MODELS)} are")
    if not cell.finished() or not artifact_of(cell).is_published():
        raise UserError("CELL", cell.path, "is not published: make publish")
    artifact = artifact_of(cell)
    entry = {
        "path": artifact.data.as_posix(),
        "type": "model",
        "desc": f"{cell.path}, key {artifact.folder.name}",
    }
    _enter(name, entry)
    return (
        f"{name}: {artifact.data} in {DVC_YAML}; give it a version:\n"
        f'  git commit -m "Release {name}" {DVC_YAML}\n'
        f'  git tag -a {name}@v1.0.0 -m "{name} 1.0.0" && git push --follow-tags'
    )


def _enter(name: str, entry: dict[str, str]) -> None:
    from dvc.utils.serialize import modify_yaml  # keeps comments

    with modify_yaml(str(DVC_YAML)) as content:
        known = content.setdefault("artifacts", {})
        if name in known and known[name]["path"] != entry["path"]:
            raise UserError("NAME", name, f"is {known[name]['path']}: take another name")
        known[name] = entry


def source() -> str:
    """The repository and commit a card is written from."""
    address = git("config", "--default", "", "--get", "remote.origin.url").strip()
    address = without_credentials(address)
    commit = git("rev-parse", "HEAD").strip()
    return f"{address} at {commit}" if address else f"commit {commit}"
