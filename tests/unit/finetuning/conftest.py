"""Fixtures of the tiny study."""

from tests.unit.finetuning.tiny_tuning import finetune, instructions, job
from tests.unit.pretraining.tiny_study import base, sentences, tokens, vocabulary

__all__ = ["base", "finetune", "instructions", "job", "sentences", "tokens", "vocabulary"]
