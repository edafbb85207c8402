"""How much text there is: from finished cells where they tell, else from resources/costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from langtransfer.config.corpus import FetchCorpusCell
from langtransfer.config.evaluation import FetchBenchmarkCell, TranslateBenchmarkCell
from langtransfer.config.training import PrepareInstructionsCell
from langtransfer.costs.resources import read_rows
from langtransfer.errors import UserError
from langtransfer.workflow.cells import Cell

ANY = "*"


@dataclass(frozen=True)
class LanguageText:
    """How a language is written and cut by LLaMA's vocabulary."""

    tokens_per_character: float
    characters_to_english: float
    """Characters of a text for each of its English translation."""
    bytes_per_character: float


@dataclass(frozen=True)
class TextRow:
    """A row of texts.csv: how many items, of what length, in the language they were counted in."""

    language: str
    items: int | None
    parts: int
    """Subjects or categories."""
    characters: float
    """Mean of an item."""
    answer_characters: float
    """Mean of its reference answer."""

    def in_language(self, characters: float, language: str) -> float:
        """Characters of a text of this row once it is in a language."""
        own, wanted = language_text(self.language), language_text(language)
        return characters * wanted.characters_to_english / own.characters_to_english

    def tokens(self, language: str) -> float:
        """LLaMA's tokens of a mean item in a language."""
        per_character = language_text(language).tokens_per_character
        return self.in_language(self.characters, language) * per_character


def language_text(language: str) -> LanguageText:
    """A language's figures; those of `*` where it has none."""
    known = _languages()
    return known.get(language, known[ANY])


def text_row(kind: str, format: str, split: str = "") -> TextRow:
    """Figures of a format; those of `*` where the kind has them. UserError where it has not."""
    rows = _texts()
    for found in ((kind, format, split), (kind, format, ""), (kind, ANY, "")):
        if found in rows:
            return rows[found]
    remedy = f"no figures for this format of {kind}: add a row to resources/costs/texts.csv"
    raise UserError("texts.csv", format, remedy)


@dataclass(frozen=True)
class Questions:
    """Items of one benchmark cell."""

    items: int
    parts: int
    row: TextRow


def questions(cell: Cell) -> Questions:
    """Questions of a `fetch_benchmark` or `translate_benchmark` cell."""
    if isinstance(cell.settings, TranslateBenchmarkCell):
        return questions(cell.parents["source"])
    settings = cell.settings
    assert isinstance(settings, FetchBenchmarkCell)
    if settings.kind == "text":
        row = text_row("corpus", settings.format)
    else:
        row = text_row("benchmark", settings.format, settings.split)
    parts = row.parts
    if settings.subjects is not None:
        parts = len(settings.subjects)
    known = manifest_facts(cell).get("items")
    if known is not None:
        return Questions(int(known), parts, row)
    every = row.items if row.items is not None else parts * (settings.items or 0)
    if settings.kind == "knowledge" and settings.format == "atlas":
        parts = 1  # the atlas asks in one subject
    if settings.items is not None:
        each = settings.items if settings.kind == "text" else parts * settings.items
        every = each if row.items is None else min(every, each)
    elif settings.subjects is not None and row.parts:
        every = round(every * parts / row.parts)
    return Questions(every, parts, row)


def document_tokens(cell: Cell) -> float:
    """LLaMA's tokens of a mean document: of a corpus cell, or of a benchmark of kind text."""
    if isinstance(cell.settings, FetchBenchmarkCell):
        return questions(cell).row.tokens(cell.settings.language)
    while "corpus" in cell.parents:
        cell = cell.parents["corpus"]
    settings = cell.settings
    assert isinstance(settings, FetchCorpusCell)
    formats = [entry.identity.format for entry in settings.entries]
    return text_row("corpus", formats[0]).tokens(settings.language)


def corpus_documents(cell: Cell) -> int | None:
    """Documents of a corpus as it is fetched; None where all of a dataset are taken."""
    while "corpus" in cell.parents:
        cell = cell.parents["corpus"]
    settings = cell.settings
    assert isinstance(settings, FetchCorpusCell)
    known = manifest_facts(cell).get("documents")
    if known is not None:
        return int(known)
    counts = [entry.documents for entry in settings.entries]
    return None if None in counts else sum(count for count in counts if count is not None)


def pair_tokens(cell: Cell) -> float:
    """LLaMA's tokens of a mean instruction pair of a `prepare_instructions` cell."""
    settings = cell.settings
    assert isinstance(settings, PrepareInstructionsCell)
    return text_row("instructions", settings.identity.format).tokens(settings.language)


def packed(cell: Cell, language: str) -> Mapping[str, float] | None:
    """What packing found (tokens, documents, bytes) of a language, for the model of a cell.

    Looks for the tokens a model was trained on, its own or the nearest below; None before packing.
    """
    while True:
        tokens = cell.parents.get(f"tokens.{language}")
        if tokens is not None and (meta := tokens.folder / "data" / "meta.json").is_file():
            found: Mapping[str, float] = json.loads(meta.read_text(encoding="utf-8"))
            return found
        below = cell.parents.get("checkpoint")
        if below is None:
            return None
        cell = below


def against_llama(cell: Cell, language: str) -> float:
    """Tokens a model's own vocabulary takes for each of LLaMA's; 1 where that is not known yet."""
    found = packed(cell, language)
    if found is None:
        return 1.0
    text = language_text(language)
    return found["tokens"] / found["bytes"] * text.bytes_per_character / text.tokens_per_character


def manifest_facts(cell: Cell) -> Mapping[str, float]:
    """Volatile facts of a finished cell; nothing of one that is not."""
    if not cell.finished():
        return {}
    facts: Mapping[str, float] = json.loads(cell.manifest.read_text(encoding="utf-8"))["volatile"]
    return facts


@cache
def _languages() -> Mapping[str, LanguageText]:
    columns = ("tokens_per_character", "characters_to_english", "bytes_per_character")
    return {
        row["language"]: LanguageText(*(float(row[column]) for column in columns))
        for row in read_rows("languages")
    }


@cache
def _texts() -> Mapping[tuple[str, str, str], TextRow]:
    return {
        (row["kind"], row["format"], row["split"]): TextRow(
            row["language"], int(row["items"]) if row["items"] else None, int(row["parts"] or 0),
            float(row["characters"]), float(row["answer_characters"] or 0),
        )
        for row in read_rows("texts")
    }  # fmt: skip
