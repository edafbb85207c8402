"""What every stage script shares: arguments, one-line errors, exit codes, the warm worker."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langtransfer import warm
from langtransfer.config import RuntimeConfig
from langtransfer.errors import UserError
from langtransfer.execution import Stage, execute

BAD_INPUT, CRASH = 2, 1
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def main(stage: str, run: Stage, doc: str | None, argv: Sequence[str] | None = None) -> None:
    """Entry point of `python -m scripts.<stage>`; exits 0, 2 (bad input) or 1 (a bug)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = _parse(stage, doc, argv)
    # A stage that may serve from a warm process asks it first: the same code, the same bytes.
    code = warm.delegate(stage, argv)
    sys.exit(serve(stage, run, arguments) if code is None else code)


def serve(stage: str, run: Stage, arguments: argparse.Namespace) -> int:
    """Compute the cell in this process and return the exit code."""
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    try:
        runtime = RuntimeConfig.model_validate(json.loads(arguments.runtime))
        execute(stage, run, arguments.recipe, runtime)
    except UserError as error:
        return _say(str(error), BAD_INPUT)
    except Exception as error:  # the process boundary: one line for the user, all of it in the log
        if is_no_space(error):
            return _say(str(no_space(error)), BAD_INPUT)
        traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return _say(f"{stage}: {what[:300]!r}: this is a bug; the log holds the traceback", CRASH)
    return 0


def is_no_space(error: BaseException) -> bool:
    """Whether the disk is full; native writers (safetensors, torch) only say so in their text."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return True
    return "No space left on device" in str(error)


def no_space(error: BaseException) -> UserError:
    """The one line for a full disk."""
    where = getattr(error, "filename", None) or os.getcwd()
    return UserError(
        "disk", where, "no space left on device: free some and run again, nothing is lost"
    )


def _say(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr, flush=True)
    return code


def _parse(stage: str, doc: str | None, argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.{stage}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--recipe", type=Path, required=True, help="recipes/<cell>/<key>.json")
    parser.add_argument("--runtime", default="{}", help="JSON of the config's runtime section")
    parser.add_argument("--threads", type=int, default=1, help="threads of numerical libraries")
    return parser.parse_args(argv)


def parse_arguments(stage: str, argv: Sequence[str]) -> Any:
    """Arguments of a stage script, for the warm worker."""
    return _parse(stage, None, argv)
