"""BELLE's 1.5M: two files as one source, and each rule on what it is for and what it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.corpus.registry import load_registry
from langtransfer.finetuning.quality import RULES, fault, fingerprint
from tests.unit.finetuning.test_instructions import lines, prepare

REPOSITORY = Path(__file__).resolve().parents[3]


def pair(asked: str, answer: str, given: str = "") -> dict[str, str]:
    return {"instruction": asked, "input": given, "output": answer}


BAD = {
    "broken-characters": [pair("写一首诗", "春�风"), pair("写\x00诗", "春风")],
    "not-chinese": [pair("Write a poem.", "春风"), pair("1 + 1 = ?", "2")],
    "attachment": [
        pair("请描述这张图片。", "一只猫。"),
        pair("描述内容", "一只猫。", "[图片]"),
        pair("下面的视频里有什么？", "一只猫。"),
    ],
    "refusal": [
        pair("你喜欢什么？", "作为一个AI语言模型，我没有喜好。"),
        pair("今天天气如何？", "抱歉，我无法获取天气。"),
        pair("你是谁？", "As an AI language model, I cannot say."),
    ],
    "echo": [
        pair("改写句子", "我爱北京。\n", "我爱北京。"),
        pair("写一首诗", "写一首诗！"),
    ],
    "repetitive": [
        pair("写一首诗", "哈" * 20),
        pair("写一首诗", "春风吹又生，" * 5),
        pair("写代码", "前面没有问题。\n" + "print(i)\nprint(j)\n" * 5),
    ],
}
GOOD = [
    pair("写一首诗", "春眠不觉晓，处处闻啼鸟。"),
    pair("把这句话翻译成英语", "I love Beijing.", "我爱北京"),
    pair("改成大写", "I LOVE BEIJING", "I love Beijing"),
    pair("画一个表格", "| 甲 | 乙 |\n|----|----|\n" + "-" * 40),
    pair("圆周率是多少？", "3." + "0" * 30),
    pair("解释什么是图片压缩", "图片压缩是减小图片文件的方法。"),
    pair("人工智能模型有哪些？", "常见的人工智能模型有决策树、神经网络等。"),
    pair("如何道歉？", "可以说：对不起，我错了。"),
    pair("背九九表", "一一得一，一二得二，一三得三，一四得四，一五得五，一六得六。"),
]


@pytest.mark.parametrize(("rule", "found"), [(r, p) for r, pairs in BAD.items() for p in pairs])
def test_each_rule_drops_what_it_is_for(rule: str, found: dict[str, str]) -> None:
    assert fault(found) == rule


def test_every_rule_is_tried() -> None:
    assert set(BAD) == set(RULES)


@pytest.mark.parametrize("found", GOOD)
def test_good_pairs_stay(found: dict[str, str]) -> None:
    assert fault(found) is None


def test_real_chinese_records_mostly_stay(shared_data: Path) -> None:
    """Translated English ones, whose edits are often lost: most of the dropped are echoes."""
    folder = shared_data / "instructions" / "alpaca-zh-en" / "history" / "翻译后的中文数据"
    records = [
        pair(row["instruction"], row["output"], row.get("input") or "")
        for path in sorted(folder.glob("*.json"))
        for row in json.loads(path.read_text(encoding="utf-8-sig"))
    ]
    dropped = [fault(record) for record in records]
    assert len(records) == 6_229
    assert sum(found is not None for found in dropped) == 73
    assert dropped.count("echo") == 60


@given(st.text())
def test_fingerprints_ignore_width_case_space_and_punctuation(text: str) -> None:
    assert fingerprint(f" {text}。") == fingerprint(text) or not fingerprint(text).isalnum()
    assert fingerprint("Ａb，c") == fingerprint("aB C")


def test_two_files_are_one_source_and_stats_add_up(tmp_path: Path) -> None:
    """The layout of the shipped row: both parts by their keys, in the order of their keys."""
    half = [
        {"input": "写一首诗", "target": "春风"},
        {"input": "你是谁", "target": "我是一个AI模型"},
    ]
    million = [
        {"instruction": "写一首诗。", "input": "", "output": "秋雨"},
        {"instruction": "写一首歌", "input": "", "output": "秋雨"},
        {"instruction": "Write.", "input": "", "output": "秋雨"},
    ]
    (tmp_path / "half.json").write_bytes(lines(half))
    (tmp_path / "million.json").write_bytes(lines(million))
    registry = tmp_path / "datasets.csv"
    registry.write_text(
        "key,language,kind,location,revision,files,format\n"
        f"belle-500k,zh,file,{tmp_path},,half.json,belle\n"
        f"belle-1m,zh,file,{tmp_path},,million.json,belle\n"
        "belle,zh,rows,,,belle-500k;belle-1m,belle-filtered\n"
    )
    found, stats = prepare(tmp_path / "job", registry, "belle", None)
    assert {row["id"] for row in found} == {"belle-1m/million.json:1", "belle-1m/million.json:2"}
    assert stats == {
        "read": 5, "usable": 2, "written": 2,
        "dropped": {"duplicate": 1, "not-chinese": 1, "refusal": 1},
    }  # fmt: skip
    raw, _ = prepare(tmp_path / "raw", registry, "belle-1m", None)
    assert len(raw) == 3, "a part by itself is taken as published"


def test_the_shipped_source_is_both_parts() -> None:
    row = load_registry(REPOSITORY / "resources" / "datasets.csv").row("belle", "zh")
    assert [part.key for part in row.parts] == ["belle-500k", "belle-1m"]
    assert all(part.kind == "hub" and len(part.revision) == 40 for part in row.parts)
