"""Checkpoint folders: what counts as whole, what is deleted, what exports hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from langtransfer.errors import UserError
from langtransfer.pretraining import checkpoints


def write(folder: Path, step: int, name: str | None = None) -> Path:
    """A finished checkpoint of a step, as the Trainer leaves it before it is published."""
    checkpoint = folder / "unfinished" / (name or f"checkpoint-{step}")
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"w" * 100)
    (checkpoint / "optimizer.pt").write_bytes(b"o" * 200)
    (checkpoint / "training_args.bin").write_bytes(b"pickle")
    state = {"global_step": step, "log_history": [{"step": 1, "loss": 2.5, "epoch": 0.1},
                                                  {"train_runtime": 1.0, "step": 1}]}  # fmt: skip
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    return checkpoint


def publish(folder: Path, step: int) -> Path:
    return checkpoints.publish(write(folder, step), folder)


def test_publish_keeps_the_newest_only(tmp_path: Path) -> None:
    publish(tmp_path, 4)
    newest = publish(tmp_path, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"]
    assert not (newest / "training_args.bin").exists()
    assert checkpoints.newest_complete(tmp_path) == newest


def test_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for step in (9, 10):
        publish(tmp_path / str(step), step).rename(kept.with_name(f"checkpoint-{step}"))
    found = checkpoints.newest_complete(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-10"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"w" * 99),
        ("optimizer.pt", b""),
        ("optimizer.pt", None),
        ("trainer_state.json", None),
        ("trainer_state.json", b'{"global_step": 8, "log_hi'),
        ("trainer_state.json", b'{"global_step": 4}'),
        ("files.json", None),
        ("files.json", b'{"mod'),
    ],
)
def test_half_written_ones_are_deleted(tmp_path: Path, file: str, content: bytes | None) -> None:
    older = publish(tmp_path / "a", 4)
    newer = publish(tmp_path / "b", 8)
    folder = tmp_path / "both"
    folder.mkdir()
    older, newer = (p.rename(folder / p.name) for p in (older, newer))
    write(folder, 12)
    if content is None:
        (newer / file).unlink()
    else:
        (newer / file).write_bytes(content)
    assert checkpoints.newest_complete(folder) == older
    assert [path.name for path in folder.iterdir()] == ["checkpoint-4"]


def test_nothing_there(tmp_path: Path) -> None:
    assert checkpoints.newest_complete(tmp_path / "absent") is None
    write(tmp_path, 4)
    assert checkpoints.newest_complete(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_cadence_is_this_runs(tmp_path: Path) -> None:
    checkpoint = publish(tmp_path, 4)
    checkpoints.adjust_state(checkpoint, save_steps=7, micro_batch=3)
    state = checkpoints.read_state(checkpoint)
    assert (state["save_steps"], state["train_batch_size"]) == (7, 3)
    assert checkpoints.is_complete(checkpoint)


def test_parent_without_state(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    with pytest.raises(UserError, match=r"trainer state.*is not whole"):
        checkpoints.import_trainer(tmp_path / "trainer", [], tmp_path / "work")


def test_losses_leave_times_out(tmp_path: Path) -> None:
    assert checkpoints.losses(publish(tmp_path, 4)) == [{"step": 1, "loss": 2.5}]
    checkpoints.write_losses(tmp_path / "losses.csv", [(1, 128, 2.5), (2, 256, 1 / 3)])
    text = (tmp_path / "losses.csv").read_text()
    assert text == "step,tokens,loss\n1,128,2.500000\n2,256,0.333333\n"


def test_canonical_makes_equal_states_equal_bytes(tmp_path: Path) -> None:
    shared = "".join(["l", "r"])  # not interned, as strings read from a file
    other = "".join(["l", "r"])
    one = {"groups": [{shared: 1.0}, {shared: 2.0}], "state": {0: torch.ones(3)}}
    two = {"groups": [{shared: 1.0}, {other: 2.0}], "state": {0: torch.ones(6)[::2]}}
    assert shared is not sys.intern(other)
    files = []
    for name, value in (("a", one), ("b", two)):
        (tmp_path / name).mkdir()
        files.append(tmp_path / name / "optimizer.pt")
        torch.save(checkpoints.canonical(value), files[-1])
    assert files[0].read_bytes() == files[1].read_bytes()
    loaded = torch.load(files[0], weights_only=True)
    assert loaded["groups"] == one["groups"]
