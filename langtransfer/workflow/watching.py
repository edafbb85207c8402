"""What a person sees while a study runs: cells done of how many, tokens/s and time left."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langtransfer.provenance import WORK
from langtransfer.workflow.cells import Cell

# Seconds of a cell of which no other of its stage has finished yet: only for the first minutes.
FIRST_GUESS = 5.0
STALE = 120.0  # seconds after which a progress file belongs to a process that is gone


@dataclass(frozen=True)
class Running:
    """How far one running cell is."""

    cell: str
    done: float
    total: float
    unit: str
    speed: float
    """Units per second since the cell was first seen."""

    @property
    def seconds_left(self) -> float | None:
        """Time left at the speed so far."""
        return (self.total - self.done) / self.speed if self.speed > 0 else None

    def __str__(self) -> str:
        left = self.seconds_left
        ends = f", {clock(left)} left" if left is not None else ""
        amount = f"{self.done:,.0f}/{self.total:,.0f} {self.unit}, {self.speed:,.0f}/s"
        return f"{self.cell}  {amount}{ends}"


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Watcher:
    """Follows the cells of one run through their manifests and progress files."""

    def __init__(self, cells: Sequence[Cell], cores: int) -> None:
        self.total = len(cells)
        self._cores = max(cores, 1)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._todo = [cell for cell in cells if not self._take(cell)]
        self.to_run = len(self._todo)
        self._first: dict[str, tuple[float, float]] = {}

    def look(self) -> list[Running]:
        """Notice finished cells; return what is running."""
        self._todo = [cell for cell in self._todo if not self._take(cell)]
        return [running for cell in self._todo if (running := self._progress(cell)) is not None]

    @property
    def finished(self) -> int:
        """Cells finished since the start."""
        return self.to_run - len(self._todo)

    def seconds_left(self, running: Iterable[Running]) -> float:
        """Estimate: the mean time of each stage's finished cells, over the cores."""
        left = {r.cell: r.seconds_left for r in running}
        every = [second for seconds in self._seconds.values() for second in seconds]
        guess = sum(every) / len(every) if every else FIRST_GUESS
        total = 0.0
        for cell in self._todo:
            seconds = self._seconds.get(cell.stage)
            mean = sum(seconds) / len(seconds) if seconds else guess
            known = left.get(cell.path)
            total += mean if known is None else known
        return total / self._cores

    def _take(self, cell: Cell) -> bool:
        if not cell.manifest.exists():
            return False
        volatile = json.loads(cell.manifest.read_text(encoding="utf-8"))["volatile"]
        self._seconds[cell.stage].append(float(volatile.get("seconds", 0.0)))
        return True

    def _progress(self, cell: Cell) -> Running | None:
        state = read_progress(WORK / cell.path / cell.key / "progress.json")
        if state is None or time.time() - state["time"] > STALE:
            return None
        began, first = self._first.setdefault(cell.path, (state["time"], state["done"]))
        elapsed = state["time"] - began
        speed = (state["done"] - first) / elapsed if elapsed > 0 else 0.0
        return Running(cell.path, state["done"], state["total"], state["unit"], speed)


def read_progress(path: Path) -> Mapping[str, Any] | None:
    """A progress file's content; None when the cell has none or has just finished."""
    try:
        state: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state
