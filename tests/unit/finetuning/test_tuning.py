"""Instruction tuning: what is trained on, kills, adapters, no leaks between packed examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.config.training import FinetuneCell
from langtransfer.errors import UserError
from langtransfer.finetuning.training import apportion, choose_examples
from langtransfer.pretraining.models import load_checkpoint, load_model
from scripts.finetune import run
from tests.unit.finetuning.tiny_tuning import (
    LORA,
    Finetune,
    losses,
    split,
    trainer_of,
)
from tests.unit.pretraining.tiny_study import OPTIMIZATION, digests, kill_in_a_save


@given(
    st.integers(1, 10_000),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 10), min_size=1),
)
def test_apportion(total: int, shares: dict[str, float]) -> None:
    counts = apportion(total, shares)
    assert sum(counts.values()) == total
    whole = sum(shares.values())
    assert all(abs(counts[n] - total * s / whole) < 1 for n, s in shares.items())


def test_apportion_ties_go_by_name() -> None:
    assert apportion(5, {"zh": 1, "en": 1}) == {"en": 3, "zh": 2}


def test_smaller_tunings_are_nested(job: Finetune) -> None:
    mix = {"shares": {"zh": 3.0, "en": 1.0}}
    (small,), (large,) = (
        choose_examples(made, made.config(FinetuneCell))
        for made in (job("a", examples=20, mix=mix), job("b", examples=80, mix=mix))
    )
    assert [row["id"] for row in small[:5]] == [row["id"] for row in large[:5]]  # en
    assert [row["id"] for row in small[5:]] == [row["id"] for row in large[20:35]]  # zh


def test_too_few_pairs(finetune: Finetune) -> None:
    with pytest.raises(UserError, match=r"tunings, 1k.zh.s1: 500: .*500 pairs of zh, 200 are avai"):
        finetune("1k.zh.s1", examples=500)


def test_all_pairs_too_long(finetune: Finetune) -> None:
    short = OPTIMIZATION | {"sequence_length": 4, "global_batch_tokens": 16}
    with pytest.raises(UserError, match="sequence_length: 4: all 60 pairs are longer"):
        finetune("short", optimization=short)


def test_long_pairs_are_dropped_whole_and_counted(finetune: Finetune) -> None:
    facts = json.loads((finetune("a", examples=200).out / "training.json").read_text())
    assert facts["dropped"] == 1
    assert facts["examples"] == 199


def test_only_responses_are_trained_on(job: Finetune, base: Path) -> None:
    made = job("a")
    (rows,) = choose_examples(made, made.config(FinetuneCell))
    trainer, tokenizer = trainer_of(made, base)
    trained = sorted(
        tokenizer.decode([number for number in part if number != -100])
        for block in trainer.train_dataset
        for part in split(block["labels"], block["seq_lengths"])
    )
    assert trained == sorted(f"{row['output']}</s>" for row in rows)


@pytest.mark.parametrize("mix", [{"shares": {"zh": 1.0}}, {"order": ["zh", "en"]}])
def test_packed_examples_equal_the_same_alone(
    job: Finetune, base: Path, mix: dict[str, Any]
) -> None:
    """No leaks: logits to 1e-5 and the loss of TRL's batches as its trainer computes it."""
    trainer, _ = trainer_of(job("a", method="full", lora=None, mix=mix), base)
    batch = next(iter(trainer.get_train_dataloader()))
    assert "attention_mask" not in batch
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) >= 3
    model = trainer.model.eval()
    reference = load_model(base / "model").eval()
    total, count = 0.0, 0
    with torch.no_grad():
        loss = float(trainer.compute_loss(model, dict(batch)))
        inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
        packed = reference(**inputs, use_cache=False).logits[0]
        for first, end in zip(starts, [*starts[1:], packed.shape[0]], strict=True):
            ids, labels = (batch[name][:, first:end] for name in ("input_ids", "labels"))
            alone = reference(input_ids=ids, labels=labels)
            torch.testing.assert_close(packed[first:end], alone.logits[0], atol=1e-5, rtol=0)
            tokens = int((labels != -100).sum())
            total, count = total + float(alone.loss) * tokens, count + tokens
        leaking = reference(input_ids=batch["input_ids"], use_cache=False).logits[0]
    assert loss == pytest.approx(total / count, abs=1e-5)
    assert float((leaking - packed).abs().max()) > 1e-3


@pytest.mark.parametrize("method", ["full", "lora"])
def test_tuning_learns_and_loads(
    finetune: Finetune, base: Path, method: str, vocabulary: Path
) -> None:
    made = finetune("a", method=method, lora=LORA if method == "lora" else None, epochs=4)
    curve = [float(row["loss"]) for row in losses(made.out)]
    assert curve[-1] < curve[0]
    facts = json.loads((made.out / "training.json").read_text())
    assert facts["steps"] == len(curve)
    assert int(losses(made.out)[-1]["tokens"]) == facts["tokens"] > facts["response_tokens"] > 0
    plain, _ = load_checkpoint(base, None, torch.float32, "cpu")
    tuned, tokenizer = load_checkpoint(base, made.out, torch.float32, "cpu")
    ids = torch.tensor([tokenizer("the cat sings")["input_ids"]])
    with torch.no_grad():
        assert not torch.allclose(plain(ids).logits, tuned(ids).logits, atol=1e-3)
    assert tuned.config.use_cache
    if method == "full":
        before = json.loads((base / "model" / "config.json").read_text())
        assert json.loads((made.out / "model" / "config.json").read_text()) == before
        files = {path.name for path in vocabulary.iterdir()}
        assert files <= {path.name for path in (made.out / "model").iterdir()}


def test_adapter_names_no_folder(finetune: Finetune) -> None:
    made = finetune("a")
    assert sorted(p.name for p in (made.out / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    config = json.loads((made.out / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert config["target_modules"] == sorted(config["target_modules"])


def test_adapter_with_whole_matrices(finetune: Finetune, base: Path) -> None:
    made = finetune("a", lora=LORA | {"modules_to_save": ["embed_tokens", "lm_head"]})
    plain, _ = load_checkpoint(base, None, torch.float32, "cpu")
    tuned, _ = load_checkpoint(base, made.out, torch.float32, "cpu")
    for name in ("lm_head", "model.embed_tokens"):
        one, other = plain.get_submodule(name).weight, tuned.get_submodule(name).weight
        assert not torch.equal(one, other), name


def test_killed_after_an_epoch(finetune: Finetune, job: Finetune) -> None:
    undisturbed = finetune("undisturbed")
    steps = json.loads((undisturbed.out / "training.json").read_text())["steps"]
    made = job("killed", runtime={"checkpoint_steps": 1})
    # Four torch files a checkpoint: dies in the second epoch's first.
    kill_in_a_save(run, made, 4 * steps // 2 + 2)
    assert (made.work / "checkpoints" / f"checkpoint-{steps // 2}").is_dir()
    assert digests(finetune("killed").out) == digests(undisturbed.out)
    assert digests(finetune("killed").out) == digests(undisturbed.out)  # with nothing left to do


@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_inside_a_save(finetune: Finetune, job: Finetune, method: str) -> None:
    changes = {"method": method, "lora": LORA if method == "lora" else None}
    made = job("killed", **changes)
    kill_in_a_save(run, made, 6)
    assert (made.work / "checkpoints" / "checkpoint-3").is_dir()
    again = finetune("killed", **changes)
    # Another cadence of checkpoints must not show.
    undisturbed = finetune("undisturbed", runtime={"checkpoint_steps": 100}, **changes)
    assert digests(again.out) == digests(undisturbed.out)
