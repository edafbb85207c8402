"""Greedy generation: batching changes nothing, stops, limits, and what a kill leaves behind."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from langtransfer.corpus.jsonl import read_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.generation import Batch, Prompt, answer_batch, plan_batches
from langtransfer.evaluation.journal import Journal
from langtransfer.evaluation.loading import choose_device
from scripts import generate

QUESTIONS = [
    {"id": "Factual_1", "instruction": "What is the capital of Kenya?"},
    {"id": "Factual_2", "instruction": "中国的首都是？"},
    {"id": "Long_1", "instruction": "The capital of France is Paris. " * 40},
    {"id": "Poetry_1", "category": "Poetry", "instruction": "Leo", "input": "ni Jumatatu"},
    {"id": "Factual_3", "instruction": "आज सोमवार है"},
]
SETTINGS = {"max_new_tokens": 12, "template": "plain"}
CELL = "generate/base/1k.zh.s1/qa/zh"


def prompts_of(tokenizer: Any, texts: list[str]) -> list[Prompt]:
    return [Prompt(str(i), "c", t, tuple(tokenizer(t)["input_ids"])) for i, t in enumerate(texts)]


def naive_greedy(model: Any, ids: list[int], new_tokens: int) -> list[int]:
    """No cache, no batch, no padding: the whole sequence again for each token."""
    ids = list(ids)
    start = len(ids)
    with torch.inference_mode():
        for _ in range(new_tokens):
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits.argmax()))
    return ids[start:]


def test_padded_batch_equals_naive_loop(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    prompts = prompts_of(tokenizer, ["Leo", "The capital of", "今天是星期一，明天是", "A"])
    rows = answer_batch(model, tokenizer, Batch(tuple(prompts), 10), 10)
    for prompt, row in zip(prompts, rows, strict=True):
        expected = naive_greedy(model, list(prompt.ids), 10)
        if tokenizer.eos_token_id in expected:
            expected = expected[: expected.index(tokenizer.eos_token_id)]
        assert row["answer"] == tokenizer.decode(expected, skip_special_tokens=True).strip()
        assert row["tokens"] == len(expected)


@dataclass
class OtherEos:
    """A tokenizer whose end of sequence is a token the model is known to produce."""

    inner: Any
    eos_token_id: int
    pad_token_id: int | None = None

    def decode(self, ids: list[int], **options: Any) -> str:
        return str(self.inner.decode(ids, **options))


def test_stops_at_eos(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    (prompt,) = prompts_of(tokenizer, ["The capital of"])
    plain = naive_greedy(model, list(prompt.ids), 8)
    first = plain.index(plain[3])
    row = answer_batch(model, OtherEos(tokenizer, plain[3]), Batch((prompt,), 8), 8)[0]
    assert (row["finish"], row["tokens"]) == ("eos", first)
    full = answer_batch(model, OtherEos(tokenizer, 0), Batch((prompt,), 8), 8)[0]
    assert (full["finish"], full["tokens"]) == ("length", 8)


def test_sampling_settings_of_the_checkpoint_are_ignored(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    (prompt,) = prompts_of(tokenizer, ["The capital of"])
    expected = answer_batch(model, tokenizer, Batch((prompt,), 10), 10)
    model.generation_config.do_sample = True
    model.generation_config.repetition_penalty = 5.0
    assert answer_batch(model, tokenizer, Batch((prompt,), 10), 10) == expected


def test_batches_share_one_allowance() -> None:
    prompts = [Prompt(str(n), "c", "", tuple(range(n))) for n in (9, 3, 8, 20, 7, 3, 25)]
    batches = plan_batches(prompts, positions=20, max_new_tokens=12, size=2)
    planned = [([p.id for p in b.prompts], b.new_tokens) for b in batches]
    assert planned == [(["3", "3"], 12), (["7", "8"], 12), (["9"], 11)]  # 20, 25: no room


def run_generate(make_job: Any, checkpoint: Path, benchmark: Path, name: str) -> Any:
    parents = {"checkpoint": checkpoint, "benchmark": benchmark}
    job = make_job(CELL, SETTINGS, parents, name=name)
    return job, generate.run(job)


def test_stage_writes_in_question_order(
    make_job: Any, checkpoint: Path, write_questions: Any
) -> None:
    benchmark = write_questions(QUESTIONS)
    job, stats = run_generate(make_job, checkpoint, benchmark, "one")
    rows = list(read_jsonl(job.out / "answers.jsonl"))
    assert [row["id"] for row in rows] == [q["id"] for q in QUESTIONS]
    assert list(rows[0]) == ["id", "category", "prompt", "answer", "tokens", "finish"]
    assert rows[3]["prompt"] == "Leo\nni Jumatatu\n"
    long = rows[2]
    assert (long["answer"], long["tokens"], long["finish"]) == ("", 0, "context")
    assert stats["prompts_too_long"] == stats["cut_at_context"] == 1
    assert stats["tokens"] == sum(row["tokens"] for row in rows)


class KilledError(Exception):
    pass


def test_killed_and_resumed_gives_the_same_bytes(
    make_job: Any, checkpoint: Path, write_questions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = write_questions(
        [{"id": f"q{i}", "instruction": "Leo ni " * (1 + i % 5)} for i in range(11)]
    )
    undisturbed, _ = run_generate(make_job, checkpoint, benchmark, "undisturbed")
    calls = 0
    append = Journal.append

    def killed_in_second(self: Journal, rows: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # half a line of the second batch reached the disk
            with self.path.open("ab") as handle:
                handle.write(b'{"id": "q3", "answer": "\xe4')
            raise KilledError
        append(self, rows)

    monkeypatch.setattr(Journal, "append", killed_in_second)
    with pytest.raises(KilledError):
        run_generate(make_job, checkpoint, benchmark, "killed")
    partial = undisturbed.out.parents[1] / "killed" / "work" / "answers.partial.jsonl"
    assert not partial.read_bytes().endswith(b"\n")
    shutil.rmtree(undisturbed.out.parents[1] / "killed" / "out")
    calls = 10
    resumed, _ = run_generate(make_job, checkpoint, benchmark, "killed")
    assert calls == 12  # two of three batches were generated again, not the finished one
    assert (resumed.out / "answers.jsonl").read_bytes() == (
        undisturbed.out / "answers.jsonl"
    ).read_bytes()


def test_journal_recovers_the_longest_whole_prefix(tmp_path: Path) -> None:
    path = tmp_path / "work" / "rows.jsonl"
    Journal(path).append([{"a": "é\n"}, {"a": 2}])
    whole = path.read_bytes()
    for torn in (b"\x00" * 20, b'{"a": 3}', b'{"a": 3\n{"a": 4}\n', b"[1]\n"):
        path.write_bytes(whole + torn)
        journal = Journal(path)
        assert journal.rows == [{"a": "é\n"}, {"a": 2}]
        journal.append([{"a": 5}])
        assert Journal(path).rows == [{"a": "é\n"}, {"a": 2}, {"a": 5}]


def test_bad_input_names_field_and_value(
    make_job: Any, checkpoint: Path, write_questions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = write_questions([{"id": "a", "instruction": "x"}, {"id": "a", "instruction": "y"}])
    with pytest.raises(UserError, match=r"questions.jsonl: 'a': the id occurs twice"):
        run_generate(make_job, checkpoint, twice, "twice")
    nameless = write_questions([{"id": "b", "instruction": 7}])
    with pytest.raises(UserError, match=r"questions.jsonl: b.instruction: 7"):
        run_generate(make_job, checkpoint, nameless, "nameless")
    with pytest.raises(UserError, match=r"questions.jsonl: 0: no questions"):
        run_generate(make_job, checkpoint, write_questions([]), "none")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"runtime.device: 'cuda'"):
        choose_device("cuda")
    assert choose_device("auto") == "cpu"
