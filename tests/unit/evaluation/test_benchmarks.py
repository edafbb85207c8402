"""Response-quality questions, held-out text, and what the config may ask of a benchmark."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from langtransfer.config.corpus import DatasetIdentity
from langtransfer.config.evaluation import BenchmarkConfig
from langtransfer.corpus import atlas
from langtransfer.corpus.jsonl import read_jsonl
from langtransfer.corpus.registry import load_registry
from langtransfer.corpus.sources import HELD_OUT_START
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.questions import read_questions
from langtransfer.evaluation.benchmarks.text import read_text
from langtransfer.evaluation.resources import benchmark_resources
from tests.unit.evaluation.benchmark_cells import REAL, REPOSITORY, SHIPPED, cell, fetch


def test_response_quality_questions_of_the_atlas(tmp_path: Path) -> None:
    config = cell("response-quality", "atlas", "hi", items=2, subjects=("Code", "Poetry"))
    rows = list(read_jsonl(fetch(tmp_path, SHIPPED, "atlas", config) / "questions.jsonl"))
    assert Counter(row["category"] for row in rows) == {"Code": 2, "Poetry": 2}
    assert list(rows[0]) == ["id", "category", "instruction", "input", "reference", "keys", "wrong"]


def test_llm_eval_files_one_record_a_model_or_a_question(tmp_path: Path) -> None:
    dialogs = [
        {"question_uuid": f"Law_{n}", "llm_name": model, "hint": f"h{n}",
         "dialog": [{"role": "user", "content": f"q{n}"}, {"role": "llm", "content": "a"}]}
        for model in ("one", "two") for n in (1, 2)
    ]  # fmt: skip
    path = tmp_path / "dialogs.json"
    path.write_text(json.dumps(dialogs), encoding="utf-8")
    rows = read_questions(cell("response-quality", "llm-eval"), {"dialogs.json": path})
    assert [(row["id"], row["category"], row["instruction"], row["reference"]) for row in rows] == [
        ("Law_1", "Law", "q1", "h1"), ("Law_2", "Law", "q2", "h2"),
    ]  # fmt: skip
    path.write_text('{"question_uuid": "A_1", "dialog": []}', encoding="utf-8")
    with pytest.raises(UserError, match="no turn of role user"):
        read_questions(cell("response-quality", "llm-eval"), {"dialogs.json": path})


def test_real_llm_eval_questions_of_the_second_edition(shared_data: Path) -> None:
    folder = shared_data / "benchmarks" / "llmeval-2"
    derived = {"derived_questions.jsonl": folder / "derived_questions.jsonl"}
    config = cell("response-quality", "llm-eval")
    rows = read_questions(config, derived)
    assert (len(rows), len({row["category"] for row in rows})) == (480, 12)
    upstream = {path.name: path for path in (folder / "data").glob("*_data.json")}
    raw = read_questions(config, upstream)
    by_id = {row["id"]: row for row in rows}
    assert raw
    assert all(row["reference"] == by_id[row["id"]]["reference"] for row in raw)


@pytest.mark.parametrize(("language", "joiner"), [("en", " "), ("zh", "")])
def test_flores_sentences_become_articles(
    tmp_path: Path, shared_data: Path, language: str, joiner: str
) -> None:
    data = fetch(tmp_path, REAL, "flores", cell("text", "flores", language))
    rows = list(read_jsonl(data / "documents.jsonl"))
    assert len(rows) == 281
    name = {"en": "eng_Latn", "zh": "zho_Hans"}[language]
    folder = shared_data / "text" / "flores" / "flores200_dataset" / "devtest"
    lines = (folder / f"{name}.devtest").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1_012
    assert rows[0]["text"] == joiner.join(lines[:3])
    joined = sum(len(row["text"]) for row in rows)
    assert joined == sum(map(len, lines)) + len(joiner) * (1_012 - 281)


def test_flores_in_its_archive_is_flores(tmp_path: Path, shared_data: Path) -> None:
    """The layout of the shipped row: one archive of all languages, two of its files."""
    folder = shared_data / "text" / "flores" / "flores200_dataset"
    with tarfile.open(tmp_path / "flores200_dataset.tar.gz", "w:gz") as archive:
        archive.add(folder, "./flores200_dataset")
    shipped = load_registry(SHIPPED).row("flores", "sw")
    files = ";".join(
        f"{name}={d}" if d and "!" in name else name for name, d in shipped.files.items()
    )
    registry = tmp_path / "datasets.csv"
    registry.write_text(
        f"key,language,kind,location,revision,files,format\nflores,sw,file,{tmp_path},,{files},flores\n"
    )
    config = cell("text", "flores", "sw")
    packed, plain = (
        list(read_jsonl(fetch(tmp_path / name, r, "flores", config) / "documents.jsonl"))
        for name, r in (("packed", registry), ("plain", REAL))
    )
    assert packed == plain
    assert len(plain) == 281


def test_flores_with_lines_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.devtest").write_text("one\n", encoding="utf-8")
    (tmp_path / "m.tsv").write_text("URL\tdomain\nu\tx\nu\tx\n", encoding="utf-8")
    paths = {name: tmp_path / name for name in ("a.devtest", "m.tsv")}
    with pytest.raises(UserError, match="1 lines for 2 in its metadata"):
        list(read_text(cell("text", "flores"), paths))


def test_held_out_text_of_the_atlas_is_in_no_corpus(tmp_path: Path) -> None:
    data = fetch(tmp_path, SHIPPED, "atlas", cell("text", "atlas", "zh", items=3))
    rows = list(read_jsonl(data / "documents.jsonl"))
    templates = atlas.load_templates(REPOSITORY / "resources" / "atlas" / "zh.yaml")
    assert rows == list(atlas.documents(templates, 3, seed=1, start=HELD_OUT_START))


def test_any_dataset_may_be_held_out_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    source = DatasetIdentity(key="a", format="txt")
    rows = list(read_text(cell("text", "corpus", identity=source, items=1), {"a.txt": path}))
    assert rows == [{"id": "a.txt:1", "text": "one"}]
    with pytest.raises(UserError, match="items: 3: there are only 2"):
        list(read_text(cell("text", "corpus", identity=source, items=3), {"a.txt": path}))


def test_the_files_a_cell_is_made_from_are_named_for_the_planner() -> None:
    formats = ("atlas", "ceval", "mmlu", "cmmlu", "gaokao", "gaokao-subjective", "agieval",
               "flores", "llm-eval", "corpus")  # fmt: skip
    names = {format: [path.name for path in benchmark_resources(format)] for format in formats}
    assert names == {
        "atlas": ["task.yaml"],
        "ceval": ["subjects.csv", "task.yaml"],
        "mmlu": ["subjects.csv", "task.yaml"],
        "cmmlu": ["subjects.csv", "task.yaml"],
        "gaokao": ["files.csv", "letters.yaml", "sequence.yaml", "task.yaml"],
        "gaokao-subjective": [],
        "agieval": [
            "cloze.en.yaml",
            "cloze.zh.yaml",
            "files.csv",
            "letters.zh.yaml",
            "task.en.yaml",
            "task.zh.yaml",
        ],
        "flores": [],
        "llm-eval": [],
        "corpus": [],
    }
    for format in names:
        for path in benchmark_resources(format):
            if path.suffix == ".yaml":
                template = yaml.safe_load(path.read_text(encoding="utf-8"))
                assert template["metadata"]["version"] >= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "text", "format": "ceval"}, "formats of kind text: atlas, flores, corpus"),
        ({"kind": "knowledge", "format": "gaokao-subjective"}, "formats of kind knowledge: atlas"),
        ({"kind": "knowledge", "format": "cmmlu", "split": "val"}, "cmmlu has one split"),
        ({"kind": "knowledge"}, "the atlas has no end"),
        ({"kind": "text", "items": 5, "shots": 1}, "shots are for kind knowledge"),
        ({"kind": "text", "items": 5, "subjects": ["a"]}, "subjects are not for kind text"),
        ({"kind": "knowledge", "format": "gaokao", "split": "val"}, "gaokao has one split"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkConfig(dataset="a", **settings)
