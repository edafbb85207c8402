"""What evaluating takes: forward passes in float32, as all evaluation."""

from __future__ import annotations

from langtransfer.config.evaluation import (
    AlignmentCell,
    GenerateCell,
    KnowledgeCell,
    PerplexityCell,
)
from langtransfer.costs import arithmetic, texts
from langtransfer.costs.work import Given, Work
from langtransfer.workflow.cells import Cell


def generate(given: Given, cell: Cell) -> Work:
    """Answers of full length: how many end earlier, nobody knows before."""
    settings = cell.settings
    assert isinstance(settings, GenerateCell)
    asked = texts.questions(cell.parents["benchmark"])
    shape = given.shapes.of(cell.parents["checkpoint"])
    language = cell.point[-1]
    own = texts.against_llama(cell, language)
    prompt, new = round(asked.row.tokens(language) * own), settings.max_new_tokens
    tokens = asked.items * (prompt + new)
    flops = tokens * arithmetic.forward(shape, prompt + new)
    batch = given.runtime.eval_batch
    traffic = arithmetic.decoding_traffic(shape, asked.items, batch, prompt, new)
    return Work(True, tokens, flops, traffic)


def knowledge(given: Given, cell: Cell) -> Work:
    """Questions read once, and each subject's worked examples once."""
    settings = cell.settings
    assert isinstance(settings, KnowledgeCell)
    asked = texts.questions(cell.parents["benchmark"])
    each = asked.row.tokens(settings.language) * texts.against_llama(cell, settings.language)
    tokens = round((asked.items + asked.parts * settings.shots) * each)
    return reading(given, cell, tokens, round(each * (1 + settings.shots)))


def perplexity(given: Given, cell: Cell) -> Work:
    """Documents in windows; those longer than one are read again at each stride."""
    settings = cell.settings
    assert isinstance(settings, PerplexityCell)
    each = texts.document_tokens(cell.parents["text"])
    each *= texts.against_llama(cell, settings.language)
    again = settings.window / settings.stride if each > settings.window else 1.0
    tokens = round(settings.documents * each * again)
    return reading(given, cell, tokens, min(settings.window, round(each)))


def alignment(given: Given, cell: Cell) -> Work:
    """Documents in two languages."""
    settings = cell.settings
    assert isinstance(settings, AlignmentCell)
    each = [texts.document_tokens(cell.parents[role]) for role in ("text", "source_text")]
    return reading(given, cell, round(settings.documents * sum(each)), round(max(each)))


def reading(given: Given, cell: Cell, tokens: int, context: int) -> Work:
    """Forward passes alone."""
    shape = given.shapes.of(cell.parents["checkpoint"])
    return Work(True, tokens, tokens * arithmetic.forward(shape, context))
