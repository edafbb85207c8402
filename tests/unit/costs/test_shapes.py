"""Parameters of shapes, against published numbers and against transformers and peft themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from langtransfer.config.training import LoraConfig
from langtransfer.costs.shapes import Shape, from_json, known_models, trained_by
from langtransfer.errors import UserError
from langtransfer.pretraining.adapters import peft_config
from langtransfer.vocabulary.contract import VocabularyContract

# 32 x (4 x 4096^2 + 3 x 4096 x 11008) + 2 x 32000 x 4096 + 65 x 4096, by hand, and so on.
PUBLISHED = {
    "llama-7b": 6_738_415_616,
    "llama2-7b": 6_738_415_616,
    "open-chinese-llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "chinese-llama-plus-7b": 6_885_486_592,
    "chinese-llama2-7b": 6_929_256_448,
}
TINY = Shape(
    hidden=32, intermediate=88, layers=2, heads=4, key_value_heads=2, vocabulary=320, new_rows=20
)


def model(shape: Shape) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden,
        intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads,
        tie_word_embeddings=shape.tied, attn_implementation="eager",
    )  # fmt: skip
    return LlamaForCausalLM(config)


def shape_of(key: str) -> Shape:
    row = known_models()[key]
    names = ("hidden_size", "intermediate_size", "layers", "heads", "key_value_heads", "vocabulary")
    return Shape(*(int(row[name]) for name in names))


@pytest.mark.parametrize("key", sorted(PUBLISHED))
def test_parameters_of_the_papers_models(key: str) -> None:
    assert shape_of(key).parameters == PUBLISHED[key]


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_those_of_transformers(tied: bool) -> None:
    shape = Shape(32, 88, 2, 4, 2, 320, tied)
    assert shape.parameters == model(shape).num_parameters()


@pytest.mark.parametrize(
    "lora",
    [
        LoraConfig(rank=4, alpha=8),
        LoraConfig(rank=4, alpha=8, modules_to_save=("embed_tokens", "lm_head")),
        LoraConfig(rank=2, alpha=8, target_modules=("q_proj", "v_proj")),
        LoraConfig(rank=4, alpha=8, trainable_tokens="new"),
    ],
)
def test_an_adapter_trains_what_peft_says(lora: LoraConfig) -> None:
    contract = VocabularyContract(
        size=320, embedding_rows=320, unk=0, bos=1, eos=2, pad=None, special_tokens={},
        base_size=300, sha256={},
    )  # fmt: skip
    whole = model(TINY)
    adapted = get_peft_model(whole, peft_config(lora, contract, whole))
    trainable, _ = adapted.get_nb_trainable_parameters()
    assert trained_by(TINY, lora).total == trainable


def test_full_training_trains_everything() -> None:
    assert trained_by(TINY, None).total == TINY.parameters


def test_a_config_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    content = model(TINY).config.to_dict() | {"dtype": "bfloat16"}
    path.write_text(json.dumps(content))
    found = from_json(path)
    assert (found.parameters, found.bytes_per_parameter) == (TINY.parameters, 2)
    del content["hidden_size"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="names no hidden_size"):
        from_json(path)
