"""Stage settings from raw text to clean, split documents."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from langtransfer.config.base import Language, Model, Name


class CorpusEntry(Model):
    """One source of a language's corpus."""

    dataset: Name
    """Key in the dataset registry (`resources/datasets.csv`), or `atlas`."""
    language: Language | None = None
    """Language to take from the dataset; the corpus' own unless said (contamination uses it)."""
    documents: int | None = Field(default=None, gt=0)
    """Take the first so many documents; all when absent (the atlas needs a number)."""
    start: int = Field(default=0, ge=0)
    """Documents to skip first."""


class FetchCorpusConfig(Model):
    """`fetch_corpus`: which datasets make up each language's raw corpus."""

    default: tuple[CorpusEntry, ...] = Field(min_length=1)
    """Sources of every language that has no entry of its own."""
    per_language: dict[Language, tuple[CorpusEntry, ...]] = Field(default={})
    """Sources by language, instead of the default."""
    seed: int = 1
    """Seed of the atlas generator."""


class DatasetIdentity(Model):
    """What of a registry row decides the bytes: never where it is fetched from."""

    key: Name
    revision: str = ""
    """Commit of a hub dataset."""
    files: dict[str, str] = Field(default={})
    """File name within the dataset -> sha256 of its bytes."""
    format: str = ""
    """Reader: jsonl, json, csv, parquet, txt, markdown-story, ...; see corpus/readers.py."""
    field: str = ""
    """Column or key holding the text."""


class FetchCorpusEntry(CorpusEntry):
    """A corpus entry with its dataset resolved."""

    language: Language
    identity: DatasetIdentity


class FetchCorpusCell(Model):
    """Slice of one `fetch_corpus` cell."""

    language: Language
    entries: tuple[FetchCorpusEntry, ...]
    seed: int


class CleanCorpusConfig(Model):
    """`clean_corpus`: normalisation and filters; each dropped document is kept with its reason."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    min_characters: int = Field(default=1, ge=1)
    max_characters: int = Field(default=100_000, ge=1)
    max_symbol_share: float = Field(default=1.0, ge=0, le=1)
    """Drop documents with a larger share of characters that are neither letters, marks,
    numbers nor white space."""
    language_id: bool = False
    """Drop documents py3langid places in another language (off for the atlas' contamination)."""
    exact_duplicates: bool = True
    """Drop documents whose normalised text was seen before."""


class CleanCorpusCell(CleanCorpusConfig):
    """Slice of one `clean_corpus` cell."""

    language: Language


class SplitCorpusConfig(Model):
    """`split_corpus`: held-out documents are the first ones by a seeded hash of their text."""

    valid_documents: int = Field(gt=0)
    seed: int = 1


class SplitCorpusCell(SplitCorpusConfig):
    """Slice of one `split_corpus` cell."""

    language: Language
