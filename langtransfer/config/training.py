"""Stage settings of training: the base model, further pretraining, instruction tuning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from langtransfer.budget import Budget
from langtransfer.config.base import Language, Model, Name, Share
from langtransfer.config.corpus import DatasetIdentity

Precision = Literal["fp32", "bf16"]
EMBEDDING_MODULES = ("embed_tokens", "lm_head")
"""Input and output embedding in the Llama family's module names, which peft's settings use too."""


def name_embeddings(modules: Iterable[str]) -> set[str]:
    """Those of EMBEDDING_MODULES that a list of module names or paths holds."""
    return {name.rsplit(".", 1)[-1] for name in modules} & set(EMBEDDING_MODULES)


class ModelShape(Model):
    """A LLaMA architecture; the vocabulary's size comes from the vocabulary."""

    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    key_value_heads: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1.0e-5
    initializer_range: float = 0.02
    tie_embeddings: bool = False

    @model_validator(mode="after")
    def _divisible(self) -> ModelShape:
        if self.hidden_size % (2 * self.heads) or self.heads % self.key_value_heads:
            raise ValueError("hidden_size / heads must be even, heads divisible by key_value_heads")
        return self


class OptimizationConfig(Model):
    """What decides the weights of a training run, whatever the hardware."""

    sequence_length: int = Field(gt=1)
    """Tokens per packed block."""
    global_batch_tokens: int = Field(gt=1)
    """Tokens per optimizer step over all processes; a multiple of sequence_length."""
    learning_rate: float = Field(gt=0)
    schedule: Literal["constant", "cosine", "linear"]
    """After warm-up. Chained budgets need `constant`: the horizon must not matter."""
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "fp32"

    @model_validator(mode="after")
    def _whole_blocks(self) -> OptimizationConfig:
        if self.global_batch_tokens % self.sequence_length:
            raise ValueError("global_batch_tokens must be a multiple of sequence_length")
        return self


class LoraConfig(Model):
    """Low-rank adapters (peft)."""

    rank: int = Field(gt=0)
    alpha: int = Field(gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    modules_to_save: tuple[str, ...] = ()
    """Modules trained and saved whole, such as embed_tokens and lm_head; a tied pair stays tied."""
    trainable_tokens: Literal["none", "new"] = "none"
    """new: rows of the pieces an extension added learn, in both matrices; old rows keep their bits.
    For an extended vocabulary only, and instead of embed_tokens and lm_head in other fields."""

    @model_validator(mode="after")
    def _rows_once(self) -> LoraConfig:
        named = name_embeddings((*self.modules_to_save, *self.target_modules))
        if self.trainable_tokens == "new" and named:
            both = ", ".join(sorted(named))
            raise ValueError(f"trainable_tokens: new keeps old rows, but {both} would train them")
        return self

    @property
    def trains_embeddings(self) -> bool:
        """Whether anything of the embedding matrices learns."""
        named = name_embeddings((*self.modules_to_save, *self.target_modules))
        return bool(named) or self.trainable_tokens == "new"


class MixConfig(Model):
    """Languages of a training stream, side by side or in order; an entry of `mixes` is one."""

    shares: dict[str, Share] | None = Field(default=None, min_length=1)
    """Language, or `target`, -> share of the tokens or examples, interleaved."""
    order: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Languages, or `target`, one after another, an equal part of the budget or examples each."""

    @model_validator(mode="after")
    def _one_of(self) -> MixConfig:
        if (self.shares is None) == (self.order is None):
            raise ValueError("give either shares or order")
        return self

    def parts(self) -> tuple[str, ...]:
        """Languages and placeholders the mix names."""
        return tuple(self.shares) if self.shares is not None else tuple(self.order or ())


class Mix(Model):
    """A mix with its placeholders filled in, as it stands in a recipe."""

    shares: dict[Language, Share] | None = None
    order: tuple[Language, ...] | None = None

    def languages(self) -> tuple[str, ...]:
        """Languages whose tokens the mix reads, sorted and unique."""
        return tuple(sorted(set(self.shares if self.shares is not None else self.order or ())))


class TrainBaseConfig(Model):
    """`base.train`: the English model, from scratch."""

    shape: ModelShape
    tokenizer: Name
    """Entry of `tokenizers` (trained here), whose vocabulary the base has."""
    budget: Budget
    optimization: OptimizationConfig
    seed: int = 1


class TrainBaseCell(Model):
    """Slice of one `train_base` cell."""

    shape: ModelShape
    mix: Mix
    budget: Budget
    optimization: OptimizationConfig
    seed: int


class AdoptModelCell(Model):
    """Slice of one `adopt_model` cell."""

    format: Literal["huggingface", "llama2c", "sentencepiece", "lora", "delta"]
    revision: str = ""
    files: dict[str, str]
    """File name -> sha256."""


class PretrainConfig(Model):
    """`pretrain`: further pretraining on the target language."""

    budgets: Literal["chained", "independent"]
    """chained: budgets are prefixes of one run, optimizer state carried; independent: each
    budget is a run of its own with its own schedule (the paper's way, as far as is known)."""
    method: Literal["full", "lora"] = "full"
    lora: LoraConfig | None = None
    embeddings_first: Budget | None = None
    """So many tokens from the beginning of the stream train the embedding matrices alone, at the
    same schedule; all learns after them. Whole optimizer steps; larger budgets count from the same
    beginning, smaller ones train nothing else."""
    optimization: OptimizationConfig

    @model_validator(mode="after")
    def _consistent(self) -> PretrainConfig:
        if self.budgets == "chained" and self.optimization.schedule != "constant":
            raise ValueError("chained budgets need optimization.schedule: constant")
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError("give lora settings exactly when method is lora")
        return self

    @model_validator(mode="after")
    def _embeddings_alone(self) -> PretrainConfig:
        first, step = self.embeddings_first, self.optimization.global_batch_tokens
        if first is None:
            return self
        if first.unit != "tokens" or first.amount % step:
            raise ValueError(
                f"embeddings_first: {first}: write tokens, a multiple of global_batch_tokens"
                f" ({step}), or leave it out"
            )
        if self.lora is not None and not self.lora.trains_embeddings:
            raise ValueError(
                "embeddings_first: this LoRA trains no embeddings: set lora.trainable_tokens: new"
                " or lora.modules_to_save: [embed_tokens, lm_head]"
            )
        return self

    @property
    def embedding_steps(self) -> int:
        """Optimizer steps, from the stream's beginning, that train the embeddings alone."""
        first = self.embeddings_first
        return first.amount // self.optimization.global_batch_tokens if first is not None else 0


class PretrainCell(PretrainConfig):
    """Slice of one `pretrain` cell."""

    mix: Mix
    budget: Budget
    seed: int

    @model_validator(mode="after")
    def _prefixes(self) -> PretrainCell:
        if self.budgets == "chained" and self.mix.order is not None:
            raise ValueError("an ordered mix cannot be chained: its budgets are no prefixes")
        return self


class InstructionSource(Model):
    """Where a language's instructions come from."""

    dataset: Name
    examples: int | None = Field(default=None, gt=0)
    """Take the first so many by stable hash; all when absent (the atlas needs a number)."""


class PrepareInstructionsConfig(Model):
    """`prepare_instructions`: instruction pairs of each language, in a stable random order."""

    default: InstructionSource
    per_language: dict[Language, InstructionSource] = Field(default={})
    max_characters: int = Field(default=100_000, gt=0)
    """Longer pairs are dropped and counted."""
    seed: int = 1


class PrepareInstructionsCell(Model):
    """Slice of one `prepare_instructions` cell."""

    language: Language
    source: InstructionSource
    identity: DatasetIdentity
    max_characters: int
    seed: int


class TuningConfig(MixConfig):
    """One entry of `tunings`: an instruction-tuning set, of the target alone by default.

    With `order` every epoch of a language comes before the first of the next.
    """

    examples: int = Field(gt=0)
    """Examples in all; nested, so 1k is a prefix of 5k (within each language of an order)."""
    languages: tuple[Language, ...] | None = None
    """Target languages the tuning exists for; all of the study when absent."""

    @model_validator(mode="before")
    @classmethod
    def _target_alone(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("shares") is None and given.get("order") is None:
            return given | {"shares": {"target": 1.0}}
        return given

    @model_validator(mode="after")
    def _some_of_each(self) -> TuningConfig:
        if self.examples < len(self.order or ()):
            raise ValueError("examples must be at least one for each language of the order")
        return self


class FinetuneConfig(Model):
    """`finetune`: instruction tuning with loss on the response only."""

    method: Literal["lora", "full"]
    lora: LoraConfig | None = None
    template: Name
    """File `resources/prompts/<template>.jinja`."""
    epochs: Annotated[int, Field(gt=0)]
    optimization: OptimizationConfig

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneConfig:
        if (self.method == "lora") != (self.lora is not None):
            raise ValueError("give lora settings exactly when method is lora")
        if self.lora is not None and "lm_head" in name_embeddings(self.lora.target_modules):
            # TRL computes its loss from lm_head's weight and would never train the update.
            raise ValueError("lora.target_modules: lm_head: put it into modules_to_save instead")
        return self


class FinetuneCell(FinetuneConfig):
    """Slice of one `finetune` cell."""

    mix: Mix
    examples: int
    seed: int
