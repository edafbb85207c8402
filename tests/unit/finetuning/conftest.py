"""Fixtures of the tiny study."""

from tests.unit.pretraining.tiny_study import base, sentences, tokens, vocabulary

__all__ = ["base", "sentences", "tokens", "vocabulary"]
