"""Resource files that decide what evaluation makes; the planner hashes them."""

from __future__ import annotations

from pathlib import Path

from langtransfer.errors import UserError
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


def prompt_file(folder: str, name: str, field: str) -> Path:
    """`resources/prompts/<folder>/<name>.jinja`; UserError naming the config field if absent."""
    path = RESOURCES / "prompts" / folder / f"{name}.jinja"
    if not path.is_file():
        raise UserError(field, name, f"no such file: {path.relative_to(RESOURCES.parent)}")
    return path


def identification_resources() -> list[Path]:
    """Files by which languages that share a script are told apart, and English words, sorted."""
    folder = RESOURCES / "identification"
    return sorted([*folder.glob("*.zst"), *folder.glob("*.json")])
