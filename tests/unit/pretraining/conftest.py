"""Fixtures of the tiny study."""

from tests.unit.pretraining.tiny_study import base, pretrain, sentences, tokens, vocabulary

__all__ = ["base", "pretrain", "sentences", "tokens", "vocabulary"]
