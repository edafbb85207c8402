"""The published copy of the report: current files only, and the report's own cells left alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from langtransfer.provenance import STAMP
from langtransfer.reporting.publishing import publish_report


@dataclass
class Cell:
    key: str
    stage: str = "report"
    path: str = "report/study"

    @property
    def folder(self) -> Path:
        return Path("results") / self.path / self.key


@dataclass
class Study:
    report: Cell

    @property
    def cells(self) -> list[Cell]:
        return [self.report]


def finish(cell: Cell, *names: str) -> Study:
    """Write a finished report cell with files of these names."""
    (cell.folder / "data").mkdir(parents=True)
    for name in (*names, STAMP):
        (cell.folder / "data" / name).write_text(cell.key)
    manifest = {"volatile": {"seconds": 1.5}, "outputs": {"files": {"a.csv": {"bytes": 2}}}}
    (cell.folder / "manifest.json").write_text(json.dumps(manifest))
    return Study(cell)


def files() -> list[str]:
    folder = Path("results/report")
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_cells_of_the_report_stay_and_files_of_an_earlier_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = Path("results/report")
    publish_report(finish(Cell("k1"), "index.html", "old.csv"), target)
    publish_report(finish(Cell("k2"), "index.html"), target)
    cells = [
        f"study/{name}"
        for name in (
            f"k1/data/{STAMP}", "k1/data/index.html", "k1/data/old.csv", "k1/manifest.json",
            f"k2/data/{STAMP}", "k2/data/index.html", "k2/manifest.json",
        )
    ]  # fmt: skip
    assert files() == ["index.html", "runs.csv", *cells]
    assert (target / "index.html").read_text() == "k2"
    assert "report/study,k2,report,1.5" in (target / "runs.csv").read_text()


def test_a_report_without_its_data_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    publish_report(Study(Cell("k1")), Path("results/report"))
    assert not Path("results").exists()
