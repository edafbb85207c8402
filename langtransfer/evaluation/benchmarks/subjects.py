"""Parts of a knowledge benchmark, and the tables that say what they are called."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langtransfer.config.references import nearest
from langtransfer.errors import UserError
from langtransfer.evaluation.resources import benchmark_folder

Item = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One part of a benchmark, or those of its questions that are asked alike; becomes one task."""

    name: str
    items: list[Item]
    dev: list[Item] = field(default_factory=list)
    """Worked examples, in the order they are shown."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What fills the placeholders of the template's description."""
    template: str = "task"
    """File of the benchmark's folder, without `.yaml`."""
    variant: str = ""
    """Ends the task's name where a subject has tasks of several kinds."""
    averages: tuple[str, ...] = ()
    """Averages over subjects that this one is part of."""


def chosen(there: Sequence[str], wanted: Collection[str] | None) -> list[str]:
    """Names asked for (all when None), in the order they are there; UserError for an unknown."""
    for name in wanted or ():
        if name not in there:
            raise UserError(
                "benchmark, subjects", name, f"not in this benchmark; {nearest(name, there)}"
            )
    return [name for name in there if wanted is None or name in wanted]


def table_of(format: str, file: str) -> dict[str, dict[str, str]]:
    """Rows of a table in a benchmark's folder by their first column."""
    text = (benchmark_folder(format) / file).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    return {next(iter(row.values())): row for row in rows}


def averages_of(row: Mapping[str, str]) -> tuple[str, ...]:
    """The column `averages`, names apart by `;`."""
    return tuple(name for name in row.get("averages", "").split(";") if name)


def read_csv(path: Path) -> list[list[str]]:
    """Rows of a CSV file, blank ones left out; UserError for text that is not UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("file", str(path), "not UTF-8: fetch it again") from error
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]
