"""SentencePiece and AutoTokenizer must give the same ids: on real text and on nasty text."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import write_vocabulary
from langtransfer.vocabulary.conversion import (
    CONTROL,
    NORMAL,
    ModelProto,
    convert,
    differences,
    load_processor,
    read_proto,
    save_tokenizer,
    special_ids,
)
from langtransfer.vocabulary.encoding import Encoder, load_encoder
from langtransfer.vocabulary.extension import extend
from langtransfer.vocabulary.special import add_special_tokens
from langtransfer.vocabulary.training import train_model

HARD = (
    # literals of special and byte pieces
    "<s>", "</s>", "<unk>", "<0x41>", "<0x0A>", "<pad>", "<s>the</s>",
    # white space: runs, at the ends, of every kind, and SentencePiece's own sign for it
    " ", "  ", " the", "the ", " " * 17, " " * 40, "\t", "\t\t", "\n", "\n\n \n", "\r\n",
    "a\u00a0b", "\u3000", "\u2028", "▁", "▁the", "the▁ ▁",
    # what is no letter, joins, turns or combines
    "\0", "\0the\0", "\u200f", "\u200eab\u202e", "e\u0301", "\u0301", "ก็", "ക്ഷ്", "क्षि", "\u200d",
    "\ufeff", "👩\u200d👩\u200d👧", "👍🏽", "🇨🇳", "☕\ufe0f", "\U0010ffff", "\ue000",
    "the", "th", "首都", "the首都the", "  首 都  ",
)  # fmt: skip
ANY_TEXT = st.lists(
    st.one_of(st.sampled_from(HARD), st.text(max_size=8)), max_size=12
).map("".join)  # fmt: skip


class Engines(NamedTuple):
    """The three that must agree."""

    sentencepiece: Any
    hugging_face: Any
    corpus: Encoder


@pytest.fixture(scope="session")
def loaded(english: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The English tokenizer as AutoTokenizer loads it."""
    folder = tmp_path_factory.mktemp("english")
    save_tokenizer(english, folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session", params=["base", "extended", "with special tokens"])
def engines(
    request: pytest.FixtureRequest,
    english: Any,
    chinese: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Engines:
    """A vocabulary as everyone loads it."""
    proto, folder = english, tmp_path_factory.mktemp("engines")
    if request.param != "base":
        proto, _ = extend(english, chinese, ["zh"], "all", "ext")
    if request.param == "with special tokens":
        proto = add_special_tokens(proto, ["<pad>", "<|im_start|>"], "special_tokens")
    write_vocabulary(proto, folder)
    auto = AutoTokenizer.from_pretrained(folder)
    return Engines(load_processor(proto), auto, load_encoder(folder))


def disagreements(engines: Engines, texts: list[str]) -> list[str]:
    """Texts whose ids differ between the three, or that do not come back."""
    ids = engines.sentencepiece.encode(texts)
    auto = engines.hugging_face(texts, add_special_tokens=False, split_special_tokens=True)
    back = engines.hugging_face.batch_decode(ids)
    rows = zip(
        texts, ids, auto["input_ids"], engines.corpus(texts), back,
        engines.sentencepiece.decode(ids), strict=True,
    )  # fmt: skip
    return [
        text
        for text, expected, hugging_face, corpus, decoded, own in rows
        # SentencePiece has no ids for U+2581 itself: it is read as a space, and nothing else is.
        if not expected == hugging_face == corpus or not decoded == own == text.replace("▁", " ")
    ]


def test_hard_text_has_the_same_ids_and_comes_back(engines: Engines) -> None:
    pairs = [a + b for a in HARD for b in HARD]
    assert not disagreements(engines, [*HARD, *pairs, "".join(HARD), ""])


@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT)
def test_any_text_has_the_same_ids_and_comes_back(engines: Engines, text: str) -> None:
    assert not disagreements(engines, [text])


def test_differences_are_found(chinese: Any, loaded: Any) -> None:
    """The comparison the other tests rely on can fail."""
    (found,) = differences(load_processor(chinese), loaded, ["", "首都"])
    assert found.text == "首都"
    assert found.expected == load_processor(chinese).encode("首都") != found.found


def test_bos_goes_before_a_text_and_unk_pads(loaded: Any) -> None:
    assert loaded("the")["input_ids"][0] == loaded.bos_token_id == 1
    assert (loaded.unk_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, 2, 0)
    assert loaded(["the", "the city the city"], padding=True)["attention_mask"][0][-1] == 0


def test_saving_twice_gives_the_same_bytes(english: Any, tmp_path: Path) -> None:
    for name in "ab":
        save_tokenizer(english, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.spm",
        "tokenizer_config.json",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "sizes", [s for n in range(4) for s in itertools.combinations(range(3, 8), n)]
)
def test_runs_of_equal_score_grow_from_the_left(english: Any, sizes: tuple[int, ...]) -> None:
    """LLaMA's white-space pieces all score -1e9; which sizes there are must not matter."""
    proto = ModelProto()
    proto.CopyFrom(english)
    known = {piece.piece for piece in proto.pieces}
    for size in (2, *sizes):
        if "▁" * size not in known:
            proto.pieces.add(piece="▁" * size, score=-1.0e9, type=NORMAL)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=convert(proto))
    texts = ["a" + " " * n + "the" for n in range(40)]
    assert not list(differences(load_processor(proto), wrapped, texts))


@pytest.mark.parametrize("seed", range(20))
def test_any_bpe_vocabulary_is_exact(seed: int) -> None:
    """Scores in any order, pieces that overlap and repeat themselves, unreachable ones."""
    chance = random.Random(seed)
    letters = "abc"[: 1 + seed % 3]
    drawn = ["".join(chance.choices(letters, k=chance.randint(2, 7))) for _ in range(60)]
    proto = ModelProto()
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.pieces.add(piece="<unk>", score=0, type=2)
    for i, piece in enumerate([*dict.fromkeys(drawn), *letters, "▁"]):
        proto.pieces.add(piece=piece, score=-i, type=NORMAL)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=convert(proto), unk_token="<unk>")
    texts = [
        "".join(chance.choices(letters, k=chance.randint(1, 8))) * chance.randint(1, 8)
        for _ in range(1_000)
    ]
    assert not list(differences(load_processor(proto), wrapped, texts))


def test_without_byte_fallback_unknown_runs_are_one_unk(sentences: Any, tmp_path: Path) -> None:
    config = TrainTokenizerConfig(size=270, byte_fallback=False, character_coverage=1.0)
    proto = train_model([*sentences("en"), *sentences("zh")], config, "plain")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=convert(proto), unk_token="<unk>")
    texts = ["the ☃☃☃ city ☃", "☃", "☃ ☃☃", "首都☃是", "\0\0the"]
    assert not list(differences(load_processor(proto), wrapped, texts))
    assert load_processor(proto).encode("the☃☃").count(0) == 1


def _changed(proto: Any, **changes: Any) -> Any:
    copy = ModelProto()
    copy.CopyFrom(proto)
    for path, value in changes.items():
        part, name = path.split("__")
        setattr(getattr(copy, part), name, value)
    return copy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer_spec__model_type": 1}, "model type unigram"),
        ({"trainer_spec__treat_whitespace_as_suffix": True}, "suffix"),
        ({"normalizer_spec__remove_extra_whitespaces": True}, "remove_extra_whitespaces"),
        ({"normalizer_spec__escape_whitespaces": False}, "escape_whitespaces"),
        ({"normalizer_spec__precompiled_charsmap": b"x"}, "normalisation 'identity'"),
    ],
)
def test_what_has_no_exact_form_is_refused(
    english: Any, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        convert(_changed(english, **changes))


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([("中国", -400.0)], "characters that are no pieces"),
        ([("thec", -400.0), ("cthe", -400.0)], "equal scores"),
    ],
)
def test_pieces_that_merge_otherwise_are_refused(
    english: Any, pieces: list[tuple[str, float]], said: str
) -> None:
    proto = _changed(english)
    for piece, score in pieces:
        proto.pieces.add(piece=piece, score=score, type=NORMAL)
    with pytest.raises(UserError, match=said):
        convert(proto)


@pytest.mark.parametrize("token", ["☃", "首"])
def test_control_pieces_of_one_character_are_refused(english: Any, token: str) -> None:
    """A merge list finds them in text, SentencePiece does not."""
    proto = _changed(english)
    proto.pieces.add(piece=token, score=0.0, type=CONTROL)
    with pytest.raises(UserError, match=r"control pieces of one character.*vocabularies\.<name>"):
        convert(proto)


def test_user_defined_symbols_are_refused(english: Any) -> None:
    proto = _changed(english)
    proto.pieces.add(piece="<sep>", score=0.0, type=proto.SentencePiece.USER_DEFINED)
    with pytest.raises(UserError, match="USER_DEFINED"):
        convert(proto)


def test_a_model_without_bos_gets_no_template(english: Any) -> None:
    proto = _changed(english)
    proto.trainer_spec.bos_id = -1
    proto.pieces[1].piece, proto.trainer_spec.bos_piece = "<x>", "<none>"
    assert proto.pieces[1].type == CONTROL
    assert special_ids(proto)["bos"] is None
    assert convert(proto).encode("the").ids == load_processor(proto).encode("the")


@pytest.mark.parametrize("content", [b"", b"hello, not a model", b"\x0a\x05abc"])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.model"):
        read_proto(path)


def test_duplicate_pieces_are_refused(english: Any, tmp_path: Path) -> None:
    proto = _changed(english)
    proto.pieces.add(piece="the", score=-900, type=NORMAL)
    proto.pieces.add(piece="the", score=-901, type=NORMAL)
    (tmp_path / "x.model").write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match="already defined"):
        read_proto(tmp_path / "x.model")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_proto(tmp_path / "none.model")


def test_real_llama_is_exact_on_real_text(shared_data: Path, tmp_path: Path) -> None:
    proto = read_proto(shared_data / "tokenizers/llama/tokenizer.model")
    save_tokenizer(proto, tmp_path)
    text = shared_data / "text"
    files = [
        *text.glob("flores/**/zho_Hans.devtest"),
        *text.glob("flores/**/eng_Latn.devtest"),
        *text.glob("tatoeba/data/**/tatoeba.*"),
    ]
    lines = [line for f in files for line in f.read_text(encoding="utf-8").split("\n")]
    assert len(lines) > 10_000
    lines += [line.replace(" ", " " * (1 + i % 40)) for i, line in enumerate(lines[:2_000])]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert not list(differences(load_processor(proto), tokenizer, lines))
    for line in lines[::50]:
        assert tokenizer.decode(tokenizer.encode(line, add_special_tokens=False)) == line


def test_trained_on_real_text_is_exact(shared_data: Path) -> None:
    (path,) = (shared_data / "text").glob("flores/**/zho_Hans.devtest")
    lines = path.read_text(encoding="utf-8").split("\n")
    proto = train_model(lines, TrainTokenizerConfig(size=4_000), "zh")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=convert(proto), unk_token="<unk>")
    (other,) = (shared_data / "text").glob("flores/**/eng_Latn.devtest")
    texts = [*lines, *other.read_text(encoding="utf-8").split("\n"), "\n".join(lines)]
    assert not list(differences(load_processor(proto), wrapped, texts))
