"""Writing `summary.json` files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langtransfer.job import write_atomically


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """One JSON object with sorted keys: the same value, the same bytes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    write_atomically(path, text + "\n")
