"""What a study will cost, before a GPU hour is spent: a table, and exit 2 above a cap.

Example: python -m scripts.plan --config config.yaml --hardware h100 --max-gpu-hours 5000
Counts what is not finished; figures come from resources/costs, docs/planning.md says how.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from langtransfer.costs.plan import check_cap, make_plan, named_hardware, with_mfu
from langtransfer.costs.table import cell_table, notes, stage_table
from langtransfer.errors import UserError
from langtransfer.workflow.study import open_study

WIDTH = 160  # where the output is no terminal: the paper's longest cell fits


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--cells", action="store_true", help="a line for every cell to run")
    parser.add_argument("--hardware", help="row of hardware.csv, in place of runtime.hardware")
    parser.add_argument("--mfu", type=float, help="measured share of its peak, such as 0.45")
    parser.add_argument(
        "--max-gpu-hours", type=float, help="exit 2 above it, in place of runtime.max_gpu_hours"
    )
    arguments = parser.parse_args(argv)
    try:
        study = open_study(arguments.config)
        runtime = study.config.runtime
        hardware = with_mfu(named_hardware(runtime, arguments.hardware), arguments.mfu)
        plan = make_plan(study.cells, runtime, hardware)
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(cell_table(plan) if arguments.cells else stage_table(plan))
        for note in notes(plan):
            console.print(note, highlight=False, markup=False)
        if arguments.max_gpu_hours is None:
            check_cap(plan, runtime.max_gpu_hours, "runtime.max_gpu_hours")
        else:
            check_cap(plan, arguments.max_gpu_hours, "--max-gpu-hours")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
