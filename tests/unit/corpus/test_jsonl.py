"""JSON Lines: the same rows give the same bytes, and damage is named, never skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.corpus.jsonl import (
    JsonlWriter,
    read_json,
    read_jsonl,
    read_lines,
    write_json,
    write_jsonl,
)
from langtransfer.errors import UserError

ROWS = [{"id": str(i), "text": "你好，世界 नमस्ते " * (i % 7) + "\n\u2028\x85"} for i in range(500)]
SUFFIXES = ["jsonl", "jsonl.gz", "jsonl.zst"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_and_bytes_repeat(tmp_path: Path, suffix: str) -> None:
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    assert write_jsonl(one, ROWS) == len(ROWS)
    assert write_jsonl(two, iter(ROWS)) == len(ROWS)
    assert list(read_jsonl(one)) == ROWS
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    write_jsonl(path, ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"a\.jsonl.*truncated or corrupt"):
        list(read_jsonl(path))


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
def test_a_flipped_bit_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_jsonl(path, ROWS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    with pytest.raises(UserError):
        list(read_jsonl(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_joined_files_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_jsonl(path, ROWS)
    path.write_bytes(path.read_bytes() * 2)
    assert list(read_jsonl(path)) == ROWS * 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 1', "line 2: '{\"id\": 1': not JSON"),
        ("[1]", "line 2.*not a JSON object"),
        ('"a"', "line 2.*not a JSON object"),
        ("[" * 100_000, "line 2.*not JSON"),
        ("1" * 5000, "line 2.*not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 0}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        list(read_jsonl(path))


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 0}\n{"id": "\xff"}\n')
    with pytest.raises(UserError, match=r"line 2.*not UTF-8"):
        list(read_jsonl(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl.*no such file"):
        list(read_jsonl(tmp_path / "none.jsonl"))


def test_byte_order_mark_blank_lines_and_crlf_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n\r\n{"id": 2}')
    assert list(read_jsonl(path)) == [{"id": 1}, {"id": 2}]
    assert [number for number, _ in read_lines(path)] == [1, 2, 3]


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def rows() -> object:
        yield {"id": 1}
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_jsonl(tmp_path / "a.jsonl.zst", rows())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_several_writers_may_be_open_at_once(tmp_path: Path) -> None:
    one, two = tmp_path / "dropped" / "one.jsonl.zst", tmp_path / "two.jsonl.gz"
    with JsonlWriter(one) as first, JsonlWriter(two) as second:
        for row in ROWS:
            (first if len(row["text"]) > 30 else second).write(row)
    assert first.count + second.count == len(ROWS)
    assert len(list(read_jsonl(one))) == first.count > 0


def test_json_files_have_sorted_keys(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    write_json(path, {"b": 1, "a": "ä"})
    assert path.read_text(encoding="utf-8") == '{\n "a": "ä",\n "b": 1\n}\n'
    assert read_json(path) == {"a": "ä", "b": 1}


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=4)))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl.zst"
    write_jsonl(path, rows)
    assert list(read_jsonl(path)) == rows
