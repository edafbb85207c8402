"""Stage settings of vocabularies: training, extension, embedding rows, packed tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from langtransfer.config.base import Language, Model, Name


class TrainTokenizerConfig(Model):
    """`train_tokenizer`: a SentencePiece model of one or several languages."""

    type: Literal["bpe", "unigram"] = "bpe"
    size: int = Field(gt=256)
    """Pieces, control and byte pieces included."""
    character_coverage: float = Field(default=0.9995, ge=0.98, le=1)  # SentencePiece's own bounds
    byte_fallback: bool = True
    max_documents: int = Field(default=1_000_000, gt=0)
    """Documents per language given to the trainer."""
    pad_to_multiple_of: int = Field(default=1, ge=1)


class TrainTokenizerCell(TrainTokenizerConfig):
    """Slice of one `train_tokenizer` cell."""

    languages: tuple[Language, ...]


class TokenizerConfig(Model):
    """One entry of `tokenizers`: a vocabulary of the source language."""

    train: TrainTokenizerConfig | None = None
    """How to train it here ..."""
    adopt: Name | None = None
    """... or the registry key of a published SentencePiece model."""

    @model_validator(mode="after")
    def _one_of(self) -> TokenizerConfig:
        if (self.train is None) == (self.adopt is None):
            raise ValueError("give either train or adopt")
        return self


class VocabularyConfig(TokenizerConfig):
    """One entry of `vocabularies`: pieces that extend the base vocabulary."""

    pieces: Literal["all", "target-script"] = "all"
    """Take every new piece, or only those holding a character of the target's scripts."""


class ExtendVocabularyCell(Model):
    """Slice of one `extend_vocabulary` cell."""

    pieces: Literal["all", "target-script"]
    languages: tuple[Language, ...]


class ExtendEmbeddingsConfig(Model):
    """`extend_embeddings`: how new rows of the embedding matrices begin."""

    method: Literal["mean", "noise", "resize"] = "mean"
    """mean of the base vocabulary's sub-pieces; the same plus noise; Hugging Face's resize."""
    pad_to_multiple_of: int = Field(default=8, ge=1)
    noise_std: float = Field(default=0.02, ge=0)
    seed: int = 1


class PackTokensConfig(Model):
    """`pack_tokens`: order of documents in the token stream."""

    seed: int = 1


class PackTokensCell(PackTokensConfig):
    """Slice of one `pack_tokens` cell."""

    language: Language
