"""What an extended vocabulary's rows learn: each choice, tied and untied, killed and chained."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import get_scheduler

from langtransfer.config.training import LoraConfig
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.adapters import is_tied, peft_config
from langtransfer.pretraining.embeddings_first import split_groups, two_stages
from langtransfer.pretraining.models import load_model
from langtransfer.vocabulary.contract import read_contract
from tests.unit.pretraining.tiny_study import (
    EXTENDED_FROM,
    Pretrain,
    digests,
    kill_in_a_save,
    make_job,
    pretrain_settings,
)

LORA: dict[str, Any] = {"rank": 4, "alpha": 8, "dropout": 0.1}
CHOICES: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "new rows": {"method": "lora", "lora": LORA | {"trainable_tokens": "new"}},
    "both": {"method": "lora", "lora": LORA | {"modules_to_save": ["embed_tokens", "lm_head"]}},
    "input": {"method": "lora", "lora": LORA | {"modules_to_save": ["embed_tokens"]}},
    "output": {"method": "lora", "lora": LORA | {"modules_to_save": ["lm_head"]}},
    "neither": {"method": "lora", "lora": LORA},
}
NEW, SIZE = range(EXTENDED_FROM, 310), 310


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint's `model/`; the two embeddings under the names of training.json."""
    tensors = load_file(folder / "model" / "model.safetensors")
    names = {"model.embed_tokens.weight": "input", "lm_head.weight": "output"}
    return {names.get(name, name): tensor for name, tensor in tensors.items()}


def facts(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return content


def changed_rows(one: torch.Tensor, other: torch.Tensor) -> set[int]:
    return set((one != other).any(dim=1).nonzero().flatten().tolist())


Straight = Callable[[str, bool], Job]


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory, extended: dict[bool, Path], tokens: Path
) -> Straight:
    """The finished job of twelve steps of a choice, tied or not, run once."""
    from scripts.pretrain import run

    @cache
    def call(choice: str, tied: bool) -> Job:
        settings = pretrain_settings("1536-tokens", **CHOICES[choice])
        parents = {"checkpoint": extended[tied], "tokens.zh": tokens}
        job = make_job(tmp_path_factory.mktemp("straight"), "pretrain/one", settings, parents)
        run(job)
        return job

    return call


either = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])


@either
@pytest.mark.parametrize("choice", CHOICES)
def test_what_moved_is_what_was_to_move(
    straight: Straight, extended: dict[bool, Path], choice: str, tied: bool
) -> None:
    job = straight(choice, tied)
    before, after = weights(extended[tied]), weights(job.out)
    assert before.keys() == after.keys()
    stated = facts(job.out)
    matrices = {"input"} if tied else {"input", "output"}
    assert stated["rows"].keys() == matrices
    learns = {"input": {"input"}, "output": {"output"}, "neither": set()}.get(choice, matrices)
    learns = matrices if tied and learns else learns
    for matrix in matrices:
        changed = changed_rows(before[matrix], after[matrix])
        row = stated["rows"][matrix]
        new = changed & set(NEW)
        assert (row["old"], row["new"]) == (EXTENDED_FROM, len(NEW))
        assert row["old_changed"] == sum(i < EXTENDED_FROM for i in changed)
        assert row["new_changed"] == len(new)
        listed = {i for low, high in row["unchanged"] for i in range(low, high + 1)}
        assert listed == set(range(SIZE)) - changed
        assert bool(new) == (matrix in learns)
        if choice == "new rows":
            assert changed <= set(NEW), "old rows and padding keep their bits"
    assert ("note" in stated) == (learns != matrices)


@either
@pytest.mark.parametrize("choice", ["new rows", "both", "input", "output"])
def test_merged_equals_adapter(
    straight: Straight, extended: dict[bool, Path], choice: str, tied: bool
) -> None:
    job, start = straight(choice, tied), extended[tied] / "model"
    merged = load_model(job.out / "model").eval()
    adapter = job.work / "checkpoints" / "checkpoint-12"
    adapted = PeftModel.from_pretrained(load_model(start), str(adapter)).eval()
    ids = torch.arange(SIZE).reshape(10, 31)
    with torch.no_grad():
        one, other = (model(input_ids=ids).logits for model in (adapted, merged))
        plain = load_model(start).eval()(input_ids=ids).logits
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert float((plain - other).abs().max()) > 0.1
    assert is_tied(merged) == merged.config.tie_word_embeddings == tied


def kill_and_chain(
    pretrain: Pretrain, small: Job, tokens: Path, settings: dict[str, Any], torch_file: int
) -> Job:
    """Twelve steps that go on from a smaller budget's, after a first try that was killed."""
    from scripts.pretrain import run

    cell = pretrain_settings("1536-tokens", **settings)
    parents = {"checkpoint": small.out, "tokens.zh": tokens}
    folder = small.out.parent.with_name("large")
    kill_in_a_save(run, make_job(folder, "pretrain/large", cell, parents), torch_file)
    return pretrain("large", "1536-tokens", parent=small.out, **settings)


@pytest.mark.parametrize(
    ("choice", "tied"),
    [("full", True), ("new rows", False), ("new rows", True), ("both", True), ("input", False)],
)
def test_killed_and_chained_as_straight(
    pretrain: Pretrain, straight: Straight, extended: dict[bool, Path], tokens: Path,
    choice: str, tied: bool,
) -> None:  # fmt: skip
    small = pretrain("small", "640-tokens", parent=extended[tied], **CHOICES[choice])
    large = kill_and_chain(pretrain, small, tokens, CHOICES[choice], torch_file=6)
    assert digests(large.out) == digests(straight(choice, tied).out)


@pytest.mark.parametrize(
    ("choice", "tied"), [("full", False), ("full", True), ("new rows", False), ("both", True)]
)
def test_embeddings_first(
    pretrain: Pretrain, extended: dict[bool, Path], tokens: Path, choice: str, tied: bool
) -> None:
    """The body keeps its bits for five steps and learns then; kills and chains do not show."""
    settings, start = CHOICES[choice] | {"embeddings_first": "640-tokens"}, extended[tied]
    alone = pretrain("alone", "640-tokens", parent=start, **settings)
    both = pretrain("both", "1536-tokens", parent=start, **settings)
    before, first, last = weights(start), weights(alone.out), weights(both.out)
    for name, tensor in before.items():
        kept = torch.equal(tensor.view(torch.int32), first[name].view(torch.int32))
        assert kept != (name in ("input", "output")), name
        # Low-rank updates leave norms alone.
        if choice == "full" or "proj" in name:
            assert not torch.equal(tensor, last[name]), name
    small = pretrain("small", "384-tokens", parent=start, **settings)
    # Killed in the save of step 8, it goes on from the one of step 4, before the boundary.
    large = kill_and_chain(pretrain, small, tokens, settings, torch_file=6)
    assert digests(large.out) == digests(both.out)


@pytest.mark.parametrize("kind", ["constant_with_warmup", "cosine"])
def test_rates_of_the_two_stages(kind: str) -> None:
    """The body's rate is 0 before the boundary and the schedule's from it on; decay stays."""
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(4)]
    embeddings = {id(parameters[1])}

    def optimizer() -> torch.optim.Optimizer:
        groups = [
            {"params": parameters[:3], "weight_decay": 0.5},
            {"params": parameters[3:], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=0.25)

    steps = {"num_warmup_steps": 2, "num_training_steps": 9}
    one_stage = get_scheduler(kind, optimizer(), **steps)
    cut = optimizer()
    groups = split_groups(cut, embeddings)
    scheduler = two_stages(get_scheduler(kind, cut, **steps), groups, embedding_steps=4)
    assert [(list(map(id, g["params"])), g["weight_decay"]) for g in cut.param_groups] == [
        ([id(parameters[1])], 0.5),
        ([id(parameters[0]), id(parameters[2])], 0.5),
        ([id(parameters[3])], 0.0),
    ]
    for step in range(9):
        rate = one_stage.get_last_lr()[0]
        body = rate if step >= 4 else 0.0
        assert [group["lr"] for group in cut.param_groups] == [rate, body, body], step
        for each in (one_stage, scheduler):
            each.optimizer.step()
            each.step()


def test_embeddings_first_is_another_training(
    pretrain: Pretrain, extended: dict[bool, Path]
) -> None:
    """The first stage decides the result, and one past the end of the run never ends."""
    one, other, alone = (
        weights(pretrain(f"{i}", "1280-tokens", parent=extended[False], **changes).out)
        for i, changes in enumerate(
            [{}, {"embeddings_first": "640-tokens"}, {"embeddings_first": "2560-tokens"}]
        )
    )
    assert not torch.equal(one["input"], other["input"])
    before = weights(extended[False])
    assert torch.equal(before["model.norm.weight"], alone["model.norm.weight"])


def test_no_new_rows_to_train(pretrain: Pretrain) -> None:
    """One setting for both arms of a study: on the original vocabulary it is a plain LoRA."""
    made = pretrain("one", "640-tokens", embeddings_first="256-tokens", **CHOICES["new rows"])
    rows = json.loads((made.out / "training.json").read_text())["rows"]
    assert {name: (row["old_changed"], row["new"]) for name, row in rows.items()} == {
        "input": (0, 0), "output": (0, 0),
    }  # fmt: skip
    plain = CHOICES["new rows"]["lora"] | {"trainable_tokens": "none"}
    other = pretrain("two", "640-tokens", **CHOICES["new rows"] | {"lora": plain})
    one, two = weights(made.out), weights(other.out)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_low_rank_updates_of_a_tied_pair(pretrain: Pretrain, extended: dict[bool, Path]) -> None:
    lora = LORA | {"target_modules": ["q_proj", "lm_head"]}
    with pytest.raises(UserError, match=r"target_modules: \['lm_head'\]: .*merges twice"):
        pretrain("one", "640-tokens", parent=extended[True], method="lora", lora=lora)


@pytest.mark.parametrize(
    ("changes", "tied", "refused"),
    [
        ({"trainable_tokens": "new"}, False, True),
        ({"modules_to_save": ["embed_tokens"]}, True, True),
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, False, False),
        ({}, True, False),
    ],
)
def test_a_bias_that_peft_would_drop(
    extended: dict[bool, Path], changes: dict[str, Any], tied: bool, refused: bool
) -> None:
    model = load_model(extended[tied] / "model")
    model.lm_head.bias = torch.nn.Parameter(torch.ones(320))
    lora, contract = LoraConfig(**LORA | changes), read_contract(extended[tied])
    with pytest.raises(UserError, match="has a bias") if refused else nullcontext():
        peft_config(lora, contract, model)


@pytest.mark.parametrize("choice", ["full", "new rows"])
def test_new_rows_that_learnt_nothing(
    pretrain: Pretrain, extended: dict[bool, Path], choice: str
) -> None:
    """One step at the warm-up's first learning rate, which is 0."""
    with pytest.raises(UserError, match=r"new embedding rows that learnt: 0: none of the 20 .*war"):
        pretrain("one", "128-tokens", parent=extended[False], **CHOICES[choice])


def test_lora_without_rows_says_so(pretrain: Pretrain, extended: dict[bool, Path]) -> None:
    job = pretrain("one", "640-tokens", parent=extended[False], **CHOICES["neither"])
    stated = facts(job.out)
    assert stated["note"].startswith("LoRA trained no embedding rows: the 20 new ones")
    assert stated["rows"]["output"]["unchanged"] == [[0, 309]]


def test_rows_of_a_vocabulary_that_extends_none(pretrain: Pretrain) -> None:
    stated = facts(pretrain("one", "640-tokens").out)
    assert stated["rows"]["input"] == {
        # The padding's row begins at zero and has no gradient.
        "old": 310, "old_changed": 309, "new": 0, "new_changed": 0, "unchanged": [[0, 0]],
    }  # fmt: skip
    assert "note" not in stated


def test_chain_from_a_cell_without_rows(pretrain: Pretrain) -> None:
    small = pretrain("small", "640-tokens")
    stated = facts(small.out)
    del stated["rows"]
    (small.out / "training.json").write_text(json.dumps(stated))
    with pytest.raises(UserError, match=r"states no rows.*redo that cell"):
        pretrain("large", "1280-tokens", parent=small.out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings_first": "600-tokens"}, r"0.6k-tokens: .*multiple of global_batch_tokens"),
        ({"embeddings_first": "10-samples"}, r"10-samples: write tokens"),
        ({"embeddings_first": 0}, r"embeddings_first: 0: write tokens"),
        (CHOICES["neither"] | {"embeddings_first": "640-tokens"}, "this LoRA trains no embeddings"),
    ],
)
def test_stages_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    from langtransfer.config.training import PretrainCell

    with pytest.raises(ValidationError, match=message):
        PretrainCell.model_validate(pretrain_settings("1280-tokens", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"modules_to_save": ["model.embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
    ],
)
def test_rows_trained_twice(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"trainable_tokens: new keeps old rows, but "):
        LoraConfig.model_validate(LORA | {"trainable_tokens": "new"} | changes)
