"""Perplexity against a per-token loop, exact windows, equal text, resumption."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from langtransfer.config.evaluation import PerplexityCell
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation import perplexity as library
from langtransfer.evaluation.perplexity import encode, score_texts, take_documents, windows
from scripts import perplexity

TEXTS = [
    "The capital of Kenya is Nairobi.",
    "今天是星期一。" * 6,
    "a",
    "Leo ni Jumatatu, kesho ni Jumanne. " * 5,
    "केन्या की राजधानी",
]


@given(st.integers(1, 60), st.integers(2, 12), st.data())
def test_every_token_is_scored_once_with_context(n: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window - 1))
    scored: list[int] = []
    for start, end, count in windows(range(n + 1), window, stride):
        assert end - start <= window
        assert 0 < count < end - start  # at least one token of context
        scored += range(end - count, end)
        if scored[0] != end - count:  # a later window: as much context as fits
            assert start == max(0, end - window)
            assert count <= stride
    assert scored == list(range(1, n + 1))


def naive(model: Any, ids: list[int], window: int, stride: int) -> float:
    """One forward pass per token, float64 log-softmax, the same context by the definition."""
    total = 0.0
    for start, end, count in windows(ids, window, stride):
        for position in range(end - count, end):
            with torch.inference_mode():
                context = torch.tensor([ids[start:position]])
                logits = model(input_ids=context, use_cache=False).logits[0, -1].double()
            total -= float(torch.log_softmax(logits, dim=-1)[ids[position]])
    return total


@pytest.mark.parametrize(("window", "stride"), [(128, 64), (16, 5), (9, 8)])
def test_matches_naive_loop(loaded: tuple[Any, Any], window: int, stride: int) -> None:
    model, tokenizer = loaded
    scores = score_texts(model, tokenizer, TEXTS, window, stride, batch=3)
    for text, (nats, tokens) in zip(TEXTS, scores, strict=True):
        ids = encode(tokenizer, text)
        assert tokens == len(ids) - 1
        assert nats == pytest.approx(naive(model, ids, window, stride), rel=1e-6)


def test_control_tokens_in_text_are_text(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    ids = encode(tokenizer, "a <s> b </s>")
    assert ids[0] == tokenizer.bos_token_id
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids[1:])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    rows = [{"id": f"d{i % 7}", "text": TEXTS[i % 5] + " Leo" * (i % 3)} for i in range(10)]
    write_jsonl(tmp_path / "text" / "documents.jsonl", rows)
    return tmp_path / "text"


SETTINGS = {"language": "sw", "documents": 9, "window": 32, "stride": 16}
CELL = "perplexity/base/none/sw"


def test_stage_totals(make_job: Any, checkpoint: Path, text: Path, loaded: Any) -> None:
    job = make_job(CELL, SETTINGS, {"checkpoint": checkpoint, "text": text})
    stats = perplexity.run(job)
    rows = list(read_jsonl(job.out / "documents.jsonl"))
    documents = list(read_jsonl(text / "documents.jsonl"))[:9]
    assert [row["id"] for row in rows] == [d["id"] for d in documents]
    assert [row["bytes"] for row in rows] == [len(d["text"].encode()) for d in documents]
    assert [row["characters"] for row in rows] == [len(d["text"]) for d in documents]
    summary = json.loads((job.out / "summary.json").read_text())
    nats, tokens = sum(row["nats"] for row in rows), sum(row["tokens"] for row in rows)
    assert summary["documents"] == 9
    assert summary["tokens"] == stats["tokens"] == tokens
    assert summary["perplexity"] == pytest.approx(math.exp(nats / tokens))
    size = sum(len(d["text"].encode()) for d in documents)
    assert summary["bits_per_byte"] == pytest.approx(nats / math.log(2) / size)
    # A random model is near uniform: its perplexity is of the order of the vocabulary.
    assert 100 < summary["perplexity"] < 4 * loaded[0].config.vocab_size


def test_killed_and_resumed_gives_the_same_bytes(
    make_job: Any, checkpoint: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "CHUNK_DOCUMENTS", 2)
    parents = {"checkpoint": checkpoint, "text": text}
    whole = make_job(CELL, SETTINGS, parents, name="whole")
    perplexity.run(whole)
    calls, score = [], library.score_texts

    def dies_in_third(*arguments: Any) -> Any:
        calls.append(arguments[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(library, "score_texts", dies_in_third)
    killed = make_job(CELL, SETTINGS, parents, name="killed")
    with pytest.raises(KeyboardInterrupt):
        perplexity.run(killed)
    shutil.rmtree(killed.out)
    perplexity.run(make_job(CELL, SETTINGS, parents, name="killed"))
    assert len(calls) == 3 + 3  # five chunks, two of them finished before the kill
    for name in ("documents.jsonl", "summary.json"):
        assert (killed.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_held_out_part_of_a_split_corpus(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "valid.jsonl.zst", [{"id": "1", "text": "x"}, {"id": "2", "text": "y"}])
    assert [d["id"] for d in take_documents(tmp_path, 1)] == ["1"]
    with pytest.raises(UserError, match=r"perplexity.documents: 3: .* holds 2 documents"):
        take_documents(tmp_path, 3)


def test_bad_windows(make_job: Any, checkpoint: Path, text: Path) -> None:
    with pytest.raises(ValidationError, match="stride must be smaller than window"):
        PerplexityCell(language="sw", documents=1, window=16, stride=16)
    wide = SETTINGS | {"window": 4096}
    with pytest.raises(UserError, match=r"perplexity\.window: 4096: the model has 128 positions"):
        perplexity.run(make_job(CELL, wide, {"checkpoint": checkpoint, "text": text}))
