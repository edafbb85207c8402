"""Columns that several tables share: which row of the study a record is, and its scores."""

from __future__ import annotations

from langtransfer.config.evaluation import ReportRow
from langtransfer.reporting.csvfile import Record
from langtransfer.reporting.paper import ASPECTS

MODEL = (
    "label", "language", "mix", "vocabulary", "budget", "budget_tokens", "seed", "adopted",
)  # fmt: skip
TUNING = ("tuning", "tuning_examples")
SCORES = (*ASPECTS, "AVG", "AVG_without_H")
PAPER_SCORES = tuple(f"paper_{name}" for name in (*ASPECTS, "AVG"))


def identity(row: ReportRow, *names: str) -> Record:
    """The columns that say which row of the study a record is."""
    return {name: getattr(row, name) for name in names}
