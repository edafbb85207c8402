"""Stage settings of evaluation: benchmarks, generation, judging, knowledge, perplexity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from langtransfer.config.base import Endpoint, Language, Model, Name
from langtransfer.config.corpus import DatasetIdentity

BenchmarkKind = Literal["response-quality", "knowledge", "text"]
BenchmarkFormat = Literal[
    "atlas",
    "llm-eval",
    "gaokao-subjective",
    "ceval",
    "mmlu",
    "cmmlu",
    "gaokao",
    "agieval",
    "flores",
    "corpus",
]
FORMATS: dict[str, tuple[str, ...]] = {
    "response-quality": ("atlas", "llm-eval", "gaokao-subjective"),
    "knowledge": ("atlas", "ceval", "mmlu", "cmmlu", "gaokao", "agieval"),
    "text": ("atlas", "flores", "corpus"),
}
"""Formats of each kind of benchmark."""

EXAMS = ("gaokao-subjective",)
"""Formats of response quality that examine knowledge: reported apart from the paper's tables on
LLM-Eval and its claims. Code-switching means nothing there, where the right answer to a Chinese
question may be in English."""


class BenchmarkConfig(Model):
    """One entry of `benchmarks`."""

    kind: BenchmarkKind
    dataset: Name
    """`atlas`, or a key of the dataset registry."""
    format: BenchmarkFormat = "atlas"
    """Upstream layout; `corpus` is any registered dataset, read as its row says."""
    languages: tuple[str, ...] = ("target",)
    """Languages it is asked in; `target` stands for the model's own."""
    items: int | None = Field(default=None, gt=0)
    """Items per category (response quality), per subject (knowledge) or documents (text); all
    when absent (the atlas needs a number)."""
    subjects: tuple[str, ...] | None = None
    """Subjects or categories; all when absent."""
    shots: int = Field(default=0, ge=0)
    """Worked examples before each question (knowledge)."""
    split: Literal["val", "test"] = "test"
    """Part of the benchmark that is asked (C-Eval, MMLU). C-Eval's test answers are not public: its
    cell holds the file for the official submission, and no accuracy."""
    tunings: tuple[str, ...] | None = None
    """Tunings it is run on; every one when absent (response quality never on `none`)."""
    seed: int = 1
    """Seed of the atlas."""
    translate_from: Language | None = None
    """Language the questions are published in (response quality): `translate_benchmark` makes them
    in every other one, from a file where the registry has a row for that very language."""
    switched_tunings: tuple[str, ...] = ()
    """Tunings after which the questions are asked once more, with a clause of the source language
    in each (response quality): how often do answers follow it?"""

    @model_validator(mode="after")
    def _translatable(self) -> BenchmarkConfig:
        if self.translate_from is not None and self.kind != "response-quality":
            raise ValueError("translate_from is for kind response-quality")
        if self.translate_from is not None and self.format == "atlas":
            raise ValueError("the atlas is made in every language: leave translate_from out")
        return self

    @model_validator(mode="after")
    def _switchable(self) -> BenchmarkConfig:
        if self.switched_tunings and (self.kind != "response-quality" or self.format in EXAMS):
            raise ValueError("switched_tunings are for kind response-quality, exams apart")
        if self.tunings is not None and set(self.switched_tunings) - set(self.tunings):
            raise ValueError("switched_tunings must be among tunings")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> BenchmarkConfig:
        if self.format not in FORMATS[self.kind]:
            raise ValueError(f"formats of kind {self.kind}: {', '.join(FORMATS[self.kind])}")
        if self.format == "atlas" and self.items is None:
            raise ValueError("the atlas has no end: say how many items")
        if self.kind != "knowledge" and self.shots:
            raise ValueError("shots are for kind knowledge")
        if self.kind == "text" and self.subjects is not None:
            raise ValueError("subjects are not for kind text")
        if self.format not in ("ceval", "mmlu") and self.split != "test":
            raise ValueError(f"format {self.format} has one split: leave split out")
        return self


class FetchBenchmarkCell(Model):
    """Slice of one `fetch_benchmark` cell."""

    kind: BenchmarkKind
    format: BenchmarkFormat
    language: Language
    items: int | None
    subjects: tuple[str, ...] | None
    shots: int
    split: Literal["val", "test"]
    seed: int
    identity: DatasetIdentity


class SwitchPromptsCell(Model):
    """Slice of one `switch_prompts` cell."""

    language: Language
    source: Language
    """Language of the clause."""


class GenerateConfig(Model):
    """`generate`: greedy answers."""

    max_new_tokens: int = Field(gt=0)


class GenerateCell(GenerateConfig):
    """Slice of one `generate` cell."""

    template: Name


NamedEndpoint = Annotated[Endpoint | None, Field(exclude_if=lambda value: value is None)]
"""Left out of recipes where it is not given: whoever names none keeps the keys there were."""


class JudgeChecks(Model):
    """How far the judge agrees with itself; results in the `checks` of `summary.json`."""

    items: int = Field(default=0, ge=0)
    """Answers of a cell that are judged again, the first by a hash of their ids; 0 checks
    nothing."""
    repeat: int = Field(default=1, ge=0)
    """Times each of them is judged again with the very same message."""
    position: bool = True
    """Judge each once more with the aspects, and answer and reference, in the other order."""


class JudgeConfig(Model):
    """Who scores the answers."""

    kind: Literal["reference", "openai"]
    """reference: offline, from known answers, always labelled so; openai: a chat model behind
    any OpenAI-compatible endpoint (OPENAI_API_KEY from the environment)."""
    model: str = ""
    """Model name sent to the endpoint; part of the result's identity."""
    base_url: NamedEndpoint = None
    """Endpoint that is asked, part of the result's identity; null asks OPENAI_BASE_URL's of the
    environment, whichever that is."""
    prompt: Name = "llm-eval-0-3"
    """File `resources/prompts/judge/<prompt>.jinja`; part of the result's identity."""
    temperature: float | None = Field(default=0.0, ge=0)
    """Sampling temperature asked for; null sends none (some models refuse the parameter)."""
    checks: JudgeChecks = JudgeChecks()

    @model_validator(mode="after")
    def _model_named(self) -> JudgeConfig:
        if (self.kind == "openai") != bool(self.model):
            raise ValueError("give judge.model exactly when judge.kind is openai")
        if self.kind == "reference" and self.base_url is not None:
            raise ValueError("judge.base_url is for kind openai: the reference judge is a rule")
        if self.kind == "reference" and self.checks.items:
            raise ValueError("judge.checks are for kind openai: the reference judge is a rule")
        return self


class ScoreConfig(Model):
    """`score`: response quality in five aspects, 0 to 3."""

    judge: JudgeConfig


class ScoreCell(ScoreConfig):
    """Slice of one `score` cell."""

    language: Language


class Prices(Model):
    """What a model costs, in dollars per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    batch: float = Field(default=1.0, gt=0, le=1)
    """Share of these prices that a batch pays (0.5 at OpenAI)."""


class TranslateBenchmarkConfig(Model):
    """`translate_benchmark`: questions of a benchmark in a language nobody published them in."""

    model: str = ""
    """Chat model that translates; needed where no file is ready."""
    base_url: NamedEndpoint = None
    """As `score.judge.base_url`."""
    prompt: Name = "llm-eval"
    """File `resources/prompts/translate/<prompt>.jinja`."""
    temperature: float | None = Field(default=0.0, ge=0)
    """Sampling temperature asked for; null sends none."""

    @model_validator(mode="after")
    def _model_named(self) -> TranslateBenchmarkConfig:
        if self.base_url is not None and not self.model:
            raise ValueError("base_url is where model is asked: name the model")
        return self


class TranslateBenchmarkCell(Model):
    """Slice of one `translate_benchmark` cell."""

    source: Language
    language: Language
    translator: TranslateBenchmarkConfig | None
    ready: DatasetIdentity | None
    """Translation that is there already, instead of a translator."""


class CalibrateJudgeConfig(Model):
    """`calibrate_judge`: agreement of judges with people, from released scores."""

    dataset: Name | None = None
    """Dataset of format llmeval-scores: scores of the same models by GPT-4 and by people; nothing
    is calibrated when absent."""
    answers: Name | None = None
    """Dataset of format llm-eval with the answers of those models: the study's own judge
    (`score.judge`) is set beside GPT-4."""
    items: int = Field(default=20, gt=0)
    """Questions whose answers the study's judge scores, the first by a hash of their ids."""
    language: Language = "zh"
    """Language of those answers."""

    @model_validator(mode="after")
    def _scores_named(self) -> CalibrateJudgeConfig:
        if self.answers is not None and self.dataset is None:
            raise ValueError("answers need the dataset of their scores")
        return self


class CalibrateJudgeCell(Model):
    """Slice of the one `calibrate_judge` cell."""

    scores: DatasetIdentity
    answers: DatasetIdentity | None
    items: int
    language: Language
    judge: JudgeConfig | None
    """None without answers."""
    confidence: float
    bootstrap_samples: int
    seed: int


class KnowledgeCell(Model):
    """Slice of one `knowledge` cell; shots and split are the benchmark's."""

    language: Language
    shots: int


class SlidingWindows(Model):
    """How perplexity reads a document longer than one window."""

    documents: int = Field(gt=0)
    """First so many documents of the text, in file order."""
    window: int = Field(gt=1)
    """Tokens a window holds, the beginning-of-sequence token included."""
    stride: int = Field(gt=0)
    """Tokens scored by each window after the first; smaller is more context and more work."""

    @model_validator(mode="after")
    def _context_left(self) -> SlidingWindows:
        if self.stride >= self.window:
            raise ValueError("stride must be smaller than window: a scored token needs context")
        return self


class PerplexityConfig(SlidingWindows):
    """`perplexity`: sliding windows over held-out documents."""

    benchmark: Name | None = None
    """Entry of `benchmarks` of kind text; the corpus' own held-out documents when absent."""


class PerplexityCell(SlidingWindows):
    """Slice of one `perplexity` cell."""

    language: Language


class AlignmentConfig(Model):
    """`alignment`: how well a model's layers tell which documents are each other's translation."""

    benchmark: Name | None = None
    """Entry of `benchmarks` of kind text, the same documents in all languages; no probe when
    absent."""
    documents: int = Field(default=200, ge=10)
    """First so many of its documents; one half chooses the layer, the other is reported."""


class AlignmentCell(Model):
    """Slice of one `alignment` cell."""

    language: Language
    documents: int


class CodeSwitchingConfig(Model):
    """`code_switching`: answers with a run in a language other than asked for."""

    min_run_letters: int = Field(default=2, gt=0)
    """Shortest run of foreign letters that counts as a word, in letters."""
    min_line_letters: int = Field(default=12, gt=0)
    """Shortest line or sentence whose language is identified, in letters."""
    min_confidence: float = Field(default=0.9, gt=0, lt=1)
    """py3langid probability from which a line counts as another language."""
    false_alarms: float = Field(default=0.02, gt=0, lt=0.1)
    """Share of monolingual answers in which a clause in the same script may be seen: how much
    evidence a clause takes, by the tails of resources/identification."""


class CodeSwitchingCell(CodeSwitchingConfig):
    """Slice of one `code_switching` cell."""

    language: Language


class ReportingConfig(Model):
    """`tables`, `figures`, `claims`, `report`."""

    title: str
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of every interval; one minus it is the level of every test."""
    bootstrap_samples: int = Field(default=2_000, gt=0)
    permutations: int = Field(default=10_000, gt=0)
    """Draws of a permutation test too large to enumerate; p is never below one over them."""
    equivalence_margin: float = Field(default=0.1, gt=0)
    """Response-quality points (0-3) within which two models count as equal."""
    knowledge_margin: float = Field(default=0.05, gt=0)
    """Share of knowledge questions within which two models count as equal."""
    bits_per_byte_margin: float = Field(default=0.05, gt=0)
    """Bits per byte within which two models count as equal."""
    seed: int = 1
    """Of the resampling."""


class ReportRow(Model):
    """One evaluation cell, and the row of the study it speaks for."""

    cell: str
    """`<stage>/<wildcards...>`; its data folder is the parent `results.<cell>`."""
    stage: Literal["score", "knowledge", "perplexity", "alignment", "code_switching"]
    label: str
    model: str
    """The `{model}` wildcard."""
    language: Language
    """Target language of the row; a base shared by several targets has a row for each."""
    evaluated: Language
    """Language the evaluation is in: the target, or the source language."""
    mix: str
    mix_languages: tuple[Language, ...] = ()
    """Languages of the training stream; empty where not known (adopted checkpoints)."""
    vocabulary: str
    budget: str
    budget_tokens: int | None
    """The budget in tokens, None where only samples are known or nothing is (adopted)."""
    seed: int
    tuning: str
    tuning_examples: int
    tuning_mix: Literal["", "target", "joint", "sequential"] = ""
    """What the instruction set holds: the target alone, or other languages with it; "" for none."""
    benchmark: str
    format: str
    adopted: bool
    prompts: Literal["plain", "switched"] = "plain"
    """switched: each question had a clause of the source language in it."""


class VocabularyRow(Model):
    """One gate: a vocabulary in a language; its data folder is the parent `vocabularies.<cell>`."""

    cell: str
    vocabulary: str
    """`original`, `<targets>.<vocabulary>`, or an adopted model's key."""
    language: Language


class StudyDescription(Model):
    """What the report says of the study as a whole."""

    languages: tuple[Language, ...]
    source_language: Language = "en"
    base: str
    """The base model in words: where it comes from and its size."""
    judge: str
    """`reference`, or the judge model's name."""
    training_tokens: int | None
    """Tokens of the base and all further pretraining; None where budgets are in samples."""
    atlas: bool
    """Whether the text is the generated atlas and not natural."""


class TablesCell(ReportingConfig):
    """Slice of the one `tables` cell."""

    rows: tuple[ReportRow, ...]
    vocabularies: tuple[VocabularyRow, ...]
    study: StudyDescription


class FiguresCell(ReportingConfig):
    """Slice of the one `figures` cell."""


class ClaimsCell(ReportingConfig):
    """Slice of the one `claims` cell."""

    rows: tuple[ReportRow, ...]


class ReportCell(ReportingConfig):
    """Slice of the one `report` cell."""

    study: StudyDescription
    commands: dict[str, str]
    """Stage (tables, figures, claims) -> command that makes it, shown under what it made."""
