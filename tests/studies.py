"""Whole studies as the tests run them: Snakemake in a folder of its own, and what came out."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from langtransfer import warm
from langtransfer.config.loading import load_config
from langtransfer.provenance import read_manifest
from langtransfer.resources import ROOT

TINY = ROOT / "tests" / "configs" / "tiny.yaml"


def environment() -> dict[str, str]:
    """Environment for child processes: this interpreter first, no SLURM.

    Its plugin asks the controller whenever Snakemake starts, and waits 10 s for one that is away.
    """
    # A stage that ran in this process has set the last two.
    ours = ("SNAKEMAKE", "SLURM", "LANGTRANSFER", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    path = [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/bin", "/bin"]
    return variables | {"PATH": os.pathsep.join(path), "SLURM_CONF": os.devnull}


def checkout(tree: Path) -> Path:
    """A copy of the repository as a fresh clone has it, and its environment; skips without git."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = tracked.stdout.splitlines() if tracked.returncode == 0 else []
    if not names:
        pytest.skip("not a git checkout: nothing says which files are the repository's")
    for name in names:
        source, target = ROOT / name, tree / name
        if name.startswith(("results/", "recipes/")) or not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            shutil.copyfile(source, target)
    return tree


def snakemake_command(
    folder: Path,
    config: Path,
    *arguments: str,
    snakefile: Path = ROOT / "Snakefile",
    profile: str = "profiles/local",
) -> list[str]:
    """Snakemake on a config, with everything it writes under a folder."""
    return [
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


def snakemake(
    folder: Path,
    config: Path,
    *arguments: str,
    check: bool = True,
    snakefile: Path = ROOT / "Snakefile",
    profile: str = "profiles/local",
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on a config with everything it writes under a folder."""
    command = snakemake_command(folder, config, *arguments, snakefile=snakefile, profile=profile)
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=folder)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done


@contextmanager
def processor_seconds() -> Iterator[Callable[[], float]]:
    """Processor time of the child processes that end inside: what else runs does not count."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    begun = spent()
    yield lambda: spent() - begun


@contextmanager
def snakemake_process(
    folder: Path, config: Path, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Snakemake in the background, to do something to; killed at the end."""
    command = snakemake_command(folder, config, *arguments)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdout=quiet, stderr=quiet, env=environment(), cwd=folder, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def digests(folder: Path) -> dict[str, str]:
    """Manifest path -> digest of its outputs, for every finished cell under a folder."""
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())["outputs"]["digest"]
        for path in sorted((folder / "results").rglob("manifest.json"))
    }


def branch(finished: Path, folder: Path, *without: str) -> Path:
    """A study that reads a finished one's cells but for those named, which it has yet to compute.

    Cells are never written once finished, so links to them are as good as copies.
    """
    folder.mkdir()
    (folder / "recipes").symlink_to(finished / "recipes")
    for manifest in (finished / "results").rglob("manifest.json"):
        cell = manifest.parent.relative_to(finished)
        if cell.parent.relative_to("results").as_posix() not in without:
            (folder / cell.parent).mkdir(parents=True, exist_ok=True)
            (folder / cell).symlink_to(manifest.parent)
    return folder


def result_of(folder: Path, cell: str) -> Path:
    """`results/<cell>/<key>` of a study's one finished result of a cell."""
    (manifest,) = folder.glob(f"results/{cell}/*/manifest.json")
    return manifest.parent.relative_to(folder)


def arguments_of(result: Path) -> list[str]:
    """What the script of a stage is given to compute a result, as Snakemake would."""
    recipe = Path("recipes", *result.parts[1:]).with_suffix(".json")
    runtime = load_config(TINY).runtime.model_dump_json()
    return ["--recipe", recipe.as_posix(), "--runtime", runtime]


def outputs_of(folder: Path, result: Path) -> dict[str, Any]:
    """Digest and files of a finished result."""
    outputs: dict[str, Any] = read_manifest(folder / result)["outputs"]
    return outputs


@contextmanager
def serving(command: Sequence[str], address: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A warm worker, started with a command, that has finished importing; killed at the end."""
    variables = environment() | warm.ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *command, str(address), str(os.getpid())]
    process = subprocess.Popen(command, env=variables)
    try:
        end = time.monotonic() + 120
        while not address.exists():
            assert process.poll() is None, "the worker ended while importing"
            assert time.monotonic() < end, "the worker takes too long to import"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
