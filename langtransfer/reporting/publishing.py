"""`results/report/`: the one place without a key, copied from the current report cell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Protocol

from langtransfer.job import write_atomically
from langtransfer.provenance import STAMP

RUNS_COLUMNS = (
    "cell",
    "key",
    "stage",
    "seconds",
    "tokens",
    "tokens_per_second",
    "device",
    "threads",
    "cost",
    "bytes",
    "finished",
)


class PlannedCell(Protocol):
    """What of a planned cell is needed here."""

    @property
    def stage(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def folder(self) -> Path: ...


class PlannedStudy(Protocol):
    """What of a study is needed here."""

    @property
    def report(self) -> PlannedCell: ...
    @property
    def cells(self) -> Iterable[PlannedCell]: ...


def publish_report(
    study: PlannedStudy, target: Path, beside: Mapping[str, str] | None = None
) -> None:
    """Copy the report cell's files to `target` and write `runs.csv`; touches only what differs.

    beside: further files that no key holds, by name.
    """
    data = study.report.folder / "data"
    if not data.is_dir():
        return  # received without its data: the manifest alone is enough to plan, not to show
    target.mkdir(parents=True, exist_ok=True)
    wanted = {path.relative_to(data) for path in data.rglob("*") if path.is_file()} - {Path(STAMP)}
    for path in sorted(wanted):
        _copy(data / path, target / path)
    keyless = {"runs.csv": runs_csv(study.cells)} | dict(beside or {})
    for name, text in keyless.items():
        write_atomically(target / name, text)
    kept = wanted | {Path(name) for name in keyless}
    for path in _left_over(target, kept, study.report.folder.parent):
        path.unlink()


def _left_over(target: Path, wanted: Set[Path], cells: Path) -> Iterator[Path]:
    """Files of an earlier report; never the report's own cells, which lie in `target` too."""
    target, cells = target.resolve(), cells.resolve()
    for path in sorted(target.rglob("*")):
        is_cell = target in cells.parents and cells in path.parents
        if path.is_file() and not is_cell and path.relative_to(target) not in wanted:
            yield path


def _copy(source: Path, target: Path) -> None:
    if target.is_file() and target.read_bytes() == source.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def runs_csv(cells: Iterable[PlannedCell]) -> str:
    """One row a finished cell: key, seconds, tokens, device, cost."""
    import pandas as pd  # half a second that a run without a report does not need

    rows = []
    for cell in sorted(cells, key=lambda cell: cell.path):
        manifest = cell.folder / "manifest.json"
        if manifest.exists():
            rows.append(_run(cell, json.loads(manifest.read_text(encoding="utf-8"))))
    # Objects: a column with a gap would otherwise turn its whole numbers into fractions.
    frame = pd.DataFrame(rows, columns=list(RUNS_COLUMNS), dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _run(cell: PlannedCell, manifest: dict[str, Any]) -> dict[str, Any]:
    size = sum(file["bytes"] for file in manifest["outputs"]["files"].values())
    known = {"cell": cell.path, "key": cell.key, "stage": cell.stage, "bytes": size}
    return {**manifest["volatile"], **known}
