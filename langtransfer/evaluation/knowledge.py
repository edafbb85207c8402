"""Multiple-choice knowledge through lm-evaluation-harness, offline, on our own task files.

What is done with prompts, all of it the harness' own: context and continuation are tokenized
together and split after the context's tokens; the tokenizer's own template puts bos in front, as
LLaMA models want it; no chat template is applied, to tuned models neither; what exceeds the
model's positions is cut off on the *left*, bos included, and such items are counted here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from string import ascii_uppercase
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from langtransfer.errors import UserError

# What a metric divides an option's log-likelihood by before the largest is taken.
LENGTHS: dict[str, Callable[[str], float]] = {
    "acc": lambda option: 1.0,
    "acc_norm": lambda option: float(len(option)),
    "acc_bytes": lambda option: float(len(option.encode("utf-8"))),
}
FEWSHOT_SEED = 1234  # lm_eval's default; our tasks take the first examples, without drawing
DECIMALS = 6  # below what batching moves in float32 (2e-6 measured, STACK.md section 10)


class ScoringModel(HFLM):  # type: ignore[misc]  # lm_eval is untyped
    """The harness' Hugging Face backend, counting the items whose prompt does not fit.

    The seam at which a faster scorer (prefix caching) takes the stock one's place.
    """

    cut: set[str]
    """Prompts of the last task that were too long."""

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As the harness does, apart where both merge into one token and nothing would be left."""
        before, after = super()._encode_pair(context, continuation)
        return before, after or self.tok_encode(continuation, add_special_tokens=False)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **options: Any
    ) -> list[tuple[float, bool]]:
        self.cut = {
            pair[0]
            for pair, context, continuation in requests
            if len(context) + len(continuation) > self.max_length + 1
        }
        scores: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, **options)
        return scores


def wrap_model(model: Any, tokenizer: Any, batch: int) -> ScoringModel:
    """A loaded model behind the harness' interface, with a fixed batch size."""
    return ScoringModel(pretrained=model, tokenizer=tokenizer, batch_size=batch, backend="causal")


def task_configs(benchmark: Path, cache: Path, shots: int) -> dict[str, dict[str, Any]]:
    """Task settings by name from `tasks/*.yaml`, sorted, data files made absolute.

    A file without a `task` name is one that others include. Data files are relative to the
    benchmark's folder; datasets are cached in `cache`. Raises UserError when there is no task.
    """
    configs = {}
    for path in sorted((benchmark / "tasks").glob("*.yaml")):
        config = load_yaml(path)
        if not isinstance(config.get("task"), str):
            continue
        options = dict(config.get("dataset_kwargs") or {})
        files = options.get("data_files", {})
        options["data_files"] = {
            split: str((benchmark / file).resolve()) for split, file in files.items()
        }
        options["cache_dir"] = str(cache)
        configs[config["task"]] = config | {"dataset_kwargs": options, "num_fewshot": shots}
    if not configs:
        raise UserError("benchmark", str(benchmark / "tasks"), "no task file: fetch it again")
    return dict(sorted(configs.items()))


def common(configs: Mapping[str, Mapping[str, Any]], fact: Callable[[Any], str]) -> str:
    """A fact all task files share, or what they differ in, joined by +."""
    return "+".join(sorted({fact(config) for config in configs.values()}))


def task_version(config: Mapping[str, Any]) -> str:
    """Version a task file gives itself."""
    return str((config.get("metadata") or {}).get("version", "unversioned"))


def task_metric(config: Mapping[str, Any]) -> str:
    """The metric a task is decided by: the first it lists, `acc` where it lists none."""
    listed = config.get("metric_list") or [{"metric": "acc"}]
    return str(listed[0]["metric"])


def run_task(model: ScoringModel, config: Mapping[str, Any], shots: int) -> list[dict[str, Any]]:
    """Rows of `predictions.jsonl` of one task, as the harness scores it.

    Raises UserError when the task has fewer examples than shots, and for a metric that does not
    choose one option.
    """
    metric = task_metric(config)
    if metric not in LENGTHS:
        remedy = f"cannot decide a task: list one of {', '.join(LENGTHS)} first"
        raise UserError(f"{config['task']}: metric_list", metric, remedy)
    loaded = TaskManager(include_defaults=False).load([dict(config)])
    (task,) = loaded["tasks"].values()
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    if shots and len(task.fewshot_docs()) < shots:
        remedy = f"{config['task']} has only {len(task.fewshot_docs())} examples: lower it"
        raise UserError("benchmarks, shots", shots, remedy)
    results = evaluate(lm=model, task_dict=loaded, bootstrap_iters=0, log_samples=True)
    delimiter = config.get("target_delimiter", " ")
    return [
        prediction_row(sample, metric, delimiter) | {"truncated": prompt_of(sample) in model.cut}
        for sample in results["samples"][config["task"]]
    ]


def prompt_of(sample: Mapping[str, Any]) -> str:
    """The context the options of an item were scored after."""
    return str(sample["arguments"][0][0])


def prediction_row(sample: Mapping[str, Any], metric: str, delimiter: str) -> dict[str, Any]:
    """One row: the option the metric prefers (the first of equals) against the key.

    The key is the task's target: the index of an option, or the option itself. Options that are
    not letters are called A, B, C ... in the order they are given.
    """
    doc, target = sample["doc"], sample["target"]
    options = [argument[1].removeprefix(delimiter) for argument in sample["arguments"]]
    scores = [float(response[0]) for response in sample["filtered_resps"]]
    preferred = [s / LENGTHS[metric](o) for s, o in zip(scores, options, strict=True)]
    names = option_names(options)
    answer = target if isinstance(target, int) else options.index(str(target))
    return {
        "id": str(doc["id"]),
        "subject": str(doc["subject"]),
        "answer": names[answer],
        "prediction": names[preferred.index(max(preferred))],
        "correct": bool(sample[metric]),
        "loglikelihoods": {
            name: round(score, DECIMALS) for name, score in zip(names, scores, strict=True)
        },
    }


def option_names(options: Sequence[str]) -> list[str]:
    """Options that are letters name themselves, others get letters by position."""
    stripped = [option.strip() for option in options]
    if all(re.fullmatch("[A-Z]+", option) for option in stripped):
        return stripped
    return list(ascii_uppercase[: len(options)])


def sort_predictions(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows by subject, then id with the numbers in it by value."""
    return [dict(row) for row in sorted(rows, key=_order)]


def _order(row: Mapping[str, Any]) -> tuple[str, list[tuple[int, str]]]:
    parts = re.findall(r"\d+|\D+", row["id"])
    return row["subject"], [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def summarise(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy over all items and by subject, how many prompts were cut, and the given facts.

    `accuracy` weighs items equally, `subject_mean` subjects.
    """
    by_subject: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        by_subject[row["subject"]].append(row["correct"])
    subjects = {
        name: {"accuracy": fmean(hits), "n": len(hits)} for name, hits in by_subject.items()
    }
    return dict(facts) | {
        "accuracy": fmean(row["correct"] for row in rows),
        "subject_mean": fmean(fmean(hits) for hits in by_subject.values()),
        "n": len(rows),
        "by_subject": subjects,
        "truncated": sum(row["truncated"] for row in rows),
    }
