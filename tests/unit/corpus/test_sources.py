"""fetch_corpus: the atlas and registered datasets, one entry after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langtransfer.config import RuntimeConfig
from langtransfer.corpus.jsonl import read_json, read_jsonl
from langtransfer.corpus.registry import identity, load_registry
from langtransfer.corpus.sources import HELD_OUT_START
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.provenance import sha256_file
from scripts import fetch_corpus

REPOSITORY = Path(__file__).resolve().parents[3]
REAL = REPOSITORY / "tests" / "configs" / "real-datasets.csv"


def job_of(folder: Path, registry: Path, language: str, *entries: dict[str, Any]) -> Job:
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    rows = load_registry(registry)
    filled = [
        {"language": language, **entry}
        | {"identity": identity(rows.row(entry["dataset"], entry.get("language", language)),
                                sha256_file).model_dump()}
        for entry in entries
    ]  # fmt: skip
    settings = {"language": language, "entries": filled, "seed": 1}
    runtime = RuntimeConfig(registry=str(registry))
    return Job("fetch_corpus", f"fetch_corpus/{language}", "k", settings, {}, folder / "out",
               folder / "work", runtime)  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("".join(f"line {n}\n" for n in range(10)), encoding="utf-8")
    path = tmp_path / "datasets.csv"
    path.write_text(
        "key,language,kind,location,revision,files,format\n"
        f"lines,sw,file,{tmp_path},,lines.txt,txt\n"
        "atlas,*,atlas,resources/atlas,,{language}.yaml,atlas\n",
        encoding="utf-8",
    )
    return path


def test_entries_follow_one_another(tmp_path: Path, registry: Path) -> None:
    job = job_of(
        tmp_path / "job", registry, "sw",
        {"dataset": "lines", "documents": 3, "start": 2},
        {"dataset": "atlas", "documents": 5},
        {"dataset": "atlas", "documents": 2, "start": 50, "language": "hi"},
    )  # fmt: skip
    assert fetch_corpus.run(job)["documents"] == 10
    rows = list(read_jsonl(job.out / "documents.jsonl.zst"))
    assert [row["id"] for row in rows[:4]] == [
        "lines.sw.lines.txt:3", "lines.sw.lines.txt:4", "lines.sw.lines.txt:5",
        "atlas.sw.atlas-000000",
    ]  # fmt: skip
    assert [row["text"] for row in rows[:3]] == ["line 2", "line 3", "line 4"]
    assert rows[-1]["id"] == "atlas.hi.atlas-000051"
    stats = read_json(job.out / "stats.json")
    assert stats["documents"] == 10
    assert stats["characters"] == sum(len(row["text"]) for row in rows)
    assert stats["bytes"] == sum(len(row["text"].encode()) for row in rows)


def test_the_same_bytes_every_time(tmp_path: Path, registry: Path) -> None:
    entries = ({"dataset": "atlas", "documents": 30}, {"dataset": "lines"})
    jobs = [job_of(tmp_path / name, registry, "sw", *entries) for name in ("one", "two")]
    for job in jobs:
        fetch_corpus.run(job)
    for name in ("documents.jsonl.zst", "stats.json"):
        assert (jobs[0].out / name).read_bytes() == (jobs[1].out / name).read_bytes()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dataset": "lines", "documents": 11}, "lines, documents: 11: the dataset has only 10"),
        ({"dataset": "atlas"}, "the atlas has no end: say how many"),
        ({"dataset": "atlas", "documents": 1, "start": HELD_OUT_START}, "where held-out text is"),
    ],
)
def test_too_much_and_too_little(
    tmp_path: Path, registry: Path, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        fetch_corpus.run(job_of(tmp_path / "job", registry, "sw", entry))


def test_real_sources_of_the_real_study(tmp_path: Path, shared_data: Path) -> None:
    english = job_of(tmp_path / "en", REAL, "en", {"dataset": "alpaca"}, {"dataset": "c4-demo"},
                     {"dataset": "wiki-demo"})  # fmt: skip
    chinese = job_of(tmp_path / "zh", REAL, "zh", {"dataset": "alpaca"}, {"dataset": "storybooks"})
    assert fetch_corpus.run(english)["documents"] == 7_375 + 300 + 30
    assert fetch_corpus.run(chinese)["documents"] == 6_229 + 78
