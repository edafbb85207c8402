"""What each of several processes is given: every block once, in the order one process takes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from datasets import Dataset
from torch.utils.data import BatchSampler, SequentialSampler

from langtransfer.finetuning.steps import EmptyLast, count_empty, empty_blocks


def steps(order: Iterable[int], micro: int, accumulation: int, processes: int) -> list[set[int]]:
    """Blocks of each optimizer step, over all processes."""
    batches = BatchSampler(order, micro, drop_last=False)  # type: ignore[arg-type]
    found: list[set[int]] = []
    for rank in range(processes):
        for place, batch in enumerate(BatchSamplerShard(batches, processes, rank)):
            step = place // accumulation
            found += [set() for _ in range(step + 1 - len(found))]
            assert not found[step] & set(batch), "twice in a step"
            found[step] |= set(batch)
    return found


def test_a_stream_is_cut_alike() -> None:
    blocks = SequentialSampler(range(5 * 24))
    one = steps(blocks, 6, 4, 1)
    assert one == [set(range(at, at + 24)) for at in range(0, 120, 24)]
    for micro, accumulation, processes in ((6, 2, 2), (3, 2, 4), (1, 1, 24)):
        assert steps(blocks, micro, accumulation, processes) == one


def test_accelerate_alone_would_take_blocks_twice() -> None:
    assert steps(range(7), 1, 1, 4) == [{0, 1, 2, 3}, {4, 5, 6, 0}]


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_epoch_ends_with_empty_blocks(epoch: int) -> None:
    real, total = 10, 12
    single = SeedableRandomSampler(range(real), data_seed=3)
    several = EmptyLast(real, total, 3)
    for sampler in (single, several):
        sampler.set_epoch(epoch)
    order = list(single)
    several.set_epoch(epoch)
    assert list(several) == [*order, 10, 11]
    assert len(several) == total
    several.set_epoch(epoch)
    last = steps(list(several), 1, 2, 2)[-1]
    assert last == {*order[8:], 10, 11}
    assert sorted(order) == list(range(real))


def test_empty_blocks_have_no_loss_and_are_counted_apart() -> None:
    columns = {"input_ids": [[5, 6, 7]], "labels": [[-100, 6, 7]], "seq_lengths": [[3]]}
    empty = empty_blocks(Dataset.from_dict(columns), 2)
    assert empty.to_dict() == {
        "input_ids": [[0], [0]], "labels": [[-100], [-100]], "seq_lengths": [[1], [1]],
    }  # fmt: skip
    assert int(count_empty(torch.tensor([[0, 1, 2, 0, 1]]))) == 0
    assert int(count_empty(torch.tensor([[0, 1, 2, 0, 0]]))) == 2
    assert int(count_empty(torch.tensor([[0]]))) == 1
