"""pack_tokens: every document framed, in hash order, byte for byte repeatable."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining import packing
from langtransfer.pretraining.packing import open_packed, order_key
from langtransfer.vocabulary.contract import read_contract, write_contract, write_vocabulary
from langtransfer.vocabulary.training import train_model
from scripts.pack_tokens import run

TEXTS = [f"document {i}: the city\n\n  of <s> number {i * 7} 首" for i in range(60)] + [""]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    config = TrainTokenizerConfig(size=300, character_coverage=1.0)
    write_vocabulary(train_model(TEXTS, config, "base"), folder)
    return folder


@pytest.fixture
def pack(tmp_path: Path, vocabulary: Path) -> Callable[..., Path]:
    """Run the stage over texts; its output folder."""

    def make(texts: list[str], seed: int = 1, folder: Path = vocabulary) -> Path:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        rows = [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)]
        write_jsonl(place / "corpus" / "train.jsonl.zst", rows)
        (place / "out").mkdir()
        parents = {"corpus": place / "corpus", "vocabulary": folder}
        settings = {"language": "en", "seed": seed}
        run(
            Job(
                "pack_tokens",
                "pack_tokens/en/original",
                place.name,
                settings,
                parents,
                place / "out",
                place / "work",
            )
        )
        return place / "out"

    return make


def documents(folder: Path) -> list[list[int]]:
    packed = open_packed(folder)
    return [
        packed.tokens[a:b].tolist()
        for a, b in zip(packed.offsets, packed.offsets[1:], strict=False)
    ]


def test_ids_are_hugging_faces_framed_and_in_hash_order(
    pack: Callable[..., Path], vocabulary: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(vocabulary)
    order = sorted(range(len(TEXTS)), key=lambda i: order_key(1, f"d{i}"))
    assert order != list(range(len(TEXTS)))
    expected = [tokenizer(TEXTS[i], split_special_tokens=True)["input_ids"] + [2] for i in order]
    assert documents(pack(TEXTS)) == expected


def test_files_and_meta(pack: Callable[..., Path], vocabulary: Path) -> None:
    out = pack(TEXTS)
    assert sorted(p.name for p in out.iterdir()) == ["meta.json", "offsets.npy", "tokens.bin"]
    meta = json.loads((out / "meta.json").read_text())
    assert meta == {
        "dtype": "<u2",
        "documents": 61,
        "tokens": sum(map(len, documents(out))),
        "bytes": sum(len(t.encode()) for t in TEXTS),
        "vocabulary_sha256": read_contract(vocabulary).identity,
        "documents_with_visible_space": sum("\u2581" in text for text in TEXTS),
    }
    assert np.load(out / "offsets.npy").dtype == np.int64
    assert not list((out.parent / "work").glob("*.spool"))


def test_batches_do_not_matter(pack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack(TEXTS)
    monkeypatch.setattr(packing, "BATCH_CHARACTERS", 50)
    monkeypatch.setattr(packing, "GATHER_TOKENS", 70)
    second = pack(TEXTS)
    for name in ("tokens.bin", "offsets.npy", "meta.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_seed_orders_and_growth_keeps_the_order(pack: Callable[..., Path]) -> None:
    one, two, grown = pack(TEXTS), pack(TEXTS, seed=2), pack([*TEXTS, "a new one", "another"])
    assert documents(one) != documents(two)
    assert sorted(documents(one)) == sorted(documents(two))
    kept = iter(documents(grown))
    assert all(document in kept for document in documents(one))


def test_ids_beyond_uint16(pack: Callable[..., Path], vocabulary: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    write_vocabulary(_padded(vocabulary, 70_000), large)
    out = pack(["the ☃", *TEXTS], folder=large)
    assert json.loads((out / "meta.json").read_text())["dtype"] == "<u4"
    assert max(map(max, documents(out))) > 1 << 16


def _padded(vocabulary: Path, size: int) -> Any:
    """A model with so many pieces, the last a snowman."""
    from langtransfer.vocabulary.conversion import read_proto
    from langtransfer.vocabulary.extension import append_pieces

    base = read_proto(vocabulary / "tokenizer.spm")
    count = size - len(base.pieces) - 1
    return append_pieces(base, [*(chr(0x20000 + i) for i in range(count)), "☃"])


def test_a_vocabulary_without_sentencepiece(
    pack: Callable[..., Path], vocabulary: Path, tmp_path: Path
) -> None:
    other = tmp_path / "hf-only"
    other.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (other / name).write_bytes((vocabulary / name).read_bytes())
    write_contract(other)
    first, second = pack(TEXTS), pack(TEXTS, folder=other)
    assert (first / "tokens.bin").read_bytes() == (second / "tokens.bin").read_bytes()


def test_no_document(pack: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"corpus.*holds no document"):
        pack([])


def test_half_a_surrogate_pair(pack: Callable[..., Path], tmp_path: Path) -> None:
    place = tmp_path / "s"
    place.mkdir()
    line = '{"id":"bad","text":"x \\ud800 y"}\n'
    (place / "c.jsonl").write_text(line)
    with pytest.raises(UserError, match=r"'bad'.*surrogate"):
        packing.pack(
            place / "c.jsonl", place, place, lambda texts: [[1]] * len(texts), _contract(), 1
        )


def _contract() -> Any:
    from langtransfer.vocabulary.contract import VocabularyContract

    return VocabularyContract(
        size=9,
        embedding_rows=9,
        unk=0,
        bos=None,
        eos=None,
        pad=0,
        special_tokens={},
        sha256={"tokenizer.json": "x"},
    )


def test_without_bos_and_eos_nothing_is_added(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "c.jsonl", [{"id": "a", "text": "x"}, {"id": "b", "text": ""}])
    packing.pack(tmp_path / "c.jsonl", tmp_path, tmp_path, lambda texts: [[5], []], _contract(), 1)
    assert sorted(documents(tmp_path)) == [[], [5]]


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.npy", "meta.json"])
def test_a_damaged_folder(pack: Callable[..., Path], name: str) -> None:
    out = pack(TEXTS)
    (out / name).write_bytes((out / name).read_bytes()[:-3])
    with pytest.raises(UserError, match="packed tokens"):
        open_packed(out)


def test_a_worker_gets_the_path_not_the_tokens(pack: Callable[..., Path]) -> None:
    packed = open_packed(pack(TEXTS * 20))
    assert len(pickle.dumps(packed)) < 1_000 < packed.tokens.nbytes
    assert (pickle.loads(pickle.dumps(packed)).tokens == packed.tokens).all()
