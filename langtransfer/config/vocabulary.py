"""Stage settings of vocabularies: training, extension, embedding rows, packed tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from langtransfer.config.base import Language, Model, Name


def control_token(token: str) -> str:
    """The token; ValueError where it could be text, or could not be written down plainly."""
    if len(token) < 2:
        raise ValueError("is too short: one character is text, a token needs two or more")
    if not token.isprintable() or set(token) & {" ", "▁"}:
        raise ValueError("holds white space or invisible characters: use letters and signs alone")
    return token


def control_tokens(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The tokens; ValueError where one is given twice."""
    if twice := sorted({token for token in tokens if tokens.count(token) > 1}):
        raise ValueError(f"{', '.join(twice)} is given twice: keep one")
    return tokens


SpecialTokens = Annotated[
    tuple[Annotated[str, AfterValidator(control_token)], ...], AfterValidator(control_tokens)
]
"""Tokens that text never becomes: padding, chat markers."""


class TrainTokenizerConfig(Model):
    """`train_tokenizer`: a vocabulary of one or several languages."""

    type: Literal["bpe", "unigram", "byte-level-bpe"] = "bpe"
    """SentencePiece BPE or unigram; or a tokenizer.json as Llama 3's, whose tokens are bytes."""
    size: int = Field(gt=256)
    """Pieces, control and byte pieces included."""
    character_coverage: float = Field(default=0.9995, ge=0.98, le=1)  # SentencePiece's own bounds
    """SentencePiece only: share of the text's characters that become pieces."""
    byte_fallback: bool = True
    """SentencePiece only: bytes for other characters; a byte-level vocabulary is all bytes."""
    max_documents: int = Field(default=1_000_000, gt=0)
    """Documents per language given to the trainer."""
    pad_to_multiple_of: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _fits_its_type(self) -> TrainTokenizerConfig:
        if self.type != "byte-level-bpe":
            return self
        for name in ("character_coverage", "byte_fallback"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} does not apply to type byte-level-bpe: remove it")
        if self.size < 259:  # 256 bytes; bos, eos and pad as in Llama-3.1
            raise ValueError("size must be at least 259: 256 bytes and 3 special tokens")
        return self


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
    embeddings: ExtendEmbeddingsConfig | None = None
    """How its rows begin, in place of the section `extend_embeddings`."""
    special_tokens: SpecialTokens = ()
    """Control tokens after the new pieces, such as chat markers; `<pad>` becomes the padding."""


class ExtendVocabularyCell(Model):
    """Slice of one `extend_vocabulary` cell."""

    pieces: Literal["all", "target-script"]
    languages: tuple[Language, ...]
    special_tokens: SpecialTokens = ()


class FocusConfig(Model):
    """The auxiliary fastText model of `extend_embeddings.method: focus`."""

    epochs: int = Field(default=3, ge=1)  # upstream: deepfocus' default, as the next two
    dim: int = Field(default=100, ge=1)
    """Dimensions of the auxiliary vectors; the model takes 8 MB of memory and disk for each."""
    min_count: int = Field(default=10, ge=1)
    """Occurrences of a piece in the text below which it has no auxiliary vector."""
    # our choice: ten minutes on one core where documents have 500 tokens (240,000 a second).
    max_documents: int = Field(default=100_000, gt=0)
    """Documents per language learnt from."""


class ExtendEmbeddingsConfig(Model):
    """`extend_embeddings`: how new rows of the embedding matrices begin."""

    method: Literal["mean", "noise", "resize", "focus"] = "mean"
    """mean of the base vocabulary's sub-pieces; the same plus noise; Hugging Face's resize; sparse
    combinations of the base's rows by FOCUS, which learns from the targets' text."""
    pad_to_multiple_of: int = Field(default=8, ge=1)
    noise_std: float = Field(default=0.02, ge=0)
    seed: int = 1
    focus: FocusConfig | None = Field(default=None, validate_default=True)
    """For `method: focus` alone, which takes the defaults where this is absent."""

    @field_validator("focus")
    @classmethod
    def _of_its_method(cls, value: FocusConfig | None, info: ValidationInfo) -> FocusConfig | None:
        if info.data.get("method") == "focus":
            return value or FocusConfig()
        if value is not None:
            raise ValueError("only `method: focus` reads it: remove it, or choose that method")
        return None


class CheckVocabularyConfig(Model):
    """`check_vocabulary`: the gate every vocabulary passes in every language of the study."""

    benchmark: Name | None = None
    """Entry of `benchmarks` of kind text, the same documents in all languages: then parity is
    measured. The corpus' own held-out documents when absent."""
    documents: int = Field(default=1_000, gt=0)
    """Documents compared, at most; each of their lines once more in a harder form."""
    max_source_lines_changed: float = Field(default=1.0, ge=0, le=1)
    """Share of source-language lines whose ids an extension may change."""


class CheckVocabularyCell(Model):
    """Slice of one `check_vocabulary` cell."""

    language: Language
    documents: int
    max_source_lines_changed: float | None
    """None where the language is not the source language."""


class PackTokensConfig(Model):
    """`pack_tokens`: order of documents in the token stream."""

    seed: int = 1


class PackTokensCell(PackTokensConfig):
    """Slice of one `pack_tokens` cell."""

    language: Language
