"""An epoch's last optimizer step on several processes.

An epoch need not fill its last step. One process takes the blocks that are left; of several,
accelerate would make those without a block take one from the epoch's beginning, which would be
trained on twice. Here they get empty blocks instead: one token and no loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset, concatenate_datasets
from torch.utils.data import RandomSampler, Sampler

from langtransfer.pretraining.processes import world_size
from langtransfer.pretraining.stream import IGNORED


class WholeSteps:
    """Mixed into a Trainer: every step of every epoch has the same number of blocks."""

    train_dataset: Any
    args: Any
    state: Any
    accelerator: Any
    _blocks: int | None = None
    """Of an epoch, the empty ones apart; None where none are empty."""

    def fill_steps(self, per_step: int) -> None:
        """Append empty blocks up to whole steps, where there are several processes."""
        blocks = len(self.train_dataset)
        missing = -blocks % per_step
        if world_size() > 1 and missing:
            self._blocks = blocks
            empty = empty_blocks(self.train_dataset, missing)
            self.train_dataset = concatenate_datasets([self.train_dataset, empty])

    def _get_train_sampler(self, *args: Any) -> Any:
        sampler = super()._get_train_sampler(*args)  # type: ignore[misc]  # the Trainer's
        if self._blocks is None or not isinstance(sampler, RandomSampler):
            return sampler  # in order the empty blocks come last anyway
        return EmptyLast(self._blocks, len(self.train_dataset), self.args.data_seed)

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        super()._track_num_input_tokens(inputs)  # type: ignore[misc]  # the Trainer's
        if self._blocks is not None:
            empty = count_empty(inputs["position_ids"])
            self.state.num_input_tokens_seen -= int(self.accelerator.gather(empty).sum())


class EmptyLast(Sampler[int]):
    """The order one process takes an epoch's blocks in, then the empty ones."""

    def __init__(self, blocks: int, total: int, seed: int) -> None:
        # What accelerate makes of the Trainer's sampler, over the real blocks alone.
        self._order = SeedableRandomSampler(range(blocks), data_seed=seed)
        self._blocks, self._total = blocks, total

    def __iter__(self) -> Iterator[int]:
        yield from self._order
        yield from range(self._blocks, self._total)

    def __len__(self) -> int:
        return self._total

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; the data loader calls it."""
        self._order.set_epoch(epoch)


def empty_blocks(dataset: Dataset, count: int) -> Dataset:
    """Packed blocks of one token that is not to be predicted."""
    values = {"labels": IGNORED, "seq_lengths": 1}
    columns = {name: [[values.get(name, 0)]] * count for name in dataset.column_names}
    return Dataset.from_dict(columns, features=dataset.features)


def count_empty(position_ids: torch.Tensor) -> torch.Tensor:
    """Segments of one token: a pair has more, a prompt and an end."""
    starts = position_ids.flatten() == 0
    ends = torch.cat([starts[1:], starts.new_ones(1)])
    return (starts & ends).sum()
