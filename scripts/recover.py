"""After a snakemake that was killed: wait for its jobs, or end them, and unlock the folder.

Example: python -m scripts.recover --config config.yaml
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from langtransfer.errors import UserError
from langtransfer.workflow.recovery import recover


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.recover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--cancel", action="store_true", help="end jobs instead of waiting")
    arguments = parser.parse_args(argv)
    try:
        recover(Path.cwd(), cancel=arguments.cancel)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--unlock"]
    code = subprocess.run([*command, "--configfile", str(arguments.config)], check=False).returncode
    if code == 0:
        print("nothing is running and nothing is locked: start snakemake again")
    return code


if __name__ == "__main__":
    sys.exit(main())
