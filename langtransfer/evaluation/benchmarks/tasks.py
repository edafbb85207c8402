"""A knowledge benchmark as task files of lm-evaluation-harness.

`tasks/<task>.yaml` names its items by paths relative to the benchmark's data folder
(`items/<task>.test.jsonl`, `items/<task>.dev.jsonl`), so that the folder can be moved; whoever
runs a task makes them absolute in a copy. Its `metadata` are the template's (`version`, `marking`)
and what is known of its `subject`: `averages` it is part of, and `chance`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.evaluation.benchmarks.marking import chance
from langtransfer.evaluation.benchmarks.subjects import Subject
from langtransfer.evaluation.resources import benchmark_folder


def write_tasks(subjects: list[Subject], config: FetchBenchmarkCell, out: Path) -> dict[str, Any]:
    """Write one task per subject (and kind of question); figures for stats.json.

    There, a question with several sub-questions counts as one.
    """
    counts: Counter[str] = Counter()
    for subject in subjects:
        counts[subject.name] += len({i.get("question_id", i["id"]) for i in subject.items})
        name = task_name(config.format, subject)
        write_jsonl(out / "items" / f"{name}.test.jsonl", subject.items)
        if config.shots:
            write_jsonl(out / "items" / f"{name}.dev.jsonl", subject.dev)
        task = _task(name, _template(config, subject), subject, config.shots)
        path = out / "tasks" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(task, allow_unicode=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return {"items": counts.total(), "subjects": dict(counts)}


def task_name(format: str, subject: Subject) -> str:
    """`<format>_<subject>`, and the kind of question where the subject has several."""
    parts = [format, subject.name, *([subject.variant] if subject.variant else [])]
    return "_".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in parts)


def _template(config: FetchBenchmarkCell, subject: Subject) -> dict[str, Any]:
    path = benchmark_folder(config.format) / f"{subject.template}.yaml"
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
    metadata = template["metadata"]
    known = {
        "subject": subject.name,
        "averages": list(subject.averages),
        "chance": chance(metadata["marking"], subject.items),
    }
    return {
        **template,
        **fewshot,
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "num_fewshot": shots,
        "description": description,
        "metadata": {**metadata, **known},
    }
