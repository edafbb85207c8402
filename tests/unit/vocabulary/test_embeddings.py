"""extend_embeddings: old rows bit for bit, new rows where the method says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.vocabulary.contract import check_contract, copy_vocabulary, write_vocabulary
from langtransfer.vocabulary.embeddings import matrices, sub_pieces
from langtransfer.vocabulary.extension import extend
from scripts.extend_embeddings import run

FolderBytes = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def extended(english: Any, chinese: Any) -> Any:
    return extend(english, chinese, ["zh"], "target-script", "ext")[0]


def make_parents(
    tmp_path: Path, base: Any, extended: Any, *, tied: bool, rows: int, dtype: torch.dtype
) -> dict[str, Path]:
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    checkpoint, vocabulary = tmp_path / "checkpoint", tmp_path / "vocabulary"
    LlamaForCausalLM(config).to(dtype).save_pretrained(checkpoint / "model")
    write_vocabulary(base, tmp_path / "base")
    copy_vocabulary(tmp_path / "base", checkpoint / "model", rows)
    write_vocabulary(extended, vocabulary)
    return {"checkpoint": checkpoint, "vocabulary": vocabulary}


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
    segments = sub_pieces(english, [p.piece for p in extended.pieces[320:]])
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


def test_segments_keep_the_leading_space(english: Any) -> None:
    pieces = {p.piece: i for i, p in enumerate(english.pieces)}
    word = next(p for p in pieces if p.startswith("▁") and len(p) > 2)
    assert sub_pieces(english, [word]) == [[pieces[word]]]
    assert pieces["▁"] not in sub_pieces(english, ["首"])[0]
    assert len(sub_pieces(english, ["首"])[0]) == 3  # its UTF-8 bytes


def test_a_vocabulary_of_another_base(
    make_job: Callable[..., Job], tmp_path: Path, english: Any, chinese: Any
) -> None:
    parents = make_parents(tmp_path, english, chinese, tied=False, rows=320, dtype=torch.float32)
    job = make_job("extend_embeddings", "zh/ext", {}, parents)
    with pytest.raises(UserError, match="extended another vocabulary"):
        run(job)


def test_a_model_that_does_not_fit_its_vocabulary(
    make_job: Callable[..., Job], tmp_path: Path, english: Any, extended: Any
) -> None:
    parents = make_parents(tmp_path, english, extended, tied=False, rows=320, dtype=torch.float32)
    path = parents["checkpoint"] / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 256}))
    with pytest.raises(UserError, match=r"embedding rows.*256.*320 pieces"):
        run(make_job("extend_embeddings", "zh/ext", {}, parents))
