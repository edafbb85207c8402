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

from transformers import TrainerCallback

from langtransfer.errors import Interrupted
from langtransfer.pretraining.processes import any_of_all, leave

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
        # All must leave after the same step.
        if any_of_all(self._told) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
            self.stopped_at = state.global_step


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
        leave()
        raise Interrupted(f"stopped at step {callback.stopped_at}, as told; run again to go on")
