"""Computing a cell: parents checked, data published whole, kills survived."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from langtransfer import execution, provenance
from langtransfer.config import RuntimeConfig
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.locking import only_writer

RUNTIME = RuntimeConfig()


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan(stage: str, parents: dict[str, str] | None = None, **config: object) -> Path:
    return provenance.write_recipe(
        provenance.make_recipe(stage, 1, f"{stage}/zh", config, parents or {}, {})
    )


def folder_of(recipe: Path) -> Path:
    return provenance.result_folder(f"{recipe.parent.parent.name}/zh", recipe.stem)


class Writer:
    """A stage that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, job: Job) -> dict[str, Any]:
        self.runs += 1
        text = "".join(sorted(p.read_text() for f in job.parents.values() for p in f.glob("*.txt")))
        (job.out / "made.txt").write_text(f"{job.settings['word']} {text}")
        return {"tokens": 3}


def test_computes_once_and_keeps(tmp_path: Path) -> None:
    recipe, stage = plan("a", word="x"), Writer()
    assert execution.execute("a", stage, recipe, RUNTIME) == "computed"
    manifest = provenance.read_manifest(folder_of(recipe))
    assert manifest["key"] == recipe.stem
    assert manifest["volatile"]["tokens"] == 3
    assert not (tmp_path / "work" / "a" / "zh" / recipe.stem).exists()
    (folder_of(recipe) / "manifest.json").unlink()
    assert execution.execute("a", stage, recipe, RUNTIME) == "kept"
    again = provenance.read_manifest(folder_of(recipe))
    assert again == manifest
    assert stage.runs == 1


def test_broken_data_are_computed_again() -> None:
    recipe, stage = plan("a", word="x"), Writer()
    execution.execute("a", stage, recipe, RUNTIME)
    (folder_of(recipe) / "data" / "made.txt").write_text("y ")
    assert execution.execute("a", stage, recipe, RUNTIME) == "computed"
    assert stage.runs == 2


def test_child_reads_its_parent_and_records_its_digest() -> None:
    parent = plan("a", word="x")
    execution.execute("a", Writer(), parent, RUNTIME)
    child = plan("b", {"corpus": folder_of(parent).as_posix()}, word="y")
    execution.execute("b", Writer(), child, RUNTIME)
    assert (folder_of(child) / "data" / "made.txt").read_text() == "y x "
    digest = provenance.read_manifest(folder_of(parent))["outputs"]["digest"]
    assert provenance.read_manifest(folder_of(child))["parents"]["corpus"]["digest"] == digest


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / "manifest.json").unlink(), "not finished"),
        (lambda f: shutil.rmtree(f / "data"), "data are not here"),
        (lambda f: (f / "data" / "made.txt").write_text("longer than before"), "not as in the"),
        (lambda f: (f / "data" / "extra").write_text(""), "not as in the"),
        (lambda f: (f / "data" / provenance.STAMP).write_text('{"key": "0"}'), "carry key 0"),
    ],
)
def test_refuses_a_parent_that_is_not_whole(harm: Any, words: str) -> None:
    parent = plan("a", word="x")
    execution.execute("a", Writer(), parent, RUNTIME)
    harm(folder_of(parent))
    child, stage = plan("b", {"corpus": folder_of(parent).as_posix()}, word="y"), Writer()
    with pytest.raises(UserError, match=words):
        execution.execute("b", stage, child, RUNTIME)
    assert stage.runs == 0


def test_refuses_a_parent_moved_to_another_key() -> None:
    parent = plan("a", word="x")
    execution.execute("a", Writer(), parent, RUNTIME)
    moved = folder_of(parent).with_name("0" * 16)
    shutil.copytree(folder_of(parent), moved)
    child = plan("b", {"corpus": moved.as_posix()}, word="y")
    with pytest.raises(UserError, match="move it back"):
        execution.execute("b", Writer(), child, RUNTIME)


def test_failure_leaves_nothing_and_keeps_work() -> None:
    recipe = plan("a", word="x")

    def fail(job: Job) -> dict[str, Any]:
        (job.out / "half.txt").write_text("half")
        (job.work / "checkpoint").write_text("resume me")
        raise UserError("field", "value", "remedy")

    with pytest.raises(UserError, match="remedy"):
        execution.execute("a", fail, recipe, RUNTIME)
    assert not folder_of(recipe).exists()

    def resume(job: Job) -> dict[str, Any]:
        assert list(job.out.iterdir()) == []
        (job.out / "made.txt").write_text((job.work / "checkpoint").read_text())
        return {}

    assert execution.execute("a", resume, recipe, RUNTIME) == "computed"
    assert (folder_of(recipe) / "data" / "made.txt").read_text() == "resume me"


def test_two_writers_cannot_share_a_cell(tmp_path: Path) -> None:
    recipe = plan("a", word="x")
    with (
        only_writer(tmp_path / "work" / "a" / "zh" / recipe.stem),
        pytest.raises(UserError, match=f"process {os.getpid()} on"),
    ):
        execution.execute("a", Writer(), recipe, RUNTIME)
    assert execution.execute("a", Writer(), recipe, RUNTIME) == "computed"


def test_refuses_another_stage_s_recipe() -> None:
    with pytest.raises(UserError, match="is one of a, not b"):
        execution.execute("b", Writer(), plan("a", word="x"), RUNTIME)


def test_outputs_do_not_depend_on_volatile_facts() -> None:
    recipe = plan("a", word="x")
    execution.execute("a", Writer(), recipe, RUNTIME)
    first = json.loads((folder_of(recipe) / "manifest.json").read_text())
    shutil.rmtree(folder_of(recipe))
    execution.execute("a", Writer(), recipe, RUNTIME)
    second = json.loads((folder_of(recipe) / "manifest.json").read_text())
    assert first["outputs"] == second["outputs"]
