"""Multiple-choice knowledge through lm-evaluation-harness, offline, on our own task files.

What is done with prompts, all of it the harness' own: context and continuation are tokenized
together and split after the context's tokens; the tokenizer's own template puts bos in front, as
LLaMA models want it; no chat template is applied, to tuned models neither; what exceeds the
model's positions is cut off on the *left*, bos included, and such items are counted here. How the
model is run is ours (`prefix_scoring`): what prompts share goes through it once.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import env as jinja

from langtransfer.corpus.jsonl import read_jsonl, require_characters
from langtransfer.errors import UserError
from langtransfer.evaluation.knowledge_rows import (
    completed,
    figures,
    is_written,
    join_parts,
    with_marks,
    written_row,
)
from langtransfer.evaluation.prefix_scoring import PrefixScorer, Score, can_share, merge_requests

# What a metric divides an option's log-likelihood by before the largest is taken.
LENGTHS: dict[str, Callable[[str], float]] = {
    "acc": lambda option: 1.0,
    "acc_norm": lambda option: float(len(option)),
    "acc_bytes": lambda option: float(len(option.encode("utf-8"))),
}
FEWSHOT_SEED = 1234  # lm_eval's default; our tasks take the first examples, without drawing
DECIMALS = 6  # below what batching moves in float32 (2e-6 measured, STACK.md section 10)


class ScoringModel(HFLM):  # type: ignore[misc]  # lm_eval is untyped
    """The harness' Hugging Face backend, which runs what prompts share once.

    Where a model or an option does not allow that, all is left to the stock backend. Prompts that
    do not fit are counted.
    """

    cut: set[str]
    """Prompts of the last task that were too long."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As for HFLM."""
        super().__init__(*arguments, **options)
        self.shares_prefixes = (
            self.backend == "causal"
            and self.world_size == 1
            and self.mixed_precision_dtype is None
            and isinstance(self.batch_size, int)
            and can_share(self.model)
        )
        # The harness asks for a question's context once an option.
        self._remembered = lru_cache(maxsize=4)(super().tok_encode)

    def tok_encode(self, string: str, *arguments: Any, **options: Any) -> list[int]:
        """As the harness does, remembering the last few texts."""
        return list(self._remembered(string, *arguments, **options))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As the harness does, apart where both merge into one token and nothing would be left."""
        before, after = super()._encode_pair(context, continuation)
        return before, after or self.tok_encode(continuation, add_special_tokens=False)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **options: Any
    ) -> list[Score]:
        self.cut = {
            pair[0]
            for pair, context, continuation in requests
            if pair and len(context) + len(continuation) > self.max_length + 1
        }
        if not self.shares_prefixes:
            stock: list[Score] = super()._loglikelihood_tokens(requests, **options)
            return stock
        sequences = merge_requests((request[1:] for request in requests), self.max_length)
        scores = PrefixScorer(self.model, self.batch_size, self.softmax_dtype).score(sequences)
        for place, (pair, _, _) in enumerate(requests):
            if pair is not None:  # None in windows of a text, which the harness keeps itself
                self.cache_hook.add_partial("loglikelihood", pair, scores[place])
        return [scores[place] for place in range(len(requests))]

    def generate_until(self, requests: Sequence[Any], **options: Any) -> list[str]:
        """As the harness does: greedily, contexts cut on the left to leave room for the answer.

        Raises UserError for a model without room for an answer.
        """
        room = {request.args[0]: request.args[1].get("max_gen_toks", 0) for request in requests}
        most = max(room.values(), default=0)
        if most >= self.max_length:
            remedy = f"too few for answers of {most} tokens: leave these subjects out"
            raise UserError("the model's positions", self.max_length, remedy)
        self.cut = {
            context
            for context, tokens in room.items()
            if len(self.tok_encode(context)) > self.max_length - tokens
        }
        answers: list[str] = super().generate_until(list(requests), **options)
        return answers


def wrap_model(model: Any, tokenizer: Any, batch: int) -> ScoringModel:
    """A loaded model behind the harness' interface, with a fixed batch size."""
    return ScoringModel(pretrained=model, tokenizer=tokenizer, batch_size=batch, backend="causal")


def task_configs(benchmark: Path, cache: Path, shots: int) -> dict[str, dict[str, Any]]:
    """Task settings by name from `tasks/*.yaml`, sorted, data files made absolute.

    A file without a `task` name is one that others include. Data files are relative to the
    benchmark's folder; datasets are cached in `cache`. Raises UserError when there is no task, and
    for an item holding half a surrogate pair.
    """
    configs = {}
    for path in sorted((benchmark / "tasks").glob("*.yaml")):
        config = load_yaml(path)
        if not isinstance(config.get("task"), str):
            continue
        options = dict(config.get("dataset_kwargs") or {})
        files = options.get("data_files", {})
        for file in files.values():
            for row in read_jsonl(benchmark / file):
                text = json.dumps(row, ensure_ascii=False)
                require_characters(text, f"{benchmark / file}: item", row.get("id"))
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


def compile_templates(config: Mapping[str, Any]) -> dict[str, Any]:
    """A task's settings with its templates compiled once, which the harness does once a use.

    What a rendered text then means is the harness' rule (`ConfigurableTask.doc_to_text` etc.):
    digits are the index of an option, a list in brackets is a list.
    """
    chooses = config.get("doc_to_choice") is not None
    readers: dict[str, Callable[[str], Any]] = {
        "doc_to_text": lambda text: _literal(text) if chooses and text.isdigit() else text,
        "doc_to_target": lambda text: _target(text, chooses),
        "doc_to_choice": _literal,
    }
    compiled = {
        name: _compiled(config[name], read)
        for name, read in readers.items()
        if isinstance(config.get(name), str) and "{" in config[name]  # otherwise a column's name
    }
    return dict(config) | compiled


def _compiled(template: str, read: Callable[[str], Any]) -> Callable[[Mapping[str, Any]], Any]:
    render = jinja.from_string(template).render
    return lambda doc: read(render(**doc))


def _literal(text: str) -> Any:
    return ast.literal_eval(text)


def _target(text: str, chooses: bool) -> Any:
    if chooses and text.isdigit():
        return _literal(text)
    if len(text) > 1 and (text[0], text[-1]) == ("[", "]"):
        try:
            return _literal(text)
        except (SyntaxError, ValueError):
            return text  # text that happens to stand in brackets
    return text


def run_task(model: ScoringModel, config: Mapping[str, Any], shots: int) -> list[dict[str, Any]]:
    """Rows of `predictions.jsonl` of one task, as the harness scores it.

    Raises UserError when the task has fewer examples than shots, and for a metric that does not
    choose one option.
    """
    metric = task_metric(config)
    if metric not in LENGTHS:
        remedy = f"cannot decide a task: list one of {', '.join(LENGTHS)} first"
        raise UserError(f"{config['task']}: metric_list", metric, remedy)
    loaded = TaskManager(include_defaults=False).load([with_marks(compile_templates(config))])
    (task,) = loaded["tasks"].values()
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    if shots and len(task.fewshot_docs()) < shots:
        remedy = f"{config['task']} has only {len(task.fewshot_docs())} examples: lower it"
        raise UserError("benchmarks, shots", shots, remedy)
    results = evaluate(lm=model, task_dict=loaded, bootstrap_iters=0, log_samples=True)
    return join_parts(
        completed(task_row(sample, config), sample["doc"], config)
        | {"truncated": prompt_of(sample) in model.cut}
        for sample in results["samples"][config["task"]]
    )


def task_row(sample: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one sample of a task, of whatever kind its answers are."""
    if is_written(config):
        return written_row(sample, config)
    return prediction_row(sample, task_metric(config), config.get("target_delimiter", " "))


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


def summarise(
    rows: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The given facts, how many prompts were cut, and the figures of the answers.

    `accuracy` weighs items equally, `subject_mean` subjects; both are null where answers are not
    public. For the others see `knowledge_rows.figures`.
    """
    cut = sum(row["truncated"] for row in rows)
    return dict(facts) | {"n": len(rows), "truncated": cut} | figures(rows, configs or {})
