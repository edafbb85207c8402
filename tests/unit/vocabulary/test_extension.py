"""extend_vocabulary: the base's ids and segmentation stay; new text gets shorter; exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.vocabulary.contract import check_contract, write_vocabulary
from langtransfer.vocabulary.conversion import (
    NORMAL,
    ModelProto,
    convert,
    differences,
    load_processor,
    read_proto,
    save_tokenizer,
)
from langtransfer.vocabulary.extension import (
    append_pieces,
    count_reachable,
    extend,
    in_scripts,
    lowest_score,
    missing_characters,
    scripts_of,
)
from langtransfer.vocabulary.training import train_model
from scripts.extend_vocabulary import run

Sentences = Callable[..., list[str]]
FolderBytes = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def parents(english: Any, chinese: Any, tmp_path: Path) -> dict[str, Path]:
    write_vocabulary(english, tmp_path / "base")
    write_vocabulary(chinese, tmp_path / "pieces")
    return {"base": tmp_path / "base", "pieces": tmp_path / "pieces"}


def run_stage(make_job: Callable[..., Job], parents: dict[str, Path], choice: str) -> Path:
    settings = {"pieces": choice, "languages": ["zh"]}
    job = make_job("extend_vocabulary", "zh/ext", settings, parents)
    run(job)
    return job.out


def test_the_stage(
    make_job: Callable[..., Job], parents: dict[str, Path], english: Any, sentences: Sentences
) -> None:
    out = run_stage(make_job, parents, "target-script")
    merged, tokenizer = read_proto(out / "tokenizer.spm"), AutoTokenizer.from_pretrained(out)
    report = json.loads((out / "extension.json").read_text())
    assert list(merged.pieces[: len(english.pieces)]) == list(english.pieces)
    assert check_contract(out, "test").size == report["size"] == len(merged.pieces)
    assert report["added"] == report["size"] - report["base_size"] > 20
    assert report["candidates"] == (
        report["added"] - report["characters_added"] + report["in_other_scripts"]
    )
    before, after = load_processor(english), load_processor(merged)
    for line in sentences("en", seed=1):
        assert before.encode(line) == after.encode(line)
    zh = sentences("zh", seed=1)
    assert sum(map(len, after.encode(zh))) < sum(map(len, before.encode(zh))) / 3
    texts = [*zh, *sentences("en", seed=1), *sentences("hi"), "  the 首都  <s>", ""]
    assert not list(differences(after, tokenizer, texts))


def test_the_same_bytes_twice(
    make_job: Callable[..., Job], parents: dict[str, Path], folder_bytes: FolderBytes
) -> None:
    first, second = (folder_bytes(run_stage(make_job, parents, "all")) for _ in range(2))
    assert first == second


def test_scores_fall_strictly_below_the_real_ones(english: Any) -> None:
    base = ModelProto()
    base.CopyFrom(english)
    base.pieces.add(piece="▁" * 9, score=-1.0e9, type=NORMAL)
    merged = append_pieces(base, ["首", "都", "首都"])
    scores = np.array([p.score for p in merged.pieces[-3:]], np.float32)
    assert lowest_score(english) == lowest_score(base) > scores[0] > scores[1] > scores[2]
    assert scores[0] > -1.0e6
    assert merged.trainer_spec.vocab_size == len(merged.pieces)


def test_scores_float32_cannot_tell_apart_are_refused(english: Any) -> None:
    base = ModelProto()
    base.CopyFrom(english)
    base.pieces.add(piece="▁" * 9, score=-2.0e7, type=NORMAL)
    with pytest.raises(UserError, match="float32"):
        append_pieces(base, ["首", "都", "首都"])


def test_only_the_targets_scripts() -> None:
    pieces = ["▁the", "首都", "，", "▁भाषा", "A股", "العربية", "tiếng"]
    assert in_scripts(pieces, scripts_of(["zh"])) == ["首都", "A股"]
    assert in_scripts(pieces, scripts_of(["hi", "ur"])) == ["▁भाषा", "العربية"]
    assert in_scripts(pieces, scripts_of(["vi"])) == ["▁the", "A股", "tiếng"]


def test_pieces_bring_their_characters(english: Any) -> None:
    assert missing_characters(["，是", "是"], {"a"}) == ["，"]
    pieces = ModelProto()
    pieces.CopyFrom(english)
    pieces.pieces.add(piece="，是", score=-500, type=NORMAL)
    merged, report = extend(english, pieces, ["zh"], "target-script", "ext")
    assert [p.piece for p in merged.pieces[len(english.pieces) :]] == ["，是", "，", "是"]
    assert (report.added, report.characters_added, report.reachable) == (3, 2, 3)
    convert(merged)


def test_unreachable_pieces_are_counted(english: Any) -> None:
    merged = append_pieces(english, ["是", "首都是"])
    assert count_reachable(merged, len(english.pieces)) == 1


def test_pieces_of_a_unigram_model(english: Any, sentences: Sentences) -> None:
    config = TrainTokenizerConfig(type="unigram", size=340, character_coverage=1.0)
    pieces = train_model(sentences("zh"), config, "zh")
    merged, report = extend(english, pieces, ["zh"], "all", "ext")
    assert report.added > 30
    assert [p.score for p in merged.pieces[len(english.pieces) :]] == [
        lowest_score(english) - i for i in range(1, report.added + 1)
    ]


def test_nothing_to_add(make_job: Callable[..., Job], parents: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"vocabularies\.ext\.pieces.*adds nothing"):
        run_stage(make_job, parents | {"pieces": parents["base"]}, "all")


def test_a_base_that_is_not_bpe(english: Any, chinese: Any) -> None:
    base = ModelProto()
    base.CopyFrom(english)
    base.trainer_spec.model_type = base.trainer_spec.UNIGRAM
    with pytest.raises(UserError, match="not BPE"):
        extend(base, chinese, ["zh"], "all", "ext")


def test_a_base_without_sentencepiece(
    make_job: Callable[..., Job], parents: dict[str, Path]
) -> None:
    contract = json.loads((parents["base"] / "vocabulary.json").read_text())
    del contract["sha256"]["tokenizer.spm"]
    (parents["base"] / "vocabulary.json").write_text(json.dumps(contract))
    (parents["base"] / "tokenizer.spm").unlink()
    with pytest.raises(UserError, match=r"base.*no byte-level BPE.*only SentencePiece"):
        run_stage(make_job, parents, "all")


def test_adopted_pieces(make_job: Callable[..., Job], parents: dict[str, Path]) -> None:
    adopted = parents["pieces"].parent / "adopted"
    adopted.mkdir()
    (parents["pieces"] / "tokenizer.spm").rename(adopted / "tokenizer.spm")
    out = run_stage(make_job, parents | {"pieces": adopted}, "all")
    assert "首都" in [p.piece for p in read_proto(out / "tokenizer.spm").pieces]


@settings(max_examples=25, deadline=None)
@given(added=st.lists(st.text("abcéष😀", min_size=1, max_size=4), min_size=1, unique=True))
def test_any_extension_is_exact(english: Any, added: list[str]) -> None:
    known = {p.piece for p in english.pieces}
    added = [piece for piece in added if piece not in known]
    merged = append_pieces(english, [*added, *missing_characters(added, known)])
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=convert(merged), unk_token="<unk>")
    texts = ["".join(added), " ".join(added), "".join(reversed(added)) * 3, "aabbccéé" * 5]
    assert not list(differences(load_processor(merged), wrapped, texts))


def test_llama_with_published_chinese_pieces(shared_data: Path, tmp_path: Path) -> None:
    base = read_proto(shared_data / "tokenizers/llama/tokenizer.model")
    pieces = read_proto(shared_data / "tokenizers/chinese-llama-alpaca/chinese_sp.model")
    text = shared_data / "text"
    lines = {
        name: path.read_text(encoding="utf-8").split("\n")
        for name in ("zho_Hans", "eng_Latn")
        for path in text.glob(f"flores/**/{name}.devtest")
    }
    _, all_report = extend(base, pieces, ["zh"], "all", "all")
    assert all_report.size == 49_953  # upstream: Chinese-LLaMA-Alpaca's merged tokenizer
    assert all_report.characters_added == 0
    merged, _ = extend(base, pieces, ["zh"], "target-script", "zh")
    save_tokenizer(merged, tmp_path)
    before, after = load_processor(base), load_processor(merged)
    assert before.encode(lines["eng_Latn"]) == after.encode(lines["eng_Latn"])
    assert not list(
        differences(
            after, AutoTokenizer.from_pretrained(tmp_path), lines["zho_Hans"] + lines["eng_Latn"]
        )
    )
    tokens = [sum(map(len, p.encode(lines["zho_Hans"]))) for p in (before, after)]
    assert tokens[0] / tokens[1] > 1.8
