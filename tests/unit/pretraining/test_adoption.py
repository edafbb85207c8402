"""Checkpoints made elsewhere: llama2.c's, Hugging Face's, SentencePiece models; and bad ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.llama2c import Header, halve_pairs, read_model
from langtransfer.pretraining.models import load_checkpoint
from langtransfer.vocabulary.contract import read_contract
from tests.unit.pretraining.tiny_study import digests, make_job

Adopt = Callable[..., Job]
LILY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high"
)


@pytest.fixture
def adopt(tmp_path: Path) -> Adopt:
    """Adopts the files of a folder, registered as they are; the job."""
    from scripts.adopt_model import run

    def call(source: Path, form: str, name: str = "adopted") -> Job:
        files = {
            path.relative_to(source).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(source.rglob("*")) if path.is_file()
        }  # fmt: skip
        cell = ";".join(f"{file}={digest}" for file, digest in files.items())
        registry = tmp_path / "datasets.csv"
        registry.write_text(
            f"key,language,kind,location,revision,files\n{name},*,file,{source},,{cell};\n"
        )
        settings = {"format": form, "files": files}
        job = make_job(tmp_path / name, f"adopt_model/{name}", settings, {}, registry=str(registry))
        run(job)
        return job

    return call


@pytest.fixture
def stories(shared_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "stories260K"
    shutil.copytree(shared_data / "checkpoints" / "stories260K", folder)
    return folder


def test_stories260k_tells_its_story(adopt: Adopt, stories: Path) -> None:
    job = adopt(stories, "llama2c")
    model, tokenizer = load_checkpoint(job.out, None, torch.float32, "cpu")
    begin = torch.tensor([[tokenizer.bos_token_id]])
    ids = model.generate(
        begin, attention_mask=torch.ones_like(begin), max_new_tokens=60, do_sample=False
    )
    # Source of the text: llama2.c/doc/stories260K.md.
    assert tokenizer.decode(ids[0], skip_special_tokens=True).startswith(LILY)
    facts = json.loads((job.out / "adoption.json").read_text())
    assert (facts["size"], facts["embedding_rows"], facts["parameters"]) == (512, 512, 260_032)
    assert digests(job.out) == digests(adopt(stories, "llama2c").out)


@pytest.mark.parametrize(
    ("file", "cut", "message"),
    [
        ("checkpoint_legacy.bin", 1000, "its header asks for"),
        ("checkpoint_legacy.bin", 20, "shorter than its header"),
        ("tokenizer.bin", 1000, "truncated or not llama2.c's"),
    ],
)
def test_truncated_llama2c(adopt: Adopt, stories: Path, file: str, cut: int, message: str) -> None:
    (stories / file).write_bytes((stories / file).read_bytes()[:cut])
    with pytest.raises(UserError, match=message):
        adopt(stories, "llama2c")


def test_tokenizer_of_another_model(adopt: Adopt, stories: Path) -> None:
    path = stories / "tokenizer.bin"
    path.write_bytes(path.read_bytes() + struct.pack("<fi1s", -1.0, 1, b"x"))
    with pytest.raises(UserError, match="holds 513 pieces, the checkpoint has 512 rows"):
        adopt(stories, "llama2c")


def test_other_llama2c_layouts(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<7i", 0x616B3432, 1, 64, 172, 5, 8, 4))
    with pytest.raises(UserError, match="versioned export"):
        read_model(path)
    path.write_bytes(struct.pack("<7i", 64, 172, 5, 7, 4, 512, 512))
    with pytest.raises(UserError, match=r"no llama2\.c header"):
        read_model(path)


def test_untied_head_is_read(tmp_path: Path) -> None:
    header = Header(8, 12, 1, 2, 2, -20, 16)
    sizes = {name: int(np.prod(shape)) for name, shape in header.shapes().items()}
    values = np.random.default_rng(0).normal(size=sum(sizes.values())).astype("<f4")
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<7i", *header) + values.tobytes())
    model = read_model(path)
    assert not model.config.tie_word_embeddings
    np.testing.assert_array_equal(
        model.lm_head.weight.detach().numpy(), values[-160:].reshape(20, 8)
    )


def test_rotary_order() -> None:
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert halve_pairs(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def checkpoint(base: Path, vocabulary: Path, folder: Path) -> Path:
    """A Hugging Face folder as others publish them."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(base / "model" / name, folder / name)
    shutil.copyfile(vocabulary / "tokenizer.spm", folder / "tokenizer.model")
    return folder


def test_huggingface_with_sentencepiece(
    adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    job = adopt(checkpoint(base, vocabulary, tmp_path / "hf"), "huggingface")
    ours = digests(base / "model")
    ours.pop("generation_config.json")
    assert digests(job.out / "model") == ours


def test_huggingface_with_tokenizer_json(
    adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    (folder / "tokenizer.model").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(vocabulary / name, folder / name)
    job = adopt(folder, "huggingface")
    assert read_contract(job.out / "model").size == 310
    _, tokenizer = load_checkpoint(job.out, None, torch.float32, "cpu")
    assert tokenizer("the cat")["input_ids"][0] == tokenizer.bos_token_id


def test_pickles_are_refused(adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin': is a pickle.*save_pretrained"):
        adopt(folder, "huggingface")


def test_truncated_shard(adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(UserError, match="truncated or corrupt"):
        adopt(folder, "huggingface")


def test_missing_shard(adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"is in model\.safetensors\.index\.json but not among"):
        adopt(folder, "huggingface")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 400}, "config.json: vocab_size: 400: the weights have 310"),
        ({"model_type": "mystery"}, "'mystery': needs code of its own, which is never run"),
    ],
)
def test_config_that_does_not_fit(
    adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path, change: dict[str, object],
    message: str,
) -> None:  # fmt: skip
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        adopt(folder, "huggingface")


def test_vocabulary_larger_than_the_model(
    adopt: Adopt, base: Path, shared_data: Path, vocabulary: Path, tmp_path: Path
) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    llama = shared_data / "tokenizers" / "llama" / "tokenizer.model"
    shutil.copyfile(llama, folder / "tokenizer.model")
    with pytest.raises(UserError, match=r"310: the vocabulary has 32,000 pieces"):
        adopt(folder, "huggingface")


def test_sentencepiece_model(adopt: Adopt, vocabulary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copyfile(vocabulary / "tokenizer.spm", folder / "tokenizer.model")
    job = adopt(folder, "sentencepiece")
    found = digests(job.out)
    found.pop("adoption.json")
    assert found == digests(vocabulary)


def test_registry_of_the_repository_is_found_from_any_folder(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.adopt_model import run

    monkeypatch.chdir(tmp_path)
    source = shared_data / "tokenizers" / "llama" / "tokenizer.model"
    files = {"tokenizer.model": hashlib.sha256(source.read_bytes()).hexdigest()}
    settings = {"format": "sentencepiece", "files": files}
    job = make_job(
        tmp_path / "job", "adopt_model/llama-tokenizer", settings, {},
        registry="tests/configs/real-datasets.csv",
    )  # fmt: skip
    run(job)
    assert read_contract(job.out).size == 32_000


def test_no_such_row(adopt: Adopt, vocabulary: Path, tmp_path: Path) -> None:
    from scripts.adopt_model import run

    job = adopt(vocabulary_folder(vocabulary, tmp_path), "sentencepiece")
    other = make_job(
        tmp_path / "other", "adopt_model/other", dict(job.settings), {},
        registry=job.runtime.registry,
    )  # fmt: skip
    with pytest.raises(UserError, match="adopt: 'other': has 0 rows"):
        run(other)


def vocabulary_folder(vocabulary: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copyfile(vocabulary / "tokenizer.spm", folder / "tokenizer.model")
    return folder
