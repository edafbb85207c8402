"""What each model kept of the source language, against the base over the same items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langtransfer.config.evaluation import ReportingConfig, ReportRow
from langtransfer.reporting.columns import MODEL, TUNING, identity
from langtransfer.reporting.contrasts import Stratum, compare, estimate
from langtransfer.reporting.csvfile import Record
from langtransfer.reporting.results import Observations, is_base, on_target

RETAINED = {"score": "AVG", "knowledge": "accuracy", "perplexity": "bits_per_byte"}


def retained_rows(results: Sequence[Observations], settings: ReportingConfig) -> Iterator[Record]:
    """What each model kept of the source language, paired against the base model."""
    source = [o for o in results if o.row.stage in RETAINED and not on_target(o.row)]
    bases = {_retained_key(o.row): o for o in reversed(source) if is_base(o.row)}
    for found in source:
        metric = RETAINED[found.row.stage]
        value = estimate(found, metric, settings)
        base = bases.get(_retained_key(found.row))
        yield {
            **identity(found.row, *MODEL, *TUNING, "evaluated"), "metric": metric,
            "benchmark": found.row.benchmark, "value": value.value, "low": value.low,
            "high": value.high, **_change(found, base, metric, settings), "n": found.n,
        }  # fmt: skip


def _retained_key(row: ReportRow) -> tuple[str, ...]:
    return (row.stage, row.language, row.evaluated, row.tuning, row.benchmark)


def _change(
    found: Observations, base: Observations | None, metric: str, settings: ReportingConfig
) -> Record:
    record: Record = dict.fromkeys(("base_value", "change", "change_low", "change_high"))
    if base is None:
        return record
    record["base_value"] = estimate(base, metric, settings).value
    if base.row.cell == found.row.cell:
        return record
    pair = Stratum("retained", (found,), (base,))
    change = compare([pair], metric, settings, f"retained {found.row.cell} {metric}")
    return record | {"change": change.value, "change_low": change.low, "change_high": change.high}
