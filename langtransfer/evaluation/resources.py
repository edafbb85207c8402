"""Resource files that decide what `fetch_benchmark` makes; the planner hashes them."""

from __future__ import annotations

from pathlib import Path

from langtransfer.resources import RESOURCES

FOLDERS = {"atlas": "atlas-knowledge"}
"""Folder under resources/benchmarks where it is not called as the format."""


def benchmark_folder(format: str) -> Path:
    """Folder of a benchmark's task template."""
    return RESOURCES / "benchmarks" / FOLDERS.get(format, format)


def benchmark_resources(format: str) -> list[Path]:
    """Files of a format's folder that its cells are made from, sorted; empty where it has none."""
    folder = benchmark_folder(format)
    return sorted([*folder.glob("*.yaml"), *folder.glob("*.csv")])
