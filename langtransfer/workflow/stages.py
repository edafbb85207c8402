"""Every stage: the version of its code and the model of its settings.

Raise a version by hand when the stage's code changes what it computes; a test compares each
stage's code with `tests/workflow/stage_digests.json` and asks.
"""

from __future__ import annotations

from langtransfer.config.base import Model
from langtransfer.config.corpus import CleanCorpusCell, FetchCorpusCell, SplitCorpusCell
from langtransfer.config.evaluation import (
    ClaimsCell,
    CodeSwitchingCell,
    FetchBenchmarkCell,
    FiguresCell,
    GenerateCell,
    KnowledgeCell,
    PerplexityCell,
    ReportCell,
    ScoreCell,
    TablesCell,
)
from langtransfer.config.training import (
    AdoptModelCell,
    FinetuneCell,
    PrepareInstructionsCell,
    PretrainCell,
    TrainBaseCell,
)
from langtransfer.config.vocabulary import (
    ExtendEmbeddingsConfig,
    ExtendVocabularyCell,
    PackTokensCell,
    TrainTokenizerCell,
)

STAGES: dict[str, tuple[int, type[Model]]] = {
    "fetch_corpus": (1, FetchCorpusCell),
    "clean_corpus": (1, CleanCorpusCell),
    "split_corpus": (2, SplitCorpusCell),
    "train_tokenizer": (1, TrainTokenizerCell),
    "extend_vocabulary": (1, ExtendVocabularyCell),
    "extend_embeddings": (1, ExtendEmbeddingsConfig),
    "pack_tokens": (1, PackTokensCell),
    "train_base": (1, TrainBaseCell),
    "adopt_model": (1, AdoptModelCell),
    "pretrain": (1, PretrainCell),
    "prepare_instructions": (1, PrepareInstructionsCell),
    "finetune": (1, FinetuneCell),
    "fetch_benchmark": (1, FetchBenchmarkCell),
    "generate": (1, GenerateCell),
    "score": (1, ScoreCell),
    "code_switching": (1, CodeSwitchingCell),
    "knowledge": (1, KnowledgeCell),
    "perplexity": (1, PerplexityCell),
    "tables": (1, TablesCell),
    "figures": (1, FiguresCell),
    "claims": (1, ClaimsCell),
    "report": (1, ReportCell),
}
