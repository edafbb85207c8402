"""CSV files that are the same bytes for the same numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

Value = str | int | float | bool | None
Record = dict[str, Value]

# Digits kept: more than any reader needs, fewer than differ between BLAS builds.
DECIMALS = 9
DIGITS = 6
SMALLEST_P = 1e-9


def write_csv(path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Value]]) -> None:
    """Write records with exactly these columns, LF; ValueError for a record with others."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for record in records:
            if set(record) != set(columns):
                raise ValueError(f"{path.name}: {sorted(set(record) ^ set(columns))}")
            writer.writerow([text(record[column]) for column in columns])


def text(value: Value) -> str:
    """A cell: empty for None and for what is not finite, else at most DIGITS digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # + 0.0 turns the negative zero of a rounded difference into zero.
        return f"{round(value, DECIMALS) + 0.0:.{DIGITS}g}"
    return str(value)


def written(p: float) -> float:
    """A p value as it is written: never below SMALLEST_P, where it would round to nothing."""
    return max(p, SMALLEST_P)


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file as text."""
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def number(cell: str) -> float | None:
    """A numeric cell, None when empty."""
    return float(cell) if cell else None
