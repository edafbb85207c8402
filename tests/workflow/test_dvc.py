"""dvc.yaml: params, metrics and plots of a finished study, through DVC itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.resources import ROOT
from tests.studies import TINY, environment


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *arguments)


@pytest.fixture(scope="module")
def lab(finished_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC repository with the tiny study's config and its report committed."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    shutil.copyfile(TINY, folder / "config.yaml")
    shutil.copytree(finished_tiny / "results" / "report", folder / "results" / "report")
    run(folder, "git", "init", "--quiet")
    dvc(folder, "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(
        folder,
        "git",
        "-c",
        "user.name=lab",
        "-c",
        "user.email=lab@example.org",
        "commit",
        "--quiet",
        "--message",
        "first",
    )
    return folder


def test_metrics_are_the_report_s(lab: Path, finished_tiny: Path) -> None:
    shown = json.loads(dvc(lab, "metrics", "show", "--json"))
    data = shown[""]["data"]["results/report/metrics.json"]["data"]
    assert data == json.loads((finished_tiny / "results" / "report" / "metrics.json").read_text())
    assert data


def test_params_diff_names_a_changed_setting(lab: Path) -> None:
    text = (lab / "config.yaml").read_text()
    (lab / "config.yaml").write_text(text.replace("max_new_tokens: 12", "max_new_tokens: 24"))
    try:
        changed = json.loads(dvc(lab, "params", "diff", "--json"))
    finally:
        (lab / "config.yaml").write_text(text)
    ((setting, values),) = changed["config.yaml"].items()
    assert (setting, values["old"], values["new"]) == ("generate.max_new_tokens", 12, 24)


def test_plots_are_drawn_from_the_tables(lab: Path) -> None:
    shown = json.loads(dvc(lab, "plots", "show", "--json"))
    titles = set(shown["data"]) if "data" in shown else set(shown)
    assert any("bits per byte" in title for title in titles)
    assert any("response quality" in title for title in titles)
