"""Lint, format and types: what CI checks before any test.

Example: python -m scripts.check
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMANDS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "--quiet", "."),
    ("snakefmt", "--check", "Snakefile", "rules"),
    ("mypy",),
)


def main() -> int:
    """Run every check, even after one has failed; returns the worst exit code."""
    folder = Path(sys.executable).parent
    return max(
        subprocess.run([folder / name, *rest], check=False).returncode for name, *rest in COMMANDS
    )


if __name__ == "__main__":
    sys.exit(main())
