"""A training run that is told to stop keeps what it has done.

SLURM sends SIGTERM before it takes a job's nodes away (pre-emption with a grace time, or
`--signal` before the time limit). The step under way is finished, a checkpoint written, and the
process leaves with a status that says: run it again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback

from langtransfer.errors import Interrupted
from langtransfer.pretraining.arguments import leave_process_group

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopWhenTold(TrainerCallback):
    """Saves and ends a run at the first step that ends after one of its processes got a signal."""

    def __init__(self) -> None:
        self._told = False
        self.stopped_at: int | None = None
        """Optimizer steps done, where the run ended before its last."""

    def take_note(self, signal_number: int, frame: object) -> None:
        """Signal handler."""
        self._told = True

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Called after each optimizer step, by all processes."""
        if self._any_told(args.device) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
            self.stopped_at = state.global_step

    def _any_told(self, device: torch.device) -> bool:
        """Whether any process was told: all must leave after the same step."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self._told
        told = torch.tensor(int(self._told), device=device)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return bool(told.item())


@contextmanager
def stops_when_told(trainer: Any) -> Iterator[None]:
    """Train inside; raises Interrupted where a signal ended the run before its last step."""
    callback = StopWhenTold()
    trainer.add_callback(callback)
    before = {number: signal.signal(number, callback.take_note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if callback.stopped_at is not None:
        leave_process_group()
        raise Interrupted(f"stopped at step {callback.stopped_at}, as told; run again to go on")
