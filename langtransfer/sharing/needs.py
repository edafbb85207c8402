"""Which data a run will read that are not here: manifests alone are enough to tell."""

from __future__ import annotations

from collections.abc import Sequence

from langtransfer.sharing.artifacts import Artifact, artifact_of, size
from langtransfer.workflow.cells import Cell


def to_run(cells: Sequence[Cell]) -> list[Cell]:
    """Cells without a manifest."""
    return [cell for cell in cells if not cell.finished()]


def missing(cells: Sequence[Cell]) -> list[Cell]:
    """Finished cells that one to be run reads, and whose data are not here."""
    read = {p.path: p for cell in to_run(cells) for p in cell.parents.values() if p.finished()}
    return [cell for _, cell in sorted(read.items()) if not artifact_of(cell).is_here()]


def report(cells: Sequence[Cell]) -> str:
    """What is to be run by stage, what it reads that is not here, and how large that is."""
    stages: dict[str, int] = {}
    for cell in to_run(cells):
        stages[cell.stage] = stages.get(cell.stage, 0) + 1
    if not stages:
        return "nothing to run, nothing needed"
    counts = ", ".join(f"{count} {stage}" for stage, count in stages.items())
    artifacts = [artifact_of(cell) for cell in missing(cells)]
    lines = [f"to run: {counts}"]
    lines += [f"  {size(artifact.bytes):>10}  {artifact.cell}" for artifact in artifacts]
    total = size(sum(artifact.bytes for artifact in artifacts))
    lines += [f"needed and not here: {len(artifacts)} results, {total}"]
    return "\n".join(lines + ["fetch them: make receive CELLS=needed"] * bool(artifacts))


def status(cells: Sequence[Cell]) -> str:
    """One line: cells, finished, published, here."""
    artifacts = [artifact_of(cell) for cell in cells if cell.finished()]
    return f"{len(cells)} cells: {len(artifacts)} finished, {counts_of(artifacts)}"


def counts_of(artifacts: Sequence[Artifact]) -> str:
    """How many are published, and how many have their data here."""
    published = sum(artifact.is_published() for artifact in artifacts)
    here = sum(artifact.is_here() for artifact in artifacts)
    return f"{published} published, {here} with their data here"
