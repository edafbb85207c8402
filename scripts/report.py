"""Write the report: one page that answers the user's question, and every table and figure.

Example: python -m scripts.report --recipe recipes/report/study/<key>.json
Reads: tables/*.csv figures/*.{svg,csv} claims/*.csv
Writes: index.html metrics.json and copies of all it read
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the page."""
    from langtransfer.config.evaluation import ReportCell
    from langtransfer.reporting.report import make_report

    folders = (job.parent(role) for role in ("tables", "figures", "claims"))
    make_report(*folders, config=job.config(ReportCell), out=job.out)
    return {}


if __name__ == "__main__":
    main("report", run, __doc__)
