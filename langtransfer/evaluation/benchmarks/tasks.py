"""A knowledge benchmark as task files of lm-evaluation-harness.

`tasks/<task>.yaml` names its items by paths relative to the benchmark's data folder
(`items/<task>.test.jsonl`, `items/<task>.dev.jsonl`), so that the folder can be moved; whoever
runs a task makes them absolute in a copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.evaluation.benchmarks.knowledge import Subject
from langtransfer.evaluation.resources import benchmark_folder


def write_tasks(subjects: list[Subject], config: FetchBenchmarkCell, out: Path) -> dict[str, Any]:
    """Write one task per subject that has items; figures for stats.json."""
    template = _template(config)
    for subject in (subject for subject in subjects if subject.items):
        name = f"{config.format}_{re.sub(r'[^A-Za-z0-9_-]', '_', subject.name)}"
        write_jsonl(out / "items" / f"{name}.test.jsonl", subject.items)
        if config.shots:
            write_jsonl(out / "items" / f"{name}.dev.jsonl", subject.dev)
        text = yaml.safe_dump(_task(name, template, subject, config.shots), allow_unicode=True)
        path = out / "tasks" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return {
        "items": sum(len(subject.items) for subject in subjects),
        "subjects": {subject.name: len(subject.items) for subject in subjects if subject.items},
        "left_out": {subject.name: subject.left_out for subject in subjects if subject.left_out},
    }


def _template(config: FetchBenchmarkCell) -> dict[str, Any]:
    """The benchmark's task template, of the language where it has one of its own."""
    folder = benchmark_folder(config.format)
    own = folder / f"task.{config.language}.yaml"
    path = own if own.is_file() else folder / "task.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def _task(name: str, template: Mapping[str, Any], subject: Subject, shots: int) -> dict[str, Any]:
    """The template with name, data and worked examples filled in."""
    files = {"test": f"items/{name}.test.jsonl"}
    fewshot: dict[str, Any] = {}
    if shots:
        files["dev"] = f"items/{name}.dev.jsonl"
        fewshot = {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}}
    description = str(template.get("description", ""))
    for word, text in subject.words.items():
        description = description.replace("{" + word + "}", text)
    return {
        **template,
        **fewshot,
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "num_fewshot": shots,
        "description": description,
    }
