"""The study: every cell a config asks for, from corpora to the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from langtransfer.budget import Budget
from langtransfer.config import Config
from langtransfer.config.evaluation import (
    EXAMS,
    ClaimsCell,
    FiguresCell,
    ReportCell,
    ReportRow,
    StudyDescription,
    TablesCell,
    VocabularyRow,
)
from langtransfer.config.loading import load_config
from langtransfer.languages import known_languages
from langtransfer.provenance import SourceHashes, write_recipe
from langtransfer.reporting.paper import reporting_resources
from langtransfer.resources import ROOT
from langtransfer.workflow.cells import Cell, ancestry
from langtransfer.workflow.planning import Tuning
from langtransfer.workflow.planning_evaluation import EvaluationPlanner
from langtransfer.workflow.points import Point, StudyModel, study_models

NAME = "study"  # the {name} wildcard of the report's stages


class Study:
    """All cells of a config. Raises UserError where the config cannot be planned."""

    def __init__(self, config: Config, hasher: SourceHashes) -> None:
        self.config = config
        self.hasher = hasher
        self.planner = EvaluationPlanner(config, hasher)

    @cached_property
    def report(self) -> Cell:
        """The cell everything else leads to."""
        evaluations = list(self._evaluations())
        rows = tuple(row for row, _ in evaluations)
        settings = self.config.reporting.model_dump()
        sources = {
            path.relative_to(ROOT).as_posix(): self.hasher(path) for path in reporting_resources()
        }
        study = self._description()
        gates = list(self._gates())
        tables_settings = TablesCell(
            **settings, rows=rows, vocabularies=tuple(row for row, _ in gates), study=study
        )
        others = {f"vocabularies.{cell.path}": cell for _, cell in gates}
        if (calibration := self.planner.calibrate_judge()) is not None:
            others["calibration"] = calibration
        tables = Cell("tables", (NAME,), tables_settings, _by_role(evaluations) | others, sources)
        figures = Cell("figures", (NAME,), FiguresCell(**settings), {"tables": tables}, sources)
        decisive = [(row, cell) for row, cell in evaluations if _decides(row)]
        claims_settings = ClaimsCell(**settings, rows=tuple(row for row, _ in decisive))
        parents = {"tables": tables} | _by_role(decisive)
        claims = Cell("claims", (NAME,), claims_settings, parents, sources)
        makers = {"tables": tables, "figures": figures, "claims": claims}
        commands = {
            name: f"snakemake --profile profiles/local {c.manifest}" for name, c in makers.items()
        }
        report_settings = ReportCell(**settings, study=study, commands=commands)
        return Cell("report", (NAME,), report_settings, makers, sources)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, parents before children."""
        return tuple(ancestry(self.report))

    def manifests(self, *stages: str) -> list[str]:
        """Paths of the manifests of some stages' cells."""
        return [cell.manifest.as_posix() for cell in self.cells if cell.stage in stages]

    def gates(self, manifest: str) -> list[str]:
        """Manifests of the gates a cell waits for; none for a finished one, or one not planned.

        They are not in its recipe: a stricter gate must not train anything again.
        """
        cell = self._by_manifest.get(manifest)
        if cell is None or cell.finished():
            return []
        return [gate.manifest.as_posix() for gate in cell.after]

    @cached_property
    def _by_manifest(self) -> dict[str, Cell]:
        return {cell.manifest.as_posix(): cell for cell in self.cells}

    def write_recipes(self) -> None:
        """Write every recipe that is not there yet."""
        for cell in self.cells:
            write_recipe(cell.recipe)
        self.hasher.save()

    def _gates(self) -> Iterator[tuple[VocabularyRow, Cell]]:
        """Every vocabulary in every language; an adopted model's in its own and the source."""
        points: dict[tuple[str, str], Point] = {}
        source = self.config.source_language
        for model in study_models(self.config):
            others = self.config.languages if model.point.adopt is None else (model.language,)
            for language in (source, *others):
                points.setdefault((model.point.vocabulary_id, language), model.point)
        for (vocabulary, language), point in sorted(points.items()):
            cell = self.planner.check_vocabulary(language, point)
            yield VocabularyRow(cell=cell.path, vocabulary=vocabulary, language=language), cell

    def _evaluations(self) -> Iterator[tuple[ReportRow, Cell]]:
        """A report row and its cell for every evaluation; rows may share a cell."""
        for model in study_models(self.config):
            for name in model.tunings:
                tuning = self.planner.tuning(name, model.language, model.point.seed)
                if tuning is None:
                    yield from self._perplexities(model)
                    yield from self._alignments(model)
                for benchmark in self._benchmarks(name):
                    for language in self._asked_in(benchmark, model.language):
                        yield from self._benchmark(model, tuning, benchmark, language)

    def _perplexities(self, model: StudyModel) -> Iterator[tuple[ReportRow, Cell]]:
        for language in (model.language, self.config.source_language):
            cell = self.planner.perplexity(model.point, language)
            yield self._row(model, None, cell, language, ""), cell

    def _alignments(self, model: StudyModel) -> Iterator[tuple[ReportRow, Cell]]:
        benchmark = self.config.alignment.benchmark
        if benchmark is not None:
            cell = self.planner.alignment(model.point, benchmark, model.language)
            yield self._row(model, None, cell, model.language, benchmark), cell

    def _benchmark(
        self, model: StudyModel, tuning: Tuning | None, benchmark: str, language: str
    ) -> Iterator[tuple[ReportRow, Cell]]:
        entry = self.config.benchmarks[benchmark]
        cells = []
        if entry.kind == "knowledge":
            cells = [self.planner.knowledge(model.point, tuning, benchmark, language)]
        elif tuning is not None:  # an untuned model does not follow instructions
            arguments = (model.point, tuning, benchmark, language)
            cells = [self.planner.score(*arguments)]
            if entry.format not in EXAMS:
                cells.append(self.planner.code_switching(*arguments))
            if tuning.name in entry.switched_tunings and language != self.config.source_language:
                cell = self.planner.code_switching(*arguments, switched=True)
                row = self._row(model, tuning, cell, language, benchmark)
                yield row.model_copy(update={"prompts": "switched"}), cell
        for cell in cells:
            yield self._row(model, tuning, cell, language, benchmark), cell

    def _benchmarks(self, tuning: str) -> Iterator[str]:
        for name, entry in sorted(self.config.benchmarks.items()):
            if entry.kind != "text" and (entry.tunings is None or tuning in entry.tunings):
                yield name

    def _asked_in(self, benchmark: str, target: str) -> list[str]:
        """Languages a benchmark is asked in: the target's own and the source, never others."""
        named = self.config.benchmarks[benchmark].languages
        languages = {target if part == "target" else part for part in named}
        return sorted(languages & {target, self.config.source_language})

    def _row(
        self, model: StudyModel, tuning: Tuning | None, cell: Cell, evaluated: str, benchmark: str
    ) -> ReportRow:
        point = model.point
        return ReportRow(
            cell=cell.path,
            stage=cell.stage,
            label=model.label,
            model=point.id,
            language=model.language,
            evaluated=evaluated,
            mix=point.mix,
            mix_languages=() if point.adopt else point.filled.languages(),
            vocabulary=point.vocabulary,
            budget=str(point.budget),
            budget_tokens=point.budget.amount if point.budget.unit != "samples" else None,
            seed=point.seed,
            tuning=tuning.name if tuning else "none",
            tuning_examples=tuning.examples if tuning else 0,
            tuning_mix=tuning.kind(model.language) if tuning else "",
            benchmark=benchmark,
            format=self.config.benchmarks[benchmark].format if benchmark else "",
            adopted=point.adopt is not None,
        )

    def _description(self) -> StudyDescription:
        """What the report says of the study as a whole."""
        config, judge = self.config, self.config.score.judge
        entries = [config.fetch_corpus.default, *config.fetch_corpus.per_language.values()]
        return StudyDescription(
            languages=tuple(sorted(config.languages)),
            source_language=config.source_language,
            base=self._base_in_words(),
            judge=judge.model if judge.kind == "openai" else judge.kind,
            training_tokens=self._pretraining_tokens(),
            atlas=any(entry.dataset == "atlas" for some in entries for entry in some),
        )

    def _base_in_words(self) -> str:
        train, adopt = self.config.base.train, self.config.base.adopt
        if adopt is not None:
            return adopt.model
        assert train is not None, "validated: train or adopt"
        shape = train.shape
        size = f"{shape.layers} layers of {shape.hidden_size}"
        amount = str(train.budget).replace("-", " ")
        language = known_languages()[self.config.source_language].english_name
        return f"a LLaMA of {size}, trained here on {amount} of {language}"

    def _pretraining_tokens(self) -> int | None:
        """Tokens of the base and of all further pretraining; None for budgets in samples."""
        train = self.config.base.train
        budgets = [] if train is None else [train.budget]
        for point in {m.point.id: m.point for m in study_models(self.config)}.values():
            if point.adopt is None and point.budget.amount:
                budgets.append(point.budget)
                smaller = self.planner.chained_from(point)
                if smaller is not None:
                    budgets.append(Budget(-smaller.amount, smaller.unit))
        if any(budget.unit == "samples" for budget in budgets):
            return None
        return sum(budget.amount for budget in budgets)


def _by_role(evaluations: Iterable[tuple[ReportRow, Cell]]) -> dict[str, Cell]:
    """Evaluations as parents of a cell."""
    return {f"results.{cell.path}": cell for _, cell in evaluations}


def _decides(row: ReportRow) -> bool:
    """Whether the claims, which are about LLM-Eval and plain prompts, may rest on a row."""
    return row.prompts == "plain" and row.format not in EXAMS


def open_study(path: Path) -> Study:
    """Load a config file and plan it."""
    return Study(load_config(path), SourceHashes())
