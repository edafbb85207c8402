"""Instruction pairs: upstream records, filters that count, an order whose prefixes nest."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config import RuntimeConfig
from langtransfer.corpus.jsonl import read_json, read_jsonl
from langtransfer.corpus.registry import identity, load_registry
from langtransfer.errors import UserError
from langtransfer.finetuning.instructions import Filter, in_stable_order
from langtransfer.job import Job
from langtransfer.provenance import sha256_file
from scripts import prepare_instructions

REPOSITORY = Path(__file__).resolve().parents[3]
REAL = REPOSITORY / "tests" / "configs" / "real-datasets.csv"
FIELDS = ["id", "category", "instruction", "input", "output"]


def registry_of(folder: Path, format: str, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    path = folder / "datasets.csv"
    header = "key,language,kind,location,revision,files,format\n"
    path.write_text(f"{header}tuning,zh,file,{folder},,{name},{format}\n", encoding="utf-8")
    return path


def prepare(
    folder: Path, registry: Path, key: str, examples: int | None, language: str = "zh", **more: Any
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    out, work = folder / "out", folder / "work"
    for path in (out, work):
        path.mkdir(parents=True)
    source = identity(load_registry(registry).row(key, language), sha256_file)
    settings = {
        "language": language,
        "source": {"dataset": key, "examples": examples},
        "identity": source.model_dump(),
        "max_characters": 100_000,
        "seed": 1,
    } | more
    runtime = RuntimeConfig(registry=str(registry))
    cell = f"prepare_instructions/{language}"
    prepare_instructions.run(
        Job("prepare_instructions", cell, "k", settings, {}, out, work, runtime)
    )
    return list(read_jsonl(out / "instructions.jsonl.zst")), read_json(out / "stats.json")


def records(count: int) -> list[dict[str, str]]:
    return [{"instruction": f"ask {n}", "input": "", "output": f"say {n}"} for n in range(count)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def test_belle_in_both_of_its_layouts(tmp_path: Path) -> None:
    rows = [{"instruction": "问", "input": "补充", "output": "答"}]
    rows.append({"input": "旧问", "target": "旧答"})
    registry = registry_of(tmp_path / "data", "belle", "belle.json", lines(rows))
    found, _ = prepare(tmp_path, registry, "tuning", None)
    assert sorted((row["instruction"], row["input"], row["output"]) for row in found) == [
        ("旧问", "", "旧答"), ("问", "补充", "答"),
    ]  # fmt: skip
    assert list(found[0]) == FIELDS
    assert {row["id"] for row in found} == {"belle.json:1", "belle.json:2"}


def test_bactrian_keeps_the_id_of_the_english_source(tmp_path: Path) -> None:
    rows = [{"id": "alpaca-107", "instruction": "a", "input": None, "output": "b"}]
    data = gzip.compress(lines(rows))
    registry = registry_of(tmp_path / "data", "bactrian-x", "sw.json.gz", data)
    found, _ = prepare(tmp_path, registry, "tuning", None)
    assert found == [dict(zip(FIELDS, ["alpaca-107", "", "a", "", "b"], strict=True))]


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    rows = [
        *records(5),
        {"instruction": "ask  0 ", "input": "", "output": "another answer"},
        {"instruction": "ask 9", "input": "", "output": " \n"},
        {"instruction": "", "input": "x", "output": "y"},
        {"instruction": "ask 10", "input": "", "output": "z" * 40},
    ]
    registry = registry_of(tmp_path / "data", "alpaca", "a.json", json.dumps(rows).encode())
    found, stats = prepare(tmp_path, registry, "tuning", 4, max_characters=40)
    assert len(found) == 4
    dropped = {"duplicate": 1, "empty": 2, "long": 1}
    assert stats == {"read": 9, "dropped": dropped, "usable": 5, "written": 4}


def test_fewer_examples_are_a_prefix_and_the_seed_decides(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "data", "alpaca", "a.jsonl", lines(records(300)))
    large, _ = prepare(tmp_path / "300", registry, "tuning", 300)
    small, _ = prepare(tmp_path / "20", registry, "tuning", 20)
    other, _ = prepare(tmp_path / "seed", registry, "tuning", 20, seed=2)
    assert small == large[:20]
    assert small != other
    assert [row["id"] for row in small] != [f"a.jsonl:{n}" for n in range(1, 21)]


@given(st.sets(st.text(min_size=1), max_size=30), st.integers(0, 3))
def test_a_source_that_grows_keeps_its_order(names: set[str], seed: int) -> None:
    pairs = [{"id": name} for name in names]
    ordered = list(in_stable_order(pairs, seed))
    some = [pair for pair in pairs if len(pair["id"]) > 1]
    assert list(in_stable_order(some, seed)) == [pair for pair in ordered if pair in some]


def test_the_first_of_repeated_pairs_stays() -> None:
    pairs = [
        {"id": str(n), "instruction": "a", "input": "b", "output": answer}
        for n, answer in enumerate(["x", "y"])
    ]
    chosen = Filter(100)
    assert [pair["output"] for pair in chosen.keep(pairs)] == ["x"]


@pytest.mark.parametrize(
    ("format", "rows", "examples", "message"),
    [
        ("alpaca", records(3), 4, "examples: 4: tuning has only 3 usable pairs"),
        ("alpaca", [], None, "has only 0"),
        ("alpaca", [{"instruction": "a"}], None, r"item 1: 'output': .*its keys: instruction"),
        ("bactrian-x", records(1), None, r"item 1: 'id': has no such field"),
        ("aplaca", records(1), None, "'aplaca': no reader .*did you mean alpaca"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, format: str, rows: list[dict[str, Any]], examples: int | None, message: str
) -> None:
    registry = registry_of(tmp_path / "data", format, "a.jsonl", lines(rows))
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, registry, "tuning", examples)


def test_the_atlas_gives_exactly_as_many_as_asked(tmp_path: Path) -> None:
    registry = REPOSITORY / "resources" / "datasets.csv"
    found, stats = prepare(tmp_path, registry, "atlas", 700, language="sw")
    assert len(found) == stats["written"] == 700
    assert len({(row["instruction"], row["input"]) for row in found}) == 700
    assert len({row["category"] for row in found}) == 17
    with pytest.raises(UserError, match="the atlas has no end"):
        prepare(tmp_path / "none", registry, "atlas", None, language="sw")


@pytest.mark.parametrize(("language", "count"), [("en", 7_375), ("zh", 6_229)])
def test_real_alpaca_records(tmp_path: Path, shared_data: Path, language: str, count: int) -> None:
    found, stats = prepare(tmp_path, REAL, "alpaca", None, language=language)
    assert stats["read"] == count == len(found) + sum(stats["dropped"].values())
    assert all(row["instruction"].strip() and row["output"].strip() for row in found)
