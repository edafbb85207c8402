"""Draw the report's figures from its tables.

Example: python -m scripts.figures --recipe recipes/figures/study/<key>.json
Reads: tables/*.csv
Writes: {bits_per_byte,quality,english_kept,figure2_knowledge,figure4_code_switching}.{svg,csv}
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Draw the figures."""
    from langtransfer.reporting.figures import make_figures

    make_figures(job.parent("tables"), job.out)
    return {}


if __name__ == "__main__":
    main("figures", run, __doc__)
