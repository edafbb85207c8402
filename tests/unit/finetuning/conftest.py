"""Fixtures of the tiny study."""

from tests.unit.finetuning.tiny_tuning import finetune, instructions, job
from tests.unit.pretraining.tiny_study import base, extended, sentences, tokens, vocabulary

__all__ = [
    "base", "extended", "finetune", "instructions", "job", "sentences", "tokens", "vocabulary",
]  # fmt: skip
