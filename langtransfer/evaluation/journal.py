"""An append-only JSON Lines file in a cell's work folder: what a killed evaluation has done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """Rows that survive a kill: each append is on disk before it returns.

    Opening recovers the rows already there. A kill can tear only the end of the file, so it is
    cut after its last whole line and written on from there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = recover(path)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows (JSON objects) in one go and wait for the disk."""
        new = [dict(row) for row in rows]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in new)
        with self.path.open("ab") as handle:
            handle.write(text.encode("utf-8"))
            handle.flush()
            os.fsync(handle.fileno())
        self.rows.extend(new)


def recover(path: Path) -> list[dict[str, Any]]:
    """Rows of a journal; what follows the last whole line is cut off the file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return []
    rows: list[dict[str, Any]] = []
    good = 0
    for line in path.read_bytes().splitlines(keepends=True):
        row = _parse(line)
        if row is None:
            break
        rows.append(row)
        good += len(line)
    os.truncate(path, good)
    return rows


def _parse(line: bytes) -> dict[str, Any] | None:
    """The object on a whole line, None for a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:  # also UnicodeDecodeError: blocks a power cut left unwritten read as zeros
        return None
    return row if isinstance(row, dict) else None
