"""extend_embeddings: old rows bit for bit, new rows where the method says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.vocabulary.contract import (
    check_contract,
    copy_vocabulary,
    read_contract,
    write_vocabulary,
)
from langtransfer.vocabulary.embeddings import matrices
from langtransfer.vocabulary.extension import extend
from langtransfer.vocabulary.sub_pieces import sub_pieces_of
from scripts.extend_embeddings import run
from scripts.extend_vocabulary import run as extend_vocabulary
from scripts.train_tokenizer import run as train_tokenizer

FolderBytes = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def extended(english: Any, chinese: Any) -> Any:
    return extend(english, chinese, ["zh"], "target-script", "ext")[0]


def make_checkpoint(folder: Path, base: Path, *, tied: bool, rows: int, dtype: torch.dtype) -> Path:
    """A tiny LLaMA with random weights for a vocabulary folder."""
    torch.manual_seed(7)
    contract = read_contract(base)
    config = LlamaConfig(
        vocab_size=rows,
        bos_token_id=contract.bos,
        eos_token_id=contract.eos,
        pad_token_id=contract.pad,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder / "model")
    copy_vocabulary(base, folder / "model", rows)
    return folder


def make_parents(
    tmp_path: Path, base: Any, extended: Any, *, tied: bool, rows: int, dtype: torch.dtype
) -> dict[str, Path]:
    write_vocabulary(base, tmp_path / "base")
    write_vocabulary(extended, tmp_path / "vocabulary", base_size=len(base.pieces))
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", tmp_path / "base", tied=tied, rows=rows, dtype=dtype
    )
    return {"checkpoint": checkpoint, "vocabulary": tmp_path / "vocabulary"}


def make_extended(make_job: Callable[..., Job], base: Path, pieces: Path, *special: str) -> Path:
    """What extend_vocabulary makes of a base and Chinese pieces."""
    job = make_job(
        "extend_vocabulary",
        "zh/x",
        {"pieces": "all", "languages": ["zh"], "special_tokens": special},
        {"base": base, "pieces": pieces},
    )
    extend_vocabulary(job)
    return job.out


def make_byte_level(make_job: Callable[..., Job], corpora: dict[str, Path]) -> tuple[Path, Path]:
    """A byte-level vocabulary of the corpora's English, and what Chinese pieces make of it."""
    made = []
    for language, size in (("en", 320), ("zh", 400)):
        job = make_job(
            "train_tokenizer",
            f"{language}/x",
            {"type": "byte-level-bpe", "size": size, "languages": [language]},
            {f"corpus.{language}": corpora[language]},
        )
        train_tokenizer(job)
        made.append(job.out)
    base, pieces = made
    return base, make_extended(make_job, base, pieces)


def load(folder: Path) -> list[torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype="auto")
    return [matrix.weight.detach() for matrix in matrices(model)]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("rows", "dtype"), [(320, torch.float32), (384, torch.bfloat16), (1024, torch.float32)]
)
@pytest.mark.parametrize("method", ["mean", "noise", "resize"])
def test_rows(
    make_job: Callable[..., Job],
    tmp_path: Path,
    english: Any,
    extended: Any,
    method: str,
    tied: bool,
    rows: int,
    dtype: torch.dtype,
) -> None:
    parents = make_parents(tmp_path, english, extended, tied=tied, rows=rows, dtype=dtype)
    job = make_job(
        "extend_embeddings",
        "zh/ext",
        {"method": method, "pad_to_multiple_of": 64, "noise_std": 0.01},
        parents,
    )
    run(job)
    before, after = load(parents["checkpoint"]), load(job.out)
    size = len(extended.pieces)
    contract = check_contract(job.out, "test")
    expected_rows = max(rows, -(-size // 64) * 64)
    assert contract.embedding_rows == expected_rows
    assert len(before) == len(after) == (1 if tied else 2)
    segments = sub_pieces_of(parents["checkpoint"], parents["vocabulary"])
    for old, new in zip(before, after, strict=True):
        assert (new.dtype, new.shape[0]) == (dtype, expected_rows)
        assert torch.equal(new[:320], old[:320])
        means = torch.stack([old[ids].float().mean(0) for ids in segments]).to(dtype)
        distance = (new[320:size].float() - means.float()).std()
        if method == "mean":
            assert torch.equal(new[320:size], means)
        elif method == "noise":
            assert 0.008 < distance < 0.012
        if method != "resize":
            assert torch.allclose(new[size:].float(), old[:320].float().mean(0), atol=1e-3)
    report = json.loads((job.out / "embeddings.json").read_text())
    assert report["tied"] is tied
    assert report["new_pieces"] == size - 320
    assert set(report["norms"]) == ({"input"} if tied else {"input", "output"})


@pytest.mark.parametrize("method", ["mean", "noise", "resize"])
def test_the_same_bytes_twice_and_the_seed_counts(
    make_job: Callable[..., Job],
    tmp_path: Path,
    english: Any,
    extended: Any,
    method: str,
    folder_bytes: FolderBytes,
) -> None:
    parents = make_parents(tmp_path, english, extended, tied=False, rows=320, dtype=torch.float32)
    found = []
    for seed in (1, 1, 2):
        job = make_job("extend_embeddings", "zh/ext", {"method": method, "seed": seed}, parents)
        run(job)
        found.append(folder_bytes(job.out))
    assert found[0] == found[1]
    assert (found[0] == found[2]) is (method == "mean")
    assert not any(str(tmp_path).encode() in content for content in found[0].values())


def test_the_folder_is_a_checkpoint(
    make_job: Callable[..., Job], tmp_path: Path, english: Any, extended: Any
) -> None:
    parents = make_parents(tmp_path, english, extended, tied=False, rows=320, dtype=torch.float32)
    job = make_job("extend_embeddings", "zh/ext", {}, parents)
    run(job)
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")
    ids = AutoTokenizer.from_pretrained(job.out / "model")("the 首都", return_tensors="pt")
    assert ids["input_ids"].max() >= 320
    assert model(**ids).logits.shape[-1] == model.config.vocab_size


def test_an_added_padding_token_is_the_models_too(
    make_job: Callable[..., Job], tmp_path: Path, english: Any, chinese: Any
) -> None:
    write_vocabulary(english, tmp_path / "base")
    write_vocabulary(chinese, tmp_path / "pieces")
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", tmp_path / "base", tied=True, rows=320, dtype=torch.float32
    )
    extended = make_extended(make_job, tmp_path / "base", tmp_path / "pieces", "<pad>", "<|user|>")
    parents = {"checkpoint": checkpoint, "vocabulary": extended}
    job = make_job("extend_embeddings", "zh/ext", {}, parents)
    run(job)
    contract = check_contract(job.out, "test")
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")
    assert contract.pad == contract.special_tokens["<pad>"] == contract.size - 2
    assert model.config.pad_token_id == model.generation_config.pad_token_id == contract.pad
    assert model.config.vocab_size == contract.embedding_rows >= contract.size


def test_a_vocabulary_of_another_base(
    make_job: Callable[..., Job], tmp_path: Path, english: Any, chinese: Any
) -> None:
    parents = make_parents(tmp_path, english, chinese, tied=False, rows=320, dtype=torch.float32)
    job = make_job("extend_embeddings", "zh/ext", {}, parents)
    with pytest.raises(UserError, match="extended another vocabulary"):
        run(job)


def set_rows(model: Path, rows: int) -> None:
    """Say in config.json that a model has so many embedding rows."""
    content = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(content | {"vocab_size": rows}))


@pytest.mark.parametrize(
    ("weights", "config", "said"),
    [
        (320, 256, r"256.*320 pieces.*extend_embeddings"),
        (256, 320, r"256.*320 pieces.*extend_embeddings"),
        (384, 384, r"384.*states 320.*made for another vocabulary"),
        (384, 320, r"384.*states 320.*made for another vocabulary"),
    ],
)
def test_a_model_that_does_not_fit_its_vocabulary(
    make_job: Callable[..., Job],
    tmp_path: Path,
    english: Any,
    extended: Any,
    weights: int,
    config: int,
    said: str,
) -> None:
    parents = make_parents(tmp_path, english, extended, tied=False, rows=320, dtype=torch.float32)
    checkpoint = tmp_path / "results" / "train_base" / "base" / "0a1b" / "data"
    shutil.copytree(parents["checkpoint"], checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint / "model")
    model.resize_token_embeddings(weights)
    model.save_pretrained(checkpoint / "model")
    set_rows(checkpoint / "model", config)
    job = make_job("extend_embeddings", "zh/ext", {}, parents | {"checkpoint": checkpoint})
    with pytest.raises(UserError, match=rf"embedding rows \(.*train_base.*\).*{said}") as raised:
        run(job)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", ["mean", "noise", "resize"])
def test_a_byte_level_vocabulary(
    make_job: Callable[..., Job],
    tmp_path: Path,
    corpus: Callable[..., Path],
    sentences: Callable[..., list[str]],
    method: str,
) -> None:
    """The base's control tokens, its last ids, stay where they are; new rows follow them."""
    corpora = {language: corpus(language, sentences(language)) for language in ("en", "zh")}
    base, extended = make_byte_level(make_job, corpora)
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", base, tied=False, rows=512, dtype=torch.float32
    )
    parents = {"checkpoint": checkpoint, "vocabulary": extended}
    job = make_job("extend_embeddings", "zh/ext", {"method": method}, parents)
    run(job)
    old, new = load(checkpoint)[0], load(job.out)[0]
    contract = check_contract(job.out, "test")
    assert sorted(contract.special_tokens.values())[-1] == 319  # Llama 3's, after the pieces
    assert contract.size > 330
    assert contract.embedding_rows == 512
    assert torch.equal(new[:320], old[:320])
    base_tokenizer, tokenizer = (AutoTokenizer.from_pretrained(f) for f in (base, extended))
    for i in range(320, contract.size):
        token = tokenizer.convert_ids_to_tokens(i)
        parts = base_tokenizer.backend_tokenizer.model.tokenize(token)
        mean = old[[part.id for part in parts]].mean(0)
        assert len(parts) > 1
        assert torch.allclose(new[i], mean, atol=1e-6) is (method == "mean"), token
    if method != "resize":
        assert torch.allclose(new[contract.size :], old[:320].mean(0), atol=1e-6)
