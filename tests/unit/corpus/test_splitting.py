"""Splitting: held out by the text alone, and a held-out text never trains."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.corpus.jsonl import read_json, read_jsonl, write_json, write_jsonl
from langtransfer.corpus.splitting import seeded_hash, smallest_hashes
from langtransfer.errors import UserError
from langtransfer.job import Job
from scripts import split_corpus


@given(st.lists(st.text()), st.integers(1, 20), st.integers(0, 5))
def test_the_smallest_hashes_are_those_of_sorting(texts: list[str], count: int, seed: int) -> None:
    expected = sorted({seeded_hash(text, seed) for text in texts})[:count]
    assert smallest_hashes(iter(texts), count, seed) == expected


def split(folder: Path, texts: list[str], count: int, seed: int = 1) -> dict[str, list[str]]:
    source, out, work = folder / "clean", folder / "out", folder / "work"
    for path in (source, out, work):
        path.mkdir(parents=True)
    rows = [{"id": f"texts.zh.{n}", "text": text} for n, text in enumerate(texts)]
    write_jsonl(source / "documents.jsonl.zst", rows)
    write_json(source / "stats.json", {"kept": len(rows)})
    settings = {"language": "zh", "valid_documents": count, "seed": seed}
    split_corpus.run(Job("split_corpus", "c", "k", settings, {"corpus": source}, out, work))
    return {
        side: [row["text"] for row in read_jsonl(out / f"{side}.jsonl.zst")]
        for side in ("train", "valid")
    }


TEXTS = [f"document {n}" for n in range(200)]


def test_both_sides_together_are_the_corpus(tmp_path: Path) -> None:
    sides = split(tmp_path, TEXTS, 20)
    assert len(sides["valid"]) == 20
    assert sorted(sides["train"] + sides["valid"]) == sorted(TEXTS)
    assert sides["train"] == [text for text in TEXTS if text not in sides["valid"]]
    stats = read_json(tmp_path / "out" / "stats.json")
    assert stats == {"train": 180, "valid": 20, "copies": 0}


def test_the_side_does_not_depend_on_the_order_and_grows_as_a_prefix(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    first = split(tmp_path / "a", TEXTS, 20)["valid"]
    assert split(tmp_path / "b", shuffled, 20)["valid"] == first
    assert split(tmp_path / "c", TEXTS, 40)["valid"][:20] == first
    assert split(tmp_path / "d", TEXTS, 20, seed=2)["valid"] != first


def test_copies_of_a_held_out_text_never_train(tmp_path: Path) -> None:
    sides = split(tmp_path, TEXTS + TEXTS[:100] + TEXTS[:50], 60)
    assert not set(sides["train"]) & set(sides["valid"])
    assert len(sides["valid"]) == len(set(sides["valid"])) == 60
    copies = read_json(tmp_path / "out" / "stats.json")["copies"]
    assert copies == 350 - len(sides["train"]) - 60 > 0


@pytest.mark.parametrize(("texts", "count"), [(TEXTS, 200), (TEXTS, 300), (["a"] * 9, 1)])
def test_nothing_left_to_train_on(tmp_path: Path, texts: list[str], count: int) -> None:
    message = rf"valid_documents: {count}: zh has only {len(set(texts))} documents"
    with pytest.raises(UserError, match=message):
        split(tmp_path, texts, count)


def test_traces_of_other_languages_train_and_are_never_held_out(tmp_path: Path) -> None:
    own = [{"id": f"texts.zh.{n}", "text": f"自己的{n}"} for n in range(30)]
    traces = [{"id": f"texts.en.{n}", "text": f"a trace {n}"} for n in range(30)]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_jsonl(corpus / "documents.jsonl.zst", [*own, *traces])
    (corpus / "stats.json").write_text('{"kept": 60}')
    out = tmp_path / "out"
    out.mkdir()
    settings = {"language": "zh", "valid_documents": 20, "seed": 1}
    split_corpus.run(
        Job(
            "split_corpus",
            "split_corpus/zh",
            "0",
            settings,
            {"corpus": corpus},
            out,
            tmp_path / "w",
        )
    )
    held_out = [row["id"] for row in read_jsonl(out / "valid.jsonl.zst")]
    trained = [row["id"] for row in read_jsonl(out / "train.jsonl.zst")]
    assert len(held_out) == 20
    assert all(".zh." in name for name in held_out)
    assert len(trained) == 40
