"""Helpers of the workflow tests: plans, Snakemake runs, config edits."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from langtransfer.config.loading import load_config, parse_config
from langtransfer.provenance import SourceHashes
from langtransfer.resources import ROOT
from langtransfer.workflow.study import Study

TINY = ROOT / "tests" / "configs" / "tiny.yaml"


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


def environment() -> dict[str, str]:
    """Environment for child processes: this interpreter first, no SLURM clients.

    With SLURM's clients on PATH and no controller its plugin slows every Snakemake start by 10 s.
    """
    bins = [str(Path(sys.executable).parent)]
    bins += [p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "scontrol").exists()]
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "SLURM"))}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables | {"PATH": os.pathsep.join([*bins, "/usr/bin", "/bin"])}


def snakemake(
    folder: Path,
    config: Path,
    *arguments: str,
    check: bool = True,
    snakefile: Path = ROOT / "Snakefile",
    profile: str = "profiles/local",
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on a config with everything it writes under a folder."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(snakefile),
        "--directory",
        str(folder),
        "--configfile",
        str(config),
        "--profile",
        str(snakefile.parent / profile),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=folder)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done


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


def digests(folder: Path) -> dict[str, str]:
    """Manifest path -> digest of its outputs, for every finished cell under a folder."""
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())["outputs"]["digest"]
        for path in sorted((folder / "results").rglob("manifest.json"))
    }


@pytest.fixture(scope="session")
def finished_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study has been run from scratch; copy it before changing it."""
    folder = tmp_path_factory.mktemp("tiny")
    snakemake(folder, TINY)
    return folder


@pytest.fixture
def tiny_copy(finished_tiny: Path, tmp_path: Path) -> Path:
    """A copy of the finished tiny study to do anything with."""
    return Path(shutil.copytree(finished_tiny, tmp_path / "copy", symlinks=True))
