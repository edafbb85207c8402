"""Leaves that the tiny study has no case of: adopted models, adapters, initialisations, prices."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from langtransfer.errors import UserError
from langtransfer.resources import ROOT
from langtransfer.workflow.study import Study
from tests.workflow.conftest import edited, expanded, leaves, plan, stale
from tests.workflow.test_invalidation import AFTER, REPORT, expected

TABLE = Path(__file__).parent / "invalidation_others.csv"
CONFIGS = ("config.yaml", "profiles/embeddings/study.yaml")
NAMED = ("mixes", "tunings", "vocabularies", "tokenizers", "benchmarks")
KEYED = ("shares", "per_language", "judge_prices")


def rows() -> dict[tuple[str, str], list[dict[str, str]]]:
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    with TABLE.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            found.setdefault((row["config"], row["leaf"]), []).append(row)
    return found


@cache
def content(config: str) -> dict[str, Any]:
    return expanded(ROOT / config)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    cache_file = tmp_path_factory.mktemp("hashes") / "cache.json"
    return {config: plan(content(config), cache_file) for config in CONFIGS}


@pytest.fixture(autouse=True)
def _initialisations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows from how one vocabulary's rows begin."""
    made = "extend_embeddings pretrain finetune perplexity alignment knowledge generate score"
    for name in ("noise", "focus"):
        cells = [(stage, f"*ext2k-{name}*") for stage in f"{made} code_switching".split()]
        monkeypatch.setitem(AFTER, f"@{name}", cells + [(stage, "*") for stage in REPORT.split()])


@pytest.mark.parametrize(("config", "leaf"), sorted(rows()))
def test_leaf(config: str, leaf: str, before: dict[str, Study], tmp_path: Path) -> None:
    found = rows()[config, leaf]
    changed = edited(content(config), leaf, json.loads(found[0]["value"]))
    assert changed != content(config), "the table's value is the config's own"
    if found[0]["stages"] == "refused":
        with pytest.raises(UserError):
            _ = plan(changed, tmp_path / "cache.json").report
        return
    after = plan(changed, tmp_path / "cache.json")
    assert stale(before[config], after) == expected(found, after)


def kind(leaf: str) -> str:
    """A leaf without the names and numbers a config is free to choose."""
    parts = leaf.split(".")
    for place, part in enumerate(parts):
        free = place > 0 and (parts[place - 1] in KEYED or (place == 1 and parts[0] in NAMED))
        parts[place] = "*" if part.isdigit() or free else part
    return ".".join(parts)


def test_every_kind_of_leaf_has_a_row_somewhere() -> None:
    tiny = {kind(leaf) for leaf in leaves(expanded())}
    ours = {kind(leaf) for _, leaf in rows()}
    others = {kind(leaf) for config in CONFIGS for leaf in leaves(content(config))}
    assert others <= tiny | ours, "say in invalidation_others.csv what it makes stale"
