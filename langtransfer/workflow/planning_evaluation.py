"""From a config to the cells of evaluation: benchmarks, answers, scores."""

from __future__ import annotations

from langtransfer.config.evaluation import (
    CodeSwitchingCell,
    FetchBenchmarkCell,
    GenerateCell,
    KnowledgeCell,
    PerplexityCell,
    ScoreCell,
)
from langtransfer.evaluation.resources import benchmark_resources
from langtransfer.resources import RESOURCES
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.planning import Planner, Tuning
from langtransfer.workflow.points import Point


class EvaluationPlanner(Planner):
    """Adds the cells that measure models to those that make them."""

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

    def generate(self, point: Point, tuning: Tuning, benchmark: str, language: str) -> Cell:
        """Answers of a tuned model."""
        template = self.config.finetune.template
        settings = GenerateCell(**self.config.generate.model_dump(), template=template)
        parents = self._chat(point, tuning) | {
            "benchmark": self.fetch_benchmark(benchmark, language)
        }
        sources = self._sources(RESOURCES / "prompts" / f"{template}.jinja")
        where = (point.id, tuning.id, benchmark, language)
        return self._cell("generate", where, settings, parents, sources)

    def score(self, point: Point, tuning: Tuning, benchmark: str, language: str) -> Cell:
        """Response quality of the answers."""
        answers = self.generate(point, tuning, benchmark, language)
        settings = ScoreCell(**self.config.score.model_dump(), language=language)
        prompt = RESOURCES / "prompts" / "judge" / f"{settings.judge.prompt}.jinja"
        sources = self._language_rows(language)
        if settings.judge.kind == "openai":
            sources |= self._sources(prompt)
        parents = {"answers": answers, "benchmark": answers.parents["benchmark"]}
        return self._cell("score", answers.point, settings, parents, sources)

    def code_switching(self, point: Point, tuning: Tuning, benchmark: str, language: str) -> Cell:
        """Answers that leave the language asked for."""
        answers = self.generate(point, tuning, benchmark, language)
        settings = CodeSwitchingCell(**self.config.code_switching.model_dump(), language=language)
        parents = {"answers": answers, "benchmark": answers.parents["benchmark"]}
        sources = self._language_rows(language)
        return self._cell("code_switching", answers.point, settings, parents, sources)

    def knowledge(self, point: Point, tuning: Tuning | None, benchmark: str, language: str) -> Cell:
        """Multiple-choice accuracy."""
        shots = self.config.benchmarks[benchmark].shots
        settings = KnowledgeCell(language=language, shots=shots)
        parents = self._chat(point, tuning) | {
            "benchmark": self.fetch_benchmark(benchmark, language)
        }
        where = (point.id, tuning.id if tuning else "none", benchmark, language)
        return self._cell("knowledge", where, settings, parents)

    def perplexity(self, point: Point, language: str) -> Cell:
        """Perplexity and bits per byte on held-out text; models before tuning only."""
        section = self.config.perplexity
        text = (
            self.split_corpus(language)
            if section.benchmark is None
            else self.fetch_benchmark(section.benchmark, language)
        )
        settings = PerplexityCell(
            language=language,
            documents=section.documents,
            window=section.window,
            stride=section.stride,
        )
        parents = {"checkpoint": self.checkpoint(point), "text": text}
        return self._cell("perplexity", (point.id, "none", language), settings, parents)

    def _chat(self, point: Point, tuning: Tuning | None) -> dict[str, Cell]:
        """The model, and what was tuned on top of it."""
        model = {"checkpoint": self.checkpoint(point)}
        return model if tuning is None else model | {"chat": self.finetune(point, tuning)}
