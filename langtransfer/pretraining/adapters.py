"""Low-rank adapters: what they train of an embedding pair, tied or not."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig as PeftLoraConfig

from langtransfer.config.training import LoraConfig, name_embeddings
from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import VocabularyContract


def is_tied(model: Any) -> bool:
    """Whether a causal LM's output embedding is its input embedding."""
    outputs = model.get_output_embeddings()
    return outputs is not None and outputs.weight is model.get_input_embeddings().weight


def new_ids(contract: VocabularyContract) -> range:
    """Ids that extending the vocabulary added; empty where it extends none."""
    return range(contract.size if contract.base_size is None else contract.base_size, contract.size)


def peft_config(lora: LoraConfig, contract: VocabularyContract, model: Any) -> Any:
    """peft's settings for a causal LM with this vocabulary.

    A tied pair is trained as one matrix and stays tied when merged. `trainable_tokens: new` trains
    nothing of a vocabulary that extends none: one setting serves both arms of a study. Raises
    UserError for what peft 0.21.2 does wrong without a word: merging a tied pair's low-rank update
    adds it twice (logits off by 0.9 on a tiny model), and what stands in for an output matrix
    forgets its bias.
    """
    tied = is_tied(model)
    if tied and (named := name_embeddings(lora.target_modules)):
        remedy = (
            "the model ties its embeddings, whose low-rank update peft merges twice: "
            "set lora.modules_to_save or lora.trainable_tokens instead"
        )
        raise UserError("lora.target_modules", sorted(named), remedy)
    replaced = lora.trainable_tokens == "new" or (tied and lora.trains_embeddings)
    if replaced and getattr(model.get_output_embeddings(), "bias", None) is not None:
        remedy = "the model's output matrix has a bias, which peft would drop: set method: full"
        raise UserError("lora", model.config.model_type, remedy)
    return PeftLoraConfig(
        task_type="CAUSAL_LM", r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        modules_to_save=list(lora.modules_to_save) or None,
        trainable_token_indices=_token_indices(lora, contract, tied),
        # New rows of a tied pair need no flag: peft ties their adapters by itself.
        ensure_weight_tying=tied and bool(name_embeddings(lora.modules_to_save)),
    )  # fmt: skip


def _token_indices(
    lora: LoraConfig, contract: VocabularyContract, tied: bool
) -> dict[str, list[int]] | None:
    if lora.trainable_tokens == "none" or not new_ids(contract):
        return None
    matrices = ("embed_tokens",) if tied else ("embed_tokens", "lm_head")
    return {name: list(new_ids(contract)) for name in matrices}
