"""Around a run of Snakemake: the plan's one line, failed jobs' last words, the report's copy."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from langtransfer.errors import UserError
from langtransfer.reporting.publishing import publish_report, runs_csv
from langtransfer.resources import ROOT
from langtransfer.workflow import recovery, session
from tests.unit.workflow.test_verbs import FakeStudy
from tests.workflow.conftest import TINY


def workflow(**more: Any) -> Any:
    """What of Snakemake's workflow a session looks at."""
    return SimpleNamespace(**({"dryrun": False, "local_exec": True, "dag": [1]} | more))


def test_error_lines(tmp_path: Path) -> None:
    for number, (name, text) in enumerate(
        {
            "old": "error: before the run",
            "fine": "all well",
            "torn": "",
            "b": "traceback\nerror: second",
            "a": "error: first",
            "again": "error: first",
        }.items()
    ):
        log = tmp_path / "stage" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(text)
        os.utime(log, (100 + number, 100 + number))
    os.utime(tmp_path / "stage" / "a.log", (101, 101))
    os.utime(tmp_path / "stage" / "old.log", (10, 10))
    assert list(session.error_lines(tmp_path, since=50)) == ["error: first", "error: second"]


def test_a_bad_config_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        session.open_study([tmp_path / "absent.yaml"], str(tmp_path))
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: config: ")


def test_open_study_writes_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = session.open_study([TINY], str(tmp_path))
    assert {cell.recipe_file for cell in study.cells} == {
        path.relative_to(tmp_path) for path in (tmp_path / "recipes").rglob("*.json")
    }
    manifests = study.manifests("train_base", "report")
    assert [path.split("/")[1] for path in manifests] == ["train_base", "report"]


def test_what_would_be_ignored_is_refused() -> None:
    with pytest.raises(UserError, match="--config: 'languages=zh'"):
        session.config_file([], ROOT, {"languages": "zh"})
    with pytest.raises(UserError, match="not merged: give one"):
        session.config_file([TINY, TINY], ROOT, {})
    assert session.config_file([], ROOT, {}) == ROOT / "config.yaml"


def test_no_worker_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(session.subprocess, "Popen", refuse)
    monkeypatch.setenv("LANGTRANSFER_WORKER", "none")
    session.start_worker(workflow())
    monkeypatch.delenv("LANGTRANSFER_WORKER")
    session.start_worker(workflow(local_exec=False))


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "costs_of", lambda study: {"costs.csv": "cell\n"})
    study: Any = FakeStudy()
    study.run()
    return study


def test_close_copies_the_report_or_repeats_the_errors(
    finished: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(session, "_root", tmp_path)
    session.close(finished, workflow(dryrun=True))
    assert not (tmp_path / "results" / "report").exists()
    session.close(finished, workflow(dag=[]))
    assert (tmp_path / "results" / "report" / "made.json").exists()
    assert (tmp_path / "results" / "report" / "costs.csv").read_text() == "cell\n"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.log").write_text("error: field: 'value': remedy\n")
    monkeypatch.setattr(session, "_started", 0.0)
    monkeypatch.setattr(session, "_failed", False)
    session.remember_failure()
    session.close(finished, workflow())
    assert capsys.readouterr().err == "error: field: 'value': remedy\n"


def test_publish_replaces_what_is_not_of_the_report(finished: Any, tmp_path: Path) -> None:
    target = tmp_path / "report"
    target.mkdir()
    (target / "stale.csv").write_text("of an earlier report")
    publish_report(finished, target)
    assert sorted(path.name for path in target.iterdir()) == ["made.json", "runs.csv"]
    before = (target / "made.json").stat().st_ino
    publish_report(finished, target)
    assert (target / "made.json").stat().st_ino == before, "equal files are left alone"


def test_runs_csv_has_a_row_a_finished_cell(finished: Any) -> None:
    lines = runs_csv([*finished.cells, *FakeStudy(seed=9).cells]).splitlines()
    assert lines[0].startswith("cell,key,stage,seconds,tokens")
    # Two of the other study's cells are the same cells; its third was never computed.
    assert len(lines) == 1 + 3 + 2


def test_a_study_that_cannot_be_planned_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail(path: Path) -> None:
        raise UserError("field", "value", "remedy")

    monkeypatch.setattr(session, "plan", fail)
    with pytest.raises(SystemExit):
        session.open_study([TINY], str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_cap_refuses_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        session.open_study([TINY], str(tmp_path), {"max_gpu_hours": 1e-6})
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --config max_gpu_hours: 1e-06: ")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        session.open_study([TINY], str(tmp_path), {"max_gpu_hours": "many"})
    assert "give a number of hours above 0" in capsys.readouterr().err
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content["runtime"] |= {"max_gpu_hours": 1e-6, "hardware": "cpu"}
    (tmp_path / "capped.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit):
        session.open_study([tmp_path / "capped.yaml"], str(tmp_path))
    assert capsys.readouterr().err.startswith("error: runtime.max_gpu_hours: 1e-06: ")
    session.open_study([tmp_path / "capped.yaml"], str(tmp_path), {"max_gpu_hours": 1})


def test_costs_of_a_model_nobody_knows_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    config = SimpleNamespace(runtime=SimpleNamespace(hardware="abacus"))
    unknown: Any = SimpleNamespace(config=config, cells=())
    assert session.costs_of(unknown) == {}
    assert capsys.readouterr().err.startswith("no costs.html: runtime.hardware: 'abacus'")


def test_only_one_config_file_is_read(tmp_path: Path) -> None:
    assert session.config_file([], tmp_path, {}) == tmp_path / "config.yaml"
    assert session.config_file([TINY], tmp_path, {}) == TINY
    assert session.config_file([TINY], tmp_path, {"cluster": "slurm/resources.yaml"}) == TINY
    with pytest.raises(UserError, match=r"--config: 'languages=zh': only the config file"):
        session.config_file([TINY], tmp_path, {"languages": "zh"})
    with pytest.raises(UserError, match="config files are not merged"):
        session.config_file([TINY, TINY], tmp_path, {})


def test_a_run_cut_short_by_a_full_disk_says_so(
    finished: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(session, "_root", tmp_path)
    monkeypatch.setattr(session, "_failed", False)
    monkeypatch.setattr(session, "_running", False)
    monkeypatch.setattr(session, "_noted", False)
    monkeypatch.setattr(session, "is_full", lambda folder: True)
    session.remember_start()
    with pytest.raises(UserError, match="still runs"):
        recovery.check_dead(tmp_path / recovery.RUN)
    session.close(finished, SimpleNamespace(dryrun=False))
    assert not (tmp_path / recovery.RUN).exists()
    assert capsys.readouterr().err.endswith("nothing is lost\n")
    session.remember_success()
    session.close(finished, SimpleNamespace(dryrun=False))
    assert capsys.readouterr().err == ""
    assert (tmp_path / "results" / "report").exists()
    with pytest.raises(SystemExit):
        session.open_study([TINY], str(tmp_path))
    assert capsys.readouterr().err.startswith("error: disk: ")
