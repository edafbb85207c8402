"""The training stream: nothing lost, nothing twice, shares kept, prefixes stable."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langtransfer.budget import Budget
from langtransfer.config.training import Mix
from langtransfer.errors import UserError
from langtransfer.pretraining.packing import PackedTokens
from langtransfer.pretraining.stream import IGNORED, Stream, open_stream, permutation

L = 16
GLOBAL = 4 * L


class Memory(PackedTokens):
    """Packed documents in memory; each token is unique: language * 10^6 + position."""

    def __new__(cls, language: int, lengths: list[int]) -> Any:
        pack = object.__new__(PackedTokens)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        meta = {"tokens": int(offsets[-1]), "dtype": "<u4", "vocabulary_sha256": "v"}
        pack.__dict__.update(
            folder=Path(),
            meta=meta,
            offsets=offsets,
            tokens=language * 10**6 + np.arange(offsets[-1]),
        )
        return pack


def make_stream(lengths: dict[str, list[int]], mix: Mix, seed: int = 1, length: int = L) -> Stream:
    names = ["en", "hi", "sw", "zh"]
    packs = {name: Memory(names.index(name), lengths[name]) for name in mix.languages()}
    return Stream(packs, mix, length, seed)


def tokens_of(stream: Stream, n_blocks: int) -> list[int]:
    return [int(t) for block in stream.dataset(n_blocks) for t in block["input_ids"]]


LENGTHS = st.lists(st.integers(0, 50), min_size=1, max_size=60)
SHARES = st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0, 3.0])


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 9), length=st.integers(2, 40))
def test_every_token_exactly_once(lengths: list[int], seed: int, length: int) -> None:
    stream = make_stream({"zh": lengths}, Mix(shares={"zh": 1.0}), seed, length)
    n_blocks = sum(lengths) // length
    found = tokens_of(stream, n_blocks)
    assert stream.available() == sum(lengths)
    assert len(found) == len(set(found)) == n_blocks * length
    assert sum(lengths) - len(found) < length


@settings(deadline=None)
@given(zh=LENGTHS, en=LENGTHS, hi=LENGTHS, shares=st.tuples(SHARES, SHARES, SHARES))
def test_shares_hold_in_every_prefix(
    zh: list[int], en: list[int], hi: list[int], shares: tuple[float, float, float]
) -> None:
    names = ("en", "hi", "zh")
    share = dict(zip(names, shares, strict=True))
    lengths = {"en": en, "hi": hi, "zh": zh}
    stream = make_stream(lengths, Mix(shares=share))
    slack = 2 * max(max(lengths[n], default=0) / share[n] for n in names)
    previous = dict.fromkeys(names, 0)
    for n_blocks in range(stream.available() // L + 1):
        tokens = stream.sources(n_blocks)
        assert sum(tokens.values()) == n_blocks * L
        assert all(tokens[n] >= previous[n] for n in names)
        progress = [tokens[n] / share[n] for n in names]
        assert max(progress) - min(progress) <= slack
        previous = tokens
    # It ends only where a language is used up.
    whole = dict(zip(names, np.bincount(stream._interleaved.source, minlength=3), strict=True))
    assert any(whole[n] >= len([x for x in lengths[n] if x]) for n in names)


@settings(deadline=None, max_examples=30)
@given(zh=LENGTHS, en=LENGTHS, seed=st.integers(0, 3))
def test_a_budget_is_a_prefix_of_a_larger_one(zh: list[int], en: list[int], seed: int) -> None:
    mix = Mix(shares={"zh": 0.75, "en": 0.25})
    stream = make_stream({"zh": zh, "en": en}, mix, seed)
    longest = stream.available() // L
    whole = tokens_of(stream, longest)
    assert stream.is_prefix_stable
    for n_blocks in range(longest):
        again = make_stream({"zh": zh, "en": en}, mix, seed)
        assert tokens_of(again, n_blocks) == whole[: n_blocks * L]


@settings(deadline=None)
@given(lengths=LENGTHS, length=st.integers(2, 40))
def test_segments(lengths: list[int], length: int) -> None:
    """Positions count from 0 in each document's part; its first token is never a target."""
    stream = make_stream({"en": lengths}, Mix(shares={"en": 1.0}), length=length)
    for block in stream.dataset(sum(lengths) // length):
        ids, positions, labels = block["input_ids"], block["position_ids"], block["labels"]
        assert {a.dtype for a in block.values()} == {np.dtype(np.int64)}
        assert {a.shape for a in block.values()} == {(length,)}
        document = np.searchsorted(stream.packs["en"].offsets, ids, side="right")
        starts = np.r_[True, document[1:] != document[:-1]]
        assert ((positions == 0) == starts).all()
        assert (np.diff(positions)[~starts[1:]] == 1).all()
        assert (np.diff(ids)[~starts[1:]] == 1).all()
        assert (labels == np.where(starts, IGNORED, ids)).all()


def test_a_long_document_goes_on_in_the_next_block() -> None:
    stream = make_stream({"en": [40]}, Mix(shares={"en": 1.0}))
    first, second = stream.dataset(2)
    assert first["input_ids"].tolist() + second["input_ids"].tolist() == list(range(32))
    assert second["position_ids"].tolist() == list(range(L))
    assert second["labels"][0] == IGNORED


def test_random_access_is_sequential_access() -> None:
    mix = Mix(shares={"en": 1.0, "zh": 2.0})
    chance = np.random.default_rng(0)
    lengths = {name: chance.integers(1, 90, 50).tolist() for name in ("en", "zh")}
    dataset = make_stream(lengths, mix).dataset(60)
    blocks = list(dataset)
    assert len(blocks) == len(dataset) == 60
    for i in chance.permutation(60):
        assert (dataset[int(i)]["input_ids"] == blocks[i]["input_ids"]).all()
    for outside in (60, -1):
        with pytest.raises(IndexError):
            dataset[outside]


def test_seeds_order_documents_differently_but_use_the_same() -> None:
    lengths = {"en": [L] * 30}
    one, two = (tokens_of(make_stream(lengths, Mix(shares={"en": 1.0}), s), 30) for s in (1, 2))
    assert one != two
    assert sorted(one) == sorted(two)


def test_the_order_of_documents_is_pinned() -> None:
    """It is part of every trained model's identity: it may never change."""
    assert permutation(10, "1:zh").tolist() == [8, 0, 4, 3, 9, 6, 5, 7, 1, 2]
    offset = int.from_bytes(blake2b(b"2:en", digest_size=8).digest(), "little")
    expected = sorted(range(1_000), key=lambda i: splitmix64(i, offset))
    assert permutation(1_000, "2:en").tolist() == expected


def splitmix64(index: int, offset: int) -> int:
    """The index-th output of Vigna's generator started at offset, in plain integers."""
    mask = (1 << 64) - 1
    state = ((index + 1) * 0x9E3779B97F4A7C15 + offset) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


# -- budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "blocks"),
    [
        ("0", 0),
        ("64-tokens", 4),
        ("127-tokens", 4),
        ("128-tokens", 8),
        ("1-tokens", 4),
        ("960-tokens", 60),
        ("1-samples", 4),
        ("6-samples", 4),
        ("7-samples", 8),
        ("100-samples", 60),
    ],
)
def test_blocks_are_whole_steps(budget: str, blocks: int) -> None:
    stream = make_stream({"en": [10] * 100}, Mix(shares={"en": 1.0}))
    assert stream.blocks(Budget.parse(budget), GLOBAL) == blocks
    if budget.endswith("samples") and blocks < 60:
        assert stream.samples(blocks) >= Budget.parse(budget).amount


@pytest.mark.parametrize("budget", ["1025-tokens", "2k-tokens", "101-samples"])
@pytest.mark.parametrize("mix", [Mix(shares={"en": 1.0}), Mix(order=("en",))])
def test_more_than_the_corpus(budget: str, mix: Mix) -> None:
    stream = make_stream({"en": [10] * 100}, mix)
    with pytest.raises(UserError) as caught:
        stream.blocks(Budget.parse(budget), GLOBAL)
    assert caught.value.field == "budget"
    assert "1,000 tokens" in caught.value.remedy
    assert "100 documents" in caught.value.remedy


def test_a_corpus_below_one_step() -> None:
    stream = make_stream({"en": [10] * 6}, Mix(shares={"en": 1.0}))
    for budget in ("1-tokens", "60-tokens", "6-samples"):
        with pytest.raises(UserError, match="60 tokens"):
            stream.blocks(Budget.parse(budget), GLOBAL)


def test_more_blocks_than_there_are() -> None:
    stream = make_stream({"en": [10] * 6}, Mix(shares={"en": 1.0}))
    for use in (stream.dataset, stream.samples, stream.sources):
        with pytest.raises(UserError, match="budget"):
            use(4)


def test_the_first_language_to_run_out_ends_a_mix() -> None:
    mix = Mix(shares={"en": 1.0, "zh": 3.0})
    stream = make_stream({"en": [10] * 1_000, "zh": [10] * 30}, mix)
    assert 400 <= stream.available() <= 410
    assert stream.sources(25) == {"en": 100, "zh": 300}


# -- languages one after another ----------------------------------------------------------------


@settings(deadline=None)
@given(zh=LENGTHS, hi=LENGTHS, sw=LENGTHS)
def test_ordered_parts_are_equal_and_in_order(zh: list[int], hi: list[int], sw: list[int]) -> None:
    lengths, order = {"zh": zh, "hi": hi, "sw": sw}, ("zh", "hi", "sw")
    stream = make_stream(lengths, Mix(order=order))
    assert not stream.is_prefix_stable
    for n_blocks in range(stream.available() // L + 1):
        found = tokens_of(stream, n_blocks)
        assert len(set(found)) == n_blocks * L
        languages = [t // 10**6 for t in found]
        ranks = [{3: 0, 1: 1, 2: 2}[language] for language in languages]
        assert ranks == sorted(ranks)
        for language, count in stream.sources(n_blocks).items():
            assert abs(count - n_blocks * L / 3) <= 2 * max(map(max, lengths.values())) + 1
            assert Counter(languages)[["en", "hi", "sw", "zh"].index(language)] == count


def test_an_ordered_budget_in_samples_takes_as_many_of_each() -> None:
    stream = make_stream({"zh": [10] * 50, "hi": [30] * 50}, Mix(order=("zh", "hi")))
    assert stream.blocks(Budget.parse("8-samples"), L) == 10  # 4 * 10 + 4 * 30 tokens
    assert stream.sources(10) == {"hi": 80, "zh": 80}


# -- opening folders ----------------------------------------------------------------------------


def write_pack(folder: Path, lengths: list[int], vocabulary: str = "v") -> Path:
    folder.mkdir(parents=True)
    tokens = np.arange(sum(lengths), dtype="<u2")
    tokens.tofile(folder / "tokens.bin")
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    meta = {
        "dtype": "<u2",
        "tokens": len(tokens),
        "documents": len(lengths),
        "vocabulary_sha256": vocabulary,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_folders(tmp_path: Path) -> None:
    folders = {name: write_pack(tmp_path / name, [9] * 20) for name in ("en", "zh")}
    stream = open_stream(folders, Mix(shares={"zh": 1.0, "en": 1.0}), 12, seed=3)
    assert (list(stream.packs), stream.vocabulary_sha256) == (["en", "zh"], "v")
    dataset = stream.dataset(30)
    copy = pickle.loads(pickle.dumps(dataset))
    for one, two in zip(dataset, copy, strict=True):
        for name, value in one.items():
            assert (two[name] == value).all()


def test_only_the_mixs_languages_are_opened(tmp_path: Path) -> None:
    folders = {"en": write_pack(tmp_path / "en", [9]), "zh": tmp_path / "nowhere"}
    assert list(open_stream(folders, Mix(order=("en",)), 4, seed=1).packs) == ["en"]


def test_bad_folders(tmp_path: Path) -> None:
    en = write_pack(tmp_path / "en", [9])
    zh = write_pack(tmp_path / "zh", [9], vocabulary="other")
    mix = Mix(shares={"zh": 1.0, "en": 1.0})
    with pytest.raises(UserError, match=r"mix.*zh.*no packed tokens"):
        open_stream({"en": en}, mix, 4, seed=1)
    with pytest.raises(UserError, match="different vocabularies"):
        open_stream({"en": en, "zh": zh}, mix, 4, seed=1)
    with pytest.raises(UserError, match="twice"):
        open_stream({"en": en, "zh": zh}, Mix(order=("en", "zh", "en")), 4, seed=1)
    with pytest.raises(UserError, match="packed tokens"):
        open_stream({"en": tmp_path / "nowhere"}, Mix(order=("en",)), 4, seed=1)
