"""The languages the project knows: `resources/languages.csv`, one a line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from langtransfer.resources import RESOURCES


@dataclass(frozen=True)
class LanguageInfo:
    """One row: BCP-47 code, names, Unicode scripts it is written in, direction."""

    code: str
    name: str
    english_name: str
    scripts: tuple[str, ...]
    family: str
    direction: str


@cache
def known_languages() -> dict[str, LanguageInfo]:
    """All languages by code."""
    with (RESOURCES / "languages.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {
        row["code"]: LanguageInfo(
            row["code"],
            row["name"],
            row["english_name"],
            tuple(row["scripts"].split()),
            row["family"],
            row["direction"],
        )
        for row in rows
    }
