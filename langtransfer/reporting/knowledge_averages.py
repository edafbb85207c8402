"""Figures of a knowledge benchmark beside its accuracy: upstream's own, each with an interval.

A benchmark's task files say which subjects an average is over (`summary.json` names them): the 19
files of AGI-Eval that make the paper's, all 21 upstream's, CMMLU's groups. GAOKAO-Bench's figure is
the share of its points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.contrasts import random_stream
from langtransfer.reporting.csvfile import Record
from langtransfer.reporting.results import Observations
from langtransfer.statistics.intervals import Estimate, Floats, bootstrap_ratio

COLUMNS = ("average", "value", "low", "high", "parts", "n", "chance", "points", "names")
SCORING_RATE = "scoring rate"


def average_rows(found: Observations, settings: ReportingConfig) -> Iterator[Record]:
    """One record an average of a cell of `knowledge`; none where the benchmark states none."""
    for name, average in sorted(found.summary["averages"].items()):
        yield _mean_of_subjects(found, name, average["subjects"], settings)
    if not np.isnan(found.values["points"]).any():
        yield _scoring_rate(found, settings)


def _mean_of_subjects(
    found: Observations, name: str, names: Sequence[str], settings: ReportingConfig
) -> Record:
    """Accuracy of each subject, averaged with equal weight."""
    inside = np.array(found.subjects)[:, None] == np.array(names)
    kept = inside.any(axis=1)
    members = inside[kept].astype(np.float64)
    correct, chance = (found.values[value][kept, None] * members for value in ("correct", "chance"))
    record = _record(found, name, correct, members, settings)
    by_chance = chance.sum(axis=0) / members.sum(axis=0)
    return record | {
        "parts": len(names), "n": int(kept.sum()), "chance": _known(by_chance.mean()),
        "points": None, "names": ", ".join(names),
    }  # fmt: skip


def _scoring_rate(found: Observations, settings: ReportingConfig) -> Record:
    """Points earned over points there are."""
    points = found.values["points"][:, None]
    earned = found.values["correct"][:, None] * points
    names = sorted(set(found.subjects))
    by_chance = (found.values["chance"][:, None] * points).sum() / points.sum()
    return _record(found, SCORING_RATE, earned, points, settings) | {
        "parts": len(names), "n": found.n, "chance": _known(by_chance),
        "points": float(points.sum()), "names": ", ".join(names),
    }  # fmt: skip


def _known(chance: float) -> float | None:
    """Chance, where every question states it."""
    return None if math.isnan(chance) else float(chance)


def _record(
    found: Observations, name: str, numerators: Floats, denominators: Floats,
    settings: ReportingConfig,
) -> Record:  # fmt: skip
    estimate: Estimate = bootstrap_ratio(
        numerators, denominators,
        confidence=settings.confidence, samples=settings.bootstrap_samples,
        rng=random_stream(settings, f"{found.row.cell} {name}"),
    )  # fmt: skip
    return {"average": name, **estimate._asdict()}
