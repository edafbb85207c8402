"""Releases that change another checkpoint's weights: low-rank adapters and additive patches.

merged = base + scale * B @ A, and merged = base + patch; both in float32, then in the base's own
precision. Each of the base's files is read, changed and written by itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.models import EMBEDDING, weight_files
from langtransfer.pretraining.published_weights import (
    COMPUTED,
    Files,
    Tensors,
    open_tensors,
    read_settings,
    write_shards,
)

Change = Callable[[str, torch.Tensor], torch.Tensor]
LORA_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])(\.default)?\.weight"
)
SAVED_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+?)(\.modules_to_save(\.default)?)?\.weight"
)
# Settings of peft under which an adapter is not scale * B @ A, and what they are when unused.
OTHER_SUMS = (
    "use_dora", "use_qalora", "rank_pattern", "alpha_pattern", "layer_replication", "lora_bias",
    "trainable_token_indices", "enable_lora", "target_parameters",
)  # fmt: skip
PLAIN_BEGINNINGS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base's weights as they are."""
OUTPUT = "lm_head.weight"


def merge(job: Job, files: Files, form: str, target: Path) -> None:
    """Write the merged weights and config.json of a `lora` or `delta` release over its base.

    The base is the job's parent. Raises UserError for tensors that do not fit the base, for
    settings under which an adapter means something else, and for files that are missing.
    """
    base = job.parent("base") / "model"
    own = {path.name: open_tensors({path.name: path}) for path in weight_files(base)}
    tensors = {name: read for shard in own.values() for name, read in shard.items()}
    change = (_low_rank if form == "lora" else _patch)(files, tensors)

    def merged(name: str) -> torch.Tensor:
        return change(name, tensors[name]())

    shards = {file: [n for n in names if not n.endswith(COMPUTED)] for file, names in own.items()}
    write_shards(shards, merged, target)
    _write_config(base, files, form, target, _rows(tensors, merged))


def _rows(tensors: Tensors, merged: Callable[[str], torch.Tensor]) -> int:
    """Embedding rows of the merged model; both matrices must have as many."""
    found = {name: len(merged(name)) for name in tensors if name.endswith((EMBEDDING, OUTPUT))}
    if len(set(found.values())) != 1:
        remedy = "the two matrices must have the same rows: the release changes only one of them"
        raise UserError("embedding rows", found, remedy)
    return next(iter(found.values()))


def _write_config(base: Path, files: Files, form: str, target: Path, rows: int) -> None:
    """The base's config.json, or the patch's own, with the merged model's rows."""
    given = files if form == "delta" else {}
    for name in ("config.json", "generation_config.json"):
        source = given.get(name, base / name)
        if source.is_file():
            settings = read_settings(source)
            if name == "config.json":
                settings["vocab_size"] = rows
            text = json.dumps(settings, indent=2, ensure_ascii=False)
            (target / name).write_text(f"{text}\n", encoding="utf-8")


# -- low-rank adapters ----------------------------------------------------------------------------


def _low_rank(files: Files, base: Tensors) -> Change:
    """What a peft adapter adds to each of the base's tensors, or puts in its place."""
    settings = adapter_settings(files)
    halves, saved = _sorted_tensors(open_tensors(files))
    for name in (*halves, *saved):
        if name not in base:
            remedy = "the base has no such tensor: this adapter belongs to another model"
            raise UserError("adapter", name, remedy)
    if not halves and not saved:
        raise UserError("adapter", sorted(files), "holds no tensor: give adapter_model.*")

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        if name in saved:
            return _replaced(name, weight, saved[name]())
        if name not in halves:
            return weight
        a, b = (halves[name][half]() for half in "AB")
        update = _product(name, a, b, settings["r"]) * scale_of(settings)
        update = update.T if settings.get("fan_in_fan_out") else update
        _require_shape(name, update, weight, "adapter")
        return (weight.float() + update).to(weight.dtype)

    return change


def adapter_settings(files: Files) -> dict[str, Any]:
    """Content of adapter_config.json; UserError unless the adapter is a plain LoRA."""
    if "adapter_config.json" not in files:
        remedy = "a LoRA release has adapter_config.json and adapter_model.*: name both in files"
        raise UserError("adapter", sorted(files), remedy)
    settings = read_settings(files["adapter_config.json"])
    field = "adapter_config.json"
    if settings.get("peft_type") != "LORA":
        raise UserError(f"{field}: peft_type", settings.get("peft_type"), "only LORA is merged")
    for name in ("r", "lora_alpha"):
        value = settings.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UserError(f"{field}: {name}", value, "must be a number above 0: fetch it again")
    used = {name: settings[name] for name in OTHER_SUMS if settings.get(name)}
    if settings.get("bias", "none") != "none":
        used["bias"] = settings["bias"]
    if settings.get("init_lora_weights") not in PLAIN_BEGINNINGS:
        used["init_lora_weights"] = settings["init_lora_weights"]
    for name, value in used.items():
        remedy = "is no plain LoRA: merge it with peft, save as safetensors and adopt that folder"
        raise UserError(f"{field}: {name}", value, remedy)
    return settings


def scale_of(settings: Mapping[str, Any]) -> float:
    """What B @ A is multiplied by: alpha / r, or alpha / sqrt(r) with `use_rslora`."""
    rank = float(settings["r"])
    return float(settings["lora_alpha"]) / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _sorted_tensors(tensors: Tensors) -> tuple[dict[str, Tensors], Tensors]:
    """Halves by the weight they change, and whole matrices by the one they replace."""
    halves: dict[str, Tensors] = {}
    saved: Tensors = {}
    for name, read in tensors.items():
        if (low := LORA_TENSOR.fullmatch(name)) is not None:
            halves.setdefault(f"{low['module']}.weight", {})[low["half"]] = read
        elif "lora_" not in name and (whole := SAVED_TENSOR.fullmatch(name)) is not None:
            saved[f"{whole['module']}.weight"] = read
        elif not name.endswith(COMPUTED):
            remedy = "is no part of a plain LoRA: merge it with peft and adopt that folder"
            raise UserError("adapter", name, remedy)
    for name, pair in halves.items():
        if len(pair) != 2:
            raise UserError("adapter", name, f"has lora_{next(iter(pair))} alone: fetch it again")
    return halves, saved


def _product(name: str, a: torch.Tensor, b: torch.Tensor, rank: int) -> torch.Tensor:
    if a.dim() != 2 or b.dim() != 2 or not a.shape[0] == b.shape[1] == rank:
        shapes = f"lora_A {tuple(a.shape)}, lora_B {tuple(b.shape)}"
        raise UserError("adapter", name, f"{shapes} do not have the rank {rank}: fetch it again")
    return b.float() @ a.float()


def _replaced(name: str, weight: torch.Tensor, saved: torch.Tensor) -> torch.Tensor:
    """A matrix that was trained whole; embeddings may have rows of their own vocabulary."""
    grows = name.endswith((EMBEDDING, OUTPUT)) and saved.shape[1:] == weight.shape[1:]
    if not grows:
        _require_shape(name, saved, weight, "adapter")
    return saved.to(weight.dtype)


# -- additive patches -----------------------------------------------------------------------------


def _patch(files: Files, base: Tensors) -> Change:
    """What an additive patch, tensor for tensor, makes of the base."""
    patch = {n: read for n, read in open_tensors(files).items() if not n.endswith(COMPUTED)}
    own = {name for name in base if not name.endswith(COMPUTED)}
    if other := sorted(patch.keys() ^ own):
        which = "the patch lacks it" if other[0] in own else "the base lacks it"
        remedy = f"{which}, and {len(other) - 1} more: patch and base are of different models"
        raise UserError("patch", other[0], remedy)

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        difference = patch[name]()
        _require_shape(name, difference, weight, "patch")
        return (weight.float() + difference.float()).to(weight.dtype)

    return change


def _require_shape(name: str, found: torch.Tensor, weight: torch.Tensor, what: str) -> None:
    if found.shape != weight.shape:
        remedy = f"is {tuple(found.shape)}, the base's is {tuple(weight.shape)}: another base's?"
        raise UserError(what, name, remedy)
