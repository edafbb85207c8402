"""Make the report's tables from every evaluation of the study.

Example: python -m scripts.tables --recipe recipes/tables/study/<key>.json
Reads: results.<cell>/{scores,predictions,documents,alignment,code_switching}.jsonl
       vocabularies.<cell>/vocabulary_report.json
Writes: table1_response_quality.csv table2_perplexity.csv table3_languages.csv
        figure2_knowledge.csv knowledge_averages.csv figure4_code_switching.csv
        written_exams.csv switched_prompts.csv english_retained.csv by_category.csv
        vocabulary.csv alignment.csv switching_matrix.csv switching_quality.csv
        calibration.csv (where the study calibrates its judge)
"""

from __future__ import annotations

import shutil
from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the tables."""
    from langtransfer.config.evaluation import TablesCell
    from langtransfer.reporting.csvfile import write_csv
    from langtransfer.reporting.results import load_results, sort_key
    from langtransfer.reporting.tables import COLUMNS, make_tables
    from langtransfer.reporting.vocabularies import vocabulary_records

    config = job.config(TablesCell)
    rows = sorted(config.rows, key=sort_key)
    results = load_results(rows, job.group("results"))
    vocabularies = vocabulary_records(config.vocabularies, job.group("vocabularies"))
    made = make_tables(results, vocabularies, config.study.judge, config)
    for name, records in made.items():
        write_csv(job.out / f"{name}.csv", COLUMNS[name], records)
    if "calibration" in job.parents:
        shutil.copyfile(job.parent("calibration") / "calibration.csv", job.out / "calibration.csv")
    return {}


if __name__ == "__main__":
    main("tables", run, __doc__)
