"""Progress as a person sees it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from langtransfer.provenance import WORK
from langtransfer.workflow.watching import Running, Watcher, clock
from tests.unit.workflow.test_verbs import FakeStudy


def test_clock() -> None:
    assert (clock(5), clock(65), clock(3723.4)) == ("0:05", "1:05", "1:02:03")


def test_running_says_how_far_and_how_long() -> None:
    running = Running("pretrain/zh", 1000, 5000, "tokens", 500)
    assert str(running) == "pretrain/zh  1,000/5,000 tokens, 500/s, 0:08 left"
    assert Running("a", 0, 10, "items", 0.0).seconds_left is None


def test_watcher_counts_and_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study: Any = FakeStudy()
    study.run("clean_corpus")
    watcher = Watcher(study.cells, cores=1)
    assert (watcher.total, watcher.to_run, watcher.finished) == (3, 2, 0)
    assert watcher.look() == []
    split = study.cells[1]
    progress = WORK / split.path / split.key / "progress.json"
    progress.parent.mkdir(parents=True)
    for done, when in ((100, 0.0), (300, 2.0)):
        state = {"done": done, "total": 1000, "unit": "documents", "time": time.time() + when}
        progress.write_text(json.dumps(state))
        (running,) = watcher.look()
    assert running.speed == pytest.approx(100, rel=0.01)
    assert running.seconds_left == pytest.approx(7, rel=0.01)
    assert watcher.seconds_left([running]) >= 6.9
    study.run("split_corpus")
    assert watcher.look() == []
    assert watcher.finished == 1


def test_a_dead_process_is_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study: Any = FakeStudy()
    watcher = Watcher(study.cells, cores=2)
    cell = study.cells[0]
    progress = WORK / cell.path / cell.key / "progress.json"
    progress.parent.mkdir(parents=True)
    state = {"done": 1, "total": 2, "unit": "documents", "time": time.time() - 3600}
    progress.write_text(json.dumps(state))
    assert watcher.look() == []
