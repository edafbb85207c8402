"""Retrieval against brute force, mean states against each text alone, the choice of the layer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config import RuntimeConfig
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.alignment import mean_states, split, take_pairs
from langtransfer.evaluation.perplexity import encode
from langtransfer.evaluation.retrieval import (
    accuracies,
    best_layer,
    directions,
    document_rows,
    halves,
    summarise,
)
from scripts import alignment

TEXTS = [
    "The capital of Kenya is Nairobi.",
    "今天是星期一。" * 40,  # longer than the model's 128 positions
    "a",
    "Leo ni Jumatatu, kesho ni Jumanne. " * 5,
    "केन्या की राजधानी",
]


def drawn(seed: int, n: int, dimensions: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(n, dimensions))


def naive(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> list[float]:
    """The definition, one cosine at a time."""
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    n = len(left)
    cosine = [[float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in right] for a in left]
    to = [max(range(n), key=lambda j, i=i: cosine[i][j]) == i for i in range(n)]
    back = [max(range(n), key=lambda i, j=j: cosine[i][j]) == j for j in range(n)]
    return [(a + b) / 2 for a, b in zip(to, back, strict=True)]


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 6), st.floats(0.1, 3))
def test_directions_are_their_definition(seed: int, n: int, dimensions: int, noise: float) -> None:
    left = drawn(seed, n, dimensions)
    right = left + noise * drawn(seed + 1, n, dimensions)
    found = directions(left, right)
    assert found.tolist() == naive(left, right)
    # What is added to every document of a language says nothing of the documents.
    assert directions(left + 7, right - drawn(seed, 1, dimensions)).tolist() == found.tolist()
    # Either language may be called the source; order of documents does not matter.
    assert directions(right, left).tolist() == found.tolist()
    turned = directions(left[::-1], right[::-1])[::-1]
    assert turned.tolist() == found.tolist()


def test_what_languages_have_in_common_hides_nothing() -> None:
    content = drawn(1, 50, 16)
    apart = np.zeros(16)
    apart[3] = 1e4  # as the few dimensions that are large in every state of a language model
    assert directions(content + apart, content - apart).mean() == 1
    assert directions(content, drawn(2, 50, 16)).mean() < 0.2


def test_vectors_that_are_alike_retrieve_nothing() -> None:
    same = np.ones((6, 4), dtype=np.float32) * np.float32(0.1)
    noise = (1e-8 * drawn(1, 6, 4)).astype(np.float32)
    assert directions(same, same).tolist() == [0.0] * 6
    assert directions(same + noise, same + noise).tolist() == [0.0] * 6
    twice = drawn(3, 5, 4)
    twice[1] = twice[0]  # two documents nobody can tell apart
    assert directions(twice, twice).tolist() == [0, 0, 1, 1, 1]


def test_halves_are_the_same_for_every_model() -> None:
    ids = [f"article-{number:04d}" for number in range(41)]
    found = halves(ids)
    assert found == halves(ids[::-1])
    assert sorted(found.values()).count("choice") == 20
    # Neighbours in a file come from one page: a half must not be one end of it.
    assert {"choice", "report"} == {found[name] for name in ids[:8]}
    # Pinned: another order would change every published value.
    assert "".join(found[name][0] for name in ids[:10]) == "rrrrccrrrc"


def test_choosing_among_layers_is_no_advantage() -> None:
    generator = np.random.default_rng(5)
    ids = [f"d{number}" for number in range(200)]
    half = halves(ids)
    chosen, both = [], []
    for _ in range(100):
        hits = generator.random((200, 33)) < 0.3  # a model whose layers are all equally good
        rows = [
            {"id": name, "half": half[name], "layers": row.astype(float).tolist()}
            for name, row in zip(ids, hits, strict=True)
        ]
        chosen.append(accuracies(rows, "report")[best_layer(rows)])
        both.append(hits.mean(axis=0).max())
    assert np.mean(chosen) == pytest.approx(0.3, abs=0.015)
    assert np.mean(both) > 0.35, "the best of 33 layers on the same documents"


def test_rows_and_summary() -> None:
    ids = [f"d{number}" for number in range(20)]
    content, noise = drawn(1, 20, 8), drawn(2, 20, 8)
    layers = np.stack([noise, content, content + 0.8 * noise], axis=1)
    rows = document_rows(ids, layers, np.stack([content] * 3, axis=1))
    assert [row["id"] for row in rows] == ids
    assert all(row["layers"][1] == 1 for row in rows)
    summary = summarise(rows)
    assert (summary["layer"], summary["retrieval"], summary["chance"]) == (1, 1.0, 0.05)
    mine = [row["layers"][2] for row in rows if row["half"] == "report"]
    assert summary["by_layer"][2] == pytest.approx(np.mean(mine))


@given(st.integers(2, 80), st.integers(2, 20))
def test_parts_hold_every_token_once(n: int, longest: int) -> None:
    ids = list(range(n))
    parts = list(split(ids, longest))
    assert all(part[0] == 0 and 1 < len(part) <= longest for part in parts)
    assert [i for part in parts for i in part[1:]] == ids[1:]


def one_by_one(model: Any, tokenizer: Any, text: str) -> np.ndarray[Any, Any]:
    """Mean over a text's tokens, part by part, without padding and in float64."""
    ids = encode(tokenizer, text)
    total = np.zeros((3, 32))
    for start in range(1, len(ids), 127):
        part = [ids[0], *ids[start : start + 127]]
        with torch.inference_mode():
            states = model(torch.tensor([part]), output_hidden_states=True).hidden_states
        total += np.stack([layer[0, 1:].double().sum(dim=0).numpy() for layer in states])
    return total / (len(ids) - 1)


def test_states_are_those_of_each_text_alone(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    told: list[int] = []
    states = mean_states(model, tokenizer, TEXTS, 3, told.append)
    assert states.shape == (5, 3, 32)  # two layers and the embeddings
    for text, found in zip(TEXTS, states, strict=True):
        np.testing.assert_allclose(found, one_by_one(model, tokenizer, text), atol=2e-6)
    ids = encode(tokenizer, TEXTS[0])
    embedded = model.get_input_embeddings().weight[ids[1:]].mean(dim=0).detach().numpy()
    np.testing.assert_allclose(states[0, 0], embedded, atol=1e-6)  # the context token is left out
    assert told == sorted(told)
    assert told[-1] == len(TEXTS)


def test_a_text_without_tokens_is_named(loaded: tuple[Any, Any]) -> None:
    with pytest.raises(UserError, match="holds no token"):
        mean_states(*loaded, ["a", ""], 4)


def write(folder: Path, texts: dict[str, str]) -> Path:
    write_jsonl(folder / "documents.jsonl", ({"id": i, "text": t} for i, t in texts.items()))
    return folder


@pytest.fixture
def parallel(tmp_path: Path) -> dict[str, Path]:
    """Twelve documents in two languages; the source's stand in another order."""
    numbers = range(12)
    zh = {f"d{i}": f"第{i}天的首都是北京。" * (1 + i % 3) for i in numbers}
    en = {f"d{i}": f"Day {i}: the capital is Paris. " * (1 + i % 2) for i in reversed(numbers)}
    return {
        "text": write(tmp_path / "zh", zh),
        "source_text": write(tmp_path / "en", en),
    }


SETTINGS = {"language": "zh", "documents": 11}
CELL = "alignment/base/none/zh"


def test_stage(make_job: Any, checkpoint: Path, parallel: dict[str, Path]) -> None:
    parents = {"checkpoint": checkpoint} | parallel
    job = make_job(CELL, SETTINGS, parents)
    stats = alignment.run(job)
    rows = list(read_jsonl(job.out / "alignment.jsonl"))
    assert [row["id"] for row in rows] == [f"d{i}" for i in range(11)]
    assert all(len(row["layers"]) == 3 and set(row["layers"]) <= {0, 0.5, 1} for row in rows)
    summary = json.loads((job.out / "summary.json").read_text())
    assert summary == summarise(rows)
    assert (stats["documents"], stats["layer"]) == (11, summary["layer"])
    progress = json.loads((job.work / "progress.json").read_text())
    assert (progress["done"], progress["total"], progress["unit"]) == (22, 22, "documents")
    again = make_job(CELL, SETTINGS, parents, name="again")
    alignment.run(replace(again, runtime=RuntimeConfig(device="cpu", eval_batch=1)))
    for name in ("alignment.jsonl", "summary.json"):
        assert (again.out / name).read_bytes() == (job.out / name).read_bytes()


def test_a_text_is_its_own_translation(
    make_job: Any, checkpoint: Path, parallel: dict[str, Path]
) -> None:
    same = {"text": parallel["text"], "source_text": parallel["text"]}
    job = make_job(CELL, SETTINGS, {"checkpoint": checkpoint} | same)
    alignment.run(job)
    summary = json.loads((job.out / "summary.json").read_text())
    assert (summary["retrieval"], summary["by_layer"]) == (1.0, [1.0] * 3)


def test_texts_that_are_not_parallel_are_refused(tmp_path: Path) -> None:
    three = write(tmp_path / "three", {"a": "x", "b": "y", "c": "z"})
    with pytest.raises(UserError, match=r"alignment.documents: 4: .* holds 3 documents"):
        take_pairs(three, three, 4)
    two = write(tmp_path / "two", {"c": "z", "a": "x"})
    assert [pair.id for pair in take_pairs(three, three, 2)] == ["a", "b"]
    with pytest.raises(UserError, match=r"id: 'b': not in .*the same documents in all languages"):
        take_pairs(three, two, 2)
    path = tmp_path / "twice" / "documents.jsonl"
    write_jsonl(path, [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}])
    with pytest.raises(UserError, match="the id occurs twice"):
        take_pairs(three, path.parent, 1)
