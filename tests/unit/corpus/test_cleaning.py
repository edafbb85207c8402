"""Cleaning: each document is kept or dropped for a stated reason, and the figures add up."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config.corpus import CleanCorpusCell
from langtransfer.corpus.cleaning import REASONS, Cleaner, normalise, symbol_share
from langtransfer.corpus.jsonl import read_json, read_jsonl, write_json, write_jsonl
from langtransfer.errors import UserError
from langtransfer.job import Job
from scripts import clean_corpus

ENGLISH = "The children walk to school every morning and come home in the afternoon."
SWAHILI = "Watoto wanakwenda shule kila siku asubuhi na kurudi nyumbani mchana."


def cleaner(**settings: Any) -> Cleaner:
    return Cleaner(CleanCorpusCell(language="en", **settings))


def test_text_is_normalised() -> None:
    assert normalise("\ufeffe\u0301a\r\nb\u2028c\x00\x07 ", "NFC") == "éa\nb\nc"
    assert normalise("ﬁ①", "NFKC") == "fi1"
    assert normalise("e\u0301", "none") == "e\u0301"


def test_joiners_of_indic_and_persian_scripts_survive() -> None:
    for text in ("क्\u200dष", "می\u200cخواهم", "ശ്രീ\u200d"):
        assert normalise(text, "NFC") == unicodedata.normalize("NFC", text)


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text, "NFC")
    assert normalise(once, "NFC") == once


@pytest.mark.parametrize(
    ("text", "share"), [("", 0.0), ("abc १२ 你好", 0.0), ("ab!?", 0.5), ("कि", 0.0), ("---", 1.0)]
)
def test_symbols_are_neither_letters_marks_numbers_nor_space(text: str, share: float) -> None:
    assert symbol_share(text) == share


@pytest.mark.parametrize(
    ("text", "settings", "reason"),
    [
        (ENGLISH, {}, None),
        ("  ", {}, "short"),
        ("abcd", {"min_characters": 5}, "short"),
        ("abcde", {"min_characters": 5, "max_characters": 5}, None),
        ("abcdef", {"max_characters": 5}, "long"),
        ("ab!?", {"max_symbol_share": 0.5}, None),
        ("ab!?!", {"max_symbol_share": 0.5}, "symbols"),
        (ENGLISH, {"language_id": True}, None),
        (SWAHILI, {"language_id": True}, "language"),
    ],
)
def test_reasons(text: str, settings: dict[str, Any], reason: str | None) -> None:
    assert cleaner(**settings).clean(text)[1] == reason
    assert reason is None or reason in REASONS


def test_duplicates_are_found_after_normalising() -> None:
    once = cleaner()
    assert [once.clean(text)[1] for text in ("é", "e\u0301 ", "e")] == [None, "duplicate", None]
    twice = cleaner(exact_duplicates=False)
    assert [twice.clean("a")[1] for _ in range(2)] == [None, None]


def test_a_language_the_identifier_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match=r"language_id: True: py3langid does not know xx"):
        Cleaner(CleanCorpusCell(language="xx", language_id=True))


def job_of(folder: Path, texts: list[str], **settings: Any) -> Job:
    source = folder / "corpus"
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    write_jsonl(source / "documents.jsonl.zst", rows)
    write_json(source / "stats.json", {"documents": len(rows)})
    for name in ("out", "work"):
        (folder / name).mkdir(exist_ok=True)
    values = {"language": "en", **settings}
    return Job("clean_corpus", "clean_corpus/en", "k", values, {"corpus": source},
               folder / "out", folder / "work")  # fmt: skip


def test_every_document_is_in_exactly_one_file(tmp_path: Path) -> None:
    texts = [ENGLISH, "x", SWAHILI, ENGLISH + "\r\n", "y" * 300, "!" * 10, "A fine day it is."]
    job = job_of(tmp_path, texts, min_characters=5, max_characters=200, max_symbol_share=0.5,
                 language_id=True)  # fmt: skip
    assert clean_corpus.run(job) == {"documents": 2}
    kept = list(read_jsonl(job.out / "documents.jsonl.zst"))
    assert kept == [{"id": "d0", "text": ENGLISH}, {"id": "d6", "text": texts[6]}]
    found = {path.name: list(read_jsonl(path)) for path in (job.out / "dropped").iterdir()}
    reasons = Counter({name.split(".")[0]: len(rows) for name, rows in found.items()})
    assert reasons == dict.fromkeys(REASONS, 1)
    assert found["duplicate.jsonl.zst"] == [
        {"id": "d3", "text": ENGLISH + "\r\n", "reason": "duplicate"}
    ]
    stats = read_json(job.out / "stats.json")
    assert stats == {"read": 7, "kept": 2, "dropped": dict(reasons)}


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        job = job_of(tmp_path / name, [ENGLISH, SWAHILI, "x", ENGLISH], min_characters=2)
        clean_corpus.run(job)
        files = sorted(path for path in job.out.rglob("*") if path.is_file())
        contents.append([(path.name, path.read_bytes()) for path in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["a", "b", "cccccc"], r"'en': nothing is left of 3 documents \(long 1, short 2\)"),
     ([], r"nothing is left of 0 documents \(none read\)")],
)  # fmt: skip
def test_an_empty_corpus_is_refused_with_the_reasons(
    tmp_path: Path, texts: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        clean_corpus.run(job_of(tmp_path, texts, min_characters=3, max_characters=5))
