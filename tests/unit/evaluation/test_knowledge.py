"""Knowledge through lm-evaluation-harness: agreement with a direct forward pass, keys, kills."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from langtransfer.corpus.jsonl import read_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation import knowledge as library
from langtransfer.evaluation.knowledge import option_names, sort_predictions, summarise
from scripts import knowledge
from tests.unit.evaluation.knowledge_tasks import LETTER_TASK, TEXT_TASK, item, write_task


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    folder = tmp_path / "benchmark"
    write_task(folder, "chemistry", LETTER_TASK, [item(n, "chemistry") for n in range(11)])
    write_task(folder, "art", TEXT_TASK, [item(n, "art") for n in (2, 10, 1)])
    return folder


def run_knowledge(make_job: Any, checkpoint: Path, benchmark: Path, shots: int, name: str) -> Any:
    parents = {"checkpoint": checkpoint, "benchmark": benchmark}
    job = make_job(
        "knowledge/base/none/exam/en", {"language": "en", "shots": shots}, parents, name=name
    )
    return job, knowledge.run(job)


def loglikelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    """One unbatched pass: bos in front, continuation = what comes after the context's tokens."""
    before, whole = tokenizer.encode(context), tokenizer.encode(context + continuation)
    assert before[0] == tokenizer.bos_token_id
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([whole]), use_cache=False).logits[0]
    scores = torch.log_softmax(logits.double(), dim=-1)
    return sum(float(scores[i - 1, whole[i]]) for i in range(len(before), len(whole)))


def prompt(row: dict[str, Any], answered: bool = False) -> str:
    options = " ".join(f"{letter}. {row[letter]}" for letter in "ABCD")
    text = f"Question: {row['question']} {options} Answer:"
    return f"{text} {row['answer']}\n\n" if answered else text


@pytest.mark.parametrize("shots", [0, 1])
def test_agrees_with_direct_scoring(
    make_job: Any, checkpoint: Path, loaded: Any, benchmark: Path, shots: int
) -> None:
    job, stats = run_knowledge(make_job, checkpoint, benchmark, shots, "direct")
    rows = {row["id"]: row for row in read_jsonl(job.out / "predictions.jsonl")}
    shown = prompt(item(90, "chemistry"), answered=True) if shots else ""
    for number in range(11):
        asked = item(number, "chemistry")
        scores = {x: loglikelihood(*loaded, shown + prompt(asked), f" {x}") for x in "ABCD"}
        row = rows[asked["id"]]
        assert row["loglikelihoods"] == pytest.approx(scores, abs=1e-5)
        assert row["prediction"] == max(scores, key=scores.__getitem__)
        assert row["answer"] == asked["answer"]
        assert row["correct"] == (row["prediction"] == row["answer"])
    assert stats.items() >= {"items": 14, "truncated": 0}.items()


def test_options_as_texts_are_normalised_by_length(
    make_job: Any, checkpoint: Path, loaded: Any, benchmark: Path
) -> None:
    job, _ = run_knowledge(make_job, checkpoint, benchmark, 0, "texts")
    rows = [r for r in read_jsonl(job.out / "predictions.jsonl") if r["subject"] == "art"]
    assert [row["id"] for row in rows] == ["art-1", "art-2", "art-10"]
    for row in rows:
        asked = item(int(row["id"].partition("-")[2]), "art")
        scores = {x: loglikelihood(*loaded, asked["question"], f"\n{asked[x]}") for x in "ABCD"}
        assert row["loglikelihoods"] == pytest.approx(scores, abs=1e-5)
        per_character = {x: scores[x] / len(asked[x]) for x in "ABCD"}
        assert row["prediction"] == max(per_character, key=per_character.__getitem__)
        assert row["correct"] == (row["prediction"] == asked["answer"])


def test_summary(make_job: Any, checkpoint: Path, benchmark: Path) -> None:
    job, _ = run_knowledge(make_job, checkpoint, benchmark, 0, "summary")
    rows = list(read_jsonl(job.out / "predictions.jsonl"))
    summary = json.loads((job.out / "summary.json").read_text())
    assert summary["accuracy"] == pytest.approx(sum(r["correct"] for r in rows) / 14)
    assert {n: s["n"] for n, s in summary["by_subject"].items()} == {"art": 3, "chemistry": 11}
    facts = {"benchmark": "exam", "version": "3", "metric": "acc+acc_norm", "shots": 0, "n": 14}
    assert facts.items() <= summary.items()


def test_prompts_that_do_not_fit_are_counted(
    make_job: Any, checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "long"
    long = item(1, "long") | {"question": "The capital of France is Paris. " * 40}
    write_task(folder, "long", LETTER_TASK, [item(0, "long"), long])
    job, stats = run_knowledge(make_job, checkpoint, folder, 0, "long")
    rows = list(read_jsonl(job.out / "predictions.jsonl"))
    assert [row["truncated"] for row in rows] == [False, True]
    assert stats["truncated"] == 1


def test_killed_and_resumed_gives_the_same_bytes(
    make_job: Any, checkpoint: Path, benchmark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run_knowledge(make_job, checkpoint, benchmark, 0, "whole")
    names, run_task = [], library.run_task

    def dies_in_second(scorer: Any, config: Any, shots: int) -> Any:
        names.append(config["task"])
        if len(names) == 2:
            raise KeyboardInterrupt
        return run_task(scorer, config, shots)

    monkeypatch.setattr(library, "run_task", dies_in_second)
    with pytest.raises(KeyboardInterrupt):
        run_knowledge(make_job, checkpoint, benchmark, 0, "killed")
    shutil.rmtree(whole.out.parents[1] / "killed" / "out")
    resumed, _ = run_knowledge(make_job, checkpoint, benchmark, 0, "killed")
    assert names == ["art", "chemistry", "chemistry"]
    for name in ("predictions.jsonl", "summary.json"):
        assert (resumed.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_bad_input(make_job: Any, checkpoint: Path, benchmark: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="benchmarks, shots: 3: art has only 2 examples"):
        run_knowledge(make_job, checkpoint, benchmark, 3, "shots")
    with pytest.raises(UserError, match="no task file"):
        run_knowledge(make_job, checkpoint, tmp_path / "nothing", 0, "nothing")
    odd = LETTER_TASK | {"metric_list": [{"metric": "f1"}]}
    write_task(tmp_path / "odd", "odd", odd, [item(0, "odd")])
    with pytest.raises(UserError, match=r"odd: metric_list: 'f1'"):
        run_knowledge(make_job, checkpoint, tmp_path / "odd", 0, "odd")


def test_option_names() -> None:
    assert option_names([" A", " B", " AC"]) == ["A", "B", "AC"]
    assert option_names(["Paris", "A", "Paris"]) == ["A", "B", "C"]


def test_order_and_means() -> None:
    rows = [
        {"subject": s, "id": i, "correct": c, "truncated": False}
        for s, i, c in [("b", "b-2", True), ("a", "10", False), ("a", "9", True), ("b", "b", True)]
    ]
    ordered = sort_predictions(rows)
    assert [row["id"] for row in ordered] == ["9", "10", "b", "b-2"]
    summary = summarise(ordered, {})
    assert (summary["accuracy"], summary["subject_mean"]) == (0.75, 0.75)
    assert summary["by_subject"]["a"] == {"accuracy": 0.5, "n": 2}
