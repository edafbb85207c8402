"""The whole of `config.yaml`: axes of the study and one section per stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from langtransfer.budget import Budget
from langtransfer.config.base import Language, Model, Name
from langtransfer.config.corpus import CleanCorpusConfig, FetchCorpusConfig, SplitCorpusConfig
from langtransfer.config.evaluation import (
    AlignmentConfig,
    BenchmarkConfig,
    CalibrateJudgeConfig,
    CodeSwitchingConfig,
    GenerateConfig,
    PerplexityConfig,
    Prices,
    ReportingConfig,
    ScoreConfig,
    TranslateBenchmarkConfig,
)
from langtransfer.config.training import (
    FinetuneConfig,
    MixConfig,
    PrepareInstructionsConfig,
    PretrainConfig,
    TrainBaseConfig,
    TuningConfig,
)
from langtransfer.config.vocabulary import (
    CheckVocabularyConfig,
    ExtendEmbeddingsConfig,
    PackTokensConfig,
    TokenizerConfig,
    VocabularyConfig,
)


class AdoptConfig(Model):
    """An existing checkpoint: a key of the dataset registry."""

    model: Name
    """The registry row says where it is and in which format."""


class BaseConfig(Model):
    """The English model everything starts from: trained here or adopted."""

    train: TrainBaseConfig | None = None
    adopt: AdoptConfig | None = None

    @model_validator(mode="after")
    def _one_of(self) -> BaseConfig:
        if (self.train is None) == (self.adopt is None):
            raise ValueError("give either train or adopt")
        return self


class ModelEntry(Model):
    """One entry of `models`: a labelled row of the study."""

    label: str = Field(min_length=1)
    """Name in tables and figures; as the paper's where the row is the paper's."""
    mix: Name = "target-only"
    vocabulary: Name = "original"
    budget: Budget = Budget(0, None)
    adopt: AdoptConfig | None = None
    """A public checkpoint instead of a point of our grid."""
    languages: tuple[Language, ...] | None = None
    """Target languages the row exists for; all of the study when absent."""
    tunings: tuple[str, ...] | None = None
    """Tunings of the row; all of the study when absent."""
    seeds: tuple[int, ...] = (1,)


class IdentityConfig(Model):
    """What else keys depend on."""

    environment: bool = False
    """Add the hash of envs/requirements.lock.txt to every recipe."""


class RuntimeConfig(Model):
    """Where and how fast, never what: no key depends on any of it."""

    registry: str = "resources/datasets.csv"
    """Dataset registry: where each dataset is fetched from."""
    micro_batch: int = Field(default=8, gt=0)
    """Packed blocks per forward pass and process; accumulation fills the global batch."""
    eval_batch: int = Field(default=64, gt=0)
    """Sequences per forward pass in evaluation."""
    checkpoint_steps: int = Field(default=200, gt=0)
    """Optimizer steps between resumable checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int | None = Field(default=None, gt=0)
    """Training processes on each node; by default one a visible GPU, one where there is none."""
    hardware: Name = "h100"
    """Row of `resources/costs/hardware.csv`: what `make plan` counts hours of."""
    max_gpu_hours: float | None = Field(default=None, gt=0)
    """Refuse, before anything starts, a run whose cells are planned to take more hours of it."""
    deepspeed: Literal["none", "zero2", "zero3", "zero2-offload", "zero3-offload"] = "none"
    """File `resources/deepspeed/<name>.json` handed to the Trainer."""
    trust_received_state: bool = False
    """Go on from ZeRO state that was received or adopted: DeepSpeed runs what its pickles say."""
    activation_checkpointing: int = Field(default=1, ge=0)
    """On a GPU, compute every n-th layer's activations again in the backward pass: less memory, up
    to a third more work at 1; 0 keeps all."""
    liger_kernels: bool = False
    """On a GPU, fused Triton kernels of `liger-kernel`, which is to be installed for it."""
    tokenization: Literal["fastest", "reference"] = "fastest"
    """Engine that tokenizes corpora: the fastest proved equal, or the one that defines the ids."""
    judge_concurrency: int = Field(default=8, gt=0)
    """Requests in flight to the judge; this and what follows hold for the translator as well."""
    judge_mode: Literal["online", "batch"] = "online"
    """batch: through the endpoint's batch API, cheaper and up to a day later."""
    judge_cache: str = "work/cache/verdicts"
    """Folder of everything ever paid for, shared by all cells and runs; keep it."""
    judge_timeout_seconds: float = Field(default=120.0, gt=0)
    """Longest wait for one answer before it is asked for again."""
    judge_prices: dict[str, Prices] = Field(default={})
    """Prices by model name; without them tokens are counted and no costs."""
    judge_budget_dollars: float | None = Field(default=None, ge=0)
    """Stop, keeping what was had, before all spending recorded in the cache exceeds this."""
    judge_budget_tokens: int | None = Field(default=None, ge=0)
    """The same in tokens, prompt and completion together."""


class Config(Model):
    """The study: everything a user decides."""

    source_language: Language = "en"
    languages: tuple[Language, ...] = Field(min_length=1)
    """Target languages, one a line, sorted."""
    base: BaseConfig
    tokenizers: dict[Name, TokenizerConfig] = Field(default={})
    """Vocabularies a base trained here can have."""
    vocabularies: dict[Name, VocabularyConfig] = Field(default={})
    """Extensions; `original` is always there."""
    mixes: dict[Name, MixConfig]
    tunings: dict[Name, TuningConfig] = Field(default={})
    """Instruction-tuning sets; `none` is always there."""
    models: tuple[ModelEntry, ...] = Field(min_length=1)
    benchmarks: dict[Name, BenchmarkConfig] = Field(default={})

    fetch_corpus: FetchCorpusConfig
    clean_corpus: CleanCorpusConfig
    split_corpus: SplitCorpusConfig
    check_vocabulary: CheckVocabularyConfig = CheckVocabularyConfig()
    extend_embeddings: ExtendEmbeddingsConfig
    pack_tokens: PackTokensConfig
    pretrain: PretrainConfig
    prepare_instructions: PrepareInstructionsConfig
    finetune: FinetuneConfig
    translate_benchmark: TranslateBenchmarkConfig = TranslateBenchmarkConfig()
    generate: GenerateConfig
    score: ScoreConfig
    calibrate_judge: CalibrateJudgeConfig = CalibrateJudgeConfig()
    perplexity: PerplexityConfig
    alignment: AlignmentConfig = AlignmentConfig()
    code_switching: CodeSwitchingConfig
    reporting: ReportingConfig

    identity: IdentityConfig = IdentityConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _references(self) -> Config:
        from langtransfer.config.references import check_references

        check_references(self)
        return self
