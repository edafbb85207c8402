"""What training takes, and the checkpoints and tokens that are kept."""

from __future__ import annotations

from dataclasses import replace

from langtransfer.budget import Budget
from langtransfer.config.training import (
    AdoptModelCell,
    FinetuneCell,
    Mix,
    Precision,
    PretrainCell,
    TrainBaseCell,
)
from langtransfer.costs import arithmetic, texts
from langtransfer.costs.shapes import FLOAT32, Shape, Trained, rows_of, trained_by
from langtransfer.costs.work import Given, Work
from langtransfer.workflow.cells import Cell

MOMENTS = 2 * FLOAT32  # AdamW's two, in float32, for each trained parameter
WIDE_IDS = 1 << 16  # larger vocabularies take four bytes a token


def train_base(given: Given, cell: Cell) -> Work:
    """The base from scratch."""
    settings = cell.settings
    assert isinstance(settings, TrainBaseCell)
    shape = given.shapes.of(cell)
    trained = trained_by(shape, None)
    optimization = settings.optimization
    tokens = stream_tokens(cell, settings.mix, settings.budget, optimization.global_batch_tokens)
    flops = tokens * arithmetic.training(shape, optimization.sequence_length, trained)
    return training_work(shape, trained, tokens, flops, optimization.precision)


def pretrain(given: Given, cell: Cell) -> Work:
    """Further pretraining; a chained budget does what the smaller one has not done."""
    settings = cell.settings
    assert isinstance(settings, PretrainCell)
    shape = given.shapes.of(cell)
    trained = trained_by(shape, settings.lora)
    optimization = settings.optimization
    step = optimization.global_batch_tokens
    tokens = stream_tokens(cell, settings.mix, settings.budget, step)
    before, smaller = 0, cell.parents["checkpoint"].settings
    if settings.budgets == "chained" and isinstance(smaller, PretrainCell):
        before = stream_tokens(cell, settings.mix, smaller.budget, step)
    each = arithmetic.training(shape, optimization.sequence_length, trained)
    work = training_work(
        shape, trained, tokens - before, (tokens - before) * each, optimization.precision
    )
    kept = shape.parameters * FLOAT32  # an adapter is merged before it is kept
    if settings.budgets == "chained":
        kept += trained.total * MOMENTS
    return replace(work, disk=kept, reused=before * each)


def finetune(given: Given, cell: Cell) -> Work:
    """Instruction tuning: examples of every language, every epoch."""
    settings = cell.settings
    assert isinstance(settings, FinetuneCell)
    shape = given.shapes.of(cell)
    trained = trained_by(shape, settings.lora)
    length = settings.optimization.sequence_length
    pairs = {
        language: min(
            texts.pair_tokens(cell.parents[f"instructions.{language}"])
            * texts.against_llama(cell, language),
            length,
        )
        for language in settings.mix.languages()
    }
    shares = settings.mix.shares or dict.fromkeys(settings.mix.languages(), 1.0)
    mean = sum(pairs[name] * share for name, share in shares.items()) / sum(shares.values())
    tokens = round(settings.examples * settings.epochs * mean)
    flops = tokens * arithmetic.training(shape, length, trained)
    work = training_work(shape, trained, tokens, flops, settings.optimization.precision)
    return work if settings.lora is None else replace(work, disk=trained.total * FLOAT32)


def training_work(
    shape: Shape, trained: Trained, tokens: int, flops: float, precision: Precision
) -> Work:
    """Work of a training run that keeps the whole model, in float32."""
    weights = shape.parameters * FLOAT32
    scratch = weights + trained.total * MOMENTS
    return Work(True, tokens, flops, precision=precision, disk=weights, scratch=scratch)


def stream_tokens(cell: Cell, mix: Mix, budget: Budget, step: int) -> int:
    """Tokens of a budget, in whole optimizer steps, at least one."""
    if budget.unit == "samples":
        shares = mix.shares or dict.fromkeys(mix.languages(), 1.0)
        lengths = {name: sample_tokens(cell, name) for name in shares}
        mean = sum(shares.values()) / sum(share / lengths[n] for n, share in shares.items())
        tokens = round(budget.amount * mean)
    else:
        tokens = budget.amount
    return max(tokens // step, 1) * step


def sample_tokens(cell: Cell, language: str) -> float:
    """Tokens of a mean document of a language in a training stream."""
    found = texts.packed(cell, language)
    if found is not None:
        return found["tokens"] / found["documents"]
    return texts.document_tokens(cell.parents[f"tokens.{language}"])


def pack_tokens(given: Given, cell: Cell) -> Work:
    """Documents as ids of two or four bytes."""
    documents = texts.corpus_documents(cell)
    tokens = round((documents or 0) * texts.document_tokens(cell))
    size = vocabulary_rows(given, cell.parents["vocabulary"])
    return Work(tokens=tokens, disk=tokens * (4 if size > WIDE_IDS else 2))


def vocabulary_rows(given: Given, cell: Cell) -> int:
    """Ids of a vocabulary or checkpoint cell."""
    if cell.stage in ("train_tokenizer", "extend_vocabulary"):
        return rows_of(cell)
    return given.shapes.of(cell).vocabulary


def stored_model(given: Given, cell: Cell) -> Work:
    """A checkpoint that is taken in or changed, not trained; pieces alone take nothing."""
    if isinstance(cell.settings, AdoptModelCell) and cell.settings.format == "sentencepiece":
        return Work()
    shape = given.shapes.of(cell)
    return Work(disk=shape.parameters * shape.bytes_per_parameter)
