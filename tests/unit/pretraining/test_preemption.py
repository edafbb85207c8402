"""Told to stop, a run keeps what it has done: a checkpoint at that very step, the same end."""

from __future__ import annotations

import os
import signal
import socket
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerControl, TrainerState

from langtransfer import command
from langtransfer.errors import Interrupted
from langtransfer.pretraining.preemption import StopWhenTold
from tests.unit.pretraining.tiny_study import Pretrain, digests, make_job, pretrain_settings


def signal_in_forward_pass(monkeypatch: pytest.MonkeyPatch, number: int, at: int) -> None:
    """Send this process a signal in a run's so-manieth forward pass; once."""
    passes, original = 0, Trainer.training_step

    def step(*args: Any, **kwargs: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes == at:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", step)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["TERM", "USR1"])
def test_goes_on_from_the_step_it_was_told_at(
    pretrain: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Two forward passes a step: the eleventh is in the sixth step; steps 4 and 8 are saved."""
    handler = signal.getsignal(number)
    signal_in_forward_pass(monkeypatch, number, 11)
    with pytest.raises(Interrupted, match="stopped at step 6"):
        pretrain("told", "1280-tokens")
    saved = tmp_path / "told" / "work" / "checkpoints"
    assert [path.name for path in saved.iterdir()] == ["checkpoint-6"]
    assert signal.getsignal(number) == handler
    again = pretrain("told", "1280-tokens")
    assert digests(again.out) == digests(pretrain("undisturbed", "1280-tokens").out)


def test_told_in_its_last_step_it_ends(pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_in_forward_pass(monkeypatch, signal.SIGTERM, 20)
    told = pretrain("told", "1280-tokens")
    assert digests(told.out) == digests(pretrain("undisturbed", "1280-tokens").out)


def test_exit_status_says_again(
    base: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def interrupted(*_: object) -> str:
        raise Interrupted("stopped at step 6, as told; run again to go on")

    monkeypatch.setattr("langtransfer.execution.execute", interrupted)
    job = make_job(
        tmp_path / "told", "pretrain/told", pretrain_settings("1280-tokens"),
        {"checkpoint": base, "tokens.zh": tokens},
    )  # fmt: skip
    arguments = types.SimpleNamespace(threads=1, runtime="{}", recipe=job.work)
    assert command.serve("pretrain", lambda job: {}, arguments) == os.EX_TEMPFAIL == 75  # type: ignore[arg-type]
    assert capsys.readouterr().err == "stopped at step 6, as told; run again to go on\n"


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    callback, control = StopWhenTold(), TrainerControl()
    for step in range(1, 6):
        if (rank, step) == (1, 3):
            callback.take_note(signal.SIGTERM, None)
        state = TrainerState(global_step=step, max_steps=5)
        callback.on_step_end(None, state, control)
        if control.should_training_stop:
            break
    Path(folder, str(rank)).write_text(str(callback.stopped_at))
    torch.distributed.destroy_process_group()


def test_all_processes_leave_after_the_same_step(tmp_path: Path) -> None:
    """The second of two is told in step 3; the first leaves with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(
        _rank, (port, str(tmp_path)), nprocs=2, start_method="fork"
    )
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ["3", "3"]
