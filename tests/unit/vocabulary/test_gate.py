"""The gate: what it passes, what it catches, what it measures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.vocabulary import byte_level as byte_level_bpe
from langtransfer.vocabulary import encoding
from langtransfer.vocabulary.contract import write_contract, write_vocabulary
from langtransfer.vocabulary.encoding import ENGINES, guarded, load_encoder, load_engines
from langtransfer.vocabulary.extension import extend
from langtransfer.vocabulary.gate import (
    Fertility,
    base_size_of,
    check_identity,
    fastest_engine,
    load_tokenizers,
    measure,
    parity,
)
from langtransfer.vocabulary.probes import Probe, hard_texts
from langtransfer.vocabulary.training import train_byte_level, train_model
from scripts import check_vocabulary

Sentences = Callable[..., list[str]]


@pytest.fixture(scope="module")
def folders(english: Any, chinese: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base/` and `ext/`, its extension by Chinese pieces."""
    root = tmp_path_factory.mktemp("gate")
    merged, report = extend(english, chinese, ["zh"], "target-script", "ext")
    write_vocabulary(english, root / "base")
    write_vocabulary(merged, root / "ext", base_size=report.base_size)
    return root


@pytest.fixture
def job(
    folders: Path, sentences: Sentences, make_job: Callable[..., Job], tmp_path: Path
) -> Callable[..., Job]:
    """A check_vocabulary job on made-up held-out text: job(language, **settings)."""

    def make(language: str, vocabulary: str = "ext", **settings: Any) -> Job:
        parents = {"vocabulary": folders / vocabulary, "base": folders / "base"}
        for role, code in (("text", language), ("source_text", "en")):
            rows = [{"id": f"d{i}", "text": t} for i, t in enumerate(sentences(code, 60))]
            write_jsonl(tmp_path / f"{role}-{language}" / "documents.jsonl", rows)
            parents[role] = tmp_path / f"{role}-{language}"
        given = {"language": language, "documents": 40, "max_source_lines_changed": None}
        cell = f"{language}/{vocabulary}"
        return make_job("check_vocabulary", cell, given | settings, parents)

    return make


def read_report(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.out / "vocabulary_report.json").read_text("utf-8"))
    return found


def test_an_exact_extension_passes_and_is_measured(job: Callable[..., Job]) -> None:
    checked = job("zh")
    check_vocabulary.run(checked)
    report = read_report(checked)
    assert report["exact"]
    assert report["differing"] == report["bad_round_trips"] == {}
    assert report["rewritten"] == {"visible-space": report["texts"]["visible-space"]}
    assert set(report["texts"]) >= {"plain", "documents", "special-tokens", "space-runs", "emoji"}
    assert min(report["texts"].values()) >= 20
    assert report["engines"][report["engine"]] == 0
    fertility = report["fertility"]
    assert fertility["tokens"] < fertility["base_tokens"]
    assert fertility["compression"] == fertility["base_tokens"] / fertility["tokens"]
    assert 0 < fertility["new_pieces_used"] <= report["new_pieces"] == report["size"] - 320
    assert report["parity"]["documents"] == 40
    assert report["parity"]["ratio"] < report["parity"]["base_ratio"]
    assert not list(checked.work.iterdir())


def test_the_source_language_is_left_alone(job: Callable[..., Job]) -> None:
    checked = job("en", max_source_lines_changed=0.0)
    check_vocabulary.run(checked)
    assert read_report(checked)["fertility"]["lines_changed"] == 0


def test_the_same_bytes_twice(job: Callable[..., Job]) -> None:
    made = []
    for _ in range(2):
        checked = job("zh")
        check_vocabulary.run(checked)
        made.append((checked.out / "vocabulary_report.json").read_bytes())
    assert made[0] == made[1]


def test_too_many_source_lines_changed(
    english: Any, sentences: Sentences, folders: Path, job: Callable[..., Job]
) -> None:
    config = TrainTokenizerConfig(size=420, character_coverage=1.0)
    pieces = train_model(sentences("en", 400, 1), config, "more")
    merged, report = extend(english, pieces, ["en"], "all", "more")
    write_vocabulary(merged, folders / "more", base_size=report.base_size)
    checked = job("en", "more", max_source_lines_changed=0.1)
    with pytest.raises(UserError, match=r"source-language lines changed.*allowed are 0.1"):
        check_vocabulary.run(checked)
    assert not list(checked.out.iterdir())
    assert json.loads((checked.work / "vocabulary_report.json").read_text("utf-8"))["exact"]


def spoil(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change tokenizer.json and state it in a new contract, as a careless converter would."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    write_contract(folder)


def other_merge_order(content: dict[str, Any]) -> None:
    content["model"]["merges"].reverse()


def no_prefix(content: dict[str, Any]) -> None:
    content["normalizer"]["normalizers"].pop(0)


def lossy_decoder(content: dict[str, Any]) -> None:
    content["decoder"]["decoders"].append({"type": "Strip", "content": " ", "start": 9, "stop": 9})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_merge_order, "ids differ"),
        (no_prefix, "ids differ"),
        (lossy_decoder, "does not come back"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_inexact_conversion_stops_the_pipeline(
    change: Callable[[dict[str, Any]], None],
    said: str,
    english: Any,
    folders: Path,
    job: Callable[..., Job],
) -> None:
    write_vocabulary(english, folders / said)
    spoil(folders / said, change)
    checked = job("en", said)
    with pytest.raises(UserError, match=rf"not exact .*{said}.*tokenizer.model alone"):
        check_vocabulary.run(checked)
    assert not list(checked.out.iterdir())
    report = json.loads((checked.work / "vocabulary_report.json").read_text("utf-8"))
    assert not report["exact"]
    assert report["examples"]


def test_no_text_to_check_on(folders: Path, make_job: Callable[..., Job], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "documents.jsonl", [{"id": "a", "text": " \n"}])
    parents = {"vocabulary": folders / "base", "text": tmp_path}
    settings = {"language": "en", "documents": 9, "max_source_lines_changed": None}
    with pytest.raises(UserError, match="holds no text"):
        check_vocabulary.run(make_job("check_vocabulary", "en/original", settings, parents))


def test_hard_texts_are_hard_and_the_same_each_time() -> None:
    lines = [f"line number {i} of the text" for i in range(40)]
    made = list(hard_texts(lines, ["<s>", "</s>"]))
    assert made == list(hard_texts(lines, ["<s>", "</s>"]))
    by_kind: dict[str, list[str]] = {}
    for probe in made:
        by_kind.setdefault(probe.kind, []).append(probe.text)
    assert all(len(texts) >= 20 for texts in by_kind.values())
    assert all(text.startswith(" ") for text in by_kind["leading-spaces"])
    assert all("  " in text for text in by_kind["space-runs"])
    assert all("\u2581" in text for text in by_kind["visible-space"])
    assert any("<s>" in text for text in by_kind["special-tokens"])
    assert all("\x00" in text for text in by_kind["nul"])


def test_an_engine_that_differs_is_not_chosen(
    folders: Path, sentences: Sentences, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"text": text} for text in sentences("zh", 30)]
    assert fastest_engine(folders / "ext", documents) == ENGINES[0]
    real = load_encoder(folders / "ext")

    def broken(_: Path) -> encoding.Encoder:
        return lambda texts: [ids[::-1] for ids in real(texts)]

    monkeypatch.setattr(encoding, "_gigatoken", broken)
    assert fastest_engine(folders / "ext", documents) == "sentencepiece"
    found = check_identity(load_tokenizers(folders / "ext"), [Probe("plain", "the capital city")])
    assert found.exact
    assert (found.engines["gigatoken"], found.engine) == (1, "sentencepiece")


def test_a_text_that_is_two_probes_is_counted_as_both(folders: Path) -> None:
    tokenizers = load_tokenizers(folders / "ext")
    seen: list[str] = []

    def other(texts: list[str]) -> list[list[int]]:
        seen.extend(texts)
        return [[] for _ in texts]

    probes = [Probe("plain", "a b"), Probe("documents", "a b"), Probe("plain", "c")]
    found = check_identity(tokenizers._replace(engines={"gigatoken": other}), probes)
    assert seen == ["a b", "c"]
    assert found.texts == {"plain": 2, "documents": 1}
    assert found.engines == {"gigatoken": 3}


@pytest.fixture
def byte_level(folders: Path, tmp_path: Path, sentences: Sentences) -> Callable[..., Path]:
    """A byte-level vocabulary folder whose tokenizer.json was changed: byte_level(change)."""

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        config = TrainTokenizerConfig(type="byte-level-bpe", size=360)
        trained = byte_level_bpe.Vocabulary(
            train_byte_level(sentences("en"), config, "b"), byte_level_bpe.SPECIAL_TOKENS
        )
        byte_level_bpe.save_byte_level(trained, tmp_path / "byte-level")
        spoil(tmp_path / "byte-level", change)
        return tmp_path / "byte-level"

    return make


def unicode_form(content: dict[str, Any]) -> None:
    content["normalizer"] = {"type": "NFKC"}


def cut_and_filled(content: dict[str, Any]) -> None:
    content["truncation"] = {
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    content["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "x",
    }  # fmt: skip


def test_an_engine_that_cannot_read_a_vocabulary_is_left_out(
    byte_level: Callable[..., Path], sentences: Sentences
) -> None:
    folder = byte_level(unicode_form)
    found, left_out = load_engines(folder)
    assert list(found) == ["tokenizers"]
    assert "NFKC" in left_out["gigatoken"]
    assert fastest_engine(folder, [{"text": t} for t in sentences("en", 20)]) == "tokenizers"
    probes = [Probe("plain", "the capital city"), Probe("plain", "ﬁne")]
    identity = check_identity(load_tokenizers(folder), probes)
    assert identity.exact
    assert identity.rewritten == {"NFKC": 1}


def test_what_a_file_says_of_batches_is_not_its_ids(byte_level: Callable[..., Path]) -> None:
    folder = byte_level(cut_and_filled)
    texts = ["the capital of country is city", "river"]
    probes = [Probe("plain", text) for text in texts]
    assert check_identity(load_tokenizers(folder), probes).exact
    assert len(load_encoder(folder)([texts[0]])[0]) > 4


def test_gigatoken_leaves_special_tokens_text(folders: Path) -> None:
    texts = ["the <s> capital", "</s>", "<unk>city", "no special one"]
    assert load_encoder(folders / "ext", "gigatoken")(texts) == load_encoder(folders / "ext")(texts)


def test_training_text_is_watched() -> None:
    encode = guarded(lambda texts: [[len(t)] for t in texts], lambda texts: [[1] for _ in texts], 2)
    assert encode(["a", "long but not looked at"]) == [[1], [22]]
    with pytest.raises(UserError, match="the engine differs here"):
        encode(["a", "b", "long"])


def test_engines_of_a_vocabulary_without_sentencepiece(folders: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folders / "base" / name).read_bytes())
    write_contract(tmp_path)
    found, left_out = load_engines(tmp_path)
    assert list(found) == ["gigatoken", "tokenizers"]
    assert left_out == {"sentencepiece": "no SentencePiece model"}
    assert base_size_of(folders / "ext", tmp_path) == 320  # as its contract says
    assert base_size_of(tmp_path, folders / "base") is None


def test_fertility_counts_words_by_script() -> None:
    lines = ["the capital, city 12", "首都是北京 ok"]
    found = measure(
        lambda texts: [[1, 9], [9, 9, 3]], lambda texts: [[1, 2], [4, 5, 6, 7]], {8, 9}, lines
    )
    assert found == Fertility(
        lines=2, words=4 + 6, characters=20 + 8, bytes=20 + 18, tokens=5, base_tokens=6,
        lines_changed=2, new_pieces_used=1,
    )  # fmt: skip


def test_parity_needs_the_same_documents() -> None:
    def encode(texts: list[str]) -> list[list[int]]:
        return [[0] * len(text) for text in texts]

    found = parity(encode, None, {"a": "abcd", "b": "x"}, {"a": "ab", "c": "y"})
    assert found is not None
    assert (found.documents, found.tokens, found.source_tokens) == (1, 4, 2)
    assert found.ratio == found.base_ratio == 2.0
    assert parity(encode, None, {"a": "abcd"}, {}) is None
