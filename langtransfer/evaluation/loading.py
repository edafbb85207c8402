"""The model under evaluation: float32, on the device the runtime names."""

from __future__ import annotations

from typing import Any

import torch

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.models import load_checkpoint, model_folder
from langtransfer.vocabulary.contract import check_contract


def load_evaluated(job: Job) -> tuple[Any, Any]:
    """Model and tokenizer of a cell's checkpoint, tuned when it has a chat parent.

    float32 whatever the checkpoint's precision: log-likelihood margins are small, and results
    must not depend on how sequences are batched. Raises UserError as `check_contract` and
    `load_checkpoint` do.
    """
    checkpoint, chat = job.parent("checkpoint"), job.parents.get("chat")
    check_contract(model_folder(checkpoint, chat), job.stage)
    device = torch.device(choose_device(job.runtime.device))
    return load_checkpoint(checkpoint, chat, torch.float32, device)


def choose_device(setting: str) -> str:
    """cpu or cuda for `runtime.device`; UserError when cuda is asked for and there is none."""
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise UserError("runtime.device", setting, "no CUDA device is visible: use auto or cpu")
    return "cuda" if available and setting != "cpu" else "cpu"


def position_limit(model: Any) -> int:
    """Longest sequence the model has positions for, in tokens."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is None:
        remedy = "its config.json names no max_position_embeddings: add it"
        raise UserError("checkpoint", model.config.model_type, remedy)
    return int(limit)
