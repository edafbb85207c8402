"""Whole benchmarks through the real scoring path: models that answer by a rule."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from lm_eval.api.model import LM

from langtransfer.config.evaluation import FetchBenchmarkCell, ReportingConfig, ReportRow
from langtransfer.corpus.jsonl import read_json, read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.knowledge import (
    run_task,
    sort_predictions,
    summarise,
    task_configs,
    wrap_model,
)
from langtransfer.evaluation.knowledge_rows import submission
from langtransfer.reporting.knowledge_averages import average_rows
from langtransfer.reporting.results import load_results
from scripts import knowledge
from tests.unit.evaluation.benchmark_cells import REAL, cell, fetch

Rule = Callable[[Mapping[str, Any]], str]


class RuleModel(LM):  # type: ignore[misc]  # lm_eval is untyped
    """Prefers the option its rule names, and writes it where answers are written."""

    cut: frozenset[str] = frozenset()

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def loglikelihood(self, requests: Iterable[Any]) -> list[tuple[float, bool]]:
        return [(-float(r.args[1].strip() != self.rule(r.doc)), True) for r in requests]

    def generate_until(self, requests: Iterable[Any]) -> list[str]:
        return [f" {self.rule(request.doc)}" for request in requests]

    def loglikelihood_rolling(self, requests: Iterable[Any]) -> list[float]:
        raise NotImplementedError


def key(item: Mapping[str, Any]) -> str:
    return str(item["answer"])


def always_a(item: Mapping[str, Any]) -> str:
    return "A"


def answered(
    data: Path, cache: Path, rule: Rule, shots: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and summary of a benchmark answered by rule."""
    configs = task_configs(data, cache, shots)
    model: Any = RuleModel(rule)
    rows = sort_predictions(
        row for config in configs.values() for row in run_task(model, config, shots)
    )
    return rows, summarise(rows, {}, configs)


def shares(rows: Iterable[Mapping[str, Any]], field: str = "correct") -> dict[str, float]:
    """Mean by subject."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row["subject"]].append(row[field])
    return {name: fmean(values) for name, values in found.items()}


def averages(
    folder: Path, rows: list[dict[str, Any]], summary: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Rows of knowledge_averages.csv from what a cell writes, by the average's name."""
    write_jsonl(folder / "predictions.jsonl", rows)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    row = ReportRow(
        cell="knowledge/m/none/b/zh", stage="knowledge", label="m", model="m", language="zh",
        evaluated="zh", mix="target-only", vocabulary="original", budget="0", budget_tokens=0,
        seed=1, tuning="none", tuning_examples=0, benchmark="b", format="f", adopted=False,
    )  # fmt: skip
    (found,) = load_results([row], {row.cell: folder})
    settings = ReportingConfig(title="t", bootstrap_samples=200)
    return {record["average"]: record for record in average_rows(found, settings)}


def fetched(folder: Path, dataset: str, config: FetchBenchmarkCell) -> Path:
    return fetch(folder / "job", REAL, dataset, config)


def test_agieval_whole(tmp_path: Path, shared_data: Path) -> None:
    data = fetched(tmp_path, "agieval", cell("knowledge", "agieval"))
    rows, summary = answered(data, tmp_path / "cache", key, 0)
    assert len(rows) == len({row["id"] for row in rows}) == 8_269
    assert shares(rows) == dict.fromkeys(summary["by_subject"], 1.0)
    assert {n: a["accuracy"] for n, a in summary["averages"].items()} == {
        "paper": 1.0, "upstream": 1.0,
    }  # fmt: skip
    rows, summary = answered(data, tmp_path / "cache", always_a, 0)
    counted = {}
    for path in (shared_data / "benchmarks" / "agieval" / "data" / "v1").glob("*.jsonl"):
        asked = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        keys = [row["label"] if row["options"] else row["answer"] for row in asked]
        counted[path.stem] = sum(right in ("A", ["A"], "$A$") for right in keys) / len(keys)
    assert len(counted) == 21
    assert shares(rows) == pytest.approx(counted)
    assert summary["averages"]["upstream"]["accuracy"] == pytest.approx(fmean(counted.values()))
    chosen = set(counted) - {"math", "gaokao-mathcloze"}
    assert set(summary["averages"]["paper"]["subjects"]) == chosen
    assert summary["averages"]["paper"]["accuracy"] == pytest.approx(
        fmean(counted[name] for name in chosen)
    )
    table = averages(tmp_path, rows, summary)
    assert {n: (r["parts"], r["n"]) for n, r in table.items()} == {
        "paper": (19, 8_269 - 1_118), "upstream": (21, 8_269),
    }  # fmt: skip
    for name, record in table.items():
        assert record["value"] == pytest.approx(summary["averages"][name]["accuracy"])
        assert record["low"] < record["value"] < record["high"]
        assert record["value"] <= record["chance"] < 0.5
    blind = shares(rows, "chance")
    assert all(counted[name] <= blind[name] + 1e-6 for name in counted)


def upstream_points(row: Mapping[str, Any], given: str, type: str) -> float:
    """Points of a row of GAOKAO-Bench for answers given letter by letter, counted anew."""
    if type == "multi_choice":
        right = row["answer"][0]
        return 6.0 if given == right else 3.0 if given and set(given) < set(right) else 0.0
    given = given if len(given) == len(row["answer"]) else "Z" * len(row["answer"])
    return sum(row["score"] for a, b in zip(given, row["answer"], strict=True) if a == b)


@pytest.mark.parametrize("rule", ["key", "A"])
def test_gaokao_whole(tmp_path: Path, shared_data: Path, rule: str) -> None:
    data = fetched(tmp_path, "gaokao-bench-objective", cell("knowledge", "gaokao"))
    rows, summary = answered(data, tmp_path / "cache", key if rule == "key" else always_a, 0)
    assert len(rows) == len({row["id"] for row in rows}) == 1_781
    folder = shared_data / "benchmarks" / "gaokao-bench"
    prompts = read_json(folder / "Bench" / "Obj_Prompt.json")["examples"]
    assert len(prompts) == 14
    full_points = earned_points = 0.0
    for prompt in prompts:
        name, type = prompt["keyword"], prompt["type"]
        examples = read_json(folder / "Data" / "Objective_Questions" / f"{name}.json")["example"]
        full = sum(example["score"] * len(example["answer"]) for example in examples)
        # five letters are asked for in one answer: "A" alone is too few of them
        alone = type in ("multi_choice", "five_out_of_seven")
        earned = sum(
            upstream_points(
                example,
                "".join(example["answer"]) if rule == "key"
                else "A" if alone else "A" * len(example["answer"]),
                type,
            )
            for example in examples
        )  # fmt: skip
        found = summary["by_subject"][name]
        assert (found["n"], found["points"]) == (len(examples), full)
        assert found["points_earned"] == pytest.approx(earned)
        full_points, earned_points = full_points + full, earned_points + earned
        assert rule == "A" or earned == full
    assert summary["scoring_rate"] == pytest.approx(earned_points / full_points)
    ((name, record),) = averages(tmp_path, rows, summary).items()
    assert (name, record["parts"], record["n"]) == ("scoring rate", 14, 1_781)
    assert record["points"] == full_points
    assert record["value"] == pytest.approx(earned_points / full_points)
    assert record["low"] <= record["value"] <= record["high"]
    assert 0.2 < record["chance"] < 0.4
    assert set(summary["by_category"]) == {
        "English", "Mathematics (sciences)", "Mathematics (humanities)", "Chinese", "Physics",
        "Chemistry", "Biology", "History", "Geography", "Politics",
    }  # fmt: skip
    assert rule == "key" or summary["accuracy"] <= summary["chance"]


def letters_right(path: Path, split: str, column: int, header: bool) -> dict[str, float]:
    """Share of A among the right letters, by subject, counted in the archive."""
    import csv
    import io
    import zipfile

    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(f"_{split}.csv"):
                text = io.StringIO(archive.read(name).decode("utf-8-sig"), newline="")
                rows = list(csv.reader(text))[header:]
                subject = Path(name).name.removesuffix(f"_{split}.csv")
                found[subject] = fmean(row[column] == "A" for row in rows)
    return found


def check_table(tmp_path: Path, path: Path, format: str, split: str, items: int | None) -> None:
    """Key and always-A on a benchmark of four-option tables, five examples before each item."""
    language = {"ceval": "zh", "mmlu": "en"}[format]
    config = cell("knowledge", format, language, split=split, shots=5, items=items)
    data = fetched(tmp_path, format, config)
    rows, summary = answered(data, tmp_path / "cache", key, 5)
    assert set(shares(rows).values()) == {1.0}
    assert {name: n["n"] for name, n in summary["by_subject"].items()} == read_json(
        data / "stats.json"
    )["subjects"]
    assert sum(c["n"] for c in summary["by_category"].values()) == len(rows)
    assert len(summary["by_category"]) == 4
    rows, summary = answered(data, tmp_path / "cache", always_a, 5)
    if items is None:
        counted = letters_right(path, split, -1 if format == "mmlu" else 6, format == "ceval")
        assert shares(rows) == pytest.approx(counted)
    assert summary["accuracy"] < summary["chance"]


def test_ceval_whole(tmp_path: Path, shared_data: Path) -> None:
    check_table(tmp_path, shared_data / "benchmarks" / "ceval" / "ceval.zip", "ceval", "val", None)


def test_every_subject_of_mmlu(tmp_path: Path, shared_data: Path) -> None:
    check_table(tmp_path, shared_data / "benchmarks" / "mmlu" / "mmlu.zip", "mmlu", "test", 5)


@pytest.mark.long
def test_mmlu_whole(tmp_path: Path, shared_data: Path) -> None:
    check_table(tmp_path, shared_data / "benchmarks" / "mmlu" / "mmlu.zip", "mmlu", "test", None)


def test_ceval_test_questions_make_the_official_submission(
    tmp_path: Path, shared_data: Path
) -> None:
    config = cell("knowledge", "ceval", split="test", shots=0, items=20)
    data = fetched(tmp_path, "ceval", config)
    rows, summary = answered(data, tmp_path / "cache", lambda item: "ABCD"[len(item["A"]) % 4], 0)
    letters = submission(rows)
    assert letters is not None
    example = read_json(shared_data / "benchmarks" / "ceval" / "submission_example.json")
    assert set(letters) == set(example)
    assert all(list(given) == [str(n) for n in range(20)] for given in letters.values())
    assert {letter for given in letters.values() for letter in given.values()} <= set("ABCD")
    assert {row["correct"] for row in rows} == {row["answer"] for row in rows} == {None}
    assert (summary["accuracy"], summary["n"]) == (None, 52 * 20)
    write_jsonl(tmp_path / "predictions.jsonl", rows)
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    report_row = ReportRow(
        cell="c", stage="knowledge", label="LLaMA", model="base", language="zh", evaluated="zh",
        mix="target-only", vocabulary="original", budget="0", budget_tokens=0, seed=1,
        tuning="none", tuning_examples=0, benchmark="ceval", format="ceval", adopted=False,
    )  # fmt: skip
    assert load_results([report_row], {"c": tmp_path}) == []  # nothing to report


def test_written_answers_of_a_real_model(
    make_job: Any, checkpoint: Path, loaded: Any, tmp_path: Path, shared_data: Path
) -> None:
    """The stage on a checkpoint: greedy text, cut where the task says, marked, and counted."""
    import torch

    subjects = ("gaokao-mathcloze", "gaokao-mathqa", "jec-qa-kd")
    data = fetched(tmp_path, "agieval", cell("knowledge", "agieval", items=6, subjects=subjects))
    parents = {"checkpoint": checkpoint, "benchmark": data}
    settings = {"language": "zh", "shots": 0}
    job = make_job("knowledge/base/none/agieval/zh", settings, parents, name="written")
    stats = knowledge.run(job)
    rows = {row["id"]: row for row in read_jsonl(job.out / "predictions.jsonl")}
    assert len(rows) == stats["items"] == 18
    model, tokenizer = loaded
    for item in read_jsonl(data / "items" / "agieval_gaokao-mathcloze.test.jsonl"):
        ids = tokenizer.encode(f"问题：{item['question']}\n答案：")
        row = rows[item["id"]]
        assert row["truncated"] == (len(ids) > 128 - 96)
        with torch.inference_mode():
            shown = torch.tensor([ids[-(128 - 96) :]])
            out = model.generate(shown, max_new_tokens=96, do_sample=False)
        text = tokenizer.decode(out[0, shown.shape[1] :], skip_special_tokens=True)
        assert row["generated"] == text.split("\n")[0]
    assert stats["truncated"] == sum(row["truncated"] for row in rows.values()) > 0
    assert not (job.out / "submission.json").exists()
    task = task_configs(data, tmp_path / "cache", 0)["agieval_gaokao-mathcloze"]
    task["generation_kwargs"] = task["generation_kwargs"] | {"max_gen_toks": 128}
    with pytest.raises(UserError, match="the model's positions: 128: too few for answers of 128"):
        run_task(wrap_model(model, tokenizer, 4), task, 0)
