"""A tiny study: vocabulary, packed tokens, base model, and jobs to run stages with."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece as spm
import torch
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from langtransfer.config import RuntimeConfig
from langtransfer.job import Job

SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 4, "key_value_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
OPTIMIZATION = {
    "sequence_length": 32, "global_batch_tokens": 128, "learning_rate": 1e-2,
    "schedule": "constant", "warmup_steps": 2, "weight_decay": 0.1,
}  # fmt: skip
WORDS = [
    "the",
    "cat",
    "dog",
    "sees",
    "a",
    "red",
    "blue",
    "house",
    "in",
    "green",
    "garden",
    "and",
    "sings",
    "old",
    "song",
    "of",
    "river",
]
EXTENDED_FROM = 290
"""First of the ids that count as new in `extended`; there are 310."""
Digests = dict[str, str]


def digests(folder: Path) -> Digests:
    """File below a folder -> hash of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def make_job(
    folder: Path, cell: str, settings: dict[str, Any], parents: dict[str, Path], **runtime: Any
) -> Job:
    """A job with an empty out; work is kept, as after a kill."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir(exist_ok=True)
    runtime = {"micro_batch": 2, "checkpoint_steps": 4, "device": "cpu"} | runtime
    return Job(
        cell.split("/", 1)[0], cell, folder.name, settings, parents, folder / "out",
        folder / "work", RuntimeConfig(**runtime),
    )  # fmt: skip


def pretrain_settings(budget: str, **changes: Any) -> dict[str, Any]:
    """Settings of a pretrain cell on one language."""
    optimization = OPTIMIZATION | changes.pop("optimization", {})
    return {
        "budgets": "chained", "method": "full", "mix": {"shares": {"zh": 1.0}}, "seed": 1,
        "budget": budget, "optimization": optimization, **changes,
    }  # fmt: skip


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, int(rng.integers(3, 30)))) for _ in range(600)]


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> Path:
    """A vocabulary folder: 310 BPE pieces with byte fallback."""
    from langtransfer.vocabulary.contract import write_vocabulary

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", vocab_size=310,
        byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity",
        remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    proto = model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    folder = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(proto, folder)
    return folder


@pytest.fixture(scope="session")
def tokens(
    tmp_path_factory: pytest.TempPathFactory, vocabulary: Path, sentences: list[str]
) -> Path:
    """A packed folder of the sentences, each with bos and eos."""
    from langtransfer.vocabulary.contract import read_contract

    encoder = spm.SentencePieceProcessor(model_file=str(vocabulary / "tokenizer.spm"))
    documents = [[1, *encoder.encode(text), 2] for text in sentences]
    folder = tmp_path_factory.mktemp("tokens")
    np.concatenate([np.array(ids, "<u2") for ids in documents]).tofile(folder / "tokens.bin")
    offsets = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    meta = {
        "dtype": "<u2", "tokens": int(offsets[-1]), "documents": len(documents),
        "bytes": sum(map(len, sentences)), "vocabulary_sha256": read_contract(vocabulary).identity,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path, tokens: Path) -> Path:
    """Data folder of a train_base cell: 10 steps of 128 tokens."""
    from scripts.train_base import run

    settings = {
        "shape": SHAPE, "mix": {"shares": {"en": 1.0}}, "budget": "1280-tokens", "seed": 1,
        "optimization": OPTIMIZATION,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("base")
    job = make_job(folder, "train_base/base", settings, {
        "vocabulary": vocabulary, "tokens.en": tokens,
    })  # fmt: skip
    run(job)
    return job.out


@pytest.fixture(scope="session")
def extended(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> dict[bool, Path]:
    """Checkpoint folders by whether embeddings are tied: untrained, the last 20 ids new, ten rows
    of padding after them."""
    from langtransfer.config.training import ModelShape
    from langtransfer.pretraining.models import new_model, save_model
    from langtransfer.vocabulary.contract import read_contract

    source = tmp_path_factory.mktemp("extended-vocabulary") / "vocabulary"
    shutil.copytree(vocabulary, source)
    contract = read_contract(source).model_copy(update={"base_size": EXTENDED_FROM})
    (source / "vocabulary.json").write_text(contract.model_dump_json())
    padded = contract.model_copy(update={"embedding_rows": 320})
    folders = {}
    for tied in (False, True):
        folders[tied] = tmp_path_factory.mktemp("extended")
        model = new_model(ModelShape(**SHAPE, tie_embeddings=tied), padded, seed=1)
        save_model(model, source, folders[tied] / "model")
    return folders


def kill_in_a_save(run: Callable[[Job], Any], job: Job, torch_file: int) -> None:
    """Run a job in a child that is killed in the middle of writing its so-manieth torch file.

    A checkpoint has four: training_args, optimizer, scheduler, rng.
    """

    def run_and_die() -> None:
        written, save = 0, torch.save

        def dying_save(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            nonlocal written
            written += 1
            save(value, path, *args, **kwargs)
            if written == torch_file:
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        torch.save = dying_save
        run(job)

    child = multiprocessing.get_context("fork").Process(target=run_and_die)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


Pretrain = Callable[..., Job]


@pytest.fixture
def pretrain(tmp_path: Path, base: Path, tokens: Path) -> Pretrain:
    """Runs a pretrain cell in a folder named by its first argument and returns the job."""
    from scripts.pretrain import run

    def call(name: str, budget: str, parent: Path = base, **changes: Any) -> Job:
        runtime = changes.pop("runtime", {})
        job = make_job(
            tmp_path / name, f"pretrain/{name}", pretrain_settings(budget, **changes),
            {"checkpoint": parent, "tokens.zh": tokens}, **runtime,
        )  # fmt: skip
        volatile = run(job)
        assert volatile["tokens_per_second"] >= 0
        return job

    return call
