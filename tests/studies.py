"""Whole studies as the tests run them: Snakemake in a folder of its own, and what came out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.resources import ROOT

TINY = ROOT / "tests" / "configs" / "tiny.yaml"


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


def digests(folder: Path) -> dict[str, str]:
    """Manifest path -> digest of its outputs, for every finished cell under a folder."""
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())["outputs"]["digest"]
        for path in sorted((folder / "results").rglob("manifest.json"))
    }
