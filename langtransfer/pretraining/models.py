"""Building a LLaMA from a shape and a vocabulary, and loading checkpoint folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    logging,
    set_seed,
)

from langtransfer.config.training import ModelShape
from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import (
    VocabularyContract,
    check_model_fits,
    copy_vocabulary,
    read_contract,
)

EMBEDDING = "embed_tokens.weight"
logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # what loads and saves here is logged to files


def llama_config(shape: ModelShape, contract: VocabularyContract) -> LlamaConfig:
    """Hugging Face's config for a shape; the rows and special ids are the vocabulary's."""
    return LlamaConfig(
        vocab_size=contract.embedding_rows,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=shape.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        rms_norm_eps=shape.rms_norm_eps,
        initializer_range=shape.initializer_range,
        tie_word_embeddings=shape.tie_embeddings,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=contract.bos,
        eos_token_id=contract.eos,
        pad_token_id=contract.pad,
    )


def new_model(shape: ModelShape, contract: VocabularyContract, seed: int) -> Any:
    """A LlamaForCausalLM in float32 with random weights that the seed alone decides."""
    set_seed(seed)
    return LlamaForCausalLM(llama_config(shape, contract))


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The causal LM in a `model/` folder: safetensors only, no code from the folder, on the CPU.

    Raises UserError when config.json or the weights are missing or broken, or when the
    embedding rows are not those of the folder's vocabulary contract.
    """
    check_model_fits(read_contract(folder), embedding_rows(folder), str(folder))
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )


def load_checkpoint(
    checkpoint: Path, chat: Path | None, dtype: torch.dtype, device: str | torch.device
) -> tuple[Any, Any]:
    """Model in evaluation mode, and tokenizer, of a checkpoint folder, tuned when chat is given.

    chat is the data folder of a `finetune` cell: its `adapter/` is merged into the checkpoint's
    weights in memory, its `model/` replaces them. Raises UserError as `load_model` does.
    """
    folder = model_folder(checkpoint, chat)
    model = load_model(folder, dtype)
    if chat is not None and (chat / "adapter").is_dir():
        model = merge_adapter(model, chat / "adapter").to(dtype)
    return model.to(device).eval(), load_tokenizer(folder)


def model_folder(checkpoint: Path, chat: Path | None) -> Path:
    """The `model/` folder of a checkpoint, of its tuning where that wrote whole weights."""
    tuned = chat is not None and (chat / "model").is_dir()
    return (chat if chat is not None and tuned else checkpoint) / "model"


def load_tokenizer(folder: Path) -> Any:
    """The Hugging Face tokenizer of a vocabulary or `model/` folder."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def merge_adapter(model: Any, adapter: Path) -> Any:
    """The model with a peft adapter's low-rank updates added to its weights."""
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def embedding_rows(folder: Path) -> int:
    """Rows of the input embedding, read from the safetensors headers alone."""
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  # safe_open is no mapping
                    if name.endswith(EMBEDDING):
                        return int(tensors.get_slice(name).get_shape()[0])
        except SafetensorError as error:
            remedy = f"truncated or corrupt ({error}): fetch or compute it again"
            raise UserError("weights", str(file), remedy) from error
    raise UserError("weights", str(folder), f"no tensor named *{EMBEDDING}: not a causal LM")


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files of a `model/` folder, sorted; UserError when there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        remedy = "holds no config.json with *.safetensors beside it: give a checkpoint folder"
        raise UserError("checkpoint", str(folder), remedy)
    return files


def save_model(model: Any, vocabulary: Path, target: Path) -> None:
    """Write a `model/` folder: config, safetensors, and the vocabulary's files beside them."""
    save_config(model, target)
    model.save_pretrained(target)
    copy_vocabulary(vocabulary, target, model.config.vocab_size)


def save_config(model: Any, target: Path) -> None:
    """Write config.json and generation_config.json as a model for use (with its cache) has them."""
    # transformers adds these when it saves weights; a run resumed after its last step saves none.
    model.config.architectures = [type(model).__name__]
    model.config.dtype = model.dtype
    model.config.use_cache = True
    model.generation_config.use_cache = True
    model.config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
