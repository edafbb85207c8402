"""What is asked of chat models, counted as `langtransfer.evaluation.judge_cost` counts it."""

from __future__ import annotations

from langtransfer.config.evaluation import (
    CalibrateJudgeCell,
    GenerateCell,
    ScoreCell,
    TranslateBenchmarkCell,
)
from langtransfer.costs import texts
from langtransfer.costs.work import Given, Work
from langtransfer.evaluation.judge_cost import (
    ASCII_PER_TOKEN,
    OVERHEAD_TOKENS,
    Tokens,
    estimate_tokens,
)
from langtransfer.evaluation.resources import prompt_file
from langtransfer.workflow.cells import Cell

VERDICT_TOKENS = 45  # langtransfer.evaluation.openai_judge's, which loads a client to be imported
RELEASED_MODELS = 12  # upstream: llmeval/llmeval-1, models whose answers were scored
ALL_ASCII = 1.01  # bytes a character up to which a language is written in ASCII

# The JSON schema goes with every request; a test holds these against the schemas themselves, which
# only modules that load the client can make.
VERDICT_SCHEMA_TOKENS = 189
TRANSLATION_SCHEMA_TOKENS = 64


def score(given: Given, cell: Cell) -> Work:
    """A verdict on every answer, and the checks of some; nothing to pay for the reference judge."""
    settings = cell.settings
    assert isinstance(settings, ScoreCell)
    judge, answers = settings.judge, cell.parents["answers"].settings
    if judge.kind != "openai":
        return Work()
    assert isinstance(answers, GenerateCell)
    asked = texts.questions(cell.parents["benchmark"])
    checks = judge.checks
    again = min(checks.items, asked.items) * (checks.repeat + checks.position)
    calls = asked.items + again
    prompt = verdict_prompt(judge.prompt, asked.row, settings.language) + answers.max_new_tokens
    return Work(
        calls=calls, asked=Tokens(calls * prompt, calls * VERDICT_TOKENS), model=judge.model
    )


def verdict_prompt(prompt: str, row: texts.TextRow, language: str) -> int:
    """Tokens of a request for a verdict, without the answer, by the rule of `estimate_tokens`."""
    template = prompt_file("judge", prompt, "score.judge.prompt").read_text(encoding="utf-8")
    text = chat_tokens(row, row.characters + row.answer_characters, language)
    return estimate_tokens(template) + text + VERDICT_SCHEMA_TOKENS + OVERHEAD_TOKENS


def chat_tokens(row: texts.TextRow, characters: float, language: str) -> int:
    """A chat model's tokens of some characters, once they are in a language."""
    written = row.in_language(characters, language)
    ascii_only = texts.language_text(language).bytes_per_character < ALL_ASCII
    return round(written / ASCII_PER_TOKEN if ascii_only else written)


def translate_benchmark(given: Given, cell: Cell) -> Work:
    """A request a question; nothing where a translation is ready."""
    settings = cell.settings
    assert isinstance(settings, TranslateBenchmarkCell)
    if settings.translator is None:
        return Work()
    asked, translator = texts.questions(cell), settings.translator
    file = prompt_file("translate", translator.prompt, "translate_benchmark.prompt")
    both = asked.row.characters + asked.row.answer_characters
    prompt = estimate_tokens(file.read_text(encoding="utf-8"))
    prompt += TRANSLATION_SCHEMA_TOKENS + OVERHEAD_TOKENS
    prompt += chat_tokens(asked.row, both, settings.source)
    completion = chat_tokens(asked.row, both, settings.language) + OVERHEAD_TOKENS
    tokens = Tokens(asked.items * prompt, asked.items * completion)
    return Work(calls=asked.items, asked=tokens, model=translator.model)


def calibrate_judge(given: Given, cell: Cell) -> Work:
    """The study's judge on a sample of released answers; nothing without them."""
    settings = cell.settings
    assert isinstance(settings, CalibrateJudgeCell)
    if settings.answers is None or settings.judge is None or settings.judge.kind != "openai":
        return Work()
    row, calls = texts.text_row("benchmark", "llm-eval"), settings.items * RELEASED_MODELS
    prompt = verdict_prompt(settings.judge.prompt, row, settings.language)
    prompt += chat_tokens(row, row.answer_characters, settings.language)
    asked = Tokens(calls * prompt, calls * VERDICT_TOKENS)
    return Work(calls=calls, asked=asked, model=settings.judge.model)
