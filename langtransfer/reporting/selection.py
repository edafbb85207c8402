"""Which rows a comparison is between: sides chosen by role, matched cell by cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from langtransfer.config.base import Model
from langtransfer.config.evaluation import ReportRow
from langtransfer.reporting.contrasts import Stratum
from langtransfer.reporting.results import Observations, amount, model_name, on_target

Level = Literal["any", "zero", "positive", "smallest", "largest"]
TuningLevel = Literal["any", "none", "tuned", "smallest", "largest", "small"]
Where = Literal["target", "source"]
Key = Literal["language", "mix", "vocabulary", "budget", "tuning", "seed", "label"]


class Side(Model):
    """Rows of one side of a comparison, by role rather than by name where the study varies."""

    labels: tuple[str, ...] = ()
    """Labels of models; without any, rows of the grid (never adopted checkpoints)."""
    vocabulary: Literal["any", "original", "extended"] = "any"
    mixes: tuple[str, ...] = ()
    """Names of mixes; every one when empty. A model at budget 0 has no mix and always fits."""
    budget: Level = "any"
    """smallest and largest among the positive budgets of each language."""
    tuning: TuningLevel = "any"
    """smallest and largest instruction set of each language; small: all but the largest."""
    tuning_mixes: tuple[str, ...] = ("", "target")
    """What instruction sets hold: sets of one size but with other languages in them are apart."""
    languages: tuple[str, ...] = ()
    """Target languages; every one when empty."""
    not_languages: tuple[str, ...] = ()


def select(results: Sequence[Observations], side: Side) -> list[Observations]:
    """Observations of one side, ranks taken within each target language."""
    sizes: dict[str, set[int]] = defaultdict(set)
    by_language: dict[str, list[Observations]] = defaultdict(list)
    for found in results:
        if found.row.tuning_mix not in side.tuning_mixes:
            continue
        sizes[found.row.language].add(found.row.tuning_examples)
        if _fits(found.row, side):
            by_language[found.row.language].append(found)
    return [
        found
        for language in sorted(by_language)
        for found in _budget_level(by_language[language], side.budget)
        if _has_tuning(found.row.tuning_examples, sizes[language], side.tuning)
    ]


def _fits(row: ReportRow, side: Side) -> bool:
    named = model_name(row) in side.labels if side.labels else not row.adopted
    vocabulary = side.vocabulary == "any" or (
        (row.vocabulary == "original") == (side.vocabulary == "original")
    )
    mix = not side.mixes or row.mix in side.mixes or amount(row) == 0
    language = not side.languages or row.language in side.languages
    return named and vocabulary and mix and language and row.language not in side.not_languages


def _budget_level(rows: Sequence[Observations], level: Level) -> list[Observations]:
    positive = sorted({amount(found.row) for found in rows} - {0})
    allowed: dict[Level, Callable[[int], bool]] = {
        "any": lambda _: True,
        "zero": lambda value: value == 0,
        "positive": lambda value: value > 0,
        "smallest": lambda value: value in positive[:1],
        "largest": lambda value: value in positive[-1:],
    }
    return [found for found in rows if allowed[level](amount(found.row))]


def _has_tuning(examples: int, all_sizes: set[int], level: TuningLevel) -> bool:
    """Whether an instruction set has a rank among all of the language's."""
    sizes = sorted(all_sizes - {0})
    allowed: dict[TuningLevel, bool] = {
        "any": True,
        "none": examples == 0,
        "tuned": examples > 0,
        "smallest": examples in sizes[:1],
        "largest": examples in sizes[-1:],
        "small": examples in sizes[:-1],
    }
    return allowed[level]


def evaluated_on(results: Iterable[Observations], stage: str, where: Where) -> list[Observations]:
    """Observations of a stage in the target language or in the source language."""
    return [
        found
        for found in results
        if found.row.stage == stage and on_target(found.row) == (where == "target")
    ]


class Matching(Model):
    """How rows of two sides are put against each other."""

    match: tuple[Key, ...] = ("language", "tuning")
    """Both rows must agree on these; each agreeing group is a stratum."""
    keep_budget: Literal["all", "largest"] = "all"
    """Of the matched groups of a language, all or those at its largest budget."""


def strata(
    a: Sequence[Observations], b: Sequence[Observations], matching: Matching
) -> list[Stratum]:
    """Groups in which both sides have rows, averaged within; never a row against itself."""
    groups_a, groups_b = (_grouped(side, matching.match) for side in (a, b))
    shared = [key for key in groups_a if key in groups_b]
    found = [
        Stratum(_name(key, matching.match), tuple(groups_a[key]), tuple(groups_b[key]))
        for key in shared
        if {o.row.cell for o in groups_a[key]} != {o.row.cell for o in groups_b[key]}
    ]
    return list(_at_largest(found)) if matching.keep_budget == "largest" else found


def _grouped(
    rows: Iterable[Observations], keys: Sequence[Key]
) -> dict[tuple[str, ...], list[Observations]]:
    groups: dict[tuple[str, ...], list[Observations]] = defaultdict(list)
    for found in rows:
        # Two benchmarks never mix within a stratum: their items are not the same kind of thing.
        groups[(*(key_of(found.row, key) for key in keys), found.row.benchmark)].append(found)
    return groups


def key_of(row: ReportRow, key: Key) -> str:
    """A row's value under a matching key, as text."""
    return model_name(row) if key == "label" else str(getattr(row, key))


def _name(key: tuple[str, ...], keys: Sequence[Key]) -> str:
    shown = {"budget": "budget {}", "seed": "seed {}", "tuning": "tuning {}"}
    return ", ".join(shown.get(k, "{}").format(v) for k, v in zip(keys, key, strict=False)) or "all"


def _at_largest(found: Sequence[Stratum]) -> Iterator[Stratum]:
    largest: dict[str, int] = {}
    for stratum in found:
        row = stratum.b[0].row
        largest[row.language] = max(largest.get(row.language, 0), amount(row))
    for stratum in found:
        row = stratum.b[0].row
        if amount(row) == largest[row.language]:
            yield stratum
