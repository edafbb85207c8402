"""Trainer checkpoints that survive a kill at any moment, and their deterministic export.

A checkpoint is written under another name, sealed with the sizes of its files, flushed to disk
and renamed; what a kill leaves behind is deleted by the next run. What goes into a cell's data
is rebuilt from it without paths, times or anything the run's interruptions could have changed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl
from transformers.trainer_pt_utils import safe_globals

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.zero import state_folder

PREFIX = "checkpoint-"
STAGING = "unfinished"
SEAL = "files.json"
STATE = "trainer_state.json"
TORCH_FILES = ("optimizer.pt", "scheduler.pt", "rng_state*.pth")
"""The last is one a process."""
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"


class AtomicCheckpoints:
    """Mixed into a Trainer: each checkpoint appears whole, and only the newest is kept."""

    args: Any
    state: Any
    accelerator: Any

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = self.args.output_dir
        staging = Path(folder) / STAGING
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(staging)  # the Trainer derives the checkpoint's path from it
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]  # the Trainer's
        finally:
            self.args.output_dir = folder
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            publish(staging / f"{PREFIX}{self.state.global_step}", Path(folder))
        self.accelerator.wait_for_everyone()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No README.md: TRL writes one into every checkpoint."""


class Reporter(TrainerCallback):
    """Tells the watcher how far the run is; stops one that diverged."""

    def __init__(self, job: Job, total_tokens: int, tokens_per_step: int | None = None) -> None:
        self._job, self._total, self._per_step = job, total_tokens, tokens_per_step

    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Called after each optimizer step, and once at the end."""
        if (loss := others["logs"].get("loss")) is None:
            return
        if not np.isfinite(loss):
            remedy = f"the loss is {loss} at step {state.global_step}: lower it or warm up longer"
            raise UserError("optimization.learning_rate", args.learning_rate, remedy)
        done = state.num_input_tokens_seen
        if self._per_step is not None:
            done = state.global_step * self._per_step
        if state.is_world_process_zero:
            self._job.progress(done, self._total, "tokens", f"loss {loss:.3f}")


def publish(checkpoint: Path, folder: Path) -> Path:
    """Seal a written checkpoint, move it into the folder and drop the older ones."""
    (checkpoint / "training_args.bin").unlink(missing_ok=True)  # a pickle of paths, never read
    files = sorted(p for p in checkpoint.rglob("*") if p.is_file())
    # The state is checked by reading it, and `adjust_state` may change it later.
    sizes = {
        p.relative_to(checkpoint).as_posix(): p.stat().st_size for p in files if p.name != STATE
    }
    (checkpoint / SEAL).write_text(json.dumps(sizes), encoding="utf-8")
    for file in (*files, checkpoint / SEAL):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    target = folder / checkpoint.name
    if target.exists():
        shutil.rmtree(target)
    os.replace(checkpoint, target)
    _clear(folder, keep=target)
    return target


def newest_complete(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; everything else in the folder is deleted."""
    if not folder.is_dir():
        return None
    found = sorted(folder.glob(f"{PREFIX}*"), key=_step, reverse=True)
    newest = next((path for path in found if is_complete(path)), None)
    _clear(folder, keep=newest)
    return newest


def is_complete(checkpoint: Path) -> bool:
    """Whether every sealed file is there at its size and the state is that of this step."""
    try:
        sizes = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    present = all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in sizes.items()
    )
    return present and state.get("global_step") == _step(checkpoint)


def adjust_state(checkpoint: Path, save_steps: int, micro_batch: int) -> None:
    """Put this run's cadence into a checkpoint: the Trainer obeys the state it resumes from."""
    state = read_state(checkpoint)
    state |= {"save_steps": save_steps, "logging_steps": 1, "train_batch_size": micro_batch}
    state.setdefault("stateful_callbacks", {"TrainerControl": TrainerControl().state()})
    staged = checkpoint / f".{STATE}"
    staged.write_text(json.dumps(state), encoding="utf-8")
    os.replace(staged, checkpoint / STATE)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The trainer's state: `global_step`, `log_history` and more."""
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return state


def import_trainer(trainer: Path, weights: Iterable[Path], folder: Path) -> Path:
    """Make a parent's `trainer/` (and the weights beside it) this run's first checkpoint.

    Raises UserError when the folder holds no usable state.
    """
    if not (trainer / STATE).is_file():
        raise UserError("trainer state", str(trainer), "is not whole: fetch or redo the cell")
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    checkpoint = staging / f"{PREFIX}{read_state(trainer)['global_step']}"
    shutil.copytree(trainer, checkpoint, ignore=shutil.ignore_patterns("base"))
    for file in weights:
        link_or_copy(file, checkpoint / file.name)
    return publish(checkpoint, folder)


def export_trainer(checkpoint: Path, target: Path) -> None:
    """Write what resuming needs, the weights of a full model apart (they are in `model/`).

    optimizer.pt, scheduler.pt and rng_state.pth are rebuilt so that equal states give equal
    bytes; trainer_state.json keeps the step and the losses.
    """
    target.mkdir(parents=True)
    for file in sorted(file for name in TORCH_FILES for file in checkpoint.glob(name)):
        with safe_globals():  # type: ignore[no-untyped-call]  # transformers'
            # numpy's generator state is allowed too; still weights_only
            value = torch.load(file, map_location="cpu", weights_only=True)
        torch.save(canonical(value), target / file.name)
    if (checkpoint / ADAPTER).is_file():
        export_adapter(checkpoint, target)
    if (zero := state_folder(checkpoint)) is not None:
        shutil.copytree(zero, target / zero.name)
        shutil.copyfile(checkpoint / "latest", target / "latest")
    state = {
        "global_step": read_state(checkpoint)["global_step"],
        "log_history": losses(checkpoint),
    }
    (target / STATE).write_text(json.dumps(state, sort_keys=True) + "\n", encoding="utf-8")


def export_adapter(checkpoint: Path, target: Path) -> None:
    """Write a peft adapter that names no folder of this machine."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(checkpoint / ADAPTER, target / ADAPTER)
    config = json.loads((checkpoint / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    for name, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[name] = sorted(value)  # peft keeps sets: their order is the process's
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (target / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")


def losses(checkpoint: Path) -> list[dict[str, float]]:
    """Step, tokens seen (where counted) and mean training loss of each optimizer step so far."""
    kept = ("step", "loss", "num_input_tokens_seen")
    history = read_state(checkpoint)["log_history"]
    return [{k: row[k] for k in kept if k in row} for row in history if "loss" in row]


def write_losses(path: Path, rows: Sequence[tuple[int, int, float]]) -> None:
    """losses.csv: step, tokens trained on so far, loss in nats a token."""
    lines = ["step,tokens,loss", *(f"{step},{tokens},{loss:.6f}" for step, tokens, loss in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def canonical(value: Any) -> Any:
    """An equal value whose pickle depends on nothing but what it holds.

    Pickle writes an object met twice as a reference, so strings are interned and everything
    else is rebuilt.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, Mapping):
        return {canonical(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([canonical(item) for item in value])
    return value


def link_or_copy(source: Path, target: Path) -> None:
    """The same bytes at another path, without a second copy where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix(PREFIX)
    return int(number) if number.isdigit() else -1


def _clear(folder: Path, keep: Path | None) -> None:
    for path in folder.iterdir():
        if path != keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
