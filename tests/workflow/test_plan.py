"""`make plan`: the paper's grid in seconds, a cap that refuses, and costs beside the report."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.costs.actual import COLUMNS
from langtransfer.costs.estimates import ESTIMATES
from langtransfer.resources import ROOT
from langtransfer.workflow.stages import STAGES
from langtransfer.workflow.study import open_study
from tests.studies import TINY, environment, processor_seconds, snakemake

PAPER = ROOT / "config.yaml"
QUESTIONS = {"llm-eval": 453, "gaokao-subjective": 1030}


def run(folder: Path, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.plan", "--config", str(config), *arguments]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


def total(table: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith("│ total")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_papers_grid(tmp_path: Path) -> None:
    with processor_seconds() as spent:
        done = run(tmp_path, PAPER)
    assert spent() < 20, "half a second on one core of an AMD EPYC"
    assert (done.returncode, done.stderr) == (0, "")
    stages = set(re.findall(r"^│ (\w+) +│", done.stdout, re.MULTILINE)) - {"total"}
    cells = open_study(PAPER).cells
    assert stages == {cell.stage for cell in cells}
    name, to_run, finished, tokens, flops, hours, disk, calls, dollars = total(done.stdout)
    assert (name, to_run, finished) == ("total", f"{len(cells)}", "0")
    # 45 tunings, mostly: 7 x 950,000 and 13 x 65,000 pairs twice, by 6 N operations a token.
    assert float(flops) == pytest.approx(1.4e20, rel=0.1)
    assert float(hours) == pytest.approx(float(flops) / (989e12 * 0.41 * 3600), rel=0.2)
    assert tokens.endswith("B")
    assert disk.endswith("TB")
    asked = [cell for cell in cells if cell.stage in ("score", "translate_benchmark")]
    items = sum(QUESTIONS[cell.point[-2]] for cell in asked)
    assert int(calls.replace(",", "")) == items
    assert float(dollars.replace(",", "")) > 0
    assert not list(tmp_path.iterdir()), "planning writes nothing"


def test_every_cell(tmp_path: Path) -> None:
    done = run(tmp_path, PAPER, "--cells", "--hardware", "a100", "--mfu", "0.5")
    assert "NVIDIA A100 SXM 80 GB at 50% of its peak" in done.stdout
    cells = re.findall(r"^│ (\w+/\S+)", done.stdout, re.MULTILINE)
    assert len(cells) == len(set(cells)) == len(open_study(PAPER).cells)


def test_a_cap_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = run(tmp_path, PAPER, "--max-gpu-hours", "50")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"error: --max-gpu-hours: 50\.0: \d+\.\d hours on NVIDIA H100 SXM 80 GB are planned: .*",
        line,
    )
    assert run(tmp_path, PAPER, "--max-gpu-hours", "5000").returncode == 0
    bad = run(tmp_path, PAPER, "--hardware", "abacus")
    assert (bad.returncode, bad.stdout) == (2, "")


def test_snakemake_itself_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_GPU_HOURS", "0.00001")
    done = snakemake(tmp_path, TINY, "all", check=False)
    assert done.returncode == 2
    assert "error: MAX_GPU_HOURS: 1e-05: " in done.stderr
    assert not (tmp_path / "recipes").exists()
    assert not (tmp_path / "results").exists()


def test_a_finished_study_costs_nothing_more(finished_tiny: Path) -> None:
    done = run(finished_tiny, TINY, "--hardware", "cpu", "--max-gpu-hours", "1e-9")
    assert done.returncode == 0
    _, to_run, finished, *figures = total(done.stdout)
    assert (to_run, int(finished) > 100, set(figures)) == ("0", True, {""})
    assert "hours, by cells that are finished" in done.stdout


def test_planned_and_actual_stand_beside_the_report(finished_tiny: Path) -> None:
    folder = finished_tiny / "results" / "report"
    with (folder / "costs.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    manifests = list((finished_tiny / "results").rglob("manifest.json"))
    assert len(rows) == len(manifests)
    base = next(row for row in rows if row["cell"] == "train_base/base")
    assert base["planned_tokens"] == base["tokens"] == str(46 * 1024)
    assert float(base["planned_bytes"]) == pytest.approx(float(base["bytes"]), rel=0.15)
    assert 0 < float(base["mfu"]) < 1
    assert float(base["hours"]) > 0
    for row in rows:
        assert (float(row["planned_hours"]) > 0) == bool(row["device"]), row["cell"]
    page = (folder / "costs.html").read_text(encoding="utf-8")
    assert "train_base/base" in page
    assert 'href="index.html"' in page
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert 'href="costs.html"' in index
    cell = next((finished_tiny / "results" / "report" / "study").iterdir()) / "data" / "index.html"
    assert cell.read_text(encoding="utf-8") == index, "what took how long is not in the report"


def test_columns_are_explained() -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    section = text.split("## `costs.csv`")[1].split("\n## ")[0]
    assert [name for name in COLUMNS if f"`{name}`" not in section] == []


def test_estimates_are_of_stages_that_are_there() -> None:
    assert set(ESTIMATES) < set(STAGES)
