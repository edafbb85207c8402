"""Every stage: the version of its code and the model of its settings.

Raise a version by hand when the stage's code changes what it computes; a test compares each
stage's code with `tests/workflow/stage_digests.json` and asks.
"""

from __future__ import annotations

from langtransfer.config.base import Model
from langtransfer.config.corpus import CleanCorpusCell, FetchCorpusCell, SplitCorpusCell
from langtransfer.config.evaluation import (
    AlignmentCell,
    CalibrateJudgeCell,
    ClaimsCell,
    CodeSwitchingCell,
    FetchBenchmarkCell,
    FiguresCell,
    GenerateCell,
    KnowledgeCell,
    PerplexityCell,
    ReportCell,
    ScoreCell,
    SwitchPromptsCell,
    TablesCell,
    TranslateBenchmarkCell,
)
from langtransfer.config.training import (
    AdoptModelCell,
    FinetuneCell,
    PrepareInstructionsCell,
    PretrainCell,
    TrainBaseCell,
)
from langtransfer.config.vocabulary import (
    CheckVocabularyCell,
    ExtendEmbeddingsConfig,
    ExtendVocabularyCell,
    PackTokensCell,
    TrainTokenizerCell,
)

STAGES: dict[str, tuple[int, type[Model]]] = {
    "fetch_corpus": (1, FetchCorpusCell),
    "clean_corpus": (1, CleanCorpusCell),
    "split_corpus": (2, SplitCorpusCell),
    "train_tokenizer": (2, TrainTokenizerCell),
    "extend_vocabulary": (2, ExtendVocabularyCell),
    "check_vocabulary": (1, CheckVocabularyCell),
    "extend_embeddings": (2, ExtendEmbeddingsConfig),
    "pack_tokens": (2, PackTokensCell),
    "train_base": (2, TrainBaseCell),
    "adopt_model": (2, AdoptModelCell),
    "pretrain": (2, PretrainCell),
    "prepare_instructions": (1, PrepareInstructionsCell),
    "finetune": (2, FinetuneCell),
    "fetch_benchmark": (2, FetchBenchmarkCell),
    "translate_benchmark": (1, TranslateBenchmarkCell),
    "switch_prompts": (1, SwitchPromptsCell),
    "generate": (1, GenerateCell),
    "score": (2, ScoreCell),
    "calibrate_judge": (1, CalibrateJudgeCell),
    "code_switching": (2, CodeSwitchingCell),
    "knowledge": (2, KnowledgeCell),
    "perplexity": (1, PerplexityCell),
    "alignment": (1, AlignmentCell),
    "tables": (3, TablesCell),
    "figures": (2, FiguresCell),
    "claims": (2, ClaimsCell),
    "report": (3, ReportCell),
}
