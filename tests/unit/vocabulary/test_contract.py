"""The vocabulary contract: what does not fit is one clear line naming the stage at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import (
    check_contract,
    check_model_fits,
    copy_vocabulary,
    corrected_ids,
    read_contract,
    require_end,
    vocabulary_folder,
    write_pieces,
    write_vocabulary,
)
from langtransfer.vocabulary.conversion import ModelProto


@pytest.fixture
def folder(english: Any, tmp_path: Path) -> Path:
    write_vocabulary(english, tmp_path / "vocabulary")
    return tmp_path / "vocabulary"


def test_it_says_what_is_there(folder: Path) -> None:
    contract = read_contract(folder)
    assert contract == check_contract(folder, "test")
    assert (contract.size, contract.embedding_rows) == (320, 320)
    assert set(contract.sha256) == {
        "tokenizer.spm",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    assert contract.identity == contract.sha256["tokenizer.json"]
    assert set(json.loads((folder / "vocabulary.json").read_text())) == {
        "size",
        "embedding_rows",
        "unk",
        "bos",
        "eos",
        "pad",
        "special_tokens",
        "base_size",
        "sha256",
    }
    assert contract.special_tokens == {"<unk>": 0, "<s>": 1, "</s>": 2}


def test_it_is_found_beside_weights(folder: Path, tmp_path: Path) -> None:
    copied = copy_vocabulary(folder, tmp_path / "checkpoint" / "model", 384)
    assert vocabulary_folder(tmp_path / "checkpoint") == tmp_path / "checkpoint" / "model"
    assert check_contract(tmp_path / "checkpoint", "test") == copied
    assert copied.embedding_rows == 384
    assert copied.identity == read_contract(folder).identity


@pytest.mark.parametrize("name", ["tokenizer.spm", "tokenizer.json"])
def test_changed_and_missing_files(folder: Path, name: str) -> None:
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(original + b" ")
    with pytest.raises(UserError, match=f"{name}.*changed since.*finetune needs"):
        check_contract(folder, "finetune")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}.*missing"):
        check_contract(folder, "finetune")


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "Invalid JSON"), ('{"size": 1}', "embedding_rows: Field required"), ("[]", "JSON")],
)
def test_a_damaged_contract(folder: Path, content: str, said: str) -> None:
    (folder / "vocabulary.json").write_text(content)
    with pytest.raises(UserError, match=said):
        read_contract(folder)


def test_no_contract(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no vocabulary contract"):
        read_contract(tmp_path)


def test_a_tokenizer_of_another_size(folder: Path) -> None:
    path = folder / "vocabulary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": 300}))
    with pytest.raises(UserError, match="320 ids"):
        check_contract(folder, "pack_tokens")


def test_the_classic_mismatch_names_the_stage(folder: Path) -> None:
    contract = read_contract(folder).model_copy(update={"size": 49_953, "embedding_rows": 49_984})
    check_model_fits(contract, 49_984, "extend_embeddings")
    with pytest.raises(UserError, match=r"train_base.*32000.*49,953 pieces.*extend_embeddings"):
        check_model_fits(contract, 32_000, "train_base")
    with pytest.raises(UserError, match=r"finetune.*55296.*states 49,984"):
        check_model_fits(contract, 55_296, "finetune")


def test_config_json_beside_it_is_checked(folder: Path) -> None:
    LlamaConfig(vocab_size=320, hidden_size=32, num_attention_heads=2).save_pretrained(folder)
    check_contract(folder, "test")
    LlamaConfig(vocab_size=256, hidden_size=32, num_attention_heads=2).save_pretrained(folder)
    with pytest.raises(UserError, match="256"):
        check_contract(folder, "test")


def test_a_token_the_weights_have_no_row_for_is_named(folder: Path) -> None:
    """49,954 ids beside 49,953 rows: a tuned model's tokenizer and its base's weights."""
    special = {"<unk>": 0, "<s>": 1, "</s>": 2, "[PAD]": 49_953}
    contract = read_contract(folder).model_copy(
        update={"size": 49_954, "embedding_rows": 49_954, "special_tokens": special}
    )
    with pytest.raises(UserError, match=r"finetune.*49953.*of which \[PAD\] were added") as caught:
        check_model_fits(contract, 49_953, "finetune")
    assert "vocabularies.<name>.special_tokens" in caught.value.remedy
    with pytest.raises(UserError, match=r"49,954 pieces: the model at fault comes from pretrain"):
        check_model_fits(contract, 49_952, "pretrain")


def test_pieces_alone(english: Any, tmp_path: Path) -> None:
    """They have a contract too, and no stage that needs a tokenizer takes them for one."""
    proto = ModelProto()
    proto.CopyFrom(english)
    for piece in ("city the", "the city"):
        proto.pieces.add(piece=piece, score=0)
    contract = write_pieces(proto, tmp_path)
    assert (contract.size, contract.special_tokens) == (322, {"<unk>": 0, "<s>": 1, "</s>": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.spm", "vocabulary.json"]
    with pytest.raises(UserError, match=r"pack_tokens needs a tok.*characters that are no pieces"):
        check_contract(tmp_path, "pack_tokens")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}, None),
        ({"bos_token_id": 1, "eos_token_id": [9, 2], "pad_token_id": 0}, None),
        ({"bos_token_id": 0}, "bos_token_id: 0: the tokenizer beside it has 1: finetune needs"),
        ({"pad_token_id": -1}, "pad_token_id: -1: the tokenizer beside it has 0"),
        ({"eos_token_id": 0}, "eos_token_id: 0: the tokenizer beside it ends a text with 2"),
        ({"eos_token_id": [0, 1]}, r"eos_token_id: \[0, 1\]: the tokenizer beside it ends"),
    ],
)
def test_special_ids_of_a_model(
    folder: Path, name: str, settings: dict[str, Any], said: str | None
) -> None:
    (folder / name).write_text(json.dumps({"vocab_size": 320} | settings))
    if said is None:
        check_contract(folder, "finetune")
        return
    with pytest.raises(UserError, match=rf"^{name}: {said}"):
        check_contract(folder, "finetune")


def test_what_is_corrected_and_what_is_not(folder: Path) -> None:
    contract = read_contract(folder)
    settings = {"bos_token_id": 0, "pad_token_id": 2, "eos_token_id": 2, "vocab_size": 320}
    assert corrected_ids(contract, settings) == {"bos_token_id": 1, "pad_token_id": 0}
    assert corrected_ids(contract, {"bos_token_id": 1}) == {}
    no_specials = contract.model_copy(update={"bos": None, "eos": None, "pad": None})
    assert corrected_ids(no_specials, settings) == {}
    require_end(no_specials, settings, "config.json")
