"""From a config to the cells of evaluation: benchmarks, answers, scores."""

from __future__ import annotations

from langtransfer.config.corpus import DatasetIdentity
from langtransfer.config.evaluation import (
    AlignmentCell,
    CalibrateJudgeCell,
    CodeSwitchingCell,
    GenerateCell,
    KnowledgeCell,
    PerplexityCell,
    ScoreCell,
    SwitchPromptsCell,
    TranslateBenchmarkCell,
)
from langtransfer.errors import UserError
from langtransfer.evaluation.resources import identification_resources, prompt_file
from langtransfer.resources import RESOURCES
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.planning import Planner, Tuning
from langtransfer.workflow.points import Point


class EvaluationPlanner(Planner):
    """Adds the cells that measure models to those that make them."""

    def questions(self, benchmark: str, language: str) -> Cell:
        """Response-quality questions in a language: published ones, or translations of them."""
        entry = self.config.benchmarks[benchmark]
        source = entry.translate_from
        if source is None or source == language:
            return self.fetch_benchmark(benchmark, language)
        translator = self.config.translate_benchmark
        sources = self._language_rows(source, language)
        ready = None
        if (entry.dataset, language) in self._registry.rows:
            ready = self._identity(entry.dataset, language)
        elif not translator.model:
            remedy = (
                f"name the model that translates {benchmark} into {language}, or add a row "
                f"{entry.dataset},{language} with its translation to {self._registry.path}"
            )
            raise UserError("translate_benchmark.model", translator.model, remedy)
        else:
            field = "translate_benchmark.prompt"
            sources |= self._sources(prompt_file("translate", translator.prompt, field))
        settings = TranslateBenchmarkCell(
            source=source,
            language=language,
            translator=None if ready else translator,
            ready=ready,
        )
        parents = {"source": self.fetch_benchmark(benchmark, source)}
        where = (benchmark, language)
        return self._cell("translate_benchmark", where, settings, parents, sources)

    def switched(self, benchmark: str, language: str) -> Cell:
        """The same questions, each with a clause of the source language in it."""
        source = self.config.source_language
        parents = {
            "questions": self.questions(benchmark, language),
            "source": self.questions(benchmark, source),
        }
        settings = SwitchPromptsCell(language=language, source=source)
        return self._cell("switch_prompts", (benchmark, language), settings, parents)

    def generate(
        self, point: Point, tuning: Tuning, benchmark: str, language: str, *, switched: bool = False
    ) -> Cell:
        """Answers of a tuned model, to plain questions or to switched ones."""
        template = self.config.finetune.template
        settings = GenerateCell(**self.config.generate.model_dump(), template=template)
        questions = self.switched if switched else self.questions
        parents = self._chat(point, tuning) | {"benchmark": questions(benchmark, language)}
        sources = self._sources(RESOURCES / "prompts" / f"{template}.jinja")
        name = f"{benchmark}.switched" if switched else benchmark
        where = (point.id, tuning.id, name, language)
        after = self.gates(point, language)
        return self._cell("generate", where, settings, parents, sources, after)

    def score(self, point: Point, tuning: Tuning, benchmark: str, language: str) -> Cell:
        """Response quality of the answers."""
        answers = self.generate(point, tuning, benchmark, language)
        settings = ScoreCell(**self.config.score.model_dump(), language=language)
        sources = self._language_rows(language)
        if settings.judge.kind == "openai":
            prompt = prompt_file("judge", settings.judge.prompt, "score.judge.prompt")
            sources |= self._sources(prompt)
        parents = {"answers": answers, "benchmark": answers.parents["benchmark"]}
        return self._cell("score", answers.point, settings, parents, sources)

    def code_switching(
        self, point: Point, tuning: Tuning, benchmark: str, language: str, *, switched: bool = False
    ) -> Cell:
        """Answers that leave the language asked for."""
        answers = self.generate(point, tuning, benchmark, language, switched=switched)
        settings = CodeSwitchingCell(**self.config.code_switching.model_dump(), language=language)
        parents = {"answers": answers, "benchmark": answers.parents["benchmark"]}
        sources = self._language_rows(language) | self._sources(*identification_resources())
        return self._cell("code_switching", answers.point, settings, parents, sources)

    def knowledge(self, point: Point, tuning: Tuning | None, benchmark: str, language: str) -> Cell:
        """Multiple-choice accuracy."""
        shots = self.config.benchmarks[benchmark].shots
        settings = KnowledgeCell(language=language, shots=shots)
        parents = self._chat(point, tuning) | {
            "benchmark": self.fetch_benchmark(benchmark, language)
        }
        where = (point.id, tuning.id if tuning else "none", benchmark, language)
        return self._cell("knowledge", where, settings, parents, after=self.gates(point, language))

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
        where, after = (point.id, "none", language), self.gates(point, language)
        return self._cell("perplexity", where, settings, parents, after=after)

    def calibrate_judge(self) -> Cell | None:
        """Agreement of judges with people; None where no released scores are named."""
        section, reporting = self.config.calibrate_judge, self.config.reporting
        if section.dataset is None:
            return None
        sources: dict[str, str] = {}
        judge = answers = None
        scores = self._of_format(section.dataset, section.language, "llmeval-scores")
        if section.answers is not None:
            judge = self.config.score.judge
            answers = self._of_format(section.answers, section.language, "llm-eval")
            sources = self._language_rows(section.language)
            if judge.kind == "openai":
                prompt = prompt_file("judge", judge.prompt, "score.judge.prompt")
                sources |= self._sources(prompt)
        settings = CalibrateJudgeCell(
            scores=scores,
            answers=answers,
            items=section.items,
            language=section.language,
            judge=judge,
            confidence=reporting.confidence,
            bootstrap_samples=reporting.bootstrap_samples,
            seed=reporting.seed,
        )
        return self._cell("calibrate_judge", (section.dataset,), settings, sources=sources)

    def _of_format(self, dataset: str, language: str, format: str) -> DatasetIdentity:
        identity = self._identity(dataset, language)
        if identity.format != format:
            remedy = f"has format {identity.format}; calibrate_judge needs {format}"
            raise UserError("calibrate_judge", dataset, remedy)
        return identity

    def alignment(self, point: Point, benchmark: str, language: str) -> Cell:
        """Retrieval between parallel documents, layer by layer; models before tuning only."""
        settings = AlignmentCell(language=language, documents=self.config.alignment.documents)
        parents = {
            "checkpoint": self.checkpoint(point),
            "text": self.fetch_benchmark(benchmark, language),
            "source_text": self.fetch_benchmark(benchmark, self.config.source_language),
        }
        where, after = (point.id, "none", language), self.gates(point, language)
        return self._cell("alignment", where, settings, parents, after=after)

    def _chat(self, point: Point, tuning: Tuning | None) -> dict[str, Cell]:
        """The model, and what was tuned on top of it."""
        model = {"checkpoint": self.checkpoint(point)}
        return model if tuning is None else model | {"chat": self.finetune(point, tuning)}
