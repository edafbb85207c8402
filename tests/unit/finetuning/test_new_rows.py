"""What tuning teaches an extended vocabulary's rows; pretraining's tests hold the choices apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file

from langtransfer.config.training import FinetuneCell
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.adapters import is_tied
from langtransfer.pretraining.models import load_checkpoint, load_model
from scripts.finetune import run
from tests.unit.finetuning.tiny_tuning import LORA, Finetune, settings, trainer_of
from tests.unit.pretraining.tiny_study import (
    EXTENDED_FROM,
    OPTIMIZATION,
    digests,
    kill_in_a_save,
)

CHOICES: dict[str, dict[str, Any]] = {
    "full": {"method": "full", "lora": None},
    "new rows": {"lora": LORA | {"trainable_tokens": "new"}},
    "both": {"lora": LORA | {"modules_to_save": ["embed_tokens", "lm_head"]}},
}
CASES = [("new rows", False), ("new rows", True), ("both", True), ("full", True)]


def matrices(model: Any) -> dict[str, torch.Tensor]:
    """Embedding matrices by their names in training.json."""
    found = {"input": model.get_input_embeddings().weight}
    return found if is_tied(model) else found | {"output": model.get_output_embeddings().weight}


def facts(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job.out / "training.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize(("choice", "tied"), CASES)
def test_tuned_killed_and_merged(
    finetune: Finetune, job: Finetune, extended: dict[bool, Path], choice: str, tied: bool
) -> None:
    start = extended[tied]
    changes = CHOICES[choice] | {"parent": start}
    undisturbed = finetune("undisturbed", **changes)
    kill_in_a_save(run, job("killed", **changes), 6)
    assert digests(finetune("killed", **changes).out) == digests(undisturbed.out)
    tuned, _ = load_checkpoint(start, undisturbed.out, torch.float32, "cpu")
    plain = load_model(start / "model").eval()
    assert is_tied(tuned) == tied
    before, after = matrices(plain), matrices(tuned)
    for name, row in facts(undisturbed)["rows"].items():
        changed = (before[name] != after[name])[:310].any(dim=1)
        old, new = changed[:EXTENDED_FROM], changed[EXTENDED_FROM:]
        assert (row["old_changed"], row["new_changed"]) == (int(old.sum()), int(new.sum()))
        assert row["new_changed"] > 0
        if choice == "new rows":
            assert torch.equal(before[name][:EXTENDED_FROM], after[name][:EXTENDED_FROM])
            assert torch.equal(before[name][310:], after[name][310:])
    assert facts(undisturbed)["rows"].keys() == before.keys()
    if choice != "full":
        adapted = PeftModel.from_pretrained(plain, str(undisturbed.out / "adapter")).eval()
        ids = torch.arange(310).reshape(10, 31)
        with torch.no_grad():
            one, other = (model(input_ids=ids).logits for model in (adapted, tuned))
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_loss_sees_the_adapted_rows(
    job: Finetune, extended: dict[bool, Path], *, tied: bool
) -> None:
    """TRL takes the output matrix itself and never calls its module: the rows must be in it."""
    made = job("a", parent=extended[tied], lora=LORA | {"dropout": 0.0, "trainable_tokens": "new"})
    trainer, _ = trainer_of(made, extended[tied])
    model = trainer.model
    rows = [p for n, p in model.named_parameters() if "trainable_tokens_delta" in n]
    assert len(rows) == (1 if tied else 2)
    with torch.no_grad():
        for parameter in rows:
            parameter.mul_(30)
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(model, dict(batch))
    loss.backward()
    inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
        plain = load_model(extended[tied] / "model")(**inputs, use_cache=False).logits
    assert float((logits - plain).abs().max()) > 0.1
    expected = torch.nn.functional.cross_entropy(logits[0, :-1], batch["labels"][0, 1:])
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-5)
    assert all(bool(p.grad.any()) for p in rows)


def test_adapter_holds_the_new_rows_only(finetune: Finetune, extended: dict[bool, Path]) -> None:
    made = finetune("a", parent=extended[False], **CHOICES["new rows"])
    tensors = load_file(made.out / "adapter" / "adapter_model.safetensors")
    shapes = {name: tuple(t.shape) for name, t in tensors.items() if "lora_" not in name}
    assert sorted(shapes.values()) == [(20, 32), (20, 32)]


def test_a_tuning_may_leave_rows_alone(finetune: Finetune, extended: dict[bool, Path]) -> None:
    stated = facts(finetune("a", parent=extended[True]))
    assert stated["note"].startswith("LoRA trained no embedding rows: the 20 new ones")
    assert stated["rows"]["input"]["unchanged"] == [[0, 309]]


def test_no_new_rows_to_train(finetune: Finetune) -> None:
    """One setting for both arms of a study: on the original vocabulary it is a plain LoRA."""
    stated = facts(finetune("a", **CHOICES["new rows"]))
    assert {row["old_changed"] for row in stated["rows"].values()} == {0}
    assert "note" not in stated


def test_low_rank_update_of_the_output_matrix() -> None:
    with pytest.raises(ValidationError, match="lm_head: put it into modules_to_save"):
        FinetuneCell.model_validate(settings(lora=LORA | {"target_modules": ["lm_head"]}))


def test_new_rows_that_learnt_nothing(finetune: Finetune, extended: dict[bool, Path]) -> None:
    still = OPTIMIZATION | {"sequence_length": 96, "warmup_steps": 10**30}
    still |= {"global_batch_tokens": 4 * 96}
    made = finetune("a", parent=extended[False], optimization=still, **CHOICES["new rows"])
    assert facts(made)["note"] == "none of the 20 new rows of the input and output matrix changed"


def test_single_rows_are_refused_under_zero_3(job: Finetune, extended: dict[bool, Path]) -> None:
    lora = LORA | {"trainable_tokens": "new"}
    made = job("zero3", lora=lora, parent=extended[False], runtime={"deepspeed": "zero3-offload"})
    with pytest.raises(UserError, match=r"deepspeed: 'zero3-offload': .* set zero2$"):
        run(made)
