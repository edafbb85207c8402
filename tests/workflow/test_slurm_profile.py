"""`snakemake --profile slurm -n all`, verbatim from the root, plans the paper's study."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml

from langtransfer.resources import ROOT
from langtransfer.workflow.stages import STAGES
from tests.studies import checkout, environment, processor_seconds

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
    reason="the SLURM plugins are not installed: make slurm",
)
# What the paper needs, cell by cell; raised or lowered knowingly when config.yaml changes.
JOBS = 406
ON_GPUS = {"train_base", "pretrain", "finetune", "generate", "knowledge", "perplexity", "alignment"}


@dataclass
class Plan:
    """What a dry run printed, and the processor time it took."""

    text: str
    seconds: float


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    tree = checkout(tmp_path_factory.mktemp("repository"))
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n", "all"]
    with processor_seconds() as spent:
        done = subprocess.run(command, cwd=tree, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Plan(done.stdout + done.stderr, spent())


def test_number_of_jobs(plan: Plan) -> None:
    total = re.search(r"^total +(\d+)$", plan.text, re.MULTILINE)
    assert total is not None
    assert int(total[1]) == JOBS


def test_the_whole_grid_is_planned_in_seconds(plan: Plan) -> None:
    assert plan.seconds < 10, "5 seconds on a core of an AMD EPYC"


def blocks(plan: Plan) -> list[tuple[str, str]]:
    """Rule and what is said of it, for every planned job; group jobs are indented."""
    found = re.split(r"^ *(?:local)?rule (?=\w+:)", plan.text, flags=re.MULTILINE)[1:]
    return [(block.split(":", 1)[0], block) for block in found]


def test_gpus_go_to_the_stages_that_use_them(plan: Plan) -> None:
    assert len(blocks(plan)) == JOBS
    for rule, block in blocks(plan):
        assert ("gres=gpu:" in block) == (rule in ON_GPUS), block
        assert ("slurm_partition=gpu" in block) == (rule in ON_GPUS), block


def test_what_is_not_in_the_table_runs_where_snakemake_does(plan: Plan) -> None:
    table = yaml.safe_load((ROOT / "slurm" / "resources.yaml").read_text())["rules"]
    names = re.findall(r"^localrules:\n((?:    \w+,\n)+)", (ROOT / "Snakefile").read_text(), re.M)
    local = set(re.findall(r"\w+", "".join(names))) - {"all", "corpora", "models", "evaluations"}
    assert set(table) | local == set(STAGES)
    assert not set(table) & local
    for rule, block in blocks(plan):
        assert ("slurm_partition=" in block) == (rule in table), block


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        # 6.7 billion parameters: 1 h + 0.25 h a billion; 16 GB + 24 GB a billion; a GPU a billion
        ("finetune/base/1k.zh", "runtime=161, gres=gpu:8"),
        # and 950,000 pairs, twice, of 512 tokens: 6.8 h on eight GPUs
        ("finetune/base/950k.zh", "runtime=568, gres=gpu:8"),
        ("pretrain/zh.target-only.original.1M-samples", "runtime=375, gres=gpu:8"),
        ("pretrain/zh.target-only.original.10k-samples", "runtime=163, gres=gpu:8"),
        ("knowledge/llama-13b/none/ceval", "runtime=450, gres=gpu:1, mem_mb=68000"),
        ("knowledge/llama2-7b/none/ceval", "runtime=261, gres=gpu:1, mem_mb=42800"),
    ],
)
def test_scaled_by_model_and_budget(plan: Plan, cell: str, asked: str) -> None:
    found = [block for _, block in blocks(plan) if f"output: results/{cell}" in block]
    assert found
    for block in found:
        assert asked in block


def test_the_profile_is_found_by_its_name() -> None:
    assert (ROOT / "profiles" / "slurm").resolve() == ROOT / "slurm"
