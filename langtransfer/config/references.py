"""Names one part of the config uses and another part, or a resource file, defines."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from langtransfer.errors import UserError
from langtransfer.languages import known_languages

if TYPE_CHECKING:
    from langtransfer.config.root import Config, ModelEntry


def check_references(config: Config) -> None:
    """Raise UserError for the first name that is used but not defined, or defined twice."""
    _check_languages(config)
    _check_base(config)
    _check_mixes(config)
    _check_tunings(config)
    _check_models(config)
    _check_benchmarks(config)


def nearest(name: str, known: Collection[str]) -> str:
    """Remedy for an unknown name: the likeliest meant, or what there is."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"


def _known(field: str, name: str, known: Collection[str], what: str) -> None:
    if name not in known:
        raise UserError(field, name, f"unknown {what}; {nearest(name, known)}")


def _unique(field: str, names: Iterable[str], remedy: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(field, name, remedy)


def _check_languages(config: Config) -> None:
    known = known_languages()
    _known("source_language", config.source_language, known, "language")
    for language in config.languages:
        _known("languages", language, known, "language")
    _unique("languages", config.languages, "named twice; keep one")
    if config.source_language in config.languages:
        remedy = "is the source language; a target is another one"
        raise UserError("languages", config.source_language, remedy)


def _check_base(config: Config) -> None:
    if config.base.train is not None:
        field = "base.train.tokenizer"
        _known(field, config.base.train.tokenizer, config.tokenizers, "tokenizer")
        _check_base_tokenizer(config.base.train.tokenizer, config)


def _check_base_tokenizer(name: str, config: Config) -> None:
    """A base's own vocabulary must pass its gate: exact in Hugging Face's form, and lossless."""
    train = config.tokenizers[name].train
    if train is None or train.type == "byte-level-bpe":
        return
    if train.type == "unigram":
        remedy = "has no exact Hugging Face form, so it is for pieces only: use bpe"
        raise UserError(f"tokenizers.{name}.train.type", train.type, remedy)
    if not train.byte_fallback:
        remedy = "unknown characters would be lost: a base's tokenizer needs true"
        raise UserError(f"tokenizers.{name}.train.byte_fallback", train.byte_fallback, remedy)


def _check_shares(field: str, names: Iterable[str], config: Config) -> None:
    known = {"target", config.source_language, *config.languages}
    for name in names:
        _known(field, name, known, "language of this study")


def _check_mixes(config: Config) -> None:
    for name, mix in config.mixes.items():
        _check_shares(f"mixes.{name}", mix.parts(), config)
        if not set(mix.parts()) - {config.source_language}:
            raise UserError(f"mixes.{name}", mix.parts(), "holds no target language; add `target`")


def _check_tunings(config: Config) -> None:
    if "none" in config.tunings:
        raise UserError("tunings", "none", "is always there; remove the entry")
    for name, tuning in config.tunings.items():
        _check_shares(f"tunings.{name}", tuning.parts(), config)
        for language in tuning.languages or ():
            field = f"tunings.{name}.languages"
            _known(field, language, config.languages, "language of this study")
    if "original" in config.vocabularies:
        raise UserError("vocabularies", "original", "is always there; remove the entry")


def _check_models(config: Config) -> None:
    _unique("models.label", (m.label for m in config.models), "duplicate model label; rename one")
    for entry in config.models:
        _check_model(entry, f"models[{entry.label}]", config)
    units = {entry.budget.unit: entry for entry in config.models if entry.budget.unit}
    if len(units) > 1:
        budgets = ", ".join(str(entry.budget) for entry in units.values())
        raise UserError("models.budget", budgets, "one study has one unit: samples or tokens")


def _check_model(entry: ModelEntry, field: str, config: Config) -> None:
    _known(f"{field}.mix", entry.mix, config.mixes, "mix")
    _known(
        f"{field}.vocabulary", entry.vocabulary, {"original", *config.vocabularies}, "vocabulary"
    )
    for tuning in entry.tunings or ():
        _known(f"{field}.tunings", tuning, {"none", *config.tunings}, "tuning")
    for language in entry.languages or ():
        _known(f"{field}.languages", language, config.languages, "language of this study")
    if entry.adopt is not None and (entry.budget.amount or entry.vocabulary != "original"):
        remedy = "an adopted model has its own vocabulary and budget; remove them from the entry"
        raise UserError(field, entry.adopt.model, remedy)


def _check_benchmarks(config: Config) -> None:
    for name, benchmark in config.benchmarks.items():
        _check_shares(f"benchmarks.{name}.languages", benchmark.languages, config)
        for tuning in benchmark.tunings or ():
            field = f"benchmarks.{name}.tunings"
            _known(field, tuning, {"none", *config.tunings}, "tuning")
        for tuning in benchmark.switched_tunings:
            _known(f"benchmarks.{name}.switched_tunings", tuning, config.tunings, "tuning")
        if benchmark.translate_from is not None:
            field = f"benchmarks.{name}.translate_from"
            _known(field, benchmark.translate_from, known_languages(), "language")
    texts = {name for name, entry in config.benchmarks.items() if entry.kind == "text"}
    for field, named in (
        ("check_vocabulary.benchmark", config.check_vocabulary.benchmark),
        ("perplexity.benchmark", config.perplexity.benchmark),
        ("alignment.benchmark", config.alignment.benchmark),
    ):
        if named is not None:
            _known(field, named, texts, "benchmark of kind text")
    _check_parallel(config)


def _check_parallel(config: Config) -> None:
    named = config.alignment.benchmark
    if named is None:
        return
    entry, documents = config.benchmarks[named], config.alignment.documents
    if entry.format == "corpus":
        remedy = "a corpus holds no translations: name a benchmark of format atlas or flores"
        raise UserError("alignment.benchmark", named, remedy)
    if entry.items is not None and documents > entry.items:
        remedy = f"benchmarks.{named} has {entry.items} items: ask for no more"
        raise UserError("alignment.documents", documents, remedy)
