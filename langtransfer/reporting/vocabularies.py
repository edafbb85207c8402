"""The gates' reports as one table: every vocabulary in every language."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langtransfer.config.evaluation import VocabularyRow
from langtransfer.reporting.csvfile import Record

COUNTS = ("lines", "words", "characters", "bytes", "tokens", "lines_changed", "new_pieces_used")
RATIOS = ("tokens_per_word", "tokens_per_character", "tokens_per_byte", "compression")


def vocabulary_records(rows: Sequence[VocabularyRow], folders: Mapping[str, Path]) -> list[Record]:
    """One record a gate; folders are `check_vocabulary` data folders by cell."""
    return [_record(row, folders[row.cell]) for row in rows]


def _record(row: VocabularyRow, folder: Path) -> Record:
    found = json.loads((folder / "vocabulary_report.json").read_text(encoding="utf-8"))
    fertility, equal = found["fertility"], found["parity"] or {}
    added = found["base_size"] is not None
    return {
        "vocabulary": row.vocabulary,
        "language": row.language,
        "size": found["size"],
        "new_pieces": found["new_pieces"],
        **{name: _total(found[name]) for name in (
            "texts", "differing", "bad_round_trips", "rewritten",
        )},
        "engine": found["engine"],
        **{name: fertility[name] for name in (*COUNTS, *RATIOS)},
        "lines_changed_share": fertility["lines_changed"] / fertility["lines"],
        "new_pieces_used_share": (
            fertility["new_pieces_used"] / found["new_pieces"] if added else None
        ),
        "parity": equal.get("ratio"),
        "base_parity": equal.get("base_ratio"),
        "parity_documents": equal.get("documents"),
    }  # fmt: skip


def _total(counts: Mapping[str, Any]) -> int:
    return sum(counts.values())
