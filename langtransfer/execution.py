"""Computing one cell: check the parents, run the stage, publish its data atomically.

Whatever moment the process is killed at, the next run either finds the finished data (and writes
the manifest again in seconds) or goes on from the stage's own state in `work/`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from langtransfer.config import RuntimeConfig
from langtransfer.disk import full_disk_explained
from langtransfer.errors import UserError
from langtransfer.folders import put_in_place
from langtransfer.job import Job, write_atomically
from langtransfer.locking import only_writer
from langtransfer.provenance import (
    RECEIVED,
    STAMP,
    WORK,
    Outputs,
    differing_files,
    hash_outputs,
    read_manifest,
    read_recipe,
    read_stamp,
    result_folder,
    write_manifest,
)

# Libraries whose version can change a result.
LIBRARIES = (
    "torch", "transformers", "tokenizers", "sentencepiece", "peft", "trl", "deepspeed", "datasets",
    "lm_eval", "numpy", "babel",
)  # fmt: skip
Stage = Callable[[Job], dict[str, Any]]


def execute(stage: str, run: Stage, recipe_file: Path, runtime: RuntimeConfig) -> str:
    """Make sure the cell of a recipe is finished; returns "computed" or "kept".

    Raises UserError for bad input, for a parent that is not what the recipe names and for a
    full disk.
    """
    recipe = read_recipe(recipe_file)
    if recipe["stage"] != stage:
        raise UserError("recipe", str(recipe_file), f"is one of {recipe['stage']}, not {stage}")
    key = recipe_file.stem
    folder, work = result_folder(recipe["cell"], key), WORK / recipe["cell"] / key
    with only_writer(work), full_disk_explained(work, half_written=work / "out"):
        parents = check_parents(recipe)
        done = "kept"
        if not _is_complete(folder / "data", key):
            _compute(run, recipe, key, folder, work, runtime)
            done = "computed"
        _finish(folder, recipe, key, parents)
        shutil.rmtree(work, ignore_errors=True)
    return done


def check_parents(recipe: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Parents by role as {folder, digest}; UserError unless each is the one the recipe names."""
    return {role: check_parent(Path(folder)) for role, folder in recipe["parents"].items()}


def check_parent(folder: Path) -> dict[str, str]:
    """A finished cell's folder and output digest; UserError when its data are not whole."""
    manifest = read_manifest(folder)
    outputs = Outputs.from_json(manifest["outputs"])
    if manifest["key"] != folder.name:
        raise UserError("manifest", str(folder), f"carries key {manifest['key']}: move it back")
    stamp = read_stamp(folder / "data")
    accepted = manifest.get("accepted", {}).get("key", folder.name)
    if not (folder / "data").exists():
        cell = manifest["recipe"]["cell"]
        remedy = (
            f"data are not here: make receive CELLS={cell} (make redo CELL={cell} where unshared)"
        )
        raise UserError("data", str(folder), remedy)
    if stamp is None or stamp["key"] != accepted:
        found = None if stamp is None else stamp["key"]
        raise UserError("data", str(folder), f"data carry key {found}: fetch or redo the cell")
    if bad := differing_files(folder / "data", outputs, contents=False):
        raise UserError(
            "data", str(folder / "data" / bad[0]), "not as in the manifest: redo the cell"
        )
    return {"folder": folder.as_posix(), "digest": outputs.digest}


def _is_complete(data: Path, key: str) -> bool:
    """Whether data carry this key and all their hashes verify."""
    stamp = read_stamp(data)
    if stamp is None or stamp["key"] != key:
        return False
    return not differing_files(data, Outputs.from_json(stamp["outputs"]), contents=True)


def _compute(
    run: Stage,
    recipe: Mapping[str, Any],
    key: str,
    folder: Path,
    work: Path,
    runtime: RuntimeConfig,
) -> None:
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    parents = {role: Path(parent) / "data" for role, parent in recipe["parents"].items()}
    job = Job(
        stage=recipe["stage"],
        cell=recipe["cell"],
        key=key,
        settings=recipe["config"],
        parents=parents,
        out=out,
        work=work,
        runtime=runtime,
    )
    started = time.monotonic()
    volatile = run(job)
    volatile = {"seconds": round(time.monotonic() - started, 3)} | _machine() | volatile
    stamp = {"key": key, "outputs": hash_outputs(out).as_json(), "volatile": volatile}
    write_atomically(out / STAMP, json.dumps(stamp, sort_keys=True, ensure_ascii=False, indent=1))
    _put_in_place(out, folder / "data")
    (folder / RECEIVED).unlink(missing_ok=True)


def _put_in_place(out: Path, data: Path) -> None:
    """Move a finished folder to its place; broken data there were checked and give way."""
    put_in_place(out, data)


def _finish(
    folder: Path, recipe: Mapping[str, Any], key: str, parents: Mapping[str, dict[str, str]]
) -> None:
    stamp = read_stamp(folder / "data")
    assert stamp is not None, "the data were just checked"
    write_manifest(
        folder / "manifest.json",
        {
            "key": key,
            "recipe": recipe,
            "parents": parents,
            "outputs": stamp["outputs"],
            "volatile": stamp["volatile"],
        },
    )


def _machine() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "cpu": platform.processor() or platform.machine(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
