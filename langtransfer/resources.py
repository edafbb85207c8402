"""Where the package's read-only resources are, and how relative paths are found."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESOURCES = ROOT / "resources"


def locate(path: str | Path) -> Path:
    """A path of config or registry: absolute, in the working folder, or in the repository."""
    path = Path(path)
    return path if path.is_absolute() or path.exists() else ROOT / path
