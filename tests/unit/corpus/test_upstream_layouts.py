"""Every upstream layout on a fixture written here, and the real files where they are: exact counts.

Benchmarks' layouts are in tests/unit/evaluation/test_benchmark_tasks.py and test_benchmarks.py.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.training import PrepareInstructionsCell
from langtransfer.corpus.archives import unpack
from langtransfer.corpus.readers import read_documents
from langtransfer.errors import UserError
from langtransfer.finetuning.instructions import read_pairs
from langtransfer.finetuning.templates import render_prompt

LANGUAGES_OF_TICO = ("ar", "bn", "hi", "id", "mr", "ne", "sw", "ta", "ur", "zh")


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def array(*rows: Any) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1)


def documents(path: Path, format: str, field: str = "") -> list[str]:
    return [row["text"] for row in read_documents(format, {path.name: path}, field)]


def pairs(path: Path, format: str) -> list[dict[str, str]]:
    cell = PrepareInstructionsCell.model_validate({
        "language": "zh", "source": {"dataset": "a"}, "identity": {"key": "a", "format": format},
        "max_characters": 100_000, "seed": 1,
    })  # fmt: skip
    return list(read_pairs(cell, {path.name: path}))


BOOK = {"id": 1, "title": "Kitabu", "author": "A", "paragraphs": ["Moja.", "Mbili."]}
SQUAD = {
    "version": "1.1",
    "data": [
        {"title": "T", "paragraphs": [
            {"context": "First.", "qas": [{"id": "1", "question": "?", "answers": [
                {"text": "F", "answer_start": 0}]}]},
            {"context": "Second.", "qas": []},
        ]},
        {"title": "U", "paragraphs": [{"context": "Third.", "qas": []}]},
    ],
}  # fmt: skip
UDHR = """<udhr iso639-3="swh" xml:lang="sw" key="swh" n="1" dir="ltr" iso15924="Latn"
 xmlns="http://efele.net/udhr"><title>T</title><preamble><title>P</title><para>W</para></preamble>
<article number="1"><title>Kifungu 1</title><para>Watu wote</para></article></udhr>"""
TMX = """<?xml version="1.0" encoding="UTF-8"?><tmx version="1.4"><header/><body>
<tu tuid="CMU_1:1"><prop type="note">u</prop><tuv xml:lang="en"><seg>one</seg></tuv>
<tuv xml:lang="zh"><seg>一</seg></tuv></tu></body></tmx>"""
BIBLE = """<?xml version="1.0"?><cesDoc version="4"><text><body id="b"><div id="b.MAT" type="book">
<div id="b.MAT.1" type="chapter"><seg id="b.MAT.1.1" type="verse"> Neno </seg>
<seg id="b.MAT.1.2" type="verse">la <i>Mungu</i></seg></div></div></body></text></cesDoc>"""
STORY = (
    "# Hadithi\n\n##\nMoja.\n\n##\nMbili.\n\n##\n* License: [CC-BY]\n* Text: A\n* Language: sw\n"
)
WIKI = """<doc id="1" url="u" title="Gibson">
Gibson

A writer.
</doc>
<doc id="2" url="u" title="Empty">
Empty

</doc>
<doc id="3" url="u" title="Two">
Two

A paragraph.
Another.
</doc>
"""
LCB = 'prompt,source,language\n"Soma, tafadhali",okapi,sw\nElfu,okapi,sw\n'
CHOICES = [{"index": 0, "turns": [{"content": "a"}]}]

# What the README of the shared data calls it: file, content, format, field, texts.
TEXTS: dict[str, tuple[str, str, str, str, list[str]]] = {
    "6a eval set": (
        "eval_set.json", lines({"question": "q", "std_answer": "a", "class": "closed\xa0qa"}),
        "jsonl", "question", ["q"],
    ),
    "6a prompts": ("eval_prompt.json", lines({"class": "open QA", "prompt": "p"}), "jsonl",
                   "prompt", ["p"]),
    "6e firefly pretrain": ("p.jsonl", lines({"text": "a"}, {"text": "b"}), "jsonl", "text",
                            ["a", "b"]),
    "7d prompts": ("q.jsonl", lines({"uid": "1", "category": "c", "cluster": 1, "prompt": "p"}),
                   "jsonl", "prompt", ["p"]),
    "7e questions": ("q.jsonl", lines({"question_id": 1, "text": "t", "category": "generic"}),
                     "jsonl", "text", ["t"]),
    "7e queries": ("m.jsonl", lines({"id": 1, "label": "l", "query": "q"}), "jsonl", "query",
                   ["q"]),
    "10a": ("swh_Latn.devtest", 'Jumatatu.\n"""Sasa.\n', "flores", "", ["Jumatatu.", '"""Sasa.']),
    "10b": ("newstest2019-ref.swa.txt", "Moja.\nMbili.\n", "txt", "", ["Moja.", "Mbili."]),
    "10c": ("udhr_swh.xml", UDHR, "udhr", "", ["P\nW", "Kifungu 1\nWatu wote"]),
    "10e": ("tatoeba.swh-eng.swh", "Habari.\n", "txt", "", ["Habari."]),
    "10f": ("all.en-zh.tmx", TMX, "tmx", "zh", ["一"]),
    "10g": ("Swahili.xml", BIBLE, "xml", "seg", ["Neno", "la Mungu"]),
    "10h": ("0001_hadithi.md", STORY, "storybook", "", ["Hadithi\nMoja.\nMbili."]),
    "10i": ("train.sw", "Moja.\n\nMbili.\n", "txt", "", ["Moja.", "Mbili."]),
    "10j": ("wiki_00", WIKI, "wikiextractor", "", ["A writer.", "A paragraph.\nAnother."]),
    "10j demo": ("wiki_demo.txt", "An article.\n", "txt", "", ["An article."]),
    "10k books": ("book.json", array(BOOK), "json", "paragraphs", ["Moja.\nMbili."]),
    "10k chapters": ("c.jsonl", lines({"chapter": 1, "paragraphs": ["Moja."]}), "jsonl",
                     "paragraphs", ["Moja."]),
    "10l": ("xquad.zh.json", json.dumps(SQUAD), "squad", "", ["First.", "Second.", "Third."]),
    "10m": ("test.sw.jsonl", lines({"premise": "p", "choice1": "a", "choice2": "b",
            "question": "cause", "label": 0, "idx": 0, "changed": False}), "jsonl", "premise",
            ["p"]),
    "10n belebele": ("swh_Latn.jsonl", lines({"link": "l", "question_number": 1,
                     "flores_passage": "f", "question": "q", "mc_answer1": "a",
                     "correct_answer_num": "1", "dialect": "swh_Latn"}), "jsonl",
                     "flores_passage", ["f"]),
    "10n tydiqa": ("id.json", array({"context": "c", "question": "q", "answer": "a"}), "json",
                   "context", ["c"]),
    "10n m3exam": ("vi.json", array({"question_text": "q", "answer_text": "A",
                   "options": ["A. x"]}), "json", "question_text", ["q"]),
    "10n urdu": ("u.json", array({"id": 1, "question": "q", "options": {"A": "x"},
                 "correct_key": "D"}), "json", "question", ["q"]),
    "11": ("sw.csv", LCB, "csv", "prompt", ["Soma, tafadhali", "Elfu"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts(tmp_path: Path, name: str) -> None:
    file, content, format, field, expected = TEXTS[name]
    (tmp_path / file).write_text(content, encoding="utf-8")
    assert documents(tmp_path / file, format, field) == expected


ALPACA = {"instruction": "问", "input": "文", "output": "答"}
# Name: file, content, format, (instruction, input, output) of each record.
INSTRUCTIONS: dict[str, tuple[str, str, str, list[tuple[str, str, str]]]] = {
    "6a train": ("b.json", lines(ALPACA), "belle", [("问", "文", "答")]),
    "6a older": ("b.json", lines({"input": "问", "target": "答"}), "belle", [("问", "", "答")]),
    "6a seeds": (
        "zh_seed_tasks.json",
        lines({"id": "seed_task_8", "name": "n", "instruction": "问",
               "instances": [{"input": "文", "output": "答"}], "is_classification": False}),
        "seed-tasks", [("问", "文", "答")],
    ),
    "6b alpaca": ("a.json", array(ALPACA, ALPACA), "alpaca", [("问", "文", "答")] * 2),
    "6e oaast": ("o.json", array({**ALPACA, "history": [["a", "b"]]}), "alpaca",
                 [("问", "文", "答")]),
    "6e firefly": (
        "f.jsonl",
        lines({"conversation_id": 1, "category": "c", "dataset": "d",
               "conversation": [{"human": "问", "assistant": "答"}, {"human": "x"}]}),
        "firefly", [("问", "", "答")],
    ),
    "7a bactrian": ("sw.json", array({**ALPACA, "id": "alpaca-107"}), "bactrian-x",
                    [("问", "文", "答")]),
    "7b": ("v.jsonl", lines({"prompt": "问", "response": "答"}), "prompt-response",
           [("问", "", "答")]),
    "7c": ("b.json", array({**ALPACA, "english_instruction": "e", "english_input": "",
           "english_output": ""}), "alpaca", [("问", "文", "答")]),
}  # fmt: skip


@pytest.mark.parametrize("name", INSTRUCTIONS)
@pytest.mark.parametrize("packed", [False, True])
def test_instructions(tmp_path: Path, name: str, packed: bool) -> None:
    file, content, format, expected = INSTRUCTIONS[name]
    path = tmp_path / (f"{file}.gz" if packed else file)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    found = pairs(path, format)
    assert [(p["instruction"], p["input"], p["output"]) for p in found] == expected


def test_ids_of_upstream_are_kept(tmp_path: Path) -> None:
    for name, expected in {"7a bactrian": "alpaca-107", "6a seeds": "seed_task_8"}.items():
        file, content, format, _ = INSTRUCTIONS[name]
        (tmp_path / file).write_text(content, encoding="utf-8")
        assert pairs(tmp_path / file, format)[0]["id"] == expected


@pytest.mark.parametrize(
    ("format", "row", "message"),
    [
        ("firefly", {"conversation": []}, "must be a list of {human, assistant}"),
        ("firefly", {"conversation": [{"human": "a"}]}, "'assistant': has no such field"),
        ("seed-tasks", {"id": "1", "instances": {}}, "must be a list of {input, output}"),
        ("prompt-response", {"prompt": "a"}, "'response': has no such field"),
    ],
)
def test_records_that_are_none(tmp_path: Path, format: str, row: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(lines(row), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        pairs(tmp_path / "a.json", format)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\n", "line 1: text outside <doc>"),
        ("<doc id=1>\nA\n<doc id=2>\n", "line 3: <doc> in a <doc>"),
        ("<doc id=1>\nA\n", "line 1: <doc> has no end"),
        ("</doc>\n", "line 1: </doc> alone"),
    ],
)
def test_wikipedia_extracts_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "wiki").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message.replace(": ", ".*: ", 1)):
        documents(tmp_path / "wiki", "wikiextractor")


def test_an_element_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(BIBLE, encoding="utf-8")
    with pytest.raises(UserError, match=r"'verse': no element .*name one of body, cesDoc, div, i"):
        documents(tmp_path / "a.xml", "xml", "verse")


def test_10d_declarations_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "udhr2.zip", "w") as archive:
        for code in ("swh", "zho"):
            archive.writestr(f"udhr2/{code}.txt", f"{code} 1\n{code} 2\n")
    path = tmp_path / "udhr2.zip"
    found = unpack({"udhr2.zip": path}, tmp_path / "work", {"udhr2.zip": ["udhr2/swh.txt"]})
    texts = list(read_documents("txt", found, ""))
    assert [row["id"] for row in texts] == [
        "udhr2.zip/udhr2/swh.txt:1",
        "udhr2.zip/udhr2/swh.txt:2",
    ]


# -- real files -----------------------------------------------------------------------------------

BELLE = "instructions/belle"
REAL: dict[str, tuple[str, str, str, int]] = {
    "belle eval": (f"{BELLE}/eval/eval_set.json", "jsonl", "question", 1_000),
    "belle prompts": (f"{BELLE}/eval/eval_prompt.json", "jsonl", "prompt", 11),
    "c4": ("text/english/c4_demo.jsonl", "jsonl", "text", 300),
    "wikipedia": ("text/english/wiki_demo.txt", "txt", "", 30),
    "llmeval-1": ("benchmarks/llmeval-1/data/分项测评_gpt4.csv", "csv", "question_uuid", 27_420),
    "bengali": (
        "instructions/bengali/Data/aqua-train-merged-2728-output.json", "alpaca", "", 2_728,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str) -> None:
    file, format, field, count = REAL[name]
    assert len(documents(shared_data / file, format, field)) == count


@pytest.mark.parametrize("language", LANGUAGES_OF_TICO)
def test_real_tico_19(shared_data: Path, language: str) -> None:
    path = shared_data / "text" / "tico-19" / "data" / "TM" / f"all.en-{language}.tmx.zip"
    for side in ("en", language):
        assert len(documents(path, "tmx", side)) == 3_071


def test_real_flores(shared_data: Path) -> None:
    files = sorted((shared_data / "text" / "flores").rglob("*.devtest"))
    assert [len(documents(path, "flores")) for path in files] == [1_012] * 15


def test_real_malayalam_wikipedia(shared_data: Path) -> None:
    (path,) = (shared_data / "text" / "malayalam-wikipedia").rglob("wiki_*")
    found = documents(path, "wikiextractor")
    assert not any("<doc" in text or "</doc>" in text for text in found)
    # Of 386 pages 283 have a title alone.
    assert (path.read_text(encoding="utf-8").count("<doc "), len(found)) == (386, 103)


def test_real_seed_tasks(shared_data: Path) -> None:
    found = pairs(shared_data / BELLE / "data" / "1.5M" / "zh_seed_tasks.json", "seed-tasks")
    assert len({pair["id"] for pair in found}) == len(found) == 175


def test_real_gaokao(shared_data: Path) -> None:
    """Upstream's own numbers; what is asked of a model is more, a question may have parts."""
    folder = shared_data / "benchmarks" / "gaokao-bench" / "Data"
    count: Callable[[str], int] = lambda kind: sum(  # noqa: E731
        len(json.loads(path.read_text(encoding="utf-8"))["example"])
        for path in (folder / kind).glob("*.json")
    )
    assert (count("Objective_Questions"), count("Subjective_Questions")) == (1_781, 1_030)


def test_real_language_confusion(shared_data: Path, tmp_path: Path) -> None:
    archive = {"test_sets.zip": shared_data / "language-confusion" / "test_sets.zip"}
    wanted = {"test_sets.zip": ["test_sets/monolingual/okapi/[avz]?.csv"]}
    found = unpack(archive, tmp_path, wanted)
    assert [len(documents(path, "csv", "prompt")) for path in found.values()] == [100] * 3


def test_bactrian_template_is_upstreams(shared_data: Path) -> None:
    file = shared_data / "instructions" / "bactrian-x" / "templates" / "bactrian.json"
    upstream = json.loads(file.read_text(encoding="utf-8"))
    asked = {"instruction": "Add.", "input": "1 2"}
    assert render_prompt("bactrian", **asked) == upstream["prompt_input"].format(**asked)
    assert render_prompt("bactrian", "Add.") == upstream["prompt_no_input"].format(**asked)
