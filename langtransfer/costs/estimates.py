"""Every stage's estimate."""

from __future__ import annotations

from collections.abc import Callable

from langtransfer.costs.chat import calibrate_judge, score, translate_benchmark
from langtransfer.costs.evaluation import alignment, generate, knowledge, perplexity
from langtransfer.costs.training import (
    finetune,
    pack_tokens,
    pretrain,
    stored_model,
    train_base,
)
from langtransfer.costs.work import Given, Work
from langtransfer.workflow.cells import Cell

ESTIMATES: dict[str, Callable[[Given, Cell], Work]] = {
    "adopt_model": stored_model,
    "extend_embeddings": stored_model,
    "pack_tokens": pack_tokens,
    "train_base": train_base,
    "pretrain": pretrain,
    "finetune": finetune,
    "generate": generate,
    "knowledge": knowledge,
    "perplexity": perplexity,
    "alignment": alignment,
    "score": score,
    "translate_benchmark": translate_benchmark,
    "calibrate_judge": calibrate_judge,
}
"""The other stages take a processor and seconds to minutes, and keep text."""


def work_of(given: Given, cell: Cell) -> Work:
    """What a cell takes. UserError where nothing is known of its model or its text."""
    estimate = ESTIMATES.get(cell.stage)
    return Work() if estimate is None else estimate(given, cell)
