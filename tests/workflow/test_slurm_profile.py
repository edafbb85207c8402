"""`snakemake --profile slurm -n all`, verbatim from the root, plans the paper's study."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.config.loading import load_config
from langtransfer.resources import ROOT
from tests.studies import environment

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
    reason="the SLURM plugins are not installed: make slurm",
)
# What the paper needs, cell by cell; raised or lowered knowingly when config.yaml changes.
JOBS = 406
ON_GPUS = {"train_base", "pretrain", "finetune", "generate", "knowledge", "perplexity", "alignment"}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    tree = tmp_path_factory.mktemp("repository")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = tracked.stdout.splitlines() if tracked.returncode == 0 else []
    if not names:
        pytest.skip("not a git checkout: nothing says which files are the repository's")
    for name in names:
        source, target = ROOT / name, tree / name
        if name.startswith(("results/", "recipes/")) or not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            shutil.copyfile(source, target)
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n", "all"]
    done = subprocess.run(command, cwd=tree, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def test_number_of_jobs(plan: str) -> None:
    total = re.search(r"^total +(\d+)$", plan, re.MULTILINE)
    assert total is not None
    assert int(total[1]) == JOBS


def test_gpus_go_to_the_stages_that_use_them(plan: str) -> None:
    blocks = re.split(r"^(?:local)?rule (?=\w+:)", plan, flags=re.MULTILINE)[1:]
    assert len(blocks) == JOBS
    for block in blocks:
        rule = block.split(":", 1)[0]
        assert ("gres=gpu:" in block) == (rule in ON_GPUS), block


def test_every_budget_and_tuning_of_the_paper_is_there() -> None:
    config = load_config(ROOT / "config.yaml")
    assert len(config.languages) == 14
    assert {str(m.budget) for m in config.models} == {
        "0",
        "10k-samples",
        "100k-samples",
        "1M-samples",
    }
    assert {t.examples for t in config.tunings.values()} == {1_000, 5_000, 65_000, 950_000}
    assert Path(ROOT / "profiles" / "slurm").resolve() == ROOT / "slurm"
