"""DeepSpeed's ZeRO checkpoints: who wrote them, and reading them with other processes.

A ZeRO checkpoint (`global_step<n>/` beside the Trainer's files) is cut by the processes and the
stage that wrote it. For any others it is first converted to DeepSpeed's universal form, once,
beside the original. DeepSpeed reads its own files by unsafe pickle: they come from this cell's
`work/` or from a finished parent's `trainer/`, both written by this pipeline, never from outside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from langtransfer.errors import UserError
from langtransfer.job import write_atomically
from langtransfer.pretraining.processes import world_size
from langtransfer.resources import RESOURCES

UNIVERSAL = "_universal"
LATEST_UNIVERSAL = "latest_universal"


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

    deepspeed is the run's `runtime.deepspeed`. Raises UserError where one of writer and reader is
    DeepSpeed and the other is not.
    """
    state = state_folder(checkpoint)
    if (state is None) != (deepspeed == "none"):
        written, remedy = "without DeepSpeed", "set it to none"
        if state is not None:
            stage = writers(state).stage
            written, remedy = f"by ZeRO stage {stage}", f"set it to zero{stage} or another zero*"
        raise UserError(
            "runtime.deepspeed", deepspeed,
            f"the optimizer state to go on from was written {written}: {remedy}",
        )  # fmt: skip
    if state is None:
        return False
    settings = json.loads(settings_file(deepspeed).read_text(encoding="utf-8"))
    here = Writers(world_size(), int(settings["zero_optimization"]["stage"]))
    if writers(state) == here:
        return False
    make_universal(checkpoint, state)
    return True


def settings_file(deepspeed: str) -> Path:
    """DeepSpeed's JSON of a `runtime.deepspeed`."""
    return RESOURCES / "deepspeed" / f"{deepspeed}.json"


def make_universal(checkpoint: Path, state: Path) -> None:
    """Convert a checkpoint's state for any number of processes, unless that was done before."""
    name = state.name + UNIVERSAL
    if (checkpoint / LATEST_UNIVERSAL).is_file():
        return
    staging, target = checkpoint / f".{name}", checkpoint / name
    for folder in (staging, target):
        shutil.rmtree(folder, ignore_errors=True)
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
