"""train_tokenizer: repeatable, LLaMA-style, and clear when the corpus cannot give the size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.vocabulary.contract import check_contract, read_contract
from langtransfer.vocabulary.conversion import load_processor, read_proto
from scripts.train_tokenizer import run

Sentences = Callable[..., list[str]]
FolderBytes = Callable[[Path], dict[str, bytes]]

SETTINGS: dict[str, Any] = {"size": 330, "character_coverage": 1.0, "languages": ["en"]}


def train(make_job: Callable[..., Job], parents: dict[str, Path], **changes: Any) -> Job:
    job = make_job("train_tokenizer", "en/small", SETTINGS | changes, parents)
    run(job)
    return job


def test_the_same_corpus_gives_the_same_bytes_and_no_path(
    make_job: Callable[..., Job],
    corpus: Callable[..., Path],
    tmp_path: Path,
    sentences: Sentences,
    folder_bytes: FolderBytes,
) -> None:
    parents = {"corpus.en": corpus("en", sentences("en"))}
    first, second = (folder_bytes(train(make_job, parents).out) for _ in range(2))
    assert first == second
    assert not any(str(tmp_path).encode() in content for content in first.values())


def test_it_is_llama_style(
    make_job: Callable[..., Job], corpus: Callable[..., Path], sentences: Sentences
) -> None:
    job = train(make_job, {"corpus.en": corpus("en", sentences("en"))}, pad_to_multiple_of=64)
    proto = read_proto(job.out / "tokenizer.spm")
    processor = load_processor(proto)
    assert [proto.pieces[i].piece for i in range(4)] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert processor.pad_id() == -1
    assert processor.decode(processor.encode("  a\n\n 12 首")) == "  a\n\n 12 首"
    assert "12" not in [p.piece for p in proto.pieces]
    contract = check_contract(job.out, "test")
    assert (contract.size, contract.embedding_rows) == (330, 384)
    assert (contract.unk, contract.bos, contract.eos, contract.pad) == (0, 1, 2, 0)


def test_max_documents_limits_each_language(
    make_job: Callable[..., Job], corpus: Callable[..., Path], sentences: Sentences
) -> None:
    lines = sentences("en")
    parents = {"corpus.en": corpus("en", [*lines, "日本" * 50])}
    job = train(make_job, parents, max_documents=len(lines))
    assert "日" not in [p.piece for p in read_proto(job.out / "tokenizer.spm").pieces]


def test_several_languages(
    make_job: Callable[..., Job], corpus: Callable[..., Path], sentences: Sentences
) -> None:
    parents = {f"corpus.{name}": corpus(name, sentences(name)) for name in ("en", "zh")}
    job = train(make_job, parents, languages=["en", "zh"], size=420)
    pieces = {p.piece for p in read_proto(job.out / "tokenizer.spm").pieces}
    assert {"货币", "▁the"} <= pieces


def test_long_lines_are_not_dropped(
    make_job: Callable[..., Job], corpus: Callable[..., Path], sentences: Sentences
) -> None:
    """The trainer's own limit is 4,192 bytes a line."""
    parents = {"corpus.en": corpus("en", [*sentences("en", 50), "日本" * 5_000])}
    pieces = read_proto(train(make_job, parents).out / "tokenizer.spm").pieces
    assert "日本" in [p.piece for p in pieces]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize(
    ("texts", "size", "said"),
    [
        (["the city of the city"] * 3, 5_000, r"gives at most \d+ pieces"),
        ("zh", 270, r"characters alone need \d+"),
        ([], 300, "no text"),
    ],
)
def test_a_size_the_corpus_cannot_give(
    make_job: Callable[..., Job],
    corpus: Callable[..., Path],
    kind: str,
    texts: list[str] | str,
    size: int,
    said: str,
    sentences: Sentences,
) -> None:
    parents = {"corpus.en": corpus("en", sentences(texts) if isinstance(texts, str) else texts)}
    with pytest.raises(UserError, match=said) as caught:
        train(make_job, parents, size=size, type=kind)
    assert caught.value.field.startswith("tokenizer small")


def test_the_largest_size_it_names_works(
    make_job: Callable[..., Job], corpus: Callable[..., Path], sentences: Sentences
) -> None:
    parents = {"corpus.en": corpus("en", sentences("en", 5))}
    with pytest.raises(UserError) as caught:
        train(make_job, parents, size=5_000)
    largest = int(caught.value.remedy.split("at most ")[1].split()[0])
    assert read_contract(train(make_job, parents, size=largest).out).size == largest


def test_a_unigram_model_is_for_its_pieces_only(
    make_job: Callable[..., Job], corpus: Callable[..., Path], sentences: Sentences
) -> None:
    job = train(make_job, {"corpus.en": corpus("en", sentences("en"))}, type="unigram", size=300)
    assert sorted(p.name for p in job.out.iterdir()) == ["tokenizer.spm", "vocabulary.json"]
    with pytest.raises(UserError, match="pack_tokens needs a tokenizer"):
        check_contract(job.out, "pack_tokens")
