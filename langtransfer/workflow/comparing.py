"""Two revisions of a study side by side: recipes that differ, cells affected, metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.workflow.study import Study
from langtransfer.workflow.verbs import differences


@dataclass(frozen=True)
class Side:
    """One side of a comparison: recipes by cell, key by cell, metrics of its report if there."""

    recipes: Mapping[str, dict[str, Any]]
    keys: Mapping[str, str]
    metrics: Mapping[str, float]


def side_of(study: Study) -> Side:
    """A planned study as one side."""
    return Side(
        {cell.path: cell.recipe for cell in study.cells},
        {cell.path: cell.key for cell in study.cells},
        _numbers(study.report.folder / "data" / "metrics.json"),
    )


def side_of_revision(revision: str, config: Path) -> Side:
    """The study as a git revision plans it, with that revision's code and files."""
    here = Path.cwd()
    with _checked_out(revision) as tree:
        command = [sys.executable, "-m", "scripts.cells", "--config", str(config), "plan"]
        environment = os.environ | {"PYTHONPATH": str(tree)}
        answer = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False
        )
        committed = _numbers(tree / "results" / "report" / "metrics.json")
    if answer.returncode:
        raise UserError(
            "revision", revision, (answer.stderr.strip().splitlines() or ["no plan"])[-1]
        )
    recipes = json.loads(answer.stdout)
    keys = {cell: plan["key"] for cell, plan in recipes.items()}
    report = here / "results" / "report" / "study" / keys.get("report/study", "-")
    # The report's own, where its data are here; else what was published with the revision.
    metrics = _numbers(report / "data" / "metrics.json") or committed
    return Side({cell: plan["recipe"] for cell, plan in recipes.items()}, keys, metrics)


def _numbers(path: Path) -> dict[str, float]:
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


@contextmanager
def _checked_out(revision: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="langtransfer-diff-") as folder:
        tree = Path(folder) / "tree"
        added = subprocess.run(
            ["git", "worktree", "add", "--detach", "--quiet", str(tree), revision],
            capture_output=True,
            text=True,
            check=False,
        )
        if added.returncode:
            raise UserError("revision", revision, added.stderr.strip() or "git cannot check it out")
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=True)


def compare(a: Side, b: Side) -> Iterator[str]:
    """Lines: cells only on one side, leaves that differ, cells affected, metrics side by side."""
    for cell in sorted(set(a.keys) - set(b.keys)):
        yield f"- {cell}"
    for cell in sorted(set(b.keys) - set(a.keys)):
        yield f"+ {cell}"
    changed = sorted(c for c in set(a.keys) & set(b.keys) if a.keys[c] != b.keys[c])
    yield from sorted({line for cell in changed for line in _own_leaves(a, b, cell)})
    yield f"{len(changed)} cells affected, {len(set(a.keys) & set(b.keys)) - len(changed)} the same"
    yield from (f"  {cell}: {a.keys[cell]} -> {b.keys[cell]}" for cell in changed)
    yield from _metrics(a.metrics, b.metrics)


def _own_leaves(a: Side, b: Side, cell: str) -> Iterator[str]:
    """Leaves of the cell's own recipe: its parents' are told where they stand."""
    old = dict(a.recipes[cell]) | {"parents": {}}
    new = dict(b.recipes[cell]) | {"parents": {}}
    return (str(leaf) for leaf in differences(old, new))


def _metrics(a: Mapping[str, float], b: Mapping[str, float]) -> Iterator[str]:
    for name in sorted({*a, *b}):
        if a.get(name) != b.get(name):
            yield f"  {name}: {a.get(name, '-')} -> {b.get(name, '-')}"
