"""What a running stage sees: its settings, its parents' data, where to write, how to report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # every stage script imports this module before it asks the warm worker
    from langtransfer.config import Model, RuntimeConfig

Settings = TypeVar("Settings", bound="Model")


def _default_runtime() -> RuntimeConfig:
    from langtransfer.config import RuntimeConfig

    return RuntimeConfig()


@dataclass(frozen=True)
class Job:
    """One cell being computed.

    parents maps a role ("checkpoint", "tokens.zh") to the parent's data folder; out is an empty
    folder that becomes the cell's `data/` when the stage returns; work outlives kills and is
    removed after success: resumable state belongs there.
    """

    stage: str
    cell: str
    key: str
    settings: Mapping[str, Any]
    parents: Mapping[str, Path]
    out: Path
    work: Path
    runtime: RuntimeConfig = field(default_factory=_default_runtime)

    def config(self, model: type[Settings]) -> Settings:
        """The recipe's settings as the stage's own typed model."""
        return model.model_validate(self.settings)

    def parent(self, role: str) -> Path:
        """Data folder of the one parent with this role."""
        return self.parents[role]

    def group(self, role: str) -> dict[str, Path]:
        """Data folders of the parents `role.<name>`, by name, sorted."""
        prefix = f"{role}."
        return {
            r.removeprefix(prefix): self.parents[r]
            for r in sorted(self.parents)
            if r.startswith(prefix)
        }

    def progress(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Tell a watcher how far this cell is; cheap, at most a few writes a second."""
        now = time.monotonic()
        if done < total and now - _last_report.get(self.key, -1.0) < 0.5:
            return
        _last_report[self.key] = now
        state = {
            "cell": self.cell,
            "done": done,
            "total": total,
            "unit": unit,
            "note": note,
            "pid": os.getpid(),
            "time": time.time(),
        }
        write_atomically(self.work / "progress.json", json.dumps(state))


_last_report: dict[str, float] = {}


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that it is either the old one or the whole new one."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
