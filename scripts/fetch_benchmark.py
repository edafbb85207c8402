"""A benchmark in one language: questions, task files, or held-out text.

Example: python -m scripts.fetch_benchmark --recipe recipes/fetch_benchmark/ceval/zh/<key>.json
Reads: the dataset registry and the files or archives it names, resources/benchmarks/
Writes: questions.jsonl (response quality); tasks/*.yaml + items/*.jsonl (knowledge);
        documents.jsonl (text); stats.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langtransfer.command import main
from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Fetch the dataset and write it in the form of its kind."""
    from langtransfer.corpus.jsonl import write_json
    from langtransfer.corpus.registry import fetch
    from langtransfer.evaluation.questions import missing_questions_explained
    from langtransfer.resources import locate

    config = job.config(FetchBenchmarkCell)
    registry = locate(job.runtime.registry)
    with missing_questions_explained(config.format, config.identity.key, registry):
        paths = fetch(registry, config.identity, config.language, job.work)
    stats = _write(config, paths, job.out)
    write_json(job.out / "stats.json", stats)
    return {"items": stats["items"]}


def _write(config: FetchBenchmarkCell, paths: dict[str, Path], out: Path) -> dict[str, Any]:
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.evaluation.benchmarks.knowledge import read_subjects
    from langtransfer.evaluation.benchmarks.questions import read_questions
    from langtransfer.evaluation.benchmarks.tasks import write_tasks
    from langtransfer.evaluation.benchmarks.text import read_text

    if config.kind == "knowledge":
        return write_tasks(read_subjects(config, paths), config, out)
    if config.kind == "response-quality":
        return {"items": write_jsonl(out / "questions.jsonl", read_questions(config, paths))}
    return {"items": write_jsonl(out / "documents.jsonl", read_text(config, paths))}


if __name__ == "__main__":
    main("fetch_benchmark", run, __doc__)
