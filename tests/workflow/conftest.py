"""Helpers of the workflow tests: plans, Snakemake runs, config edits."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from langtransfer.config.loading import load_config, parse_config
from langtransfer.provenance import SourceHashes
from langtransfer.workflow.study import Study
from tests.studies import TINY
from tests.studies import digests as digests
from tests.studies import environment as environment
from tests.studies import snakemake as snakemake


def expanded(path: Path = TINY) -> dict[str, Any]:
    """A config with every default written out."""
    return load_config(path).model_dump(mode="json")


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of all leaves; an empty list or mapping is one."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else []
    )
    found = [(f"{path}.{name}" if path else str(name), inner) for name, inner in items]
    if not found:
        yield path
    for name, inner in found:
        yield from leaves(inner, name)


def edited(content: dict[str, Any], leaf: str, value: Any) -> dict[str, Any]:
    """A copy of a config with one leaf changed."""
    changed = copy.deepcopy(content)
    *parents, last = leaf.split(".")
    where: Any = changed
    for part in parents:
        where = where[int(part)] if isinstance(where, list) else where[part]
    where[int(last) if isinstance(where, list) else last] = value
    return changed


def plan(content: dict[str, Any], cache: Path) -> Study:
    """Plan a config's content."""
    return Study(parse_config(content), SourceHashes(cache))


def folders(study: Study) -> dict[str, str]:
    """Cell -> folder."""
    return {cell.path: cell.folder.as_posix() for cell in study.cells}


def stale(before: Study, after: Study) -> set[str]:
    """Cells of `after` that `before` did not have with this key."""
    known = set(folders(before).values())
    return {cell for cell, folder in folders(after).items() if folder not in known}


def write_config(folder: Path, content: dict[str, Any], name: str = "study.yaml") -> Path:
    """Write a config file."""
    path = folder / name
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def planned_jobs(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Cells a dry run would compute, from its job listing."""
    cells = set()
    for line in (done.stdout + done.stderr).splitlines():
        line = line.strip()
        if line.startswith("output: results/"):
            cells.add("/".join(line.removeprefix("output: results/").split("/")[:-2]))
    return cells
