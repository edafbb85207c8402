"""A vocabulary that fails its gate stops what would be trained with it, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.studies import snakemake
from tests.workflow.conftest import edited, expanded, planned_jobs, write_config

MODELS = ("extend_embeddings", "pack_tokens", "pretrain", "finetune")


def test_a_failed_gate_stops_its_models_alone(tiny_copy: Path, tmp_path: Path) -> None:
    for stage in MODELS:
        shutil.rmtree(tiny_copy / "results" / stage)
    # Swahili's pieces change English lines, as both are written in Latin; the Chinese ones do not.
    strict = edited(expanded(), "check_vocabulary.max_source_lines_changed", 0.0)
    done = snakemake(tiny_copy, write_config(tmp_path, strict), "models", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "source-language lines changed (check_vocabulary/en/sw.ext100)" in said
    made = {path.parent.name for path in (tiny_copy / "results").glob("extend_embeddings/*/*")}
    assert made == {"zh"}
    assert not list((tiny_copy / "results" / "pretrain").glob("sw.target-only.ext100*"))
    assert list((tiny_copy / "results" / "pretrain").glob("zh.target-only.ext100*"))


def test_another_gate_trains_nothing_again(tiny_copy: Path, tmp_path: Path) -> None:
    more = edited(expanded(), "check_vocabulary.documents", 19)
    planned = planned_jobs(snakemake(tiny_copy, write_config(tmp_path, more), "-n"))
    stages = {cell.split("/")[0] for cell in planned}
    assert stages == {"check_vocabulary", "tables", "figures", "claims", "report"}
