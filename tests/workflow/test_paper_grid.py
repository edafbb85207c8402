"""The paper's whole grid is in config.yaml: every printed row of ours has its cells."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from langtransfer.resources import RESOURCES, ROOT
from langtransfer.workflow.points import study_models
from langtransfer.workflow.study import Study, open_study

# Counted by hand from the paper's tables; the rest of the pipeline follows from these.
MODELS = (
    "LLaMA", "LLaMA+10K", "LLaMA+100K", "LLaMA+1M", "LLaMA-EXT+1M", "Chinese LLaMA",
    "Open Chinese LLaMA", "LLaMA2", "Chinese LLaMA2", "LLaMA-13B",
)  # fmt: skip
CELLS = {
    "adopt_model": 7,  # LLaMA 7B and 13B, LLaMA2, three adopted in Chinese, the 20,000 pieces
    "pretrain": 4,  # 10K, 100K and 1M samples; 1M with the extended vocabulary
    "finetune": 45,  # 19 rows of Table 1, 26 of Table 3
    "knowledge": 40,  # 10 models x C-Eval, MMLU, AGI-Eval, GAOKAO-Bench
    "perplexity": 33,  # 10 models in Chinese and English, LLaMA in 13 more languages
    "translate_benchmark": 13,
}


@pytest.fixture(scope="module")
def study() -> Study:
    return open_study(ROOT / "config.yaml")


@pytest.fixture(scope="module")
def rows(study: Study) -> set[tuple[str, str, str, str, str]]:
    """(stage, label, language, tuning, benchmark or evaluated language) of every report row."""
    (tables,) = [cell for cell in study.cells if cell.stage == "tables"]
    return {
        (r["stage"], r["label"], r["language"], r["tuning"], r["benchmark"] or r["evaluated"])
        for r in tables.recipe["config"]["rows"]
    }


def printed(name: str) -> list[dict[str, str]]:
    with (RESOURCES / "paper" / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_table_1_and_its_code_switching(rows: set[tuple[str, ...]]) -> None:
    wanted = {
        (stage, row["label"], "zh", row["tuning"], "llm-eval")
        for row in printed("table1_response_quality")
        for stage in ("score", "code_switching")
    }
    assert len(wanted) == 2 * 19
    assert wanted <= rows


def test_table_2(rows: set[tuple[str, ...]]) -> None:
    wanted = {
        ("perplexity", row["label"], "zh", "none", row["evaluated"])
        for row in printed("table2_perplexity")
    }
    assert len(wanted) == 2 * 5
    assert wanted <= rows


def test_table_3_and_figure_4(rows: set[tuple[str, ...]]) -> None:
    wanted = {
        (stage, "LLaMA", row["language"], row["tuning"], "llm-eval")
        for row in printed("table3_languages")
        if row["language"]
        for stage in ("score", "code_switching")
    }
    assert len(wanted) == 2 * 13 * 2
    assert wanted <= rows


def test_figure_2(rows: set[tuple[str, ...]]) -> None:
    benchmarks = ("ceval", "mmlu", "agieval", "gaokao")
    wanted = {("knowledge", label, "zh", "none", name) for label in MODELS for name in benchmarks}
    assert wanted <= rows


def test_number_of_cells(study: Study) -> None:
    found = Counter(cell.stage for cell in study.cells)
    assert {stage: found[stage] for stage in CELLS} == CELLS


def test_models_and_sizes(study: Study) -> None:
    models = list(study_models(study.config))
    assert {model.label for model in models} == set(MODELS)
    assert {str(model.point.budget) for model in models} == {
        "0",
        "10k-samples",
        "100k-samples",
        "1M-samples",
    }
    assert {t.examples for t in study.config.tunings.values()} == {1_000, 5_000, 65_000, 950_000}
    assert len(study.config.languages) == 14


def test_the_slurm_profile_is_found_by_its_name() -> None:
    assert Path(ROOT / "profiles" / "slurm").resolve() == ROOT / "slurm"
