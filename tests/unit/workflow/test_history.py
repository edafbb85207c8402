"""Configs that were run, and what `gc` keeps for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.provenance import write_recipe
from langtransfer.resources import ROOT
from langtransfer.workflow import history, session
from langtransfer.workflow.study import Study
from tests.studies import TINY, environment
from tests.workflow.conftest import edited, expanded, plan, write_config


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "_running", False)
    monkeypatch.setattr(session, "_planned", None)


def result(study: Study, stage: str) -> Path:
    """An empty result folder of a stage's first cell, with its recipe."""
    cell = next(cell for cell in study.cells if cell.stage == stage)
    write_recipe(cell.recipe)
    cell.folder.mkdir(parents=True)
    return cell.folder


def collect(*arguments: str) -> list[str]:
    command = [sys.executable, "-m", "scripts.cells", "--config", str(TINY), "gc", *arguments]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_record_a_config_and_the_last_run_counts(tmp_path: Path) -> None:
    inside, outside = tmp_path / "study.yaml", tmp_path.parent / "far.yaml"
    history.remember(inside, Path("results/report/study/1"))
    history.remember(outside, Path("results/report/study/2"))
    history.remember(inside, Path("results/report/study/3"))
    assert {(run.config, run.report) for run in history.remembered()} == {
        ("study.yaml", "results/report/study/3"),
        (str(outside), "results/report/study/2"),
    }


def test_only_a_run_is_remembered(tmp_path: Path) -> None:
    session.remember_start()
    study = session.open_study([TINY], str(tmp_path))
    assert list(history.remembered()) == []
    session.remember_start()
    (run,) = history.remembered()
    assert run == history.Run(str(TINY), study.report.folder.as_posix())
    assert history.named_by(run.report) == {cell.folder.as_posix() for cell in study.cells}


def test_gc_keeps_what_a_run_from_elsewhere_named(tmp_path: Path) -> None:
    mine = edited(expanded(), "pretrain.optimization.learning_rate", 0.123)
    config = write_config(tmp_path, mine, "mine.yaml")
    study = plan(mine, tmp_path / "cache.json")
    study.write_recipes()
    folder = result(study, "pretrain")
    assert collect() == [f"would remove {folder.as_posix()}"], "nobody ran that config"
    history.remember(config, study.report.folder)
    assert collect() == []
    config.unlink()
    (line,) = collect()
    assert line.startswith("kept as last run: config: 'mine.yaml': no such file")
    record = next(history.RUNS.glob("*.json"))
    assert json.loads(record.read_text())["config"] == "mine.yaml"
    record.unlink()
    assert collect("--yes") == [f"removed {folder.as_posix()}"]
    assert not folder.exists()
