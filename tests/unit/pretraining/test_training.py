"""Training on a stream: chained budgets, kills, settings, no leaks between documents."""

from __future__ import annotations

import csv
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langtransfer.errors import UserError
from langtransfer.pretraining import checkpoints
from langtransfer.pretraining.models import load_model
from langtransfer.pretraining.stream import Blocks, open_stream
from langtransfer.pretraining.training import stack_blocks
from tests.unit.pretraining.tiny_study import (
    Pretrain,
    digests,
    kill_in_a_save,
    make_job,
    pretrain_settings,
)

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "modules_to_save": ["embed_tokens", "lm_head"]}


def losses(folder: Path) -> list[float]:
    with (folder / "losses.csv").open(encoding="utf-8") as handle:
        return [float(row["loss"]) for row in csv.DictReader(handle)]


def test_base_learns_and_states_what_it_read(base: Path) -> None:
    curve = losses(base)
    assert len(curve) == 10
    assert curve[-1] < curve[0] - 0.5
    facts = json.loads((base / "training.json").read_text(encoding="utf-8"))
    assert facts["tokens"] == 1280
    assert facts["steps"] == 10
    assert facts["sources"] == {"en": 1280}
    assert facts["budget"] == "1280-tokens"
    assert not (base / "trainer").exists()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_chained_budgets_equal_one_long_run(pretrain: Pretrain, base: Path, method: str) -> None:
    settings = {"method": method, "lora": LORA if method == "lora" else None}
    small = pretrain("small", "640-tokens", **settings)
    large = pretrain("large", "2048-tokens", parent=small.out, **settings)
    # Another cadence of checkpoints must not show either.
    straight = pretrain("straight", "2048-tokens", runtime={"checkpoint_steps": 3}, **settings)
    assert digests(large.out) == digests(straight.out)
    assert (
        digests(small.out)["model/model.safetensors"]
        != digests(large.out)["model/model.safetensors"]
    )
    assert len(losses(large.out)) == 16
    assert losses(large.out)[:5] == losses(small.out)


def test_trainer_folder_holds_no_path_and_no_weights_twice(pretrain: Pretrain) -> None:
    job = pretrain("one", "640-tokens")
    names = sorted(path.name for path in (job.out / "trainer").iterdir())
    assert names == ["optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json"]
    state = json.loads((job.out / "trainer" / "trainer_state.json").read_text(encoding="utf-8"))
    assert sorted(state) == ["global_step", "log_history"]
    for path in job.out.rglob("*"):
        if path.is_file():
            assert str(job.out.parent).encode() not in path.read_bytes(), path


def test_independent_budgets_begin_afresh(pretrain: Pretrain) -> None:
    schedule = {"schedule": "cosine"}
    one = pretrain("one", "640-tokens", budgets="independent", optimization=schedule)
    two = pretrain("two", "1280-tokens", budgets="independent", optimization=schedule)
    assert not (one.out / "trainer").exists()
    # Their own schedules: the learning rates differ after the first steps, so must the losses.
    assert losses(one.out)[0] == losses(two.out)[0]
    assert losses(one.out)[4] != losses(two.out)[4]


def test_seed_and_micro_batch(pretrain: Pretrain) -> None:
    one = pretrain("one", "640-tokens")
    other = pretrain("other", "640-tokens", seed=2)
    assert losses(one.out) != losses(other.out)
    cut = pretrain("cut", "640-tokens", runtime={"micro_batch": 1})
    whole = pretrain("whole", "640-tokens", runtime={"micro_batch": 64})
    assert losses(cut.out) == pytest.approx(losses(whole.out), abs=1e-4)


def test_micro_batch_that_leaves_a_rest(pretrain: Pretrain) -> None:
    with pytest.raises(UserError, match=r"micro_batch: 3: must divide the 4 blocks.*1, 2, 4"):
        pretrain("one", "640-tokens", runtime={"micro_batch": 3})


def test_divergence_is_bad_input(pretrain: Pretrain) -> None:
    wild = {"learning_rate": 1e30, "max_grad_norm": 1e30, "warmup_steps": 0}
    with pytest.raises(UserError, match=r"learning_rate: 1e\+30: the loss is"):
        pretrain("one", "640-tokens", optimization=wild)


def test_tokens_of_another_vocabulary(pretrain: Pretrain, tokens: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokens"
    other.mkdir()
    for file in tokens.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    meta = json.loads((other / "meta.json").read_text(encoding="utf-8"))
    (other / "meta.json").write_text(json.dumps(meta | {"vocabulary_sha256": "0" * 64}))
    from scripts.pretrain import run

    job = make_job(
        tmp_path / "one", "pretrain/one", pretrain_settings("640-tokens"),
        {"checkpoint": pretrain("parent", "640-tokens").out, "tokens.zh": other},
    )  # fmt: skip
    with pytest.raises(UserError, match="vocabulary_sha256 of the tokens"):
        run(job)


# The fifth torch file is in the second checkpoint.
@pytest.mark.parametrize("die_at", [2, 6, 8])
def test_killed_inside_a_checkpoint_save(
    pretrain: Pretrain, base: Path, tokens: Path, tmp_path: Path, die_at: int
) -> None:
    settings, parents = pretrain_settings("1280-tokens"), {"checkpoint": base, "tokens.zh": tokens}
    job = make_job(tmp_path / "killed", "pretrain/killed", settings, parents)
    kill_in_a_save(_run, job, die_at)
    assert (job.work / "checkpoints" / "unfinished").exists()
    again = pretrain("killed", "1280-tokens")
    undisturbed = pretrain("undisturbed", "1280-tokens")
    assert digests(again.out) == digests(undisturbed.out)


def _run(job: Any) -> None:
    from scripts.pretrain import run

    run(job)


def test_killed_between_checkpoints_goes_on(
    pretrain: Pretrain, base: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, parents = pretrain_settings("5120-tokens"), {"checkpoint": base, "tokens.zh": tokens}
    job = make_job(tmp_path / "killed", "pretrain/killed", settings, parents)
    child = multiprocessing.get_context("fork").Process(target=_run, args=(job,))
    child.start()
    folder = job.work / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(folder.glob("checkpoint-[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    child.kill()
    child.join(60)
    begun_at = []
    adjust = checkpoints.adjust_state
    monkeypatch.setattr(
        checkpoints,
        "adjust_state",
        lambda path, *rest: (begun_at.append(path), adjust(path, *rest)),
    )
    again = pretrain("killed", "5120-tokens")
    assert [path.name.startswith("checkpoint-") for path in begun_at] == [True]
    assert digests(again.out) == digests(pretrain("undisturbed", "5120-tokens").out)


def test_packed_block_equals_its_documents_alone(base: Path, tokens: Path) -> None:
    """No leaks: logits to 1e-5 and the loss of blocks as the Trainer feeds them."""
    from langtransfer.config.training import Mix

    blocks = open_stream({"zh": tokens}, Mix(shares={"zh": 1.0}), 32, seed=1).dataset(4)
    model = load_model(base / "model").eval()
    model.config.use_cache = False  # as `build_trainer` sets it
    batch = stack_blocks([blocks[i] for i in range(4)])
    assert "attention_mask" not in batch
    with torch.no_grad():
        packed = model(**batch)
        total, count = 0.0, 0
        for row in range(4):
            for first, end in segments(blocks, row):
                ids = batch["input_ids"][row : row + 1, first:end]
                alone = model(input_ids=ids, labels=ids)
                torch.testing.assert_close(
                    packed.logits[row : row + 1, first:end], alone.logits, atol=1e-5, rtol=0
                )
                if end - first > 1:
                    total += float(alone.loss) * (end - first - 1)
                    count += end - first - 1
        # What the loss of the same batch would be with documents leaking into each other.
        leaking = model(input_ids=batch["input_ids"], labels=batch["labels"]).logits
    assert float(packed.loss) == pytest.approx(total / count, abs=1e-5)
    assert float((leaking - packed.logits).abs().max()) > 1e-3


def test_killed_while_writing_data(pretrain: Pretrain) -> None:
    """Training is over but its data are not published: nothing is trained again."""
    first = digests(pretrain("one", "1280-tokens").out)
    assert digests(pretrain("one", "1280-tokens").out) == first


def segments(blocks: Blocks, index: int) -> list[tuple[int, int]]:
    """First and end of each document's part in a block."""
    starts = np.flatnonzero(blocks[index]["position_ids"] == 0)
    return list(zip(starts, [*starts[1:], blocks.sequence_length], strict=True))
