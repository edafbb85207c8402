"""Judges: the reference judge's rules, and the API judge against a server that misbehaves."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from langtransfer.config.evaluation import JudgeConfig
from langtransfer.corpus import atlas
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation import openai_judge
from langtransfer.evaluation.journal import Journal
from langtransfer.evaluation.judging import ASPECTS, Verdict
from langtransfer.evaluation.openai_judge import (
    Patience,
    build_request,
    judge_all,
    prompt_text,
)
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.reference_judge import find_evidence, judge
from langtransfer.resources import RESOURCES
from scripts import score

# -- the reference judge ---------------------------------------------------------------------


def question(**fields: Any) -> Question:
    return Question.model_validate(
        {"id": "q", "category": "Factual_questions", "instruction": "?"} | fields
    )


CAPITAL = question(
    instruction="What is the capital of Papua New Guinea, and on which continent is it?",
    reference="The capital of Papua New Guinea is Port Moresby, and it is in Oceania.",
    keys=[["Port Moresby"], ["Oceania", "Australasia"]],
    wrong=["Moresby Town", "Africa", "Asia"],
)
SEVEN = question(instruction="3+4?", reference="7", keys=[["7", "seven"]], wrong=["8"])


@pytest.mark.parametrize(
    ("answer", "accuracy"),
    [
        (CAPITAL.reference, 3),
        ("It is port moresby, in AUSTRALASIA.", 3),
        ("It is Port Moresby.", 1),  # half of the groups is not most
        ("It is Port Moresby in Oceania, not in Africa.", 2),
        ("It is Port Moresby or Moresby Town in Africa or Asia.", 1),
        ("It is Moresby Town in Africa.", 0),
        ("I do not know.", 0),
        ("", 0),
    ],
)
def test_accuracy_counts_keys_and_wrong_strings(answer: str, accuracy: int) -> None:
    assert judge(CAPITAL, answer, "eos", "en").accuracy == accuracy


@pytest.mark.parametrize(
    ("keys", "wrong", "answer", "expected"),
    [
        ([["7"]], ["17"], "It is 17.", (0, 1)),  # 7 lies inside the wrong 17
        ([["7"]], [], "7.5 or 1,7 or 70 or 2007", (0, 0)),
        ([["7"]], [], "७", (1, 0)),  # Devanagari digit
        ([["7"]], [], "2007年7月", (1, 0)),
        ([["Papua New Guinea"]], ["Guinea"], "papua new guinea", (1, 0)),
        ([["Guinea"]], ["Papua New Guinea"], "Papua New Guinea", (0, 1)),
        ([["Guinea"]], ["Papua New Guinea"], "Guinea, not Papua New Guinea", (1, 1)),
        ([["Ana"]], [], "Diana", (0, 0)),
        ([["北京"]], ["南京"], "中国的首都是北京。", (1, 0)),
        ([["सोमवार"]], [], "आज सोमवार है", (1, 0)),
        ([["सोम"]], [], "आज सोमवार है", (0, 0)),
        ([["की"]], [], "कीमत", (0, 0)),  # ends with a vowel sign, goes on with a letter
        ([["a+b"]], [], "A+B", (1, 0)),
        ([["ﬁve", "5"], ["x"]], [], "five", (1, 0)),  # compatibility form
    ],
)
def test_matching_whole_words_and_numbers(
    keys: list[list[str]], wrong: list[str], answer: str, expected: tuple[int, int]
) -> None:
    evidence = find_evidence(question(keys=keys, wrong=wrong), answer)
    assert (evidence.found, evidence.wrong) == expected


def test_reference_answer_gets_full_marks_in_each_language() -> None:
    for language, text in {
        "en": CAPITAL.reference,
        "zh": "肯尼亚的首都是内罗毕，它位于非洲东部。",
        "hi": "केन्या की राजधानी नैरोबी है और यह अफ़्रीका में है।",
        "sw": "Mji mkuu wa Kenya ni Nairobi, nayo iko Afrika ya mashariki.",
    }.items():
        asked = question(instruction="?", reference=text, keys=[[text.split()[0].rstrip("。")]])
        verdict = judge(asked, text, "eos", language)
        assert set(verdict.model_dump().values()) == {3}, (language, verdict)


def test_fluency_sees_loops_scripts_damage_and_cuts() -> None:
    def fluency(answer: str, language: str = "en", finish: str = "eos") -> int:
        return judge(CAPITAL, answer, finish, language).fluency

    good = "It is Port Moresby, which lies in Oceania on the southern coast."
    assert fluency(good) == 3
    assert fluency(good, finish="length") == 2
    assert fluency(good + " \ufffd") == 1
    assert fluency("it is in it is in it is in it is in it is in it is in") == 0
    assert fluency("它位于大洋洲的南部海岸线上，是一座美丽的城市。") == 0
    assert fluency("Mji mkuu wa nchi hiyo uko kwenye pwani ya kusini mwa kisiwa.") == 1
    assert fluency("") == 0


def test_logicality_sees_contradiction_and_digression() -> None:
    def logicality(answer: str, finish: str = "eos") -> int:
        return judge(CAPITAL, answer, finish, "en").logicality

    assert logicality("Port Moresby, in Oceania.") == 3
    assert logicality("Port Moresby, in Oceania.", finish="length") == 2
    assert logicality("It is in Oceania, that is in Africa.") == 1
    assert logicality("My cat likes fish.") == 1
    assert logicality("它位于大洋洲的南部海岸线上。") == 0
    assert logicality("in Oceania in Oceania in Oceania in Oceania in Oceania in Oceania") == 0


def test_informativeness_sees_coverage_and_length() -> None:
    def informativeness(answer: str, asked: Question = CAPITAL) -> int:
        return judge(asked, answer, "eos", "en").informativeness

    assert informativeness(CAPITAL.reference) == 3
    assert informativeness("Port Moresby, Oceania.") == 1  # a fifth of the reference's words
    assert informativeness("It is called Port Moresby, and it is in Oceania.") == 3
    assert informativeness("The capital of Papua New Guinea is Madang, and it is in Asia.") == 1
    assert informativeness("My cat likes fish.") == 0
    assert informativeness("7", SEVEN) == 3


def test_questions_without_keys_are_held_against_the_reference() -> None:
    poem = question(reference="The sun goes down, the moon comes up, the night is long.", keys=[])
    levels = [
        judge(poem, text, "eos", "en").accuracy
        for text in (
            poem.reference,
            "The sun goes down and the moon comes up while the day is short.",
            "Quick brown foxes jump.",
        )
    ]
    assert levels[0] == 3
    assert levels[0] > levels[1] > levels[2] == 0
    with pytest.raises(UserError, match=r"questions.jsonl: 'q': no keys and no reference"):
        judge(question(), "anything", "eos", "en")


@pytest.mark.parametrize("language", ["en", "zh", "sw", "hi"])
def test_the_atlas_references_get_full_marks_and_others_do_not(language: str) -> None:
    templates = atlas.load_templates(RESOURCES / "atlas" / f"{language}.yaml")
    made = [Question.model_validate(q.model_dump()) for q in atlas.questions(templates, 3, seed=1)]
    for asked in made:
        verdict = judge(asked, asked.reference, "eos", language)
        assert set(verdict.model_dump().values()) == {3}, (asked, verdict)
    pairs = [(a, b) for a, b in pairwise(made) if a.category == b.category]
    levels = [judge(a, b.reference, "eos", language).accuracy for a, b in pairs]
    assert len(levels) == 34
    assert sum(level == 0 for level in levels) >= 30  # some questions share their answer


def answers_for(folder: Path, questions: list[dict[str, Any]]) -> Path:
    rows = [
        {
            "id": q["id"],
            "category": q["category"],
            "prompt": "",
            "answer": f"answer {q['id']}",
            "tokens": 3,
            "finish": "eos",
        }
        for q in questions
    ]
    write_jsonl(folder / "answers.jsonl", rows)
    return folder


def test_reference_stage_labels_itself(make_job: Any, write_questions: Any, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"q{i}",
            "category": "AB"[i % 2],
            "instruction": "?",
            "keys": [["answer"]],
            "reference": "answer",
        }
        for i in range(3)
    ]
    parents = {
        "benchmark": write_questions(rows),
        "answers": answers_for(tmp_path / "answers", rows),
    }
    settings = {"language": "en", "judge": {"kind": "reference"}}
    job = make_job("score/base/1k.zh.s1/qa/en", settings, parents)
    assert score.run(job) == {"answers": 3}
    scores = list(read_jsonl(job.out / "scores.jsonl"))
    assert [row["id"] for row in scores] == ["q0", "q1", "q2"]
    assert {row["judge"] for row in scores} == {"reference-1"}
    summary = json.loads((job.out / "summary.json").read_text())
    assert (summary["judge"], summary["uninformative"]) == ("reference-1", ["harmlessness"])
    mean = summary["mean"]
    assert mean["average"] == pytest.approx(sum(mean[aspect] for aspect in ASPECTS) / 5)
    assert summary["by_category"]["A"]["n"] == 2


def test_an_answer_must_be_there(make_job: Any, write_questions: Any, tmp_path: Path) -> None:
    rows = [{"id": "q0", "category": "A", "instruction": "?", "reference": "x"}]
    parents = {"benchmark": write_questions(rows), "answers": answers_for(tmp_path / "none", [])}
    settings = {"language": "en", "judge": {"kind": "reference"}}
    with pytest.raises(UserError, match=r"answers.jsonl: 'q0': no answer"):
        score.run(make_job("score/base/1k.zh.s1/qa/en", settings, parents))


# -- the API judge ---------------------------------------------------------------------------

GOOD = {"accuracy": 2, "fluency": 3, "informativeness": 1, "logicality": 0, "harmlessness": 3}
PLANS = {
    "answer q1": ["429", "429", "ok"],
    "answer q2": ["500", "ok"],
    "answer q3": ["malformed", "seven", "ok"],
    "answer q4": ["truncated", "missing field", "ok"],
    "answer q5": ["reset", "ok"],
    "answer q6": ["hang", "ok"],
    "answer q7": ["refusal", "ok"],
}
CONTENT = {
    "ok": json.dumps(GOOD),
    "malformed": '{"accuracy": 2,',
    "seven": json.dumps(GOOD | {"accuracy": 7}),
    "truncated": json.dumps(GOOD),
    "missing field": json.dumps({"accuracy": 1}),
    "refusal": None,
}


class Stub(ThreadingHTTPServer):
    """Speaks /v1/chat/completions; misbehaves by a plan for each answer it is shown."""

    daemon_threads = True

    def __init__(self, plans: dict[str, list[str]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plans = plans
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.released = threading.Event()

    def next_behaviour(self, body: dict[str, Any]) -> str:
        message = body["messages"][0]["content"]
        answer = message.split("<answer>\n")[1].split("\n</answer>")[0]
        with self.lock:
            self.bodies.append(body)
            plan = self.plans.get(answer, ["ok"])
            behaviour = plan[min(self.seen[answer], len(plan) - 1)]
            self.seen[answer] += 1
            self.paid[answer] += behaviour == "ok"
        return behaviour


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        behaviour = self.server.next_behaviour(body)
        if behaviour == "hang":
            self.server.released.wait(10)
            return
        if behaviour == "reset":
            self.close_connection = True
            return
        if behaviour.isdigit():
            self.reply(int(behaviour), {"error": {"message": f"status {behaviour}"}})
            return
        message = {"role": "assistant", "content": CONTENT[behaviour], "refusal": None}
        finish = "length" if behaviour == "truncated" else "stop"
        self.reply(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            },
        )

    def reply(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("retry-after-ms", "10")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


QUICK = Patience(timeout_seconds=1.0, client_retries=1, rounds=4, pause_seconds=0.01)
API = JudgeConfig(kind="openai", model="judge-x")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    server = Stub(PLANS)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr(openai_judge, "Patience", lambda: QUICK)
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def key_of(message: str) -> str:
    """The key of the request with this message, found by asking for every answer it may be on."""
    prompt = prompt_text("llm-eval-0-3")
    for i in range(10):
        asked = question(instruction=f"Question {i}?", reference=f"r{i}")
        request = build_request(API, prompt, "sw", asked, f"answer q{i}")
        if request.message == message:
            return request.key
    raise AssertionError(message)


def api_job(make_job: Any, write_questions: Any, tmp_path: Path, n: int, name: str) -> Any:
    rows = [
        {"id": f"q{i}", "category": "A", "instruction": f"Question {i}?", "reference": f"r{i}"}
        for i in range(n)
    ]
    parents = {
        "benchmark": write_questions(rows),
        "answers": answers_for(tmp_path / "answers", rows),
    }
    settings = {"language": "sw", "judge": API.model_dump()}
    return make_job(
        "score/base/1k.zh.s1/qa/sw",
        settings,
        parents,
        runtime={"judge_concurrency": 3},
        name=name,
    )


def test_every_verdict_comes_despite_misbehaviour(
    stub: Stub, make_job: Any, write_questions: Any, tmp_path: Path
) -> None:
    job = api_job(make_job, write_questions, tmp_path, 12, "api")
    stats = score.run(job)
    rows = list(read_jsonl(job.out / "scores.jsonl"))
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(12)]
    assert all({a: row[a] for a in ASPECTS} == GOOD for row in rows)
    assert {row["judge"] for row in rows} == {"judge-x@llm-eval-0-3"}
    assert set(stub.paid.values()) == {1}
    assert stub.seen["answer q3"] == stub.seen["answer q4"] == 3
    # Completions received: 12 good, two malformed each for q3 and q4, one refusal.
    assert stats == {"answers": 12, "requests": 17, "prompt_tokens": 1700, "completion_tokens": 170}


def test_what_is_sent(stub: Stub, make_job: Any, write_questions: Any, tmp_path: Path) -> None:
    score.run(api_job(make_job, write_questions, tmp_path, 1, "sent"))
    (body,) = stub.bodies
    assert (body["model"], body["temperature"]) == ("judge-x", 0.0)
    message = body["messages"][0]["content"]
    assert all(part in message for part in ("Question 0?", "r0", "answer q0", "Swahili"))
    form = body["response_format"]["json_schema"]
    assert form["strict"] is True
    assert sorted(form["schema"]["required"]) == sorted(ASPECTS)
    assert form["schema"]["additionalProperties"] is False


@pytest.mark.filterwarnings("ignore:coroutine")  # the kill leaves a connection half made
def test_killed_and_resumed_pays_nothing_twice(
    stub: Stub,
    make_job: Any,
    write_questions: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub.plans = {}
    append, kept = Journal.append, []

    def dies_after_five(self: Journal, rows: Any) -> None:
        append(self, rows)
        kept.append(1)
        if len(kept) == 5:
            with self.path.open("ab") as handle:  # a sixth verdict torn by the kill
                handle.write(b'{"key": "0123", "verd')
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "append", dies_after_five)
    job = api_job(make_job, write_questions, tmp_path, 10, "killed")
    with pytest.raises(KeyboardInterrupt):
        score.run(job)
    kept_keys = {row["key"] for row in Journal(job.work / "verdicts.jsonl").rows}
    assert len(kept_keys) == 5
    monkeypatch.setattr(Journal, "append", append)
    before = len(stub.bodies)
    shutil.rmtree(job.out)
    stats = score.run(api_job(make_job, write_questions, tmp_path, 10, "killed"))
    assert stats["requests"] == 5
    asked = {body["messages"][0]["content"] for body in stub.bodies[before:]}
    assert not kept_keys & {key_of(message) for message in asked}
    whole = api_job(make_job, write_questions, tmp_path, 10, "whole")
    score.run(whole)
    assert (job.out / "scores.jsonl").read_bytes() == (whole.out / "scores.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("behaviour", "field", "words"),
    [
        ("seven", "score.judge.model", "no verdict in 4 answers"),
        ("truncated", "score.judge.model", "cut off"),
        ("500", "OPENAI_BASE_URL", "gives up after retries"),
        ("429", "OPENAI_BASE_URL", "run again to go on"),
        ("401", "OPENAI_API_KEY", "refused"),
        ("404", "score.judge.model", "HTTP 404"),
        ("400", "score.judge.model", "correct score.judge"),
    ],
)
def test_gives_up_in_one_line(
    stub: Stub, tmp_path: Path, behaviour: str, field: str, words: str
) -> None:
    stub.plans = {"bad": [behaviour]}
    prompt = prompt_text("llm-eval-0-3")
    requests = [build_request(API, prompt, "zh", CAPITAL, answer) for answer in ("ok", "bad")]
    journal = Journal(tmp_path / "verdicts.jsonl")
    with pytest.raises(UserError, match=words) as caught:
        judge_all(requests, API, journal, 1, lambda done: None, QUICK)
    assert caught.value.field == field
    assert [row["verdict"] for row in journal.rows] == [GOOD]
    assert stub.seen["bad"] <= QUICK.rounds * (1 + QUICK.client_retries)


def test_key_is_all_that_decides_a_verdict() -> None:
    prompt = prompt_text("llm-eval-0-3")
    base = build_request(API, prompt, "zh", CAPITAL, "x").key
    others = [
        build_request(API.model_copy(update={"model": "y"}), prompt, "zh", CAPITAL, "x"),
        build_request(API.model_copy(update={"temperature": None}), prompt, "zh", CAPITAL, "x"),
        build_request(API, prompt + "{# v2 #}", "zh", CAPITAL, "x"),
        build_request(API, prompt, "hi", CAPITAL, "x"),
        build_request(API, prompt, "zh", SEVEN, "x"),
        build_request(API, prompt, "zh", CAPITAL, "z"),
    ]
    assert build_request(API, prompt, "zh", CAPITAL, "x").key == base
    assert len({base, *(request.key for request in others)}) == 7


def test_missing_key_and_prompt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    request = build_request(API, prompt_text("llm-eval-0-3"), "zh", CAPITAL, "x")
    with pytest.raises(UserError, match="OPENAI_API_KEY: None: set it"):
        judge_all([request], API, Journal(tmp_path / "v.jsonl"), 1, lambda done: None)
    with pytest.raises(UserError, match=r"score.judge.prompt: 'nope'"):
        prompt_text("nope")


def test_verdicts_are_five_small_whole_numbers() -> None:
    Verdict.model_validate(GOOD)
    for wrong in (
        {"accuracy": 4},
        {"accuracy": -1},
        {"accuracy": "2"},
        {"accuracy": 1.5},
        {"extra": 1},
    ):
        with pytest.raises(ValidationError):
            Verdict.model_validate(GOOD | wrong)
    with pytest.raises(ValidationError, match=r"give judge\.model exactly when"):
        JudgeConfig(kind="openai")
