"""Which configs were run in this folder, so that `gc` keeps what they name.

A record a config, under `.langtransfer/runs/`: it is this checkout's own, in no key and not in git.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from langtransfer.job import write_atomically
from langtransfer.provenance import RECIPES, RESULTS

RUNS = Path(".langtransfer/runs")


@dataclass(frozen=True)
class Run:
    """The last run of a config."""

    config: str
    """Path of the config, relative where it lies below this folder."""
    report: str
    """Folder of the report cell the run led to, finished or not."""


def remember(config: Path, report: Path) -> None:
    """Note that a config was run."""
    path = config.resolve()
    here = Path.cwd().resolve()
    name = (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
    record = RUNS / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
    text = json.dumps(asdict(Run(name, report.as_posix())), ensure_ascii=False, sort_keys=True)
    write_atomically(record, text + "\n")


def remembered() -> Iterator[Run]:
    """Every config that was run, by name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RUNS.glob("*.json")]
    yield from sorted((Run(**record) for record in found), key=lambda run: run.config)


def named_by(report: str) -> set[str]:
    """Result folders of a report and of all it was made from, as their recipes say."""
    found: set[str] = set()
    waiting = [report]
    while waiting:
        folder = waiting.pop()
        if folder in found:
            continue
        found.add(folder)
        recipe = RECIPES / Path(folder).relative_to(RESULTS).with_suffix(".json")
        if recipe.is_file():
            waiting += json.loads(recipe.read_text(encoding="utf-8"))["parents"].values()
    return found
