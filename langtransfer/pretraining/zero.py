"""DeepSpeed's ZeRO checkpoints: who wrote them, and reading them with other processes.

A ZeRO checkpoint (`global_step<n>/` beside the Trainer's files) is cut by the processes that wrote
it. For another number of them it is first converted to DeepSpeed's universal form, once, beside the
original. DeepSpeed reads its own files by unsafe pickle: they come from this cell's
`work/` or from a finished parent's `trainer/`; one that was received or adopted is refused unless
`runtime.trust_received_state` says otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from langtransfer.config import RuntimeConfig
from langtransfer.errors import UserError
from langtransfer.job import write_atomically
from langtransfer.pretraining.processes import world_size
from langtransfer.provenance import RECEIVED
from langtransfer.resources import RESOURCES

UNIVERSAL = "_universal"
LATEST_UNIVERSAL = "latest_universal"
BACKENDS: tuple[str, ...] = get_args(RuntimeConfig.model_fields["deepspeed"].annotation)


class Writers(NamedTuple):
    """Who wrote a ZeRO checkpoint."""

    processes: int
    stage: int
    """2 or 3: the two cut the state differently."""


def state_folder(checkpoint: Path) -> Path | None:
    """`global_step<n>/` of a checkpoint; None where it was written without DeepSpeed."""
    found = [p for p in checkpoint.glob("global_step*") if not p.name.endswith(UNIVERSAL)]
    return max(found, default=None)


def writers(state: Path) -> Writers:
    """Processes and stage that wrote a `global_step<n>/`."""
    processes = len(list(state.glob("*zero_pp_rank_*_optim_states.pt")))
    sharded = any(state.glob("zero_pp_rank_*_model_states.pt"))
    return Writers(processes, 3 if sharded else 2)


def prepare_state(checkpoint: Path, deepspeed: str) -> bool:
    """Make a checkpoint readable by this run's processes; whether it was converted for them.

    deepspeed is the run's `runtime.deepspeed`. Raises UserError where the optimizer state is kept
    in another way: plain, by ZeRO 2 or by ZeRO 3, with offload or without.
    """
    state = state_folder(checkpoint)
    written = None if state is None else writers(state)
    stage = zero_stage(deepspeed)
    if (written and written.stage) != stage:
        kept = "without DeepSpeed" if written is None else f"by ZeRO {written.stage}"
        fitting = [name for name in BACKENDS if zero_stage(name) == (written and written.stage)]
        remedy = f"the optimizer state to go on from was written {kept}: set {' or '.join(fitting)}"
        raise UserError("runtime.deepspeed", deepspeed, remedy)
    if state is None or (written and written.processes == world_size()):
        return False
    make_universal(checkpoint, state)
    return True


def check_made_here(parent: Path, trusted: bool) -> None:
    """UserError for ZeRO state in a parent's data that were received: DeepSpeed unpickles it."""
    trainer = parent / "trainer"
    if trusted or state_folder(trainer) is None or not parent.with_name(RECEIVED).exists():
        return
    remedy = (
        "ZeRO state from elsewhere, which DeepSpeed would unpickle: make redo of that cell, or set"
        " runtime.trust_received_state: true where you trust who made it"
    )
    raise UserError("trainer state", str(trainer), remedy)


def zero_stage(deepspeed: str) -> int | None:
    """ZeRO stage of a `runtime.deepspeed`; None without DeepSpeed."""
    if deepspeed == "none":
        return None
    settings = json.loads(settings_file(deepspeed).read_text(encoding="utf-8"))
    return int(settings["zero_optimization"]["stage"])


def settings_file(deepspeed: str) -> Path:
    """DeepSpeed's JSON of a `runtime.deepspeed`."""
    return RESOURCES / "deepspeed" / f"{deepspeed}.json"


def make_universal(checkpoint: Path, state: Path) -> None:
    """Convert a checkpoint's state for any number of processes, unless that was done before."""
    name = state.name + UNIVERSAL
    if (checkpoint / LATEST_UNIVERSAL).is_file():
        return
    # A converter that outlived its run may still write: this one has a folder of its own.
    staging, target = checkpoint / f".{name}.{os.getpid()}", checkpoint / name
    shutil.rmtree(target, ignore_errors=True)
    # The Trainer does not write what DeepSpeed's own converter asks for: it is inferred.
    command = [
        sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state",
        "--input_folder", str(state), "--output_folder", str(staging),
    ]  # fmt: skip
    alone = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    environment = {k: v for k, v in os.environ.items() if k not in alone}
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)
    os.replace(staging, target)
    write_atomically(checkpoint / LATEST_UNIVERSAL, name)


class UniversalResume:
    """Mixed into a Trainer: mends what DeepSpeed leaves wrong after reading universal state."""

    deepspeed: Any

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]  # the Trainer's
        if checkpoint is None or self.deepspeed is None:
            return
        if self.deepspeed.load_universal_checkpoint():
            mend_universal(self.deepspeed, Path(checkpoint))


def mend_universal(engine: Any, checkpoint: Path) -> None:
    """Put right what DeepSpeed 0.19.8 gets wrong when ZeRO 3 reads universal state.

    It gives all groups of the optimizer the settings of the first (weight decay, learning rate) and
    one common step counter, which each of them then advances, and keeps parameters too small to be
    cut up as they were before. Unmended, the first loss after the resume was off by 0.06 on a tiny
    model.
    """
    if engine.zero_optimization_stage() < 3:
        return
    zero = engine.optimizer
    name = (checkpoint / LATEST_UNIVERSAL).read_text(encoding="utf-8").strip()
    stored = torch.load(checkpoint / name / "zero" / "optimizer_state.pt", weights_only=False)
    groups = stored["optimizer_state_dict"]["param_groups"]
    for group, saved in zip(zero.optimizer.param_groups, groups, strict=True):
        group.update({key: value for key, value in saved.items() if key != "params"})
    for state in zero.optimizer.state.values():
        state["step"] = torch.as_tensor(state["step"]).clone()
    if zero.persistent_parameters:
        zero.persistent_parameters[0].partition(zero.persistent_parameters)
        zero.persistent_parameters[0].all_gather(zero.persistent_parameters)
