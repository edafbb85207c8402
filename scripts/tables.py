"""Make the report's tables from every evaluation of the study.

Example: python -m scripts.tables --recipe recipes/tables/study/<key>.json
Reads: results.<cell>/{scores,predictions,documents,code_switching}.jsonl
Writes: table1_response_quality.csv table2_perplexity.csv table3_languages.csv
        figure2_knowledge.csv figure4_code_switching.csv english_retained.csv by_category.csv
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the tables."""
    from langtransfer.config.evaluation import TablesCell
    from langtransfer.reporting.csvfile import write_csv
    from langtransfer.reporting.results import load_results, sort_key
    from langtransfer.reporting.tables import COLUMNS, make_tables

    config = job.config(TablesCell)
    rows = sorted(config.rows, key=sort_key)
    results = load_results(rows, job.group("results"))
    for name, records in make_tables(results, config.study.judge, config).items():
        write_csv(job.out / f"{name}.csv", COLUMNS[name], records)
    return {}


if __name__ == "__main__":
    main("tables", run, __doc__)
