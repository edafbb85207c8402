"""The tiny study gives the same bytes whenever, wherever and in whichever process it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from langtransfer import warm
from langtransfer.resources import ROOT
from tests.studies import (
    TINY,
    arguments_of,
    branch,
    digests,
    environment,
    outputs_of,
    result_of,
    serving,
    snakemake,
)

CELLS = (
    "train_tokenizer/en/base",
    "train_base/base",
    "pretrain/zh.target-only.original.8k-tokens.s1",
    "finetune/base/t40.sw.s1",
    "generate/base/t40.sw.s1/llm-eval/sw",
    "code_switching/base/t40.sw.s1/llm-eval/sw",
    "knowledge/base/none/atlas-knowledge/zh",
    "perplexity/base/none/zh",
)


def test_two_runs_from_scratch_agree(finished_tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "under another name"
    folder.mkdir(parents=True)
    snakemake(folder, TINY)
    assert digests(folder) == digests(finished_tiny)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Address and process id of a warm worker as Snakemake starts it."""
    address = tmp_path_factory.mktemp("worker") / "w.sock"
    with serving(["-m", "langtransfer.warm"], address) as process:
        yield address, process.pid


def compute(folder: Path, cell: str, finished: Path, address: str) -> None:
    """Run a stage's script on a recipe that is there."""
    result = result_of(finished, cell)
    command = [sys.executable, "-m", f"scripts.{result.parts[1]}", *arguments_of(result)]
    variables = environment() | {"PYTHONPATH": str(ROOT), warm.SOCKET_VARIABLE: address}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert outputs_of(folder, result) == outputs_of(finished, result)


@pytest.mark.parametrize("cell", CELLS)
def test_in_the_warm_worker_and_in_a_process_of_its_own(
    cell: str, finished_tiny: Path, worker: tuple[Path, int], tmp_path: Path
) -> None:
    address, _ = worker
    compute(branch(finished_tiny, tmp_path / "warm", cell), cell, finished_tiny, str(address))
    compute(branch(finished_tiny, tmp_path / "alone", cell), cell, finished_tiny, "none")


def test_the_worker_has_one_thread_when_it_forks(worker: tuple[Path, int]) -> None:
    names = [
        (task / "comm").read_text().strip() for task in Path(f"/proc/{worker[1]}/task").iterdir()
    ]
    assert len(names) == 1, names


def test_who_asks_the_worker_imports_next_to_nothing() -> None:
    code = "import sys, scripts.score; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {"langtransfer", "scripts"} <= set(done.stdout.split())
    assert not {"pydantic", "numpy", "torch", "yaml"} & set(done.stdout.split())
