"""Multiple-choice accuracy of a model on a knowledge benchmark, by lm-evaluation-harness.

Example: python -m scripts.knowledge --recipe recipes/knowledge/.../zh/<key>.json
Reads: checkpoint/model/, chat/ when tuned, benchmark/tasks/*.yaml, benchmark/items/*.jsonl
Writes:
    data/
    ├── predictions.jsonl   {"id", "subject", "category", "answer", "prediction", "correct", ...}
    ├── summary.json        {"accuracy", "n", "by_subject", "benchmark", "version", "shots", ...}
    └── submission.json     {subject: {number: letter}}, where answers are not public
"""

from __future__ import annotations

import os
from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Score task by task; finished tasks survive a kill in `tasks.partial.jsonl`."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # before the imports
    from langtransfer.config.evaluation import KnowledgeCell
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.evaluation.journal import Journal
    from langtransfer.evaluation.knowledge import (
        common,
        run_task,
        sort_predictions,
        summarise,
        task_configs,
        task_metric,
        task_version,
        wrap_model,
    )
    from langtransfer.evaluation.knowledge_rows import submission
    from langtransfer.evaluation.loading import load_evaluated
    from langtransfer.evaluation.summaries import write_json

    shots = job.config(KnowledgeCell).shots
    configs = task_configs(job.parent("benchmark"), job.work / "datasets", shots)
    scorer = wrap_model(*load_evaluated(job), job.runtime.eval_batch)
    journal = Journal(job.work / "tasks.partial.jsonl")
    done = {row["task"]: row["rows"] for row in journal.rows}
    for name, config in configs.items():
        if name not in done:
            done[name] = run_task(scorer, config, shots)
            journal.append([{"task": name, "rows": done[name]}])
        job.progress(len(done), len(configs), "tasks")
    rows = sort_predictions(row for name in configs for row in done[name])
    write_jsonl(job.out / "predictions.jsonl", rows)
    facts = {
        "benchmark": job.cell.split("/")[3],
        "version": common(configs, task_version),
        "metric": common(configs, task_metric),
        "shots": shots,
    }
    summary = summarise(rows, facts, configs)
    write_json(job.out / "summary.json", summary)
    if (letters := submission(rows)) is not None:
        write_json(job.out / "submission.json", letters)
    from langtransfer.pretraining.arguments import hardware

    return {"items": len(rows), "truncated": summary["truncated"]} | hardware(job.runtime)


if __name__ == "__main__":
    main("knowledge", run, __doc__)
