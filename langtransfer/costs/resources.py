"""The tables plans are made of: `resources/costs/`, explained in its README."""

from __future__ import annotations

import csv

from langtransfer.resources import RESOURCES

COSTS = RESOURCES / "costs"


def read_rows(name: str) -> list[dict[str, str]]:
    """All rows of one of the tables, as text."""
    with (COSTS / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
