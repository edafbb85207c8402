"""Hardware and batches of a training run, as arguments of Hugging Face's Trainer.

Nothing here decides what is learnt: a global batch is the same however it is cut up.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from langtransfer.config import RuntimeConfig
from langtransfer.config.training import OptimizationConfig
from langtransfer.errors import UserError
from langtransfer.launch import free_port
from langtransfer.pretraining.processes import PATIENCE, world_size
from langtransfer.pretraining.zero import settings_file

SCHEDULERS = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}
"""Ours -> transformers' name; all of them warm up linearly."""


@dataclass(frozen=True)
class Batches:
    """How one optimizer step's blocks are cut up."""

    blocks: int
    """Packed blocks per optimizer step, over all processes."""
    micro: int
    """Blocks per forward pass and process."""
    accumulation: int
    """Forward passes per optimizer step and process."""


def cut_batches(optimization: OptimizationConfig, micro_batch: int, processes: int) -> Batches:
    """Cut a step's blocks into micro-batches; UserError where that leaves a rest."""
    blocks = optimization.global_batch_tokens // optimization.sequence_length
    if blocks % processes:
        remedy = f"{blocks} blocks a step do not divide over {processes} processes: change either"
        raise UserError(
            "optimization.global_batch_tokens", optimization.global_batch_tokens, remedy
        )
    share = blocks // processes
    micro = min(micro_batch, share)
    if share % micro:
        fits = ", ".join(str(n) for n in range(1, share + 1) if share % n == 0)
        remedy = f"must divide the {share} blocks of a step and process: use one of {fits}"
        raise UserError("runtime.micro_batch", micro_batch, remedy)
    return Batches(blocks, micro, share // micro)


def uses_cpu(runtime: RuntimeConfig) -> bool:
    """Whether to train on the CPU; UserError for a GPU that is not there, or more than one."""
    if runtime.device == "cpu":
        return True
    if not torch.cuda.is_available():
        if runtime.device == "cuda":
            raise UserError("runtime.device", "cuda", "no GPU is visible: use auto or cpu")
        return True
    if torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ:
        # The Trainer would fall back on nn.DataParallel, which TRL refuses and which is slow.
        remedy = (
            "sees several GPUs in one process: start scripts.<stage>, which launches one for each"
        )
        raise UserError("runtime.device", runtime.device, remedy)
    return False


def trainer_arguments(
    optimization: OptimizationConfig,
    runtime: RuntimeConfig,
    batches: Batches,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Keyword arguments that TrainingArguments and TRL's SFTConfig share."""
    cpu = uses_cpu(runtime)
    every = runtime.activation_checkpointing
    check_kernels(runtime, cpu)
    deepspeed = deepspeed_file(runtime, cpu)  # first: it may set the process group's environment
    return {
        "output_dir": str(folder), "seed": seed, "data_seed": seed, "use_cpu": cpu,
        "per_device_train_batch_size": batches.micro,
        "gradient_accumulation_steps": batches.accumulation,
        "learning_rate": optimization.learning_rate,
        "lr_scheduler_type": SCHEDULERS[optimization.schedule],
        "warmup_steps": optimization.warmup_steps, "weight_decay": optimization.weight_decay,
        "adam_beta1": optimization.adam_beta1, "adam_beta2": optimization.adam_beta2,
        "max_grad_norm": optimization.max_grad_norm,
        "bf16": optimization.precision == "bf16",
        # Recomputing activations saves memory on a GPU and only costs time on a CPU.
        "activation_checkpointing": every > 0 and not cpu,
        "activation_checkpointing_kwargs": {"every_n_layers": every} if every else None,
        "use_liger_kernel": runtime.liger_kernels and not cpu,
        "dataloader_pin_memory": not cpu,
        "ddp_backend": "gloo" if cpu and "RANK" in os.environ else None,
        "ddp_timeout": int(PATIENCE.total_seconds()),
        "logging_steps": 1, "logging_nan_inf_filter": False, "report_to": "none",
        "disable_tqdm": True, "eval_strategy": "no", "save_strategy": "steps",
        "save_steps": runtime.checkpoint_steps, "deepspeed": deepspeed,
    }  # fmt: skip


def check_kernels(runtime: RuntimeConfig, cpu: bool) -> None:
    """UserError for fused kernels that are asked for and not installed."""
    if runtime.liger_kernels and not cpu and find_spec("liger_kernel") is None:
        remedy = "liger-kernel is not installed: pip install --no-deps -r envs/requirements-gpu.txt"
        raise UserError("runtime.liger_kernels", "true", remedy)


def deepspeed_file(runtime: RuntimeConfig, cpu: bool) -> str | None:
    """The DeepSpeed JSON, the process made ready for it; None where it is not asked for."""
    if runtime.deepspeed == "none":
        return None
    import deepspeed

    # At every call, by hundreds: DeepSpeed 0.19.8 uses names that torch 2.13 renames.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    if cpu:
        # Otherwise its shared-memory operator is compiled (33 s) or, without a compiler, fails.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Without a launcher DeepSpeed asks for mpi4py unless these are set.
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    if "RANK" not in os.environ:
        os.environ.update(alone | {"MASTER_PORT": str(free_port())})
    return str(settings_file(runtime.deepspeed))


def load_whole_models() -> None:
    """Let models be loaded whole again, to merge and save: ZeRO-3 loads them in pieces."""
    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]


def hardware(runtime: RuntimeConfig) -> dict[str, Any]:
    """Device and threads used, for the manifest's volatile part."""
    device = "cpu" if uses_cpu(runtime) else torch.cuda.get_device_name()
    threads, processes = torch.get_num_threads(), world_size()
    return {"device": device, "threads": threads, "processes": processes}
