"""Questions in another language: what must not change does not, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config import RuntimeConfig
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.corpus.registry import identity, load_registry
from langtransfer.errors import UserError
from langtransfer.evaluation import chat_client
from langtransfer.evaluation.chat_client import MalformedError, Patience
from langtransfer.evaluation.questions import missing_questions_explained
from langtransfer.evaluation.translation import MARK, protect, read_translation, restore
from langtransfer.job import Job
from langtransfer.provenance import sha256_file
from scripts import translate_benchmark
from tests.chat_server import ChatServer, serving

QUICK = Patience(timeout_seconds=1.0, client_retries=1, rounds=3, pause_seconds=0.01)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("你好", "你好"),
        ("运行 `x = 1` 两次", "运行 ⟦1⟧ 两次"),
        ("看：\n```python\n# 注释\nx = 1\n```\n它做什么？", "看：\n⟦1⟧\n它做什么？"),
        ("求 $x^2 = 4$ 和 \\(y\\)", "求 ⟦1⟧ 和 ⟦2⟧"),
        ("一个 $5，一个 $6 的苹果", "一个 $5，一个 $6 的苹果"),
        ("写信给 a.b@c.org，见https://x.org/?q=1。", "写信给 ⟦1⟧，见⟦2⟧。"),
        (
            "{name}你好，${id} 和 %s，%(n)d，[NAME] <b>粗</b>",
            "⟦1⟧你好，⟦2⟧ 和 ⟦3⟧，⟦4⟧，⟦5⟧ ⟦6⟧粗⟦7⟧",
        ),
        ("翻译：\nI love you.\n谢谢", "翻译：\n⟦1⟧\n谢谢"),
        ("这段：\ndef f(x): return `x`\n对吗", "这段：\n⟦2⟧\n对吗"),
        ("留着 ⟦1⟧ 这个", "留着 ⟦1⟧ 这个"),
        ("1. 选\n2. 答\n---", "1. 选\n2. 答\n---"),
    ],
)
def test_what_is_protected(text: str, masked: str) -> None:
    found = protect(text, ("Han",))
    assert found.text == masked
    assert restore(found.text, found) == text


@given(st.text(alphabet="ab 中文`$x={}<>⟦1⟧\n@.%s\\()", max_size=40))
def test_masks_come_off_again(text: str) -> None:
    for scripts in (("Han",), ("Latin",)):
        found = protect(text, scripts)
        assert restore(found.text, found) == text
        assert set(found.spans) == set(MARK.findall(found.text))


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"instruction": "⟦1⟧ चलाओ"}, ""),
        ({"instruction": "चलाओ"}, "mark ⟦1⟧ is lost"),
        ({"instruction": "⟦1⟧ ⟦1⟧ चलाओ"}, "mark ⟦1⟧"),
        ({"instruction": "⟦1⟧ ⟦2⟧ चलाओ"}, "mark ⟦2⟧"),
        ({"instruction": "⟦1⟧"}, "instruction is empty"),
        ({"instruction": "运行 ⟦1⟧"}, "not translated"),
        ({"instruction": "run ⟦1⟧ twice"}, "hardly in the script of hi"),
        ({"instruction": 3}, "is empty"),
        ({}, "keys are"),
        ({"instruction": "⟦1⟧ चलाओ", "reference": "x"}, "keys are"),
        (["⟦1⟧"], "no JSON object"),
    ],
)
def test_bad_translations_are_refused(answer: Any, complaint: str) -> None:
    fields = {"instruction": protect("运行 `x`", ("Han",))}
    content = json.dumps(answer)
    if complaint:
        with pytest.raises(MalformedError, match=complaint):
            read_translation(content, fields, "hi")
    else:
        assert read_translation(content, fields, "hi") == {"instruction": "`x` चलाओ"}


@pytest.mark.parametrize("name", ["input", "reference"])
def test_fields_that_came_back_as_they_went_are_refused_unless_short(name: str) -> None:
    poem = "春眠不觉晓，处处闻啼鸟。"
    fields = {"instruction": protect("写一首诗", ("Han",)), name: protect(poem, ("Han",))}
    answer = {"instruction": HINDI, name: f" {poem}\n"}
    with pytest.raises(MalformedError, match=f"{name} .*春眠.* is not translated"):
        read_translation(json.dumps(answer), fields, "hi")
    fields[name] = protect("3 km", ("Latin",))  # a quantity, a name: the same in both languages
    assert read_translation(json.dumps(answer | {name: "3 km"}), fields, "hi")[name] == "3 km"


# -- the stage -------------------------------------------------------------------------------

HINDI = "यह एक वाक्य है"
QUESTIONS = [
    {"id": "Code_1", "instruction": "运行 `x = 1`", "reference": "`1`"},
    {"id": "Poetry_1", "instruction": "写一首诗", "reference": "春眠不觉晓", "points": 5},
    {"id": "Poetry_2", "instruction": "写一首诗", "input": "关于 {topic}", "reference": ""},
    {"id": "Reading_1", "instruction": "Why?", "reference": "So."},
]


def fields_in(message: str) -> dict[str, str]:
    start = message.index("{", message.index("as a JSON object:"))
    fields: dict[str, str] = json.JSONDecoder().raw_decode(message[start:])[0]
    return fields


def hindi(message: str) -> str:
    """A translation: one sentence for everything, marks kept."""
    found = fields_in(message)
    return json.dumps(
        {name: f"{HINDI} {' '.join(MARK.findall(text))}".strip() for name, text in found.items()}
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    with serving(ChatServer(hindi)) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.address)
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setattr(chat_client, "Patience", lambda timeout_seconds: QUICK)
        yield running


@pytest.fixture
def translate(tmp_path: Path) -> Callable[..., tuple[list[dict[str, Any]], Any, dict[str, Any]]]:
    """Runs the stage; its questions, its stats and what it said of itself."""
    source = tmp_path / "source"
    blank = {"category": "A", "input": "", "keys": [["k"]], "wrong": ["w"]}
    write_jsonl(source / "questions.jsonl", [blank | row for row in QUESTIONS])

    def run(name: str, ready: Path | None = None, **runtime: Any) -> Any:
        settings: dict[str, Any] = {"source": "zh", "language": "hi", "ready": None}
        settings["translator"] = {"model": "gpt-x"} if ready is None else None
        runtime = {"judge_cache": str(tmp_path / "cache")} | runtime
        if ready is not None:
            registry = tmp_path / "registry.csv"
            registry.write_text(
                "key,language,kind,location,revision,files,format\n"
                f"q,hi,file,{ready.parent},,{ready.name},llm-eval\n"
            )
            row = load_registry(registry).row("q", "hi")
            settings["ready"] = identity(row, sha256_file).model_dump()
            runtime["registry"] = str(registry)
        folder = tmp_path / name
        for part in ("out", "work"):
            (folder / part).mkdir(parents=True)
        job = Job("translate_benchmark", "translate_benchmark/q/hi", name, settings,
                  {"source": source}, folder / "out", folder / "work",
                  RuntimeConfig(**runtime))  # fmt: skip
        facts = translate_benchmark.run(job)
        rows = list(read_jsonl(job.out / "questions.jsonl"))
        return rows, json.loads((job.out / "stats.json").read_text()), facts

    return run


def test_questions_come_out_in_the_other_language(server: ChatServer, translate: Any) -> None:
    rows, stats, facts = translate("first")
    assert [row["id"] for row in rows] == [row["id"] for row in QUESTIONS]
    assert rows[0]["instruction"] == f"{HINDI} `x = 1`"
    assert rows[0]["reference"] == "`1`"  # nothing in it to translate: not sent
    assert rows[1]["reference"] == HINDI
    assert rows[1]["points"] == 5
    assert rows[2]["input"] == f"{HINDI} {{topic}}"
    assert rows[3]["instruction"] == "Why?"  # no Chinese in it: stays
    assert all(row["keys"] == [] == row["wrong"] for row in rows)
    assert stats == {"by": "gpt-x@llm-eval", "changed_spans": [], "items": 4}
    assert (facts["requests"], facts["tokens"], facts["items"]) == (3, 330, 4)
    sent = [fields_in(body["messages"][0]["content"]) for body in server.bodies]
    assert {"instruction": "运行 ⟦1⟧"} in sent
    message = server.bodies[0]["messages"][0]["content"]
    assert "Chinese into Hindi" in message
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert set(schema["required"]) == set(fields_in(message))
    again, _, later = translate("second")
    assert again == rows
    assert (later["from_cache"], later["requests"]) == (3, 0)


def test_bad_translations_are_asked_for_again(
    server: ChatServer, translate: Any, tmp_path: Path
) -> None:
    said: list[str] = []

    def careless(message: str) -> str:
        said.append(message)
        return message if said.count(message) == 1 else hindi(message)

    server.answer = careless
    rows, _, facts = translate("careless")
    assert rows[0]["instruction"] == f"{HINDI} `x = 1`"
    assert facts["requests"] == 6
    server.answer = lambda message: json.dumps(dict.fromkeys(fields_in(message), "लिखो"))
    with pytest.raises(UserError, match=r"translate_benchmark\.model: .*⟦1⟧ is lost"):
        translate("hopeless", judge_cache=str(tmp_path / "lost"))


def test_the_cap_holds_for_translations(server: ChatServer, translate: Any) -> None:
    with pytest.raises(UserError, match="judge_budget_tokens"):
        translate("cap", judge_budget_tokens=10)
    assert not server.bodies


def test_ready_files_are_taken(translate: Any, tmp_path: Path) -> None:
    ready = tmp_path / "hi.jsonl"
    rows = [
        {"question_uuid": row["id"], "question": f"{HINDI} {i}", "hint": HINDI}
        for i, row in enumerate(QUESTIONS)
    ]
    write_jsonl(ready, rows[::-1])
    found, stats, facts = translate("ready", ready)
    assert [row["instruction"] for row in found] == [f"{HINDI} {i}" for i in range(4)]
    assert [row["category"] for row in found] == ["A"] * 4
    changed = ["Code_1", "Poetry_2", "Reading_1"]  # code, a placeholder, and what was English
    assert stats == {"by": "q (ready)", "changed_spans": changed, "items": 4}
    assert facts == {"items": 4}


def test_ready_files_must_be_whole(translate: Any, tmp_path: Path) -> None:
    ready = tmp_path / "hi.jsonl"
    rows = [{"question_uuid": row["id"], "question": HINDI, "hint": ""} for row in QUESTIONS]
    write_jsonl(ready, rows)
    with pytest.raises(UserError, match=r"hi\.jsonl, Code_1, reference: '': is empty"):
        translate("empty", ready)
    write_jsonl(ready, [row | {"hint": HINDI} for row in rows[:-1]])
    with pytest.raises(UserError, match=r"hi\.jsonl: 'Reading_1': this question is not in"):
        translate("short", ready)


def test_missing_questions_say_where_to_put_them() -> None:
    def fetch(format: str) -> None:
        with missing_questions_explained(format, "llm-eval", Path("datasets.csv")):
            raise UserError("download", "https://x/dialogs.json", "not found (404)")

    with pytest.raises(UserError, match=r"404\).*put dialogs\.json into a folder.*row llm-eval of"):
        fetch("llm-eval")
    with pytest.raises(UserError, match=r"not found \(404\)$"):
        fetch("mmlu")
