"""Answers to questions with a clause of the source language in them, against plain ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.contrasts import Stratum, compare, has_items
from langtransfer.reporting.csvfile import Record, written
from langtransfer.reporting.results import Observations
from langtransfer.statistics.intervals import wilson

COLUMNS = (
    "plain_rate", "plain_low", "plain_high", "plain_n", "rate", "low", "high", "n",
    "change", "change_low", "change_high", "p", "pairs",
)  # fmt: skip
METRIC = "switched"


def switched_rows(
    results: Sequence[Observations], settings: ReportingConfig
) -> Iterator[tuple[Observations, Record]]:
    """Each row asked with switched prompts, and its rates; paired with the plain one by question.

    Answers without a letter are in no rate and no pair.
    """
    judged = [found for found in results if found.row.stage == "code_switching"]
    plain = {_key(found): found for found in judged if found.row.prompts == "plain"}
    for found in judged:
        if found.row.prompts == "switched":
            same = plain[_key(found)]
            yield found, {
                **_rate(same, "plain_", settings), **_rate(found, "", settings),
                **_change(found, same, settings),
            }  # fmt: skip


def _key(found: Observations) -> tuple[str, ...]:
    row = found.row
    return row.label, row.language, row.model, row.tuning, row.benchmark, row.evaluated


def _rate(found: Observations, prefix: str, settings: ReportingConfig) -> Record:
    record: Record = dict.fromkeys(f"{prefix}{name}" for name in ("rate", "low", "high"))
    record[f"{prefix}n"] = found.n
    if not found.n:
        return record
    hits = found.values["any"]
    interval = wilson(int(hits.sum()), found.n, settings.confidence)
    return record | {
        f"{prefix}rate": float(hits.mean()),
        f"{prefix}low": interval.low,
        f"{prefix}high": interval.high,
    }


def _change(found: Observations, plain: Observations, settings: ReportingConfig) -> Record:
    """Rate with switched prompts minus rate with plain ones, over the questions both judged."""
    pair = Stratum("switched prompts", (found,), (plain,))
    if not has_items(pair, METRIC):
        return dict.fromkeys(("change", "change_low", "change_high", "p")) | {"pairs": 0}
    result = compare([pair], METRIC, settings, f"switched prompts {found.row.cell}")
    return {
        "change": result.value, "change_low": result.low, "change_high": result.high,
        "p": written(result.p), "pairs": result.n,
    }  # fmt: skip
