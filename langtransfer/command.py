"""What every stage script shares: arguments, one-line errors, exit codes, the warm worker."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langtransfer import warm
from langtransfer.disk import full_disk_explained
from langtransfer.errors import Interrupted, UserError

if TYPE_CHECKING:  # who asks the warm worker imports next to nothing: 0.06 s instead of 0.25 s
    from langtransfer.execution import Stage

BAD_INPUT, CRASH = 2, 1
AGAIN = os.EX_TEMPFAIL  # 75: nothing is wrong, the next run goes on from here


def main(stage: str, run: Stage, doc: str | None, argv: Sequence[str] | None = None) -> None:
    """Entry point of `python -m scripts.<stage>`; exits 0, 2 (bad input), 75 (again), 1 (a bug)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = _parse(stage, doc, argv)
    # A stage that may serve from a warm process asks it first: the same code, the same bytes.
    code = warm.delegate(stage, argv)
    sys.exit(serve(stage, run, arguments) if code is None else code)


def serve(stage: str, run: Stage, arguments: argparse.Namespace) -> int:
    """Compute the cell in this process and return the exit code."""
    from langtransfer.config import RuntimeConfig
    from langtransfer.execution import execute
    from langtransfer.launch import spread

    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    if stage in warm.STAGES:  # no library has anything to ask the hub
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        runtime = RuntimeConfig.model_validate(json.loads(arguments.runtime))
        with full_disk_explained(Path.cwd()):
            execute(stage, spread(stage, run, runtime), arguments.recipe, runtime)
    except UserError as error:
        return _say(str(error), BAD_INPUT)
    except Interrupted as error:
        print(error, file=sys.stderr, flush=True)
        return AGAIN
    except Exception as error:  # the process boundary: one line for the user, all of it in the log
        traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return _say(f"{stage}: {what[:300]!r}: this is a bug; the log holds the traceback", CRASH)
    return 0


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
