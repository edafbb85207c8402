"""The processes of one training run: which one this is, and what they do together.

A launcher (`langtransfer.launch`) has set RANK and WORLD_SIZE; without one there is one process.
The Trainer's arguments begin the process group.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

PATIENCE = timedelta(hours=2)
"""Longest wait for another process: the first may be converting a checkpoint of many gigabytes."""


def world_size() -> int:
    """Processes of this run, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return int(os.environ.get("RANK", "0")) == 0


def from_first(make: Callable[[], Any]) -> Any:
    """What make() gives in the first process, in all of them; it runs there alone.

    Only plain values: they are sent to the run's own processes by pickle.
    """
    if not _together():
        return make()
    values = [make() if is_first() else None]
    distributed.broadcast_object_list(values)
    return values[0]


def any_of_all(flag: bool) -> bool:
    """Whether it is true in any process; all of them ask at the same point of the run."""
    if not _together():
        return flag
    backend = str(distributed.get_backend())
    raised = torch.tensor(int(flag), device="cuda" if backend == "nccl" else "cpu")
    distributed.all_reduce(raised, distributed.ReduceOp.MAX)
    return bool(raised.item())


def leave() -> None:
    """Wait for all and end the process group: some processes died at exit without this."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized() and world_size() > 1
