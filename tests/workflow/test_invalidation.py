"""[B3] Every leaf of the config makes exactly the right cells stale: a hand-written table."""

from __future__ import annotations

import csv
import fnmatch
import json
from pathlib import Path
from typing import Any

import pytest

from langtransfer.errors import UserError
from langtransfer.workflow.study import Study
from tests.workflow.conftest import edited, expanded, leaves, plan, stale

TABLE = Path(__file__).parent / "invalidation.csv"

REPORT = "tables figures claims report"
ANSWERS = "generate score code_switching"
EVALUATIONS = f"perplexity alignment knowledge {ANSWERS} {REPORT}"
MODELS = "extend_embeddings pretrain finetune"
VOCABULARIES = "train_tokenizer extend_vocabulary check_vocabulary pack_tokens"
GROUPS = {
    "@report": REPORT,
    "@answers": ANSWERS,
    "@tuned": f"finetune {ANSWERS} {REPORT}",
    "@evaluations": EVALUATIONS,
    "@models": MODELS,
    "@pretrained": f"pretrain finetune perplexity alignment knowledge {ANSWERS}",
    "@corpus": "fetch_corpus clean_corpus split_corpus",
    "@all": f"fetch_corpus clean_corpus split_corpus {VOCABULARIES} train_base {MODELS}"
    f" prepare_instructions fetch_benchmark switch_prompts {EVALUATIONS}",
}
# What is made from a corpus, cell by cell: the English one trains the base and its tokenizer, and
# so reaches every model; a target's reaches its own pieces, tokens, models and held-out text.
ALL_BUT_CORPUS = [
    (stage, "*") for stage in f"{VOCABULARIES} train_base {MODELS} {EVALUATIONS}".split()
]
ENGLISH_STAGES = f"extend_vocabulary check_vocabulary pack_tokens train_base {MODELS} {EVALUATIONS}"
ENGLISH = [
    ("train_tokenizer", "en/base"),
    *[(stage, "*") for stage in ENGLISH_STAGES.split()],
]
TARGET = [
    ("train_tokenizer", "*/ext100"),
    ("extend_vocabulary", "*"),
    ("check_vocabulary", "*ext100"),
    ("extend_embeddings", "*"),
    ("pack_tokens", "sw/*"),
    ("pack_tokens", "zh/*"),
    ("pretrain", "*"),
    *[
        (stage, "*ext100*")
        for stage in f"finetune perplexity alignment knowledge {ANSWERS}".split()
    ],
    *[
        (stage, "*-tokens.s1*")
        for stage in f"finetune perplexity alignment knowledge {ANSWERS}".split()
    ],
    ("perplexity", "*/sw"),
    ("perplexity", "*/zh"),
    *[(stage, "*") for stage in REPORT.split()],
]
AFTER = {
    "@after_every_corpus": ALL_BUT_CORPUS,
    "@after_english_corpus": ENGLISH,
    "@after_target_corpus": TARGET,
}


def rows_for(leaf: str) -> list[dict[str, str]]:
    """Rows of the table that speak of a leaf: by its exact name, or else by pattern."""
    with TABLE.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    exact = [row for row in rows if row["leaf"] == leaf]
    return exact or [row for row in rows if fnmatch.fnmatchcase(leaf, row["leaf"])]


def selectors(row: dict[str, str]) -> list[tuple[str, str]]:
    """(stage, glob of its point) pairs a row expects to be stale."""
    pairs: list[tuple[str, str]] = []
    for word in row["stages"].split():
        if word in AFTER:
            pairs += AFTER[word]
        elif word != "nothing":
            stages = GROUPS.get(word, word).split()
            pairs += [(stage, glob) for stage in stages for glob in row["cells"].split()]
    return pairs


def expected(rows: list[dict[str, str]], study: Study) -> set[str]:
    wanted = [pair for row in rows for pair in selectors(row)]
    return {
        cell.path
        for cell in study.cells
        if any(
            cell.stage == stage and fnmatch.fnmatchcase("/".join(cell.point), glob)
            for stage, glob in wanted
        )
    }


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    return expanded()


@pytest.fixture(scope="module")
def before(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Study:
    return plan(tiny, tmp_path_factory.mktemp("hashes") / "cache.json")


@pytest.mark.parametrize("leaf", sorted(leaves(expanded())))
def test_leaf(leaf: str, tiny: dict[str, Any], before: Study, tmp_path: Path) -> None:
    rows = rows_for(leaf)
    assert rows, f"{leaf} has no row in {TABLE.name}: say what it makes stale"
    changed = edited(tiny, leaf, json.loads(rows[0]["value"]))
    assert changed != tiny, "the table's value is the config's own"
    if rows[0]["stages"] == "refused":
        with pytest.raises(UserError):
            _ = plan(changed, tmp_path / "cache.json").report
        return
    after = plan(changed, tmp_path / "cache.json")
    assert stale(before, after) == expected(rows, after)


def test_changing_back_costs_nothing(tiny: dict[str, Any], before: Study, tmp_path: Path) -> None:
    assert not stale(before, plan(tiny, tmp_path / "cache.json"))


def test_every_row_of_the_table_is_used() -> None:
    used = {row["leaf"] for leaf in leaves(expanded()) for row in rows_for(leaf)}
    with TABLE.open(encoding="utf-8", newline="") as handle:
        assert {row["leaf"] for row in csv.DictReader(handle)} == used
