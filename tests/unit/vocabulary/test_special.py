"""Special tokens of an extension: ids after the pieces, padding named, never made from text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoTokenizer

from langtransfer.config.vocabulary import ExtendVocabularyCell
from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import check_contract, write_vocabulary
from langtransfer.vocabulary.conversion import (
    CONTROL,
    NORMAL,
    differences,
    load_processor,
    special_ids,
)
from langtransfer.vocabulary.encoding import load_encoder
from langtransfer.vocabulary.special import add_special_tokens, add_to_tokenizer_json

FIELD = "vocabularies.ext.special_tokens"
MARKERS = ("<pad>", "<|im_start|>", "<|im_end|>")


@pytest.fixture(scope="module")
def marked(english: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The English model with three special tokens, and its vocabulary folder."""
    proto = add_special_tokens(english, MARKERS, FIELD)
    folder = tmp_path_factory.mktemp("marked")
    write_vocabulary(proto, folder, base_size=320)
    return proto, folder


def test_they_follow_the_pieces_and_are_in_the_contract(marked: tuple[Any, Path]) -> None:
    proto, folder = marked
    contract = check_contract(folder, "test")
    assert (contract.size, contract.pad, contract.base_size) == (323, 320, 320)
    assert contract.special_tokens == {
        "<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 320, "<|im_start|>": 321, "<|im_end|>": 322,
    }  # fmt: skip
    assert [p.type for p in proto.pieces[320:]] == [CONTROL] * 3
    assert (special_ids(proto)["pad"], proto.trainer_spec.pad_id) == (320, 320)
    assert proto.trainer_spec.pad_piece == "<pad>"


@pytest.fixture(scope="module")
def loaded(marked: tuple[Any, Path]) -> Any:
    return AutoTokenizer.from_pretrained(marked[1])


def test_hugging_face_knows_them(loaded: Any) -> None:
    assert (loaded.pad_token, loaded.pad_token_id) == ("<pad>", 320)
    assert set(MARKERS) < set(loaded.all_special_tokens)
    ids = loaded("<|im_start|>the<|im_end|>", add_special_tokens=False)["input_ids"]
    assert (ids[0], ids[-1]) == (321, 322)  # asked for as tokens they are tokens ...
    assert loaded.decode(ids, skip_special_tokens=True) == "the"
    padded = loaded(["the", "the city the city"], padding=True)
    assert padded["input_ids"][0][-1] == 320
    assert padded["attention_mask"][0][-1] == 0


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.sampled_from([*MARKERS, " ", "the", "<s>", "\n", "<|", "首"]), max_size=8))
def test_text_never_becomes_one(marked: tuple[Any, Path], loaded: Any, parts: list[str]) -> None:
    """... and as text they stay text, to every engine alike, and come back."""
    proto, folder = marked
    text = "".join(parts)
    assert not list(differences(load_processor(proto), loaded, [text]))
    (ids,) = load_encoder(folder)([text])
    assert not {0, 1, 2, 320, 321, 322} & set(ids)
    assert loaded.decode(ids) == text


def test_old_ids_and_text_are_untouched(english: Any, marked: tuple[Any, Path]) -> None:
    proto, _ = marked
    assert list(proto.pieces[:320]) == list(english.pieces)
    text = ["the capital of <pad> country", "<|im_start|>"]
    assert load_processor(proto).encode(text) == load_processor(english).encode(text)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["▁the"], "white space"),
        (["<s>"], "'<s>': is a piece of the vocabulary already"),
        (["the"], "'the': is a piece of the vocabulary already"),
        (["<0x41>"], "is a piece"),
        ([""], "too short"),
        (["☃"], "too short: one character is text"),
        (["<a b>"], "white space or invisible"),
        (["<a\n>"], "white space or invisible"),
        (["<\u200f>"], "white space or invisible"),
        (["<\ud800>"], "white space or invisible"),
        (["<x>", "<y>", "<x>"], "<x> is given twice"),
    ],
)
def test_what_cannot_be_one(english: Any, tokens: list[str], said: str) -> None:
    proto = type(english)()
    proto.CopyFrom(english)
    proto.pieces.add(piece="the", score=-900, type=NORMAL)
    with pytest.raises(UserError, match=said) as caught:
        add_special_tokens(proto, tokens, FIELD)
    assert caught.value.field == FIELD
    assert "\n" not in str(caught.value)


def test_a_base_with_its_own_padding_keeps_it(marked: tuple[Any, Path]) -> None:
    proto, _ = marked
    more = add_special_tokens(proto, ["<sep>"], FIELD)
    assert special_ids(more)["pad"] == 320
    renamed = type(proto)()
    renamed.CopyFrom(proto)
    renamed.pieces[320].piece = renamed.trainer_spec.pad_piece = "[PAD]"
    with pytest.raises(UserError, match=r"pads with \[PAD\] already"):
        add_special_tokens(renamed, ["<pad>"], FIELD)


@pytest.mark.parametrize(
    ("token", "said"),
    [("hello", "is a piece"), ("<|eos|>", "is a piece"), ("a b", "white space")],
)
def test_byte_level_refuses_the_same(token: str, said: str) -> None:
    eos = {"id": 5, "content": "<|eos|>", "special": True}
    content = {"model": {"vocab": {"hello": 0}}, "added_tokens": [eos]}
    with pytest.raises(UserError, match=said):
        add_to_tokenizer_json(content, [token], None, FIELD)
    with pytest.raises(UserError, match=r"pads with <\|eos\|> already"):
        add_to_tokenizer_json(content, ["<pad>"], "<|eos|>", FIELD)
    added = add_to_tokenizer_json(content, ["<pad>", "<|im|>"], None, FIELD)["added_tokens"]
    assert [(t["id"], t["content"]) for t in added] == [(5, "<|eos|>"), (6, "<pad>"), (7, "<|im|>")]
    assert content["added_tokens"] == [eos]


@pytest.mark.parametrize("tokens", [[""], ["a b"], ["☃"], ["<x>", "<x>"]])
def test_the_config_refuses_them_before_any_stage(tokens: list[str]) -> None:
    with pytest.raises(ValidationError):
        ExtendVocabularyCell(pieces="all", languages=("zh",), special_tokens=tuple(tokens))
