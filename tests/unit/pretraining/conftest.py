"""Fixtures of the tiny study."""

from tests.unit.pretraining.tiny_study import (
    base,
    extended,
    pretrain,
    sentences,
    tokens,
    vocabulary,
)

__all__ = ["base", "extended", "pretrain", "sentences", "tokens", "vocabulary"]
