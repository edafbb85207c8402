"""Models from shapes, and loading checkpoint folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from langtransfer.config.training import ModelShape
from langtransfer.errors import UserError
from langtransfer.pretraining.models import (
    embedding_rows,
    load_checkpoint,
    load_model,
    new_model,
    save_config,
)
from langtransfer.vocabulary.contract import read_contract
from tests.unit.pretraining.tiny_study import SHAPE


def test_seed_alone_decides_the_weights(vocabulary: Path) -> None:
    shape, contract = ModelShape(**SHAPE), read_contract(vocabulary)
    torch.manual_seed(5)
    one = new_model(shape, contract, seed=1).state_dict()
    torch.manual_seed(6)
    same, other = (new_model(shape, contract, seed=s).state_dict() for s in (1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_shape_and_ids_reach_the_config(vocabulary: Path) -> None:
    contract = read_contract(vocabulary).model_copy(update={"embedding_rows": 320})
    config = new_model(ModelShape(**SHAPE, tie_embeddings=True), contract, seed=1).config
    assert config.vocab_size == 320
    assert config.tie_word_embeddings
    assert (config.bos_token_id, config.eos_token_id) == (contract.bos, contract.eos)
    assert config.rope_parameters["rope_theta"] == 10_000.0


def test_config_is_whole_without_weights_saved(vocabulary: Path, tmp_path: Path) -> None:
    model = new_model(ModelShape(**SHAPE), read_contract(vocabulary), seed=1)
    save_config(model, tmp_path / "alone")
    model.save_pretrained(tmp_path / "with weights")
    alone, beside = (tmp_path / name / "config.json" for name in ("alone", "with weights"))
    assert alone.read_text() == beside.read_text()


def test_loaded_as_saved(base: Path, vocabulary: Path) -> None:
    model, tokenizer = load_checkpoint(base, None, torch.float32, "cpu")
    assert model.dtype == torch.float32
    assert not model.training
    assert model.config.use_cache
    assert len(tokenizer) == read_contract(vocabulary).size
    assert embedding_rows(base / "model") == 310
    half, _ = load_checkpoint(base, None, torch.bfloat16, "cpu")
    assert half.dtype == torch.bfloat16


def copied(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base / "model", tmp_path / "model")
    return tmp_path / "model"


def test_vocabulary_of_another_size(base: Path, tmp_path: Path) -> None:
    folder = copied(base, tmp_path)
    contract = json.loads((folder / "vocabulary.json").read_text())
    (folder / "vocabulary.json").write_text(json.dumps(contract | {"embedding_rows": 999}))
    with pytest.raises(UserError, match=r"embedding rows .*: 310: the contract states 999"):
        load_model(folder)


def test_truncated_weights(base: Path, tmp_path: Path) -> None:
    folder = copied(base, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"model.safetensors': truncated or corrupt"):
        load_model(folder)


def test_no_weights(base: Path, tmp_path: Path) -> None:
    folder = copied(base, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds no config.json with \*.safetensors"):
        load_model(folder)
