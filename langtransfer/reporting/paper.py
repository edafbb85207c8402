"""The paper's printed numbers, and the files the reporting stages read besides their parents."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from langtransfer.reporting.csvfile import Record, number, read_csv
from langtransfer.resources import RESOURCES

ASPECTS = ("ACC", "F", "INFO", "LC", "H")
PAPER = RESOURCES / "paper"
CLAIMS = RESOURCES / "claims.yaml"
TEMPLATES = RESOURCES / "report"


def reporting_resources() -> list[Path]:
    """Files in the repository that decide what tables, figures, claims and report hold."""
    return [
        CLAIMS, RESOURCES / "languages.csv", *sorted(PAPER.glob("*.csv")),
        *sorted(path for path in TEMPLATES.iterdir() if path.is_file()),
    ]  # fmt: skip


@dataclass(frozen=True)
class Paper:
    """Printed rows by what ours are joined on; rows as read, nothing corrected."""

    quality: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """(label, tuning) -> row of Table 1, which is Chinese."""
    perplexity: dict[tuple[str, str], float] = field(default_factory=dict)
    """(label, evaluated language) -> Table 2."""
    languages: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """(language, tuning) -> row of Table 3, which is LLaMA without further pretraining."""


@cache
def load_paper() -> Paper:
    """Tables 1 to 3 of arXiv 2401.01055 from resources/paper."""
    table1 = read_csv(PAPER / "table1_response_quality.csv")
    table2 = read_csv(PAPER / "table2_perplexity.csv")
    table3 = read_csv(PAPER / "table3_languages.csv")
    return Paper(
        {(row["label"], row["tuning"]): row for row in table1},
        {(row["label"], row["evaluated"]): float(row["perplexity"]) for row in table2},
        {(row["language"], row["tuning"]): row for row in table3},
    )


def paper_scores(row: dict[str, str] | None) -> Record:
    """Columns `paper_ACC` ... `paper_AVG` of a printed row, empty where there is none."""
    names = (*ASPECTS, "AVG")
    return {f"paper_{name}": number(row[name]) if row else None for name in names}
