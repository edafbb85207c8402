"""From a config to the graph of cells. Pure but for hashing the files the config points at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from langtransfer.budget import Budget
from langtransfer.config import Config
from langtransfer.config.base import Model
from langtransfer.config.corpus import (
    CleanCorpusCell,
    DatasetIdentity,
    FetchCorpusCell,
    FetchCorpusEntry,
    SplitCorpusCell,
)
from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.config.root import AdoptConfig
from langtransfer.config.training import (
    AdoptModelCell,
    FinetuneCell,
    Mix,
    PrepareInstructionsCell,
    PretrainCell,
    TrainBaseCell,
)
from langtransfer.config.vocabulary import (
    CheckVocabularyCell,
    ExtendVocabularyCell,
    PackTokensCell,
    TrainTokenizerCell,
    TrainTokenizerConfig,
)
from langtransfer.corpus import registry
from langtransfer.errors import UserError
from langtransfer.evaluation.resources import benchmark_resources
from langtransfer.languages import known_languages
from langtransfer.provenance import digest
from langtransfer.resources import RESOURCES, ROOT, locate
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.points import BASE, Point, fill_mix, smaller_budget

Hasher = Callable[[Path], str]
WHOLE = ("huggingface", "llama2c")
ADOPTABLE = (*WHOLE, "sentencepiece", "lora", "delta")


@dataclass(frozen=True)
class Tuning:
    """A tuning filled in for a language: its `{tuning}` wildcard and what it holds."""

    name: str
    mix: Mix
    examples: int
    seed: int

    @property
    def id(self) -> str:
        """`<name>.<languages>.s<seed>`"""
        return f"{self.name}.{'+'.join(self.mix.languages())}.s{self.seed}"

    def kind(self, target: str) -> Literal["target", "joint", "sequential"]:
        """The target alone, several languages at once, or one after another."""
        if self.mix.languages() == (target,):
            return "target"
        return "sequential" if self.mix.order is not None else "joint"


class Planner:
    """Makes each cell once. Raises UserError where the config cannot be planned."""

    def __init__(self, config: Config, hasher: Hasher) -> None:
        self.config = config
        self._hash = hasher
        self._registry = registry.load_registry(locate(config.runtime.registry))
        self._cells: dict[str, Cell] = {}
        lock = ROOT / "envs" / "requirements.lock.txt"
        self._environment = hasher(lock) if config.identity.environment else None

    # -- corpus ---------------------------------------------------------------------------------

    def fetch_corpus(self, language: str) -> Cell:
        """Raw documents of a language."""
        section = self.config.fetch_corpus
        entries = tuple(
            FetchCorpusEntry(
                **(entry.model_dump() | {"language": entry.language or language}),
                identity=self._identity(entry.dataset, entry.language or language),
            )
            for entry in section.per_language.get(language, section.default)
        )
        settings = FetchCorpusCell(language=language, entries=entries, seed=section.seed)
        return self._cell("fetch_corpus", (language,), settings)

    def clean_corpus(self, language: str) -> Cell:
        """Clean documents of a language."""
        settings = CleanCorpusCell(language=language, **self.config.clean_corpus.model_dump())
        parents = {"corpus": self.fetch_corpus(language)}
        return self._cell("clean_corpus", (language,), settings, parents)

    def split_corpus(self, language: str) -> Cell:
        """Training and held-out documents of a language."""
        settings = SplitCorpusCell(language=language, **self.config.split_corpus.model_dump())
        parents = {"corpus": self.clean_corpus(language)}
        return self._cell("split_corpus", (language,), settings, parents)

    def fetch_benchmark(self, name: str, language: str) -> Cell:
        """A benchmark in a language."""
        entry = self.config.benchmarks[name]
        settings = FetchBenchmarkCell(
            kind=entry.kind,
            format=entry.format,
            language=language,
            items=entry.items,
            subjects=entry.subjects,
            shots=entry.shots,
            split=entry.split,
            seed=entry.seed,
            identity=self._identity(entry.dataset, language),
        )
        sources = self._sources(*benchmark_resources(entry.format))
        return self._cell("fetch_benchmark", (name, language), settings, sources=sources)

    # -- vocabulary -----------------------------------------------------------------------------

    def train_tokenizer(
        self, languages: tuple[str, ...], name: str, config: TrainTokenizerConfig
    ) -> Cell:
        """A SentencePiece model of some languages' corpora."""
        settings = TrainTokenizerCell(languages=languages, **config.model_dump())
        parents = {f"corpus.{language}": self.split_corpus(language) for language in languages}
        return self._cell("train_tokenizer", ("+".join(languages), name), settings, parents)

    def adopt_model(self, adopt: AdoptConfig) -> Cell:
        """A checkpoint or vocabulary made elsewhere."""
        identity = self._identity(adopt.model, self.config.source_language)
        if identity.format not in ADOPTABLE:
            remedy = f"has format {identity.format}; a model has one of {', '.join(ADOPTABLE)}"
            raise UserError("adopt", adopt.model, remedy)
        settings = AdoptModelCell(
            format=identity.format,
            revision=identity.revision,
            files=identity.files,
        )
        return self._cell("adopt_model", (adopt.model,), settings, self._changed_model(adopt.model))

    def _changed_model(self, model: str) -> dict[str, Cell]:
        """The checkpoint that a LoRA release or an additive patch is merged into."""
        row = self._registry.row(model, self.config.source_language)
        if not row.base:
            return {}
        base = self._registry.row(row.base, self.config.source_language)
        if base.format not in WHOLE:
            remedy = f"has format {base.format}, and a base is a checkpoint: {' or '.join(WHOLE)}"
            raise UserError(f"{row.place()}, base", row.base, remedy)
        return {"base": self.adopt_model(AdoptConfig(model=row.base))}

    def original_vocabulary(self) -> Cell:
        """Whose data folder holds the base's vocabulary."""
        train = self.config.base.train
        if train is None:
            return self.base()
        entry = self.config.tokenizers[train.tokenizer]
        if entry.adopt is not None:
            return self.adopt_model(AdoptConfig(model=entry.adopt))
        assert entry.train is not None, "validated: train or adopt"
        return self.train_tokenizer((self.config.source_language,), train.tokenizer, entry.train)

    def vocabulary(self, point: Point) -> Cell:
        """Whose data folder holds the vocabulary of a point."""
        if point.adopt is not None:
            return self.adopt_model(point.adopt)
        if point.vocabulary == "original":
            return self.original_vocabulary()
        entry = self.config.vocabularies[point.vocabulary]
        if entry.adopt is not None:
            pieces = self.adopt_model(AdoptConfig(model=entry.adopt))
        else:
            assert entry.train is not None, "validated: train or adopt"
            pieces = self.train_tokenizer(point.targets, point.vocabulary, entry.train)
        settings = ExtendVocabularyCell(
            pieces=entry.pieces, languages=point.targets, special_tokens=entry.special_tokens
        )
        parents = {"base": self.original_vocabulary(), "pieces": pieces}
        scripts = self._language_rows(*point.targets) if entry.pieces == "target-script" else {}
        where = (point.stream, point.vocabulary)
        return self._cell("extend_vocabulary", where, settings, parents, scripts)

    def extend_embeddings(self, point: Point) -> Cell:
        """The base with rows for the new pieces."""
        own = self.config.vocabularies[point.vocabulary].embeddings
        settings = own or self.config.extend_embeddings
        parents = {"checkpoint": self.base(), "vocabulary": self.vocabulary(point)}
        if settings.method == "focus":  # the only one that reads text
            parents |= {f"corpus.{name}": self.split_corpus(name) for name in point.targets}
        where = (point.stream, point.vocabulary)
        after = self.gates(point, self.config.source_language, *point.targets)
        return self._cell("extend_embeddings", where, settings, parents, after=after)

    def check_vocabulary(self, language: str, point: Point) -> Cell:
        """The gate of a point's vocabulary in a language."""
        section, source = self.config.check_vocabulary, self.config.source_language
        settings = CheckVocabularyCell(
            language=language,
            documents=section.documents,
            max_source_lines_changed=(
                section.max_source_lines_changed if language == source else None
            ),
        )
        parents = {"vocabulary": self.vocabulary(point), "text": self.gate_text(language)}
        if point.vocabulary_id != "original":
            parents["base"] = self.original_vocabulary()
        if section.benchmark is not None and language != source:
            parents["source_text"] = self.gate_text(source)
        return self._cell("check_vocabulary", (language, point.vocabulary_id), settings, parents)

    def gates(self, point: Point, *languages: str) -> tuple[Cell, ...]:
        """What must pass before a point's vocabulary is used in some languages."""
        names = dict.fromkeys(languages)
        return tuple(self.check_vocabulary(language, point) for language in names)

    def gate_text(self, language: str) -> Cell:
        """Held-out text of a language that vocabularies are checked on."""
        benchmark = self.config.check_vocabulary.benchmark
        if benchmark is None:
            return self.split_corpus(language)
        return self.fetch_benchmark(benchmark, language)

    def pack_tokens(self, language: str, point: Point) -> Cell:
        """A language's training documents as token ids."""
        settings = PackTokensCell(language=language, **self.config.pack_tokens.model_dump())
        parents = {
            "corpus": self.split_corpus(language),
            "vocabulary": self.vocabulary(point),
        }
        where, after = (language, point.vocabulary_id), self.gates(point, language)
        return self._cell("pack_tokens", where, settings, parents, after=after)

    # -- models ---------------------------------------------------------------------------------

    def base(self) -> Cell:
        """The English model."""
        if self.config.base.adopt is not None:
            return self.adopt_model(self.config.base.adopt)
        train, source = self.config.base.train, self.config.source_language
        assert train is not None, "validated: train or adopt"
        original = Point((source,), "", "original", train.budget, train.seed)
        settings = TrainBaseCell(
            shape=train.shape,
            mix=Mix(shares={source: 1.0}),
            budget=train.budget,
            optimization=train.optimization,
            seed=train.seed,
        )
        parents = {
            "vocabulary": self.original_vocabulary(),
            f"tokens.{source}": self.pack_tokens(source, original),
        }
        return self._cell("train_base", (BASE,), settings, parents)

    def checkpoint(self, point: Point) -> Cell:
        """The model of a point, before any instruction tuning."""
        if point.adopt is not None:
            return self.adopt_model(point.adopt)
        if point.is_base:
            return self.base()
        return self.pretrain(point) if point.budget.amount else self.extend_embeddings(point)

    def pretrain(self, point: Point) -> Cell:
        """A model at a budget above 0."""
        mix = point.filled
        section = self.config.pretrain
        budgets = "chained" if self._chained(point) else "independent"
        smaller = self.chained_from(point)
        start = replace(point, budget=smaller or Budget(0, None))
        settings = PretrainCell(
            **(section.model_dump() | {"budgets": budgets}),
            mix=mix,
            budget=point.budget,
            seed=point.seed,
        )
        parents = {"checkpoint": self.checkpoint(start)} | {
            f"tokens.{language}": self.pack_tokens(language, point) for language in mix.languages()
        }
        after = self.gates(point, self.config.source_language, *mix.languages())
        return self._cell("pretrain", (point.id,), settings, parents, after=after)

    def _chained(self, point: Point) -> bool:
        # An ordered mix gives each language an equal part of the budget, so a larger budget is
        # not a longer run of the same stream and cannot be chained.
        return self.config.pretrain.budgets == "chained" and point.filled.shares is not None

    def chained_from(self, point: Point) -> Budget | None:
        """The budget whose run a point's run goes on from, if any."""
        return smaller_budget(self.config, point) if self._chained(point) else None

    # -- instruction tuning ---------------------------------------------------------------------

    def prepare_instructions(self, language: str) -> Cell:
        """Instruction pairs of a language."""
        section = self.config.prepare_instructions
        source = section.per_language.get(language, section.default)
        settings = PrepareInstructionsCell(
            language=language,
            source=source,
            identity=self._identity(source.dataset, language),
            max_characters=section.max_characters,
            seed=section.seed,
        )
        return self._cell("prepare_instructions", (language,), settings)

    def tuning(self, name: str, language: str, seed: int) -> Tuning | None:
        """A named tuning for a language; None for `none`."""
        if name == "none":
            return None
        entry = self.config.tunings[name]
        return Tuning(name, fill_mix(entry, language), entry.examples, seed)

    def finetune(self, point: Point, tuning: Tuning) -> Cell:
        """A model tuned on instructions."""
        settings = FinetuneCell(
            **self.config.finetune.model_dump(),
            mix=tuning.mix,
            examples=tuning.examples,
            seed=tuning.seed,
        )
        parents = {"checkpoint": self.checkpoint(point)} | {
            f"instructions.{language}": self.prepare_instructions(language)
            for language in tuning.mix.languages()
        }
        where = (point.id, tuning.id)
        sources = self._sources(RESOURCES / "prompts" / f"{settings.template}.jinja")
        after = self.gates(point, *tuning.mix.languages())
        return self._cell("finetune", where, settings, parents, sources, after)

    # -- plumbing -------------------------------------------------------------------------------

    def _identity(self, dataset: str, language: str) -> DatasetIdentity:
        return registry.identity(self._registry.row(dataset, language), self._hash)

    def _language_rows(self, *languages: str) -> dict[str, str]:
        """What of languages.csv a cell reads: its languages' rows, and who shares their scripts."""
        known = known_languages()
        rows = {}
        for language in languages:
            scripts = set(known[language].scripts)
            sharing = {c: sorted(i.scripts) for c, i in known.items() if scripts & set(i.scripts)}
            rows[f"resources/languages.csv#{language}"] = digest([asdict(known[language]), sharing])
        return rows

    def _sources(self, *files: Path) -> dict[str, str]:
        return {file.relative_to(ROOT).as_posix(): self._hash(file) for file in files}

    def _cell(
        self,
        stage: str,
        point: tuple[str, ...],
        settings: Model,
        parents: dict[str, Cell] | None = None,
        sources: dict[str, str] | None = None,
        after: tuple[Cell, ...] = (),
    ) -> Cell:
        environment = self._environment
        cell = Cell(stage, point, settings, parents or {}, sources or {}, environment, after)
        known = self._cells.setdefault(cell.path, cell)
        if known.key != cell.key:
            # Shares with both `target` and that target's neighbours: one name, two streams.
            remedy = (
                "two rows of the study mean different cells by this name; rename a mix or tuning"
            )
            raise UserError("config", cell.path, remedy)
        return known
