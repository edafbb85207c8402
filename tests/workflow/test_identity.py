"""[B1]-[B6] and [B8] of the design, through real Snakemake on the finished tiny study."""

from __future__ import annotations

import base64
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from langtransfer.resources import ROOT
from tests.workflow.conftest import (
    TINY,
    digests,
    edited,
    expanded,
    plan,
    planned_jobs,
    snakemake,
    write_config,
)
from tests.workflow.test_invalidation import expected, rows_for

NOTHING = "Nothing to be done"

# One leaf for each stage: the first stage it makes stale.
LEAVES = {
    "fetch_corpus": ("fetch_corpus.default.0.documents", 401),
    "clean_corpus": ("clean_corpus.min_characters", 11),
    "split_corpus": ("split_corpus.seed", 2),
    "train_tokenizer": ("tokenizers.base.train.size", 620),
    "extend_vocabulary": ("vocabularies.ext100.pieces", "target-script"),
    "check_vocabulary": ("check_vocabulary.documents", 21),
    "extend_embeddings": ("extend_embeddings.seed", 2),
    "pack_tokens": ("pack_tokens.seed", 2),
    "train_base": ("base.train.optimization.learning_rate", 0.003),
    "pretrain": ("pretrain.optimization.learning_rate", 0.003),
    "prepare_instructions": ("prepare_instructions.seed", 2),
    "finetune": ("finetune.lora.rank", 5),
    "fetch_benchmark": ("benchmarks.llm-eval.items", 2),
    "generate": ("generate.max_new_tokens", 13),
    "score": ("score.judge.temperature", 0.5),
    "perplexity": ("perplexity.stride", 32),
    "alignment": ("alignment.documents", 19),
    "code_switching": ("code_switching.min_run_letters", 3),
    "tables": ("reporting.confidence", 0.9),
}


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    return expanded()


def dry_run(folder: Path, config: Path = TINY) -> set[str] | None:
    """Cells a dry run would compute; None for nothing to be done."""
    done = snakemake(folder, config, "-n")
    return None if NOTHING in done.stdout + done.stderr else planned_jobs(done)


def test_a_marker_that_a_killed_snakemake_left_changes_nothing(tiny_copy: Path) -> None:
    """With `rerun-incomplete` it would compute the marked cell, and then no other."""
    (base,) = tiny_copy.glob("results/train_base/base/*/manifest.json")
    name = base64.b64encode(base.relative_to(tiny_copy).as_posix().encode()).decode()
    marker = tiny_copy / ".snakemake" / "incomplete" / name
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text('{"external_jobid": null}')
    assert dry_run(tiny_copy) is None
    for report in tiny_copy.glob("results/report/study/*/manifest.json"):
        report.unlink()
    left = dry_run(tiny_copy)
    assert left is not None
    assert {cell.split("/")[0] for cell in left} == {"report"}


def test_b1_a_second_run_does_nothing(finished_tiny: Path) -> None:
    before = digests(finished_tiny)
    done = snakemake(finished_tiny, TINY)
    assert NOTHING in done.stdout + done.stderr
    assert digests(finished_tiny) == before


def test_b2_without_records_and_with_scrambled_times(tiny_copy: Path) -> None:
    shutil.rmtree(tiny_copy / ".snakemake")
    files = [path for path in tiny_copy.rglob("*") if path.is_file()]
    random.Random(1).shuffle(files)
    for second, path in enumerate(files):
        os.utime(path, (1_000_000_000 + second, 1_000_000_000 + second))
    assert dry_run(tiny_copy) is None


@pytest.mark.parametrize("stage", LEAVES)
def test_b3_a_changed_leaf(
    stage: str, finished_tiny: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    leaf, value = LEAVES[stage]
    changed = edited(tiny, leaf, value)
    after = plan(changed, tmp_path / "cache.json")
    wanted = expected(rows_for(leaf), after)
    assert stage in {cell.split("/")[0] for cell in wanted}
    assert dry_run(finished_tiny, write_config(tmp_path, changed)) == wanted


def test_b3_change_run_and_change_back(tiny_copy: Path, tiny: dict[str, Any]) -> None:
    changed = write_config(tiny_copy, edited(tiny, "code_switching.min_run_letters", 3))
    page = tiny_copy / "results" / "report" / "index.html"
    before, first = digests(tiny_copy), page.read_text()
    snakemake(tiny_copy, changed)
    assert before.items() < digests(tiny_copy).items(), "old keys stay, new ones are added"
    assert page.read_text() != first, "the page names the keys of its tables"
    assert dry_run(tiny_copy, changed) is None
    assert dry_run(tiny_copy) is None
    snakemake(tiny_copy, TINY)  # nothing to do, and the report is the present config's again
    assert page.read_text() == first
    runs = (tiny_copy / "results" / "report" / "runs.csv").read_text()
    keys = {path.split("/")[-2] for path in before}
    assert {line.split(",")[1] for line in runs.splitlines()[1:]} == keys


def test_b4_a_language_more(finished_tiny: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    config = write_config(tmp_path, tiny | {"languages": ["hi", "sw", "zh"]})
    cells = dry_run(finished_tiny, config)
    assert cells
    shared = {
        cell for cell in cells if "hi" not in cell.replace("+", "/").replace(".", "/").split("/")
    }
    assert shared == {"tables/study", "figures/study", "claims/study", "report/study"}


def test_b4_a_larger_budget(finished_tiny: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    more = {"label": "LLaMA+20k", "budget": "20k-tokens", "tunings": ["none"]}
    cells = dry_run(
        finished_tiny, write_config(tmp_path, tiny | {"models": [*tiny["models"], more]})
    )
    assert cells == {
        *(f"pretrain/{lang}.target-only.original.20k-tokens.s1" for lang in ("sw", "zh")),
        *(
            f"perplexity/{lang}.target-only.original.20k-tokens.s1/none/{evaluated}"
            for lang in ("sw", "zh")
            for evaluated in (lang, "en")
        ),
        *(
            f"alignment/{lang}.target-only.original.20k-tokens.s1/none/{lang}"
            for lang in ("sw", "zh")
        ),
        *(
            f"knowledge/{lang}.target-only.original.20k-tokens.s1/none/atlas-knowledge/{evaluated}"
            for lang in ("sw", "zh")
            for evaluated in (lang, "en")
        ),
        "tables/study",
        "figures/study",
        "claims/study",
        "report/study",
    }


def test_b5_a_copy_elsewhere_gives_the_same_answers(
    finished_tiny: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    clone = tmp_path / "another" / "place"
    shutil.copytree(
        finished_tiny, clone, ignore=shutil.ignore_patterns(".snakemake", "work", "logs")
    )
    assert dry_run(clone) is None
    changed = write_config(tmp_path, edited(tiny, "finetune.lora.rank", 5))
    assert dry_run(clone, changed) == dry_run(finished_tiny, changed)


def test_b6_what_does_not_decide_results(finished_tiny: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content["pretrain"]["optimization"]["learning_rate"] = "2.0e-3"
    content["runtime"] = {
        "micro_batch": 2,
        "eval_batch": 4,
        "checkpoint_steps": 7,
        "device": "cpu",
        "registry": str(ROOT / "resources" / "datasets.csv"),
    }
    turned = {name: content[name] for name in reversed(content)}
    path = tmp_path / "turned.yaml"
    path.write_text(
        "# a comment\n" + yaml.safe_dump(turned, sort_keys=False, default_flow_style=True)
    )
    assert dry_run(finished_tiny, path) is None
    done = snakemake(finished_tiny, TINY, "-n", "--cores", "1", "--set-threads", "pretrain=1")
    assert NOTHING in done.stdout + done.stderr


def test_b8_a_dry_run_with_another_config_touches_nothing_that_is_there(
    finished_tiny: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    def state() -> dict[str, tuple[int, int]]:
        files = [p for p in finished_tiny.rglob("*") if p.is_file() and ".snakemake" not in p.parts]
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in files}

    before = state()
    dry_run(finished_tiny, write_config(tmp_path, edited(tiny, "base.train.seed", 7)))
    after = state()
    assert {path: after[path] for path in before if "source-hashes" not in path} == {
        path: there for path, there in before.items() if "source-hashes" not in path
    }
    added = {Path(path).relative_to(finished_tiny).parts[0] for path in set(after) - set(before)}
    assert added == {"recipes"}
