"""Elementary comparisons a claim is made of, each with evidence for and against it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import stats

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.claim_data import Contrast
from langtransfer.reporting.contrasts import METRICS, Stratum, compare, has_items, item_means
from langtransfer.reporting.results import Observations, amount
from langtransfer.reporting.selection import evaluated_on, key_of, select, strata
from langtransfer.statistics.intervals import wilson
from langtransfer.statistics.paired import PairedDifference, equivalence, greater_than, outside
from langtransfer.statistics.power import (
    minimum_detectable_effect,
    minimum_detectable_rate,
    smallest_provable_margin,
)


@dataclass(frozen=True)
class Part:
    """One comparison with its outcome.

    p_for and p_against are two-sided for differences and one-sided for margins; both may be
    large (nothing shown), never both small. mde is the smallest true difference (or provable
    margin, or distance from the range) that 80 % of such studies would find.
    """

    name: str
    metric: str
    value: float
    low: float
    high: float
    p_for: float
    p_against: float
    n: int
    mde: float
    strata: tuple[Stratum, ...]


def parts(
    contrast: Contrast, results: Sequence[Observations], settings: ReportingConfig
) -> list[Part]:
    """All parts of a contrast in a fixed order; none where the study has no rows for it, or
    nothing but empty answers in them."""
    rows = evaluated_on(results, METRICS[contrast.metric].stage, contrast.evaluated)
    if contrast.kind == "rate-in-range":
        return list(_rate_parts(contrast, select(rows, contrast.a), settings))
    return [
        part(contrast, f"{contrast.name} {name}".strip(), kept, settings)
        for name, found in _pairs(contrast, rows)
        if (kept := [stratum for stratum in found if has_items(stratum, contrast.metric)])
    ]


def has_rows(contrast: Contrast, results: Sequence[Observations]) -> bool:
    """Whether the study has rows for a contrast, whatever is in them."""
    rows = evaluated_on(results, METRICS[contrast.metric].stage, contrast.evaluated)
    if contrast.kind == "rate-in-range":
        return bool(select(rows, contrast.a))
    return any(found for _, found in _pairs(contrast, rows))


def _pairs(contrast: Contrast, rows: Sequence[Observations]) -> Iterator[tuple[str, list[Stratum]]]:
    """Named parts of a contrast of two sides."""
    return _steps(contrast, rows) if contrast.kind == "monotone" else _sides(contrast, rows)


def _sides(contrast: Contrast, rows: Sequence[Observations]) -> Iterator[tuple[str, list[Stratum]]]:
    """Strata of a against b, split by the `each` keys of one side."""
    sides = {"a": select(rows, contrast.a), "b": select(rows, contrast.b)}
    for value, group in _each(contrast, sides[contrast.each_side]):
        chosen = sides | {contrast.each_side: group}
        matched = strata(chosen["a"], chosen["b"], contrast)
        yield value, [s for s in matched if _budget_ratio(s) >= contrast.min_budget_ratio]


def _each(contrast: Contrast, rows: Sequence[Observations]) -> list[tuple[str, list[Observations]]]:
    """Rows by their values of the `each` keys, in order of first appearance."""
    groups: dict[str, list[Observations]] = defaultdict(list)
    for found in rows:
        groups[", ".join(key_of(found.row, key) for key in contrast.each)].append(found)
    return list(groups.items())


def _budget_ratio(stratum: Stratum) -> float:
    """Further pretraining of the larger side over the smaller's; 1 where either had none."""
    smaller, larger = sorted(
        max(amount(found.row) for found in side) for side in (stratum.a, stratum.b)
    )
    return larger / smaller if smaller else 1.0


def _steps(contrast: Contrast, rows: Sequence[Observations]) -> Iterator[tuple[str, list[Stratum]]]:
    """Strata of each budget against the next smaller one of the same language."""
    levels: dict[str, dict[int, list[Observations]]] = defaultdict(lambda: defaultdict(list))
    for found in select(rows, contrast.a):
        levels[found.row.language][amount(found.row)].append(found)
    steps: dict[tuple[int, int], tuple[list[Observations], list[Observations]]] = {}
    for by_amount in levels.values():
        ordered = sorted(by_amount)
        for low, high in pairwise(ordered):
            smaller, larger = steps.setdefault((low, high), ([], []))
            smaller.extend(by_amount[low])
            larger.extend(by_amount[high])
    for _, (smaller, larger) in sorted(steps.items()):
        name = f"{smaller[0].row.budget} to {larger[0].row.budget}"
        yield name, strata(larger, smaller, contrast)


def part(
    contrast: Contrast, name: str, found: Sequence[Stratum], settings: ReportingConfig
) -> Part:
    """The outcome of one comparison over its strata."""
    seeded = f"{contrast.kind} {contrast.metric} {contrast.evaluated} {name} " + " ".join(
        s.name for s in found
    )
    result = compare(found, contrast.metric, settings, seeded)
    p_for, p_against = _evidence(contrast, result, settings)
    power = (
        minimum_detectable_effect
        if contrast.kind in ("difference", "monotone")
        else smallest_provable_margin
    )
    mde = power(result.standard_error, result.n, settings.confidence)
    return Part(
        name, contrast.metric, result.value, result.low, result.high, p_for, p_against,
        result.n, mde, tuple(found),
    )  # fmt: skip


def _evidence(
    contrast: Contrast, result: PairedDifference, settings: ReportingConfig
) -> tuple[float, float]:
    """p for the claim and p against it."""
    if contrast.kind in ("difference", "monotone"):
        oriented = result.value if contrast.direction == "greater" else -result.value
        return (
            result.p if oriented > 0 else 1.0,
            result.p if oriented < 0 else 1.0,
        )
    metric = METRICS[contrast.metric]
    margin, span = contrast.margin or metric.margin(settings), metric.span
    value, error, n = result.value, result.standard_error, result.n
    if contrast.kind == "equivalence":
        return equivalence(value, error, n, margin, span), outside(value, error, n, margin, span)
    return (
        greater_than(-value, error, n, -margin, span),
        greater_than(value, error, n, margin, span),
    )


def _rate_parts(
    contrast: Contrast, rows: Sequence[Observations], settings: ReportingConfig
) -> Iterator[Part]:
    """The rate of each language's answers against the range, by exact binomial tests.

    Answers of several seeds to one question are one item, with their mean: hits are rounded.
    """
    for value, group in _each(contrast, rows):
        items = item_means(group, "any")
        if len(items):
            yield _rate_part(contrast, value, round(float(items.sum())), len(items), settings)


def _rate_part(contrast: Contrast, name: str, hits: int, n: int, settings: ReportingConfig) -> Part:
    above_low = float(stats.binomtest(hits, n, contrast.low, "greater").pvalue)
    below_high = float(stats.binomtest(hits, n, contrast.high, "less").pvalue)
    below_low = float(stats.binomtest(hits, n, contrast.low, "less").pvalue)
    above_high = float(stats.binomtest(hits, n, contrast.high, "greater").pvalue)
    nearest = min((contrast.low, contrast.high), key=lambda bound: abs(bound - hits / n))
    return Part(
        name, contrast.metric, hits / n, *wilson(hits, n, settings.confidence),
        max(above_low, below_high), min(1.0, 2 * min(below_low, above_high)), n,
        minimum_detectable_rate(nearest, n, settings.confidence), (),
    )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a set of parts says together: all must hold."""

    part: Part
    p: float
    for_claim: bool
    """Which way the evidence leans; it counts only where p is below the level."""


def together(found: Sequence[Part]) -> Outcome:
    """Combine parts: support needs every part, contradiction one (Bonferroni over the parts).

    The part reported is the weakest link of the support, or the strongest contradiction.
    """
    weakest = max(found, key=lambda part: part.p_for)
    strongest = min(found, key=lambda part: part.p_against)
    against = min(1.0, len(found) * strongest.p_against)
    if weakest.p_for <= against:
        return Outcome(weakest, weakest.p_for, True)
    return Outcome(strongest, against, False)


def seed_deviation(found: Part, settings: ReportingConfig) -> tuple[int, float | None]:
    """Training seeds behind a part, and the deviation of its estimate between them."""
    seeds = sorted({o.row.seed for s in found.strata for side in (s.a, s.b) for o in side})
    if len(seeds) < 2:
        return len(seeds), None
    values = [
        compare([_one_seed(s, seed) for s in found.strata], found.metric, settings, "seed").value
        for seed in seeds
    ]
    return len(seeds), float(np.std(values, ddof=1))


def _one_seed(stratum: Stratum, seed: int) -> Stratum:
    """Rows of one seed; a side that was trained once (the base) keeps its rows."""
    sides = [
        tuple(o for o in side if o.row.seed == seed) or side for side in (stratum.a, stratum.b)
    ]
    return Stratum(stratum.name, *sides)
