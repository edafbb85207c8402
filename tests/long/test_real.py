"""Both studies of real files, tests/configs/{real,stories}.yaml, through Snakemake to a report.

What they are and the figures of one run: docs/real-input.md.
"""

from __future__ import annotations

import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from langtransfer.pretraining.models import load_checkpoint
from langtransfer.resources import ROOT
from tests.workflow.conftest import planned_jobs, snakemake

pytestmark = pytest.mark.long
CONFIGS = ROOT / "tests" / "configs"
Rows = list[dict[str, str]]


def run_study(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study has been run to its report."""
    folder = tmp_path_factory.mktemp(name)
    snakemake(folder, CONFIGS / f"{name}.yaml", "all")
    return folder


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study("real", tmp_path_factory)


@pytest.fixture(scope="module")
def stories(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study("stories", tmp_path_factory)


@pytest.fixture(params=["real", "stories"])
def study(request: pytest.FixtureRequest) -> tuple[str, Path]:
    return request.param, request.getfixturevalue(request.param)


def table(folder: Path, name: str) -> Rows:
    """A CSV of the report."""
    with (folder / "results" / "report" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def data(folder: Path, cell: str) -> Path:
    """Data folder of the one finished cell of this name."""
    (manifest,) = (folder / "results" / cell).glob("*/manifest.json")
    return manifest.parent / "data"


def facts(folder: Path, cell: str, file: str) -> dict[str, Any]:
    """A JSON file of a cell."""
    content: dict[str, Any] = json.loads((data(folder, cell) / file).read_text(encoding="utf-8"))
    return content


def test_the_report_is_whole(study: tuple[str, Path]) -> None:
    name, folder = study
    assert (folder / "results" / "report" / "index.html").stat().st_size > 10_000
    assert len(table(folder, "claims")) == 15
    target = {"real": "zh", "stories": "sw"}[name]
    perplexities = table(folder, "table2_perplexity")
    assert {row["evaluated"] for row in perplexities} == {"en", target}
    for row in perplexities:
        low, found, high = (float(row[c]) for c in ("bpb_low", "bits_per_byte", "bpb_high"))
        assert math.isfinite(high)
        assert low < found < high


def test_a_second_run_has_nothing_to_do(study: tuple[str, Path]) -> None:
    name, folder = study
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("manifest.json"))
    begun = time.time()
    done = snakemake(folder, CONFIGS / f"{name}.yaml", "all")
    assert "Nothing to be done" in done.stdout + done.stderr
    assert not planned_jobs(snakemake(folder, CONFIGS / f"{name}.yaml", "all", "-n"))
    after = sorted(path.stat().st_mtime_ns for path in folder.rglob("manifest.json"))
    assert after == before
    assert max(after) < begun * 1e9


def test_llamas_vocabulary_grows_by_the_published_pieces(real: Path) -> None:
    contract = facts(real, "adopt_model/llama-tokenizer", "vocabulary.json")
    assert (contract["size"], contract["embedding_rows"]) == (32_000, 32_000)
    report = facts(real, "extend_vocabulary/zh/chinese20k", "extension.json")
    # 20,000 pieces: LLaMA has 1,000 of them, and some hold no Chinese character.
    assert report["base_size"] == 32_000
    assert 17_000 < report["added"] < 20_000
    embeddings = facts(real, "extend_embeddings/zh/chinese20k", "embeddings.json")
    assert embeddings["new_pieces"] == report["added"]
    assert embeddings["embedding_rows"] % 8 == 0
    packed = {
        name: facts(real, f"pack_tokens/zh/{name}", "meta.json")
        for name in ("original", "zh.chinese20k")
    }
    assert packed["original"]["bytes"] == packed["zh.chinese20k"]["bytes"]
    assert packed["zh.chinese20k"]["tokens"] < 0.7 * packed["original"]["tokens"]


def test_knowledge_items_are_counted(real: Path) -> None:
    rows = table(real, "figure2_knowledge")
    assert {(row["benchmark"], row["n"]) for row in rows} == {
        ("ceval", "62"), ("gaokao-history", "100"),
    }  # fmt: skip
    assert len(rows) == 2 * 8
    assert {float(row["chance"]) for row in rows} == {0.25}
    summaries = list((real / "results" / "knowledge").rglob("summary.json"))
    assert len(summaries) == len(rows)
    found = [json.loads(path.read_text()) for path in summaries]
    assert {(s["n"], s["truncated"]) for s in found} == {(62, 0), (100, 0)}
    assert {s["shots"] for s in found if s["n"] == 62} == {5}


def test_answers_are_scored_and_real_questions_asked(real: Path) -> None:
    rows = table(real, "table1_response_quality")
    assert {(row["benchmark"], row["n"]) for row in rows} == {("llmeval-2", "24")}
    assert {row["label"] for row in rows} >= {"LLaMA", "LLaMA-EXT+200k with English"}


def test_held_out_flores_stands_in_no_corpus(real: Path) -> None:
    text = data(real, "perplexity/base/none/zh") / "documents.jsonl"
    ids = [json.loads(line)["id"] for line in text.read_text().splitlines()]
    assert len(ids) == 100
    assert all(name.startswith("article-") for name in ids)


def test_the_adopted_base_tells_its_story(stories: Path) -> None:
    model, tokenizer = load_checkpoint(
        data(stories, "adopt_model/stories260k"), None, torch.float32, "cpu"
    )
    begin = torch.tensor([[tokenizer.bos_token_id]])
    ids = model.generate(
        begin, attention_mask=torch.ones_like(begin), max_new_tokens=40, do_sample=False
    )
    # Source of the text: llama2.c/doc/stories260K.md.
    text = "Once upon a time, there was a little girl named Lily. She loved to play outside"
    assert tokenizer.decode(ids[0], skip_special_tokens=True).startswith(text)


def test_the_adopted_base_is_extended_and_trained(stories: Path) -> None:
    report = facts(stories, "extend_vocabulary/sw/ext200", "extension.json")
    assert report["base_size"] == 512
    assert report["added"] > 100
    bits = {
        (row["label"], row["evaluated"]): float(row["bits_per_byte"])
        for row in table(stories, "table2_perplexity")
    }
    for start in ("stories260K", "stories260K-EXT"):
        assert bits[f"{start}+50k", "sw"] < bits[start, "sw"]
