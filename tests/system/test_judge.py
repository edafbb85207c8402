"""The chat-model judge end to end: whole cells in processes of their own, killed on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config import RuntimeConfig
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.evaluation.judging import ASPECTS
from langtransfer.execution import execute
from langtransfer.job import Job
from langtransfer.provenance import key_of, make_recipe, read_manifest, result_folder, write_recipe
from langtransfer.resources import ROOT
from tests.chat_server import ChatServer, serving
from tests.studies import environment

pytestmark = pytest.mark.system

# upstream: llmeval/llmeval-1, questions by category
CATEGORIES = {
    "Factual_questions": 88, "Open_questions": 39, "Retrieval": 35, "Code": 34,
    "Role_playing": 31, "Math_Solving": 24, "Reading_Comprehension": 23, "Rewrite": 22,
    "Classification": 20, "Translation": 20, "Reasoning": 19, "Paragraph_Generation": 18,
    "Outline_Generation": 17, "Poetry": 17, "Story_Generation": 17, "Conversation": 15,
    "Summary": 14,
}  # fmt: skip
QUESTIONS = [f"{name}_{i + 1}" for name, n in CATEGORIES.items() for i in range(n)]
MODELS = ("a", "b", "c", "d")
SILENT = 20  # questions to which models a and b both say nothing: the same message twice
API_KEY = "sk-this-must-never-be-written-down"
TROUBLE = (
    "429", "500", "hang", "malformed", "truncated", "wrong schema", "seven", "reset", "cut",
    "no JSON", "refusal", "a page",
)  # fmt: skip


def trouble(message: str, seen: int) -> str:
    """One message in six meets trouble first, of every kind; hangs, of a second, are rarer."""
    draw = int(sha256(message.encode()).hexdigest(), 16)
    kind = TROUBLE[draw // 6 % len(TROUBLE)]
    rare = kind == "hang" and draw // 1000 % 4
    return kind if draw % 6 == 0 and not seen and not rare else "ok"


def verdict(message: str) -> str:
    """Levels that depend on the message alone."""
    draw = int(sha256(message.encode()).hexdigest(), 16)
    return json.dumps({aspect: draw // 4**i % 4 for i, aspect in enumerate(ASPECTS)})


def make_cell(
    stage: str, cell: str, config: dict[str, Any], parents: dict[str, Path], files: dict[str, Any]
) -> Path:
    """A finished cell with these JSON Lines files, made by the executor itself."""

    def run(job: Job) -> dict[str, Any]:
        for name, rows in files.items():
            write_jsonl(job.out / name, rows)
        return {}

    path = f"{stage}/{cell}"
    recipe = make_recipe(stage, 1, path, config, {r: p.as_posix() for r, p in parents.items()}, {})
    file = write_recipe(recipe)
    if files:
        execute(stage, run, file, RuntimeConfig())
    return result_folder(path, key_of(recipe))


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Path]:
    """Folders of four score cells to be computed, over LLM-Eval's 453 questions."""
    questions = [
        {"id": q, "category": q.rpartition("_")[0], "instruction": f"{q}?", "reference": f"ref {q}"}
        for q in QUESTIONS
    ]
    judge = {"kind": "openai", "model": "judge-x"}
    folders = {}
    with chdir(tmp_path):
        benchmark = make_cell(
            "fetch_benchmark", "llm-eval/zh", {}, {}, {"questions.jsonl": questions}
        )
        for model in MODELS:
            answers = [
                {
                    "id": q,
                    "category": "",
                    "prompt": "",
                    "answer": "" if i < SILENT and model in "ab" else f"{model} on {q}",
                    "tokens": 1,
                    "finish": "eos",
                }
                for i, q in enumerate(QUESTIONS)
            ]
            where = f"{model}/1k.zh.s1/llm-eval/zh"
            parent = make_cell("generate", where, {}, {}, {"answers.jsonl": answers})
            parents = {"answers": parent, "benchmark": benchmark}
            folders[model] = make_cell(
                "score", where, {"judge": judge, "language": "zh"}, parents, {}
            )
    return folders


@contextmanager
def scoring(
    folder: Path, results: dict[str, Path], models: str, address: str, **runtime: Any
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """`python -m scripts.score` on some cells at once; killed at the end if still there."""
    options = json.dumps({"judge_timeout_seconds": 1.0, "judge_concurrency": 12} | runtime)
    variables = environment() | {"PYTHONPATH": str(ROOT), "OPENAI_BASE_URL": address}
    variables |= {"OPENAI_API_KEY": API_KEY} if address else {}
    processes = {}
    for model in models:
        recipe = Path("recipes", *results[model].parts[1:]).with_suffix(".json")
        command = [sys.executable, "-m", "scripts.score", "--recipe", str(recipe)]
        log = (folder / f"{model}.log").open("w")
        processes[model] = subprocess.Popen(
            [*command, "--runtime", options],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


def kept(folder: Path) -> int:
    """Answers in the cache."""
    files = (folder / "work" / "cache" / "verdicts").glob("??/*.json")
    return sum('"answer"' in path.read_text() for path in files)


def finish(folder: Path, results: dict[str, Path], models: str, address: str) -> None:
    """Run some cells at the same time; all must succeed."""
    with scoring(folder, results, models, address) as processes:
        codes = {model: process.wait(180) for model, process in processes.items()}
    assert set(codes.values()) == {0}, {m: (folder / f"{m}.log").read_text() for m in models}


def test_453_questions_for_four_models_none_paid_twice(
    tmp_path: Path, results: dict[str, Path]
) -> None:
    with serving(ChatServer(verdict, trouble)) as server:
        server.hold_at = 450  # about half of what the first two cells need
        with scoring(tmp_path, results, "ab", server.address) as processes:
            # All that was served is kept, and twelve requests of each cell are on their way.
            wait_until(lambda: kept(tmp_path) == 450)
            for process in processes.values():
                process.send_signal(signal.SIGKILL)
        server.released.set()  # who still waited there is gone, and got nothing
        server.hold_at = None
        time.sleep(0.2)
        server.released.clear()
        assert server.paid.total() == 450
        finish(tmp_path, results, "ab", server.address)
        finish(tmp_path, results, "cd", server.address)
    distinct = len(QUESTIONS) * 4 - SILENT
    assert len(server.paid) == distinct == 1792
    assert set(server.paid.values()) == {1}
    assert {*server.behaved} == {"ok", *TROUBLE}
    requests = 0
    for model, result in results.items():
        rows = list(read_jsonl(tmp_path / result / "data" / "scores.jsonl"))
        assert [row["id"] for row in rows] == QUESTIONS
        volatile = read_manifest(tmp_path / result)["volatile"]
        requests += volatile["requests"]
        assert volatile["tokens"] == volatile["prompt_tokens"] + volatile["completion_tokens"]
        assert model not in "ab" or volatile["from_cache"] > 0
    # Good answers, those before the kill too, and bad ones that were answers all the same.
    bad = ("malformed", "truncated", "wrong schema", "seven", "refusal", "a page")
    assert distinct <= requests <= distinct + sum(server.behaved[kind] for kind in bad)
    a, b = (
        list(read_jsonl(tmp_path / results[m] / "data" / "scores.jsonl"))[:SILENT] for m in "ab"
    )
    assert a == b
    cache = tmp_path / "work" / "cache" / "verdicts"
    assert len(list(cache.glob("??/*"))) == kept(tmp_path) == distinct  # no claim is left
    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(everything) > distinct
    assert not [path for path in everything if API_KEY.encode() in path.read_bytes()]


def test_bad_ends_are_one_line_and_exit_2(tmp_path: Path, results: dict[str, Path]) -> None:
    def end(models: str, address: str, **runtime: Any) -> tuple[set[int], str]:
        with scoring(tmp_path, results, models, address, **runtime) as processes:
            codes = {process.wait(120) for process in processes.values()}
        return codes, (tmp_path / f"{models}.log").read_text().splitlines()[-1]

    no_key = end("a", "")
    assert no_key[0] == {2}
    assert no_key[1].startswith("error: OPENAI_API_KEY: None: set it")
    with serving(ChatServer(verdict)) as server:
        codes, line = end("b", server.address, judge_budget_tokens=4000)
        assert codes == {2}
        assert line.startswith("error: runtime.judge_budget_tokens: 4000: ")
        had = kept(tmp_path)
        assert f"judge-x: {had} answers received for this cell" in (tmp_path / "b.log").read_text()
        assert 0 < had == server.paid.total() <= 4000 / 110
        server.plan = lambda message, seen: "401"
        codes, line = end("c", server.address)
        assert codes == {2}
        assert line.startswith("error: OPENAI_API_KEY: 'HTTP 401': refused by http://127.0.0.1:")
        assert line.endswith("you sent Bearer ***")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(API_KEY.encode() in content for content in written)
    assert not list((tmp_path / "results" / "score").rglob("manifest.json"))
