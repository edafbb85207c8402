"""Tuning on several languages: together in shares, or one after another in an order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.training import FinetuneCell
from langtransfer.errors import UserError
from langtransfer.finetuning.training import TuningTrainer, choose_examples
from scripts.finetune import run
from tests.unit.finetuning.tiny_tuning import Finetune, split, trainer_of
from tests.unit.pretraining.tiny_study import digests, kill_in_a_save

ORDER = {"order": ["zh", "en"]}
COLOURS = {"red": "zh", "blue": "en"}
Block = list[tuple[str, ...]]


def responses(trainer: TuningTrainer, tokenizer: Any) -> list[Block]:
    """Responses of each block of the training set; a response begins with its colour."""
    return [
        [
            tuple(tokenizer.decode([n for n in part if n != -100]).split())
            for part in split(block["labels"], block["seq_lengths"])
        ]
        for block in trainer.train_dataset
    ]


def languages(block: Block) -> set[str]:
    return {COLOURS[response[0]] for response in block}


def test_each_language_gets_an_equal_part(job: Finetune) -> None:
    made = job("a", examples=21, mix=ORDER)
    zh, en = choose_examples(made, made.config(FinetuneCell))
    assert [row["id"] for row in zh] == [f"red {n}" for n in range(10)]
    assert [row["id"] for row in en] == [f"blue {n}" for n in range(11)]


def test_every_epoch_of_a_language_comes_before_the_next(job: Finetune, base: Path) -> None:
    blocks = responses(*trainer_of(job("a", mix=ORDER), base))
    assert all(len(languages(block)) == 1 for block in blocks)
    seen = [next(iter(languages(block))) for block in blocks]
    half = seen.index("en")
    assert seen == ["zh"] * half + ["en"] * (len(blocks) - half)
    for part in (blocks[:half], blocks[half:]):
        first, second = part[: len(part) // 2], part[len(part) // 2 :]
        assert first != second, "each epoch is shuffled anew"
        assert sorted(first) == sorted(second)
        assert sum(map(len, first)) == 30


def test_the_other_order_is_the_other_way_round(job: Finetune, base: Path) -> None:
    blocks = responses(*trainer_of(job("a", mix={"order": ["en", "zh"]}), base))
    assert languages(blocks[0]) == {"en"}
    assert languages(blocks[-1]) == {"zh"}


def test_batches_follow_the_order(job: Finetune, base: Path) -> None:
    """The steps see the blocks as laid out: the first ones see the first language alone."""
    trainer, _ = trainer_of(job("a", mix=ORDER), base)
    laid_out = [block["input_ids"] for block in trainer.train_dataset]
    seen = [batch["input_ids"][0].tolist() for batch in trainer.get_train_dataloader()]
    assert trainer.args.num_train_epochs == 1
    assert seen == laid_out


def test_the_seed_decides_the_order_within_a_language(job: Finetune, base: Path) -> None:
    one, same, other = (
        responses(*trainer_of(job(f"{n}", mix=ORDER, seed=seed), base))
        for n, seed in enumerate((1, 1, 2))
    )
    assert one == same
    assert one != other


def test_shares_are_packed_and_shuffled_together(job: Finetune, base: Path) -> None:
    blocks = responses(*trainer_of(job("a", mix={"shares": {"zh": 1.0, "en": 1.0}}), base))
    assert any(len(languages(block)) == 2 for block in blocks)
    assert sum(map(len, blocks)) == 60


def test_too_few_pairs_of_one_language(finetune: Finetune) -> None:
    with pytest.raises(UserError, match=r"401: wants 201 pairs of en, 200 are available"):
        finetune("a.en+zh.s1", examples=401, mix={"order": ["en", "zh"]})


@pytest.mark.parametrize("at", [0.25, 0.75])
def test_killed_in_either_language(finetune: Finetune, job: Finetune, at: float) -> None:
    undisturbed = finetune("undisturbed", mix=ORDER)
    facts = json.loads((undisturbed.out / "training.json").read_text())
    made = job("killed", mix=ORDER, runtime={"checkpoint_steps": 1})
    last = int(facts["steps"] * at)  # four torch files a checkpoint: dies in the one after this
    kill_in_a_save(run, made, 4 * last + 2)
    assert (made.work / "checkpoints" / f"checkpoint-{last}").is_dir()
    assert digests(finetune("killed", mix=ORDER).out) == digests(undisturbed.out)
