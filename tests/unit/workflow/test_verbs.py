"""where, why, verify, gc, redo and accept, on a study of three stand-in cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langtransfer import execution
from langtransfer.config import RuntimeConfig
from langtransfer.config.corpus import CleanCorpusCell, SplitCorpusCell
from langtransfer.config.vocabulary import PackTokensCell
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.provenance import write_recipe
from langtransfer.workflow import comparing, verbs
from langtransfer.workflow.cells import Cell, ancestry


class FakeStudy:
    """The part of a study the verbs use."""

    def __init__(self, *, characters: int = 10, seed: int = 1, valid: int = 5) -> None:
        clean = Cell(
            "clean_corpus", ("zh",), CleanCorpusCell(language="zh", min_characters=characters)
        )
        split = Cell(
            "split_corpus",
            ("zh",),
            SplitCorpusCell(language="zh", valid_documents=valid),
            {"corpus": clean},
        )
        self.report = Cell(
            "pack_tokens",
            ("zh", "original"),
            PackTokensCell(language="zh", seed=seed),
            {"corpus": split},
        )
        self.cells = tuple(ancestry(self.report))

    def run(self, *stages: str) -> None:
        for cell in self.cells:
            if not stages or cell.stage in stages:
                write_recipe(cell.recipe)
                execution.execute(cell.stage, make, cell.recipe_file, RuntimeConfig())


def make(job: Job) -> dict[str, Any]:
    (job.out / "made.json").write_text(json.dumps(dict(job.settings)))
    return {}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study(**settings: int) -> Any:
    return FakeStudy(**settings)


def test_find() -> None:
    assert [cell.stage for cell in verbs.find(study(), "corpus")] == [
        "clean_corpus",
        "split_corpus",
    ]
    assert verbs.find_one(study(), "split_corpus/zh").stage == "split_corpus"
    with pytest.raises(UserError, match="names 3 cells"):
        verbs.find_one(study(), "zh")
    with pytest.raises(UserError, match="no such cell"):
        verbs.find(study(), "absent")


def test_why_names_the_leaf_through_the_parents() -> None:
    assert verbs.why(study().report) is None
    study().run()
    study(characters=99, valid=7).run()
    asked = study(characters=11)
    for cell in asked.cells:  # as planning does
        write_recipe(cell.recipe)
    leaves = verbs.why(asked.report)
    assert [str(leaf) for leaf in leaves or []] == [
        "clean_corpus/zh: config.min_characters: 10 -> 11"
    ], "the nearest finished key is the one with a single difference"
    assert verbs.why(study().report) == []


def test_why_names_a_parent_that_is_another_cell() -> None:
    old = study().report.recipe
    new = {**old, "parents": {"tokens": "results/other/zh/0"}}
    fields = {leaf.field for leaf in verbs.differences(old, new)}
    assert fields == {"parent corpus", "parent tokens"}


def test_verify_names_what_differs() -> None:
    study().run()
    folders = verbs.finished_folders()
    assert len(folders) == 3
    assert list(verbs.verify(folders)) == []
    clean, split, _ = (cell.folder for cell in study().cells)
    (split / "data" / "made.json").write_text("{}")
    (line,) = verbs.verify(folders)
    assert str(split / "data" / "made.json") in line
    (clean / "manifest.json").write_text("{}")
    assert any("edited by hand" in line for line in verbs.verify(folders))


def test_verify_names_children_of_a_parent_with_other_bytes() -> None:
    study().run()
    clean = study().cells[0]
    verbs.set_aside(clean)
    changed = write_recipe(clean.recipe)

    def other(job: Job) -> dict[str, Any]:
        (job.out / "made.json").write_text("something else")
        return {}

    execution.execute("clean_corpus", other, changed, RuntimeConfig())
    (line,) = verbs.verify(verbs.finished_folders())
    assert str(study().cells[1].folder) in line
    assert "now has other bytes" in line


def test_garbage_keeps_what_is_named_and_what_is_published() -> None:
    study().run()
    study(seed=2).run()
    old, new = study().report.folder, study(seed=2).report.folder
    keep = {cell.folder.as_posix() for cell in study().cells}
    assert verbs.garbage(keep) == [new]
    (new / "data.dvc").write_text("outs: []\n")
    assert verbs.garbage(keep) == []
    (new / "data.dvc").unlink()
    verbs.remove(new)
    assert not new.exists()
    assert not study(seed=2).report.recipe_file.exists()
    assert old.exists()


def test_set_aside_moves_and_refuses_what_is_not_there() -> None:
    with pytest.raises(UserError, match="is not finished"):
        verbs.set_aside(study().report)
    study().run()
    aside = verbs.set_aside(study().report)
    assert (aside / "data" / "made.json").exists()
    assert not study().report.finished()


def test_accept_lets_an_older_key_stand() -> None:
    study().run()
    older, cell = study().report, study(seed=2).report
    with pytest.raises(UserError, match="say why"):
        verbs.accept(cell, older.key, " ")
    with pytest.raises(UserError, match="not there"):
        verbs.accept(cell, "0" * 16, "reason")
    note = verbs.accept(cell, older.key, "only the log text changed")
    assert json.loads(note.read_text())["reason"] == "only the log text changed"
    assert cell.finished()
    assert (
        execution.check_parent(cell.folder)["digest"]
        == execution.check_parent(older.folder)["digest"]
    )
    with pytest.raises(UserError, match="nothing to accept"):
        verbs.accept(cell, older.key, "again")
    # Removed by accident, it is made again from the accept file, and never by computing.
    cell.manifest.unlink()
    verbs.apply_accepted([cell])
    assert cell.finished()
    # Asked for in earnest, it is computed and the older result stays whole.
    cell.manifest.unlink()
    write_recipe(cell.recipe)
    execution.execute(cell.stage, make, cell.recipe_file, RuntimeConfig())
    assert not (cell.folder / "data").is_symlink()
    assert list(verbs.verify([older.folder])) == []


def test_compare_names_leaves_cells_and_metrics() -> None:
    study().run()
    sides = [comparing.side_of(study()), comparing.side_of(study(characters=11))]
    a, b = (
        comparing.Side(s.recipes, s.keys, m)
        for s, m in zip(
            sides, ({"bits": 1.0, "same": 2.0}, {"bits": 0.5, "same": 2.0}), strict=True
        )
    )
    lines = list(comparing.compare(a, b))
    assert "clean_corpus/zh: config.min_characters: 10 -> 11" in lines
    assert "3 cells affected, 0 the same" in lines
    assert "  bits: 1.0 -> 0.5" in lines
    assert not any("same: 2.0" in line for line in lines)
    fewer = comparing.Side({}, {}, {})
    assert sum(line.startswith("- ") for line in comparing.compare(a, fewer)) == 3
    assert sum(line.startswith("+ ") for line in comparing.compare(fewer, a)) == 3


def test_garbage_spares_what_an_accepted_result_stands_on() -> None:
    study().run()
    older, cell = study().report, study(seed=2).report
    verbs.accept(cell, older.key, "equal")
    keep = {c.folder.as_posix() for c in study(seed=2).cells}
    assert verbs.garbage(keep) == []
    verbs.remove(older.folder)
    assert any("is gone" in line for line in verbs.verify([cell.folder]))
