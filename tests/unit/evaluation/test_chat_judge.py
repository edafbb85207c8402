"""The chat-model judge inside one process, against a server that misbehaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.evaluation import JudgeConfig
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation import chat_client
from langtransfer.evaluation.chat_client import Chat, Patience
from langtransfer.evaluation.judging import ASPECTS
from langtransfer.evaluation.openai_judge import build_request, prompt_text
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.verdict_cache import VerdictCache
from scripts import score
from tests.chat_server import ChatServer, serving

GOOD = {"accuracy": 2, "fluency": 3, "informativeness": 1, "logicality": 0, "harmlessness": 3}
FENCED = "```json\n" + json.dumps(GOOD) + "\n```"  # no schema was enforced, and good all the same
PLANS = {
    "q1": ["429", "429", "ok"],
    "q2": ["500", "ok"],
    "q3": ["malformed", "seven", "ok"],
    "q4": ["truncated", "wrong schema", "ok"],
    "q5": ["reset", "ok"],
    "q6": ["hang", "ok"],
    "q7": ["refusal", "ok"],
    "q8": ["cut", "ok"],
    "q9": ["no JSON", "a page", "ok"],
}
QUICK = Patience(
    timeout_seconds=1.0,
    client_retries=1,
    rounds=4,
    pause_seconds=0.01,
    poll_seconds=0.02,
    batch_poll_seconds=0.02,
)
API = JudgeConfig(kind="openai", model="judge-x")
PRICE = {"judge-x": {"prompt": 30.0, "completion": 60.0, "batch": 0.5}}
Cell = Callable[..., Any]


def answer_in(message: str) -> str:
    return message.split("<answer>\n")[1].split("\n</answer>")[0]


def plan(plans: dict[str, list[str]]) -> Callable[[str, int], str]:
    """A plan for each answer, its last entry for ever."""

    def behaviour(message: str, seen: int) -> str:
        steps = plans.get(answer_in(message).removeprefix("answer "), ["ok"])
        return steps[min(seen, len(steps) - 1)]

    return behaviour


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:

    def answer(message: str) -> str:
        return FENCED if answer_in(message) == "answer q0" else json.dumps(GOOD)

    with serving(ChatServer(answer, plan(PLANS))) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.address)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen")
        monkeypatch.setattr(chat_client, "Patience", lambda timeout_seconds: QUICK)
        yield running


@pytest.fixture
def make_cell(make_job: Any, tmp_path: Path) -> Cell:
    """A score cell with n answers; cells of one test share their cache."""

    def make(
        name: str, n: int, judge: dict[str, Any] | None = None, first: int = 0, **runtime: Any
    ) -> Any:
        rows = [
            {"id": f"q{i}", "category": "A", "instruction": f"Question {i}?", "reference": f"r{i}"}
            for i in range(first, first + n)
        ]
        benchmark, answers = tmp_path / f"{name}-questions", tmp_path / f"{name}-answers"
        write_jsonl(benchmark / "questions.jsonl", rows)
        write_jsonl(
            answers / "answers.jsonl",
            [
                {"id": r["id"], "category": "A", "answer": f"answer {r['id']}", "finish": "eos"}
                for r in rows
            ],
        )
        shutil.rmtree(tmp_path / name / "out", ignore_errors=True)
        options = {"judge_concurrency": 3, "judge_cache": str(tmp_path / "cache")} | runtime
        return make_job(
            f"score/{name}/1k.zh.s1/qa/sw",
            {"language": "sw", "judge": API.model_dump() | (judge or {})},
            {"benchmark": benchmark, "answers": answers},
            runtime=options,
            name=name,
        )

    return make


def kept(tmp_path: Path) -> list[Path]:
    """Answers in the cache; claims are none."""
    files = sorted((tmp_path / "cache").glob("??/*.json"))
    return [path for path in files if "answer" in json.loads(path.read_text())]


def claims(tmp_path: Path) -> list[Path]:
    """What is in the cache's folders of keys and is no answer."""
    return sorted({*(tmp_path / "cache").glob("??/*")} - {*kept(tmp_path)})


def summary(job: Any) -> Any:
    return json.loads((job.out / "summary.json").read_text())


def test_every_verdict_comes_despite_misbehaviour(server: ChatServer, make_cell: Cell) -> None:
    job = make_cell("api", 12, judge_prices=PRICE)
    stats = score.run(job)
    rows = list(read_jsonl(job.out / "scores.jsonl"))
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(12)]
    assert all({a: row[a] for a in ASPECTS} == GOOD for row in rows)
    assert {row["judge"] for row in rows} == {"judge-x@llm-eval-0-3"}
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == 12
    # Completions received: 12 good; malformed, seven, truncated, wrong schema, a refusal, a page.
    estimated = stats.pop("estimated_tokens")
    assert 12 * 400 < estimated < 12 * 700
    a_page = stats["tokens"] - 17 * 110  # counted by our own rule: the page says no tokens
    assert 400 < a_page < 700
    assert stats == {
        "answers": 12,
        "requests": 18,
        "prompt_tokens": 1700 + a_page - 45,
        "completion_tokens": 170 + 45,
        "tokens": 1870 + a_page,
        "cost": pytest.approx(((1700 + a_page - 45) * 30 + 215 * 60) / 1e6),
        "from_cache": 0,
    }
    assert "checks" not in summary(job)


def completion(*choices: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion", "choices": list(choices)} | fields


def choice(**fields: Any) -> dict[str, Any]:
    good = {"role": "assistant", "content": json.dumps(GOOD)}
    return {"index": 0, "finish_reason": "stop", "message": good} | fields


# What endpoints that only resemble the protocol have been seen, or must be feared, to send.
SHAPES: dict[str, dict[str, Any]] = {
    "empty": {},
    "an error with status 200": {"error": {"message": "overloaded"}},
    "no choices": completion(),
    "choices are null": completion(choices=None),
    "choices are text": completion(choices="abc"),
    "choices are an object": completion(choices={"0": choice()}),
    "choice is null": completion(None),
    "choice is text": completion("abc"),
    "choice without message": completion({"index": 0, "finish_reason": "stop"}),
    "message is null": completion(choice(message=None)),
    "message is text": completion(choice(message="abc")),
    "message is a list": completion(choice(message=[json.dumps(GOOD)])),
    "content is missing": completion(choice(message={"role": "assistant"})),
    "content is null": completion(choice(message={"content": None})),
    "content is empty": completion(choice(message={"content": ""})),
    "content is a number": completion(choice(message={"content": 3})),
    "content is the object itself": completion(choice(message={"content": GOOD})),
    "content is in parts": completion(
        choice(message={"content": [{"type": "text", "text": json.dumps(GOOD)}]})
    ),
}
# Good answers in spite of what stands beside them; tokens by our own rule.
ODD_USAGE: dict[str, Any] = {
    "usage is null": None,
    "usage is text": "many",
    "usage is empty": {},
    "tokens are null": {"prompt_tokens": None, "completion_tokens": 1},
    "tokens are text": {"prompt_tokens": "9", "completion_tokens": "1"},
}


@pytest.mark.parametrize("mode", ["online", "batch"])
def test_completions_of_odd_shapes_are_asked_for_again(
    server: ChatServer, make_cell: Cell, mode: str
) -> None:
    good = server.completion
    odd = SHAPES | {name: completion(choice(), usage=usage) for name, usage in ODD_USAGE.items()}

    def shaped(body: dict[str, Any], behaviour: str) -> dict[str, Any]:
        return odd[behaviour] if behaviour in odd else good(body, behaviour)

    server.completion = shaped  # type: ignore[method-assign]
    server.plan = plan({f"q{i}": [name, "ok"] for i, name in enumerate(odd)})
    job = make_cell("shapes", len(odd), judge_mode=mode)
    stats = score.run(job)
    rows = list(read_jsonl(job.out / "scores.jsonl"))
    assert len(rows) == len(odd)
    assert all({a: row[a] for a in ASPECTS} == GOOD for row in rows)
    assert {name: server.behaved[name] for name in odd} == dict.fromkeys(odd, 1)
    assert server.behaved["ok"] == len(SHAPES)
    assert stats["requests"] == len(odd) + len(SHAPES)
    # Of the odd ones none told how many tokens it took.
    assert stats["tokens"] > len(SHAPES) * 110 + len(odd) * 400


def test_a_batch_file_has_a_line_a_line_feed_and_no_other(
    server: ChatServer, make_cell: Cell
) -> None:
    separators = "\u2028\u2029\x85"  # line ends for Python's splitlines; JSON may hold them bare
    server.answer, server.plan = lambda message: FENCED + separators, plan({})
    job = make_cell("separators", 3, judge_mode="batch")
    assert score.run(job)["requests"] == 3
    assert any(separators in text for text in server.files.values())
    assert [row["id"] for row in read_jsonl(job.out / "scores.jsonl")] == ["q0", "q1", "q2"]


def test_what_is_sent(
    server: ChatServer, make_cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    score.run(make_cell("sent", 1, judge_prices=PRICE))
    (body,) = server.bodies
    assert (body["model"], body["temperature"]) == ("judge-x", 0.0)
    message = body["messages"][0]["content"]
    assert all(part in message for part in ("Question 0?", "r0", "answer q0", "Swahili"))
    form = body["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["required"] == list(ASPECTS)
    assert form["schema"]["additionalProperties"] is False
    before, after = capsys.readouterr().out.splitlines()
    assert before.startswith("judge-x: 1 answers wanted, 0 of them in ")
    assert "1 to ask for: about " in before
    assert "$0.0" in before
    assert after == (
        "judge-x: 1 answers received for this cell, in earlier runs too: "
        "100 prompt and 10 completion tokens, $0.0036"
    )


def test_nothing_is_asked_for_twice_in_any_cell(
    server: ChatServer, make_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_cell("one", 6), make_cell("two", 8, first=3)
    score.run(first)
    assert score.run(second)["from_cache"] == 3
    assert len(server.paid) == 11
    assert set(server.paid.values()) == {1}
    monkeypatch.delenv("OPENAI_API_KEY")  # not needed for what is paid for
    again = make_cell("three", 11)
    stats = score.run(again)
    assert (stats["from_cache"], stats["requests"], stats["tokens"]) == (11, 0, 0)
    rows = [*read_jsonl(first.out / "scores.jsonl"), *read_jsonl(second.out / "scores.jsonl")]
    by_id = {row["id"]: row for row in rows}
    assert list(read_jsonl(again.out / "scores.jsonl")) == [by_id[f"q{i}"] for i in range(11)]


def test_the_judge_is_asked_whether_it_agrees_with_itself(
    server: ChatServer, make_cell: Cell
) -> None:
    def answer(message: str) -> str:
        asked_again = server.seen[message] > 1
        swapped = message.index("<answer>") < message.index("<reference>")
        levels = GOOD | ({"fluency": 2} if asked_again else {})
        levels |= {"accuracy": 3, "harmlessness": 2} if swapped else {}
        return json.dumps(levels)

    server.answer, server.plan = answer, lambda message, seen: "ok"
    judge = {"checks": {"items": 4, "repeat": 2, "position": True}}
    job = make_cell("checks", 10, judge, judge_concurrency=1)
    assert score.run(job)["requests"] == 10 + 4 * 2 + 4
    checks = summary(job)["checks"]
    assert checks["items"] == 4
    assert checks["repeat"]["accuracy"] == {
        "n": 8, "agreement": 1.0, "mean_difference": 0.0, "mean_absolute_difference": 0.0,
    }  # fmt: skip
    assert checks["repeat"]["fluency"]["mean_difference"] == -1
    assert checks["position"]["accuracy"]["mean_difference"] == 1
    assert checks["position"]["harmlessness"]["agreement"] == 0
    assert checks["position"]["logicality"]["agreement"] == 1
    swapped = [b for b in server.bodies if "reference>\n\nReply" in b["messages"][0]["content"]]
    assert len(swapped) == 4
    orders = [b["response_format"]["json_schema"]["schema"]["required"] for b in swapped]
    assert orders == [list(ASPECTS[::-1])] * 4
    more = make_cell("more", 10, {"checks": {"items": 4, "repeat": 3, "position": False}})
    assert score.run(more)["requests"] == 4  # one more repeat; the rest is had
    assert {row["fluency"] for row in read_jsonl(more.out / "scores.jsonl")} == {3}


def test_a_prompt_without_another_order_is_not_checked_for_position(
    server: ChatServer, make_cell: Cell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from langtransfer.evaluation import resources

    folder = tmp_path / "prompts" / "judge"
    folder.mkdir(parents=True)
    (folder / "fixed.jinja").write_text("{{ question }}<answer>\n{{ answer }}\n</answer>")
    (folder / "wrong.jinja").write_text("{{ qestion }}")
    monkeypatch.setattr(resources, "RESOURCES", tmp_path)
    with pytest.raises(UserError, match=r"score\.judge\.prompt: 'fixed': .* `swapped`"):
        score.run(make_cell("a", 3, {"prompt": "fixed", "checks": {"items": 2}}))
    with pytest.raises(UserError, match=r"prompt: .*qestion.*fields are answer, language"):
        score.run(make_cell("b", 3, {"prompt": "wrong"}))
    with pytest.raises(UserError, match=r"score\.judge\.prompt: 'nope': no such file"):
        score.run(make_cell("c", 3, {"prompt": "nope"}))
    assert not server.bodies


@pytest.mark.parametrize(
    ("behaviour", "field", "words"),
    [
        ("seven", "score.judge.model", "no usable answer in 4"),
        ("truncated", "score.judge.model", "cut off"),
        ("500", "OPENAI_BASE_URL", "gives up after retries"),
        ("429", "OPENAI_BASE_URL", "run again to go on"),
        ("401", "OPENAI_API_KEY", "refused by http://127.0.0.1"),
        ("404", "score.judge.model", "HTTP 404"),
        ("400", "score.judge.model", "correct score.judge"),
    ],
)
def test_gives_up_in_one_line_and_keeps_what_it_had(
    server: ChatServer,
    make_cell: Cell,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    behaviour: str,
    field: str,
    words: str,
) -> None:
    server.plan = plan({"q1": [behaviour]})
    with pytest.raises(UserError, match=words) as caught:
        score.run(make_cell("bad", 3, judge_concurrency=1, judge_prices=PRICE))
    spoilt = 0 if behaviour.isdigit() else QUICK.rounds  # answers too, and paid for
    taken = f"{(1 + spoilt) * 100} prompt and {(1 + spoilt) * 10} completion tokens, $0.0"
    assert taken in capsys.readouterr().out.splitlines()[-1]
    assert caught.value.field == field
    assert "sk-not" not in str(caught.value)  # the server says in every error what key it got
    assert ("***" in str(caught.value)) == behaviour.isdigit()
    assert len(kept(tmp_path)) == 1
    assert not claims(tmp_path)
    assert max(server.seen.values()) <= QUICK.rounds * (1 + QUICK.client_retries)
    server.plan = plan({})
    stats = score.run(make_cell("bad", 3, judge_prices=PRICE))
    assert (stats["from_cache"], stats["requests"]) == (1, 3 + spoilt)  # what came before counts
    assert stats["cost"] == pytest.approx((3 + spoilt) * 0.0036)


def test_a_failure_lets_what_is_in_flight_end(
    server: ChatServer, make_cell: Cell, tmp_path: Path
) -> None:
    def slow(message: str) -> str:
        server.released.wait(0.5)
        return json.dumps(GOOD)

    server.answer, server.plan = slow, plan({"q0": ["401"]})
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        score.run(make_cell("ending", 9, judge_concurrency=3))
    assert len(kept(tmp_path)) == 2  # q1 and q2 were paid for and are had
    assert server.paid.total() == 2


def test_keys_that_cannot_be_sent(
    server: ChatServer, make_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, shown in (("", "''"), ("sk-secret\n", r"'\(not shown\)'"), ("sk–secret", "not shown")):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(UserError, match=f"OPENAI_API_KEY: .*{shown}") as caught:
            score.run(make_cell("key", 1))
        assert "secret" not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="OPENAI_API_KEY: None: set it"):
        score.run(make_cell("key", 1))


def test_a_model_without_schemas_is_asked_without(server: ChatServer, make_cell: Cell) -> None:
    server.plan = lambda message, seen: "no schemas"
    job = make_cell("plain", 12)
    score.run(job)
    rows = list(read_jsonl(job.out / "scores.jsonl"))
    assert all({a: row[a] for a in ASPECTS} == GOOD for row in rows)
    refusals = sum("response_format" in body for body in server.bodies)
    assert len(server.bodies) == 12 + refusals
    assert 1 <= refusals <= 8, "once for each that was in flight"


def test_passwords_in_the_address_are_not_shown(
    server: ChatServer, make_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plan = plan({"q0": ["500"]})
    address = server.address.replace("//", "//user:secret@")
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(UserError, match="OPENAI_BASE_URL: 'http://127") as caught:
        score.run(make_cell("address", 1))
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/v1?api-key=secret#secret")
    assert Chat("x", None, "score.judge.model").endpoint == "https://gateway.example/v1"


def test_an_endpoint_of_the_config_is_asked_and_named(
    server: ChatServer, make_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # nobody is there
    judge = {"base_url": server.address}
    assert score.run(make_cell("named", 2, judge))["requests"] == 2
    assert len(server.paid) == 2
    server.plan = plan({"q0": ["500"]})
    other = {"base_url": server.address.replace("127.0.0.1", "localhost")}
    with pytest.raises(UserError, match=r"score\.judge\.base_url: 'http://localhost:"):
        score.run(make_cell("other", 1, other))  # another endpoint's verdicts are no answer


# -- the cap ---------------------------------------------------------------------------------


def test_the_cap_stops_cleanly_and_holds_over_cells(
    server: ChatServer, make_cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = plan({})
    with pytest.raises(UserError, match=r"judge_budget_tokens: 5000: .*kept: raise it") as caught:
        score.run(make_cell("cap", 60, judge_budget_tokens=5000))
    spent = server.paid.total() * 110
    assert 5000 - 700 < spent <= 5000
    assert f"{spent:,} tokens are spent" in str(caught.value)
    taken = f"{server.paid.total() * 100:,} prompt and {server.paid.total() * 10} completion tokens"
    assert taken in capsys.readouterr().out
    assert len(kept(tmp_path)) == server.paid.total()
    before = server.paid.total()
    with pytest.raises(UserError, match=f"judge_budget_tokens: {spent + 300}"):
        score.run(make_cell("other", 60, first=200, judge_budget_tokens=spent + 300))
    assert server.paid.total() == before
    dollars = {"judge_prices": PRICE, "judge_budget_dollars": 0.2}
    with pytest.raises(UserError, match=r"judge_budget_dollars: 0\.2: \$0\.1\d+ are spent"):
        score.run(make_cell("dollars", 60, first=200, **dollars))
    before, own = server.paid.total(), before
    assert 0.2 - 0.03 < before * (100 * 30 + 10 * 60) / 1e6 <= 0.2
    stats = score.run(make_cell("cap", 60, judge_budget_tokens=10**6))
    assert (stats["from_cache"], stats["requests"]) == (own, 60)  # those of the first run too
    assert stats["tokens"] == 60 * 110
    assert set(server.paid.values()) == {1}


def test_a_cap_in_dollars_needs_prices(server: ChatServer, make_cell: Cell) -> None:
    with pytest.raises(UserError, match=r"budget_dollars: 5\.0: .*judge_prices has no judge-x"):
        score.run(make_cell("cap", 1, judge_budget_dollars=5.0))
    assert not server.bodies


def test_malformed_answers_count_for_the_cap(server: ChatServer, make_cell: Cell) -> None:
    server.plan = plan({f"q{i}": ["seven", "seven", "ok"] for i in range(100)})
    with pytest.raises(UserError, match="judge_budget_tokens"):
        score.run(make_cell("cap", 60, judge_budget_tokens=5000))
    assert sum(server.behaved.values()) * 110 <= 5000 + 3 * 3 * 110


# -- batches ---------------------------------------------------------------------------------


def test_a_batch_brings_the_same_verdicts(
    server: ChatServer, make_cell: Cell, tmp_path: Path
) -> None:
    bad = {"q3": ["malformed", "seven", "ok"], "q4": ["truncated", "ok"], "q5": ["500", "ok"]}
    server.plan, server.polls_to_completion = plan(bad), 3
    job = make_cell("batch", 12, judge_mode="batch", judge_prices=PRICE)
    stats = score.run(job)
    rows = list(read_jsonl(job.out / "scores.jsonl"))
    assert all({a: row[a] for a in ASPECTS} == GOOD for row in rows)
    assert len(server.batches) == 3  # all twelve, the three bad ones, the last one
    assert (stats["requests"], stats["tokens"]) == (15, 15 * 110)
    assert stats["cost"] == pytest.approx(15 * (100 * 30 + 10 * 60) / 1e6 / 2)
    assert set(server.paid.values()) == {1}
    assert not list((tmp_path / "cache" / "batches").iterdir())
    online = make_cell("online", 12)
    assert score.run(online)["requests"] == 0
    assert (online.out / "scores.jsonl").read_bytes() == (job.out / "scores.jsonl").read_bytes()
    sent = [body["response_format"]["type"] for body in server.bodies]
    assert set(sent) == {"json_schema"}


class Killed(BaseException):
    """Stands in for SIGKILL: nothing in the code under test catches it."""


def killed_while_waiting(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> None:
    from langtransfer.evaluation import chat_batches

    def dies(seconds: float) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(chat_batches.time, "sleep", dies)
        with pytest.raises(Killed):
            run()


@pytest.mark.parametrize("mode", ["batch", "online"])
@pytest.mark.parametrize("same_cell", [True, False])
def test_a_batch_outlives_the_run_that_sent_it(
    server: ChatServer,
    make_cell: Cell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    same_cell: bool,
) -> None:
    server.plan, server.polls_to_completion = plan({}), 4
    killed_while_waiting(monkeypatch, lambda: score.run(make_cell("killed", 8, judge_mode="batch")))
    assert len(server.batches) == 1
    assert not kept(tmp_path)
    later = make_cell("killed" if same_cell else "other", 10, judge_mode=mode)
    stats = score.run(later)
    assert stats["requests"] == (10 if same_cell else 2)  # a batch is its sender's to pay
    if not same_cell:
        assert score.run(make_cell("killed", 8))["requests"] == 8
    assert len(server.batches) == (2 if mode == "batch" else 1)  # two questions were new
    assert set(server.paid.values()) == {1}
    assert len(kept(tmp_path)) == 10


@pytest.mark.parametrize("sent", [True, False])
def test_killed_before_the_batch_had_a_name(
    server: ChatServer,
    make_cell: Cell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sent: bool,
) -> None:
    server.plan = plan({})
    record = VerdictCache.record_batch

    def dies(self: VerdictCache, token: str, content: dict[str, Any]) -> None:
        if not content["id"]:
            record(self, token, content)
        if content["id"] or not sent:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(VerdictCache, "record_batch", dies)
        with pytest.raises(Killed):
            score.run(make_cell("killed", 8, judge_mode="batch"))
    assert len(server.batches) == sent
    assert score.run(make_cell("killed", 8, judge_mode="batch"))["requests"] == 8
    assert len(server.batches) == 1
    assert set(server.paid.values()) == {1}
    assert not list((tmp_path / "cache" / "batches").iterdir())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"batch_status": "failed"}, r"score\.judge\.model: .*model not found"),
        ({"batch_status": "expired", "plan": plan({"q1": ["500"]})}, "no usable answer in 4"),
    ],
)
def test_batches_that_fail(
    server: ChatServer, make_cell: Cell, tmp_path: Path, spoil: dict[str, Any], words: str
) -> None:
    server.plan = plan({})
    for name, value in spoil.items():
        setattr(server, name, value)
    with pytest.raises(UserError, match=words):
        score.run(make_cell("fails", 3, judge_mode="batch"))
    assert not list((tmp_path / "cache" / "batches").iterdir())
    server.plan, server.batch_status = plan({}), "completed"
    assert score.run(make_cell("fails", 3, judge_mode="batch"))["answers"] == 3


def test_an_endpoint_without_batches_is_told(
    server: ChatServer, make_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.address.replace("/v1", "/v2"))
    with pytest.raises(UserError, match=r"runtime\.judge_mode: 'batch': .*set it to online"):
        score.run(make_cell("none", 3, judge_mode="batch"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.address)
    server.plan = plan({})
    assert score.run(make_cell("none", 3))["requests"] == 3


def test_a_batch_of_another_endpoint_is_not_lost(
    server: ChatServer, make_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plan, server.polls_to_completion = plan({}), 4
    killed_while_waiting(monkeypatch, lambda: score.run(make_cell("a", 3, judge_mode="batch")))
    monkeypatch.setenv("OPENAI_BASE_URL", server.address + "/")
    with pytest.raises(
        UserError, match=r"OPENAI_BASE_URL: .*sent to another one.*delete .*batches"
    ):
        score.run(make_cell("a", 3, judge_mode="batch"))


def test_the_cap_cuts_a_batch(server: ChatServer, make_cell: Cell, tmp_path: Path) -> None:
    server.plan = plan({})
    with pytest.raises(UserError, match="judge_budget_tokens"):
        score.run(make_cell("cap", 50, judge_mode="batch", judge_budget_tokens=6000))
    # Ten fit by their estimates, took a sixth of that, and made room for more.
    assert 5000 < server.paid.total() * 110 <= 6000
    assert len(kept(tmp_path)) == server.paid.total()


# -- identity --------------------------------------------------------------------------------


def test_key_is_all_that_decides_a_verdict() -> None:
    prompt = prompt_text("llm-eval-0-3")
    asked = Question(id="q", category="A", instruction="?", reference="r")
    other = Question(id="q", category="A", instruction="!", reference="r")
    base = build_request(API, prompt, "zh", asked, "x").key
    others = [
        build_request(API.model_copy(update={"model": "y"}), prompt, "zh", asked, "x"),
        build_request(API.model_copy(update={"temperature": None}), prompt, "zh", asked, "x"),
        build_request(API.model_copy(update={"base_url": "http://y"}), prompt, "zh", asked, "x"),
        build_request(API, prompt + "{# v2 #}", "zh", asked, "x"),
        build_request(API, prompt, "hi", asked, "x"),
        build_request(API, prompt, "zh", other, "x"),
        build_request(API, prompt, "zh", asked, "z"),
        build_request(API, prompt, "zh", asked, "x", repeat=1),
        build_request(API, prompt, "zh", asked, "x", repeat=2),
        build_request(API, prompt, "zh", asked, "x", swapped=True),
    ]
    assert build_request(API, prompt, "zh", asked.model_copy(update={"id": "z"}), "x").key == base
    assert len({base, *(request.key for request in others)}) == 11
