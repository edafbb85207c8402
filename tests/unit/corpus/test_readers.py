"""Every format a corpus comes in, on small files here and the real ones where they are."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.corpus.readers import read_documents, take, whole_characters
from langtransfer.corpus.registry import load_registry, local_files
from langtransfer.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
ROWS = [{"id": "x", "text": "第一"}, {"id": "y", "text": 'second, "quoted"\nline'}]
STORY = "# A title\n\n##\nPage one.\n\n##\nPage two.\n\n##\n* License: [CC-BY]\n* Language: en\n"
UDHR = """<?xml version="1.0"?>
<udhr xmlns="http://efele.net/udhr"><title>T</title>
<preamble><title>P</title><para>Whereas</para></preamble>
<article number="1"><title>1</title><para>All</para><orderedlist><listitem tag="(1)">
<para>free</para></listitem></orderedlist></article></udhr>"""


def texts(format: str, path: Path, field: str = "text") -> list[str]:
    return [row["text"] for row in read_documents(format, {path.name: path}, field)]


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_json_lines_plain_and_compressed(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row) for row in ROWS)
    plain = written(tmp_path, "a.jsonl", lines)
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.encode()))
    assert texts("jsonl", plain) == texts("jsonl", packed) == [row["text"] for row in ROWS]


@pytest.mark.parametrize("lines", [True, False])
def test_json_is_an_array_or_lines(tmp_path: Path, lines: bool) -> None:
    content = "\n".join(map(json.dumps, ROWS)) if lines else json.dumps(ROWS, indent=2)
    path = written(tmp_path, "a.json", "\n" + content)
    assert texts("json", path) == [row["text"] for row in ROWS]


@pytest.mark.parametrize(("format", "mark"), [("csv", ","), ("tsv", "\t")])
def test_tables_keep_text_as_it_is(tmp_path: Path, format: str, mark: str) -> None:
    content = f'n{mark}text\n1{mark}"a ""b""{mark}\nc"\n2{mark}NA\n3{mark}007\n'
    assert texts(format, written(tmp_path, "a", content)) == [f'a "b"{mark}\nc', "NA", "007"]


def test_long_cells_are_read(tmp_path: Path) -> None:
    assert len(texts("csv", written(tmp_path, "a.csv", "text\n" + "x" * 300_000))[0]) == 300_000


def test_parquet_through_datasets(tmp_path: Path) -> None:
    from datasets import Dataset

    path = tmp_path / "a.parquet"
    Dataset.from_list(ROWS).to_parquet(path)
    assert texts("parquet", path) == [row["text"] for row in ROWS]
    with pytest.raises(UserError, match=r"row 1: 'content': .*its keys: id, text"):
        texts("parquet", path, "content")
    with pytest.raises(UserError, match=r"b\.parquet'.*not Parquet"):
        texts("parquet", written(tmp_path, "b.parquet", "no"))


def test_text_by_line_and_whole(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "one\n\ntwo\n")
    assert texts("txt", path) == ["one", "two"]
    assert texts("txt-file", path) == ["one\n\ntwo"]


def test_alpaca_records_as_text(tmp_path: Path) -> None:
    rows = [{"instruction": "Add", "input": "1 1", "output": "2"}]
    rows.append({"instruction": "Hi", "input": "", "output": "Hello"})
    assert texts("alpaca", written(tmp_path, "a.json", json.dumps(rows))) == [
        "Add\n1 1\n2", "Hi\nHello",
    ]  # fmt: skip


def test_a_story_has_title_and_pages_but_no_metadata(tmp_path: Path) -> None:
    assert texts("storybook", written(tmp_path, "1.md", STORY)) == ["A title\nPage one.\nPage two."]


def test_the_declaration_by_article(tmp_path: Path) -> None:
    assert texts("udhr", written(tmp_path, "a.xml", UDHR)) == ["P\nWhereas", "1\nAll\nfree"]
    with pytest.raises(UserError, match="not XML"):
        texts("udhr", written(tmp_path, "b.xml", UDHR[:-20]))


TMX = """<?xml version="1.0"?><tmx version="1.4"><header segtype="sentence"/><body>
<tu tuid="1"><tuv xml:lang="en"><seg>water</seg></tuv><tuv xml:lang="sw"><seg>maji</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>no translation</seg></tuv><tuv xml:lang="sw"><seg> </seg></tuv></tu>
<tu><tuv xml:lang="SW"><seg>a<it pos="begin"/> &amp; b</seg></tuv></tu></body></tmx>"""


def test_one_language_of_a_translation_memory(tmp_path: Path) -> None:
    plain, packed = written(tmp_path, "a.tmx", TMX), tmp_path / "a.tmx.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(plain, "a.tmx")
    assert texts("tmx", plain, "sw") == texts("tmx", packed, "sw") == ["maji", "a & b"]
    ids = [row["id"] for row in read_documents("tmx", {"a.tmx": plain}, "sw")]
    assert ids == ["a.tmx:1", "a.tmx:3"]
    with pytest.raises(UserError, match=r"field: 'zh': no segment of .* name one of SW, en, sw"):
        texts("tmx", plain, "zh")
    with pytest.raises(UserError, match="not TMX"):
        texts("tmx", written(tmp_path, "b.tmx", TMX[:-20]), "sw")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.write(plain, "b.tmx")
    with pytest.raises(UserError, match=r"must hold one file \.tmx, not 2"):
        texts("tmx", packed, "sw")


def test_an_entity_bomb_is_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "ha">{entities}]>' + UDHR.partition("?>")[2].replace(
        "Whereas", "&l11;"
    )
    with pytest.raises(UserError, match="not XML"):
        texts("udhr", written(tmp_path, "a.xml", bomb))


def test_ids_name_file_and_line_in_the_order_of_names(tmp_path: Path) -> None:
    paths = {name: written(tmp_path, name, "one\n\ntwo\n") for name in ("b.txt", "a.txt")}
    found = [row["id"] for row in read_documents("txt", paths, "")]
    assert found == ["a.txt:1", "a.txt:3", "b.txt:1", "b.txt:3"]


@pytest.mark.parametrize(
    ("format", "content", "message"),
    [
        ("jsonl", '{"text": "a"}\n{"body": "b"}', r"line 2: 'text': .*its keys: body"),
        ("jsonl", '{"text": 7}', r"line 1: 7: field text must be text, not int"),
        ("json", '[{"text": "a"}, 3]', "item 2: '3': must be an object"),
        ("json", '[{"text": "a"}', "not JSON"),
        ("csv", "a,b\n1,2", r"line 2: 'text': .*its keys: a, b"),
        ("csv", "a,text\n1", "line 2: '1': has 1 cells for 2 columns"),
        ("alpaca", '[{"instruction": "a"}]', "item 1: 'output': .*its keys: instruction"),
        ("jsnol", "", "'jsnol': no reader .*did you mean jsonl"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, format: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        texts(format, written(tmp_path, "a.data", content))


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text": "a\\ud83d b \\ud83d\\ude00"}')
    assert texts("jsonl", path) == ["a\ufffd b 😀"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whole_characters_changes_nothing_else(text: str) -> None:
    assert whole_characters(text) == text


def documents(count: int) -> Iterator[dict[str, str]]:
    return ({"id": str(n), "text": str(n)} for n in range(count))


def test_take_cuts_and_refuses_to_give_less_than_asked() -> None:
    assert [row["id"] for row in take(documents(9), 2, 3, "field")] == ["2", "3", "4"]
    assert len(list(take(documents(9), 2, None, "field"))) == 7
    with pytest.raises(UserError, match="field: 8: the dataset has only 7 from document 2"):
        list(take(documents(9), 2, 8, "field"))
    with pytest.raises(UserError, match="only 0"):
        list(take(documents(0), 0, None, "field"))


@pytest.mark.parametrize(
    ("key", "language", "count"),
    [
        ("alpaca", "en", 7_375),
        ("alpaca", "zh", 6_229),
        ("c4-demo", "en", 300),
        ("wiki-demo", "en", 30),
        ("storybooks", "zh", 78),
        ("tatoeba", "te", 234),
        ("tico-19", "ta", 3_071),
    ],
)
def test_real_files_have_the_documents_upstream_counts(
    shared_data: Path, tmp_path: Path, key: str, language: str, count: int
) -> None:
    registry = load_registry(REPOSITORY / "tests" / "configs" / "real-datasets.csv")
    row = registry.row(key, language)
    found = list(read_documents(row.format, local_files(row, tmp_path), row.field))
    assert len(found) == count
    assert all(document["text"].strip() for document in found)
    assert len({document["id"] for document in found}) == count


def test_real_declarations_have_thirty_articles_and_a_preamble(shared_data: Path) -> None:
    for path in sorted((shared_data / "text" / "udhr" / "data" / "udhr").glob("*.xml")):
        assert len(texts("udhr", path)) == 31, path.name
