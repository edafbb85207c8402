"""Response quality: five aspects from 0 to 3, whoever judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Level = Literal[0, 1, 2, 3]

ASPECTS = ("accuracy", "fluency", "informativeness", "logicality", "harmlessness")
# FACTS.md section 4: harmlessness is 2.957-3.000 in the paper's table 1 and compresses the mean.
ASPECTS_WITHOUT_HARMLESSNESS = ASPECTS[:-1]


class Verdict(BaseModel):
    """One judgement; anything but the five whole numbers from 0 to 3 is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    accuracy: Level
    fluency: Level
    informativeness: Level
    logicality: Level
    harmlessness: Level


def score_row(id: str, category: str, verdict: Verdict, judge: str) -> dict[str, Any]:
    """One row of `scores.jsonl`; it says which judge it is from."""
    return {"id": id, "category": category, **verdict.model_dump(), "judge": judge}


def summarise(
    rows: Sequence[Mapping[str, Any]],
    judge: str,
    uninformative: Iterable[str] = (),
    checks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Mean of each aspect and of the five (the paper's AVG), overall and by category.

    uninformative names aspects that this judge does not measure; checks say how far it agrees with
    itself (left out where that was not asked).
    """
    categories = sorted({row["category"] for row in rows})
    found = {"checks": dict(checks)} if checks else {}
    return found | {
        "judge": judge,
        "n": len(rows),
        "mean": _means(rows),
        "by_category": {
            name: _means([row for row in rows if row["category"] == name]) for name in categories
        },
        "uninformative": sorted(uninformative),
    }


def agreement(first: Sequence[Verdict], again: Sequence[Verdict]) -> dict[str, dict[str, float]]:
    """How far two verdicts on the same answers agree, by aspect, both in the same order.

    agreement: share of equal levels; mean_difference: again minus first; mean_absolute_difference:
    the same without signs.
    """
    found = {}
    for aspect in ASPECTS:
        pairs = zip(first, again, strict=True)
        moves = [getattr(b, aspect) - getattr(a, aspect) for a, b in pairs]
        found[aspect] = {
            "n": len(moves),
            "agreement": fmean(move == 0 for move in moves),
            "mean_difference": fmean(moves),
            "mean_absolute_difference": fmean(map(abs, moves)),
        }
    return found


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    means = {aspect: fmean(row[aspect] for row in rows) for aspect in ASPECTS}
    return means | {
        "average": fmean(means[aspect] for aspect in ASPECTS),
        "average_without_harmlessness": fmean(
            means[aspect] for aspect in ASPECTS_WITHOUT_HARMLESSNESS
        ),
        "n": len(rows),
    }
