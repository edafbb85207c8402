"""Weights as others publish them: safetensors, and PyTorch's `.bin` where it holds tensors alone.

A pickle can run code when it is read. `.bin` files are read with `weights_only=True`, which builds
tensors and plain containers and refuses everything else; other pickles are not opened at all.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from errno import EINVAL
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from langtransfer.errors import UserError

PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
INDEX = ".index.json"
COMPUTED = "rotary_emb.inv_freq"
"""Old checkpoints keep it; transformers computes it from config.json."""
Files = Mapping[str, Path]
Tensors = dict[str, Callable[[], torch.Tensor]]
"""Name -> how to read it: a model is larger than memory, one tensor is not."""


def open_tensors(files: Files) -> Tensors:
    """The tensors of all weight files by name.

    Raises UserError for files that are broken, hold anything else, or repeat a name, for other
    pickles, and for a shard that an index names and that is missing.
    """
    tensors: Tensors = {}
    for name, path in sorted(files.items()):
        if Path(name).suffix in PICKLES:
            raise UserError("weights", name, REFUSED)
        if name.endswith((".safetensors", ".bin")) and _is_weights(name):
            found = _safetensors(path) if name.endswith(".safetensors") else _binary(path)
            if twice := sorted(found.keys() & tensors):
                raise UserError("weights", name, f"holds {twice[0]} a second time: drop a file")
            tensors |= found
    check_shards(files)
    return tensors


REFUSED = (
    "is a pickle, which can run code when loaded: convert it where you trust it (load with "
    "weights_only=True, then save_pretrained) and register the *.safetensors"
)


def has_safetensors(files: Files) -> bool:
    """Whether weights are among the files as safetensors."""
    return any(name.endswith(".safetensors") for name in files)


def check_shards(files: Files) -> None:
    """UserError for a shard that an index names and that is not among the files."""
    for name, path in sorted(files.items()):
        if name.endswith(INDEX) and name.removesuffix(INDEX).endswith((".safetensors", ".bin")):
            named = read_settings(path).get("weight_map", {})
            if not isinstance(named, dict) or not all(isinstance(s, str) for s in named.values()):
                raise UserError("weights", name, "its weight_map names no files: fetch it again")
            shards = set(named.values())
            if missing := sorted(shard for shard in shards if shard not in files):
                raise UserError("weights", missing[0], f"is in {name} but not among the files")


def open_shard(file: Path) -> Any:
    """A safetensors file, opened; UserError when it is not whole."""
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        remedy = f"truncated or corrupt ({error}): fetch it again"
        raise UserError("weights", str(file), remedy) from error


def write_shards(
    shards: Mapping[str, Sequence[str]], read: Callable[[str], torch.Tensor], folder: Path
) -> None:
    """Write safetensors files, each with the tensors named for it, and their index.

    Only one shard's tensors are in memory at a time. One file alone is `model.safetensors`.
    """
    sizes: dict[str, int] = {}
    for file, names in shards.items():
        # A clone of its own each: safetensors refuses tensors that share memory.
        tensors = {name: read(name).contiguous().clone() for name in names}
        sizes |= {name: tensor.nbytes for name, tensor in tensors.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        weight_map = {name: file for file, names in shards.items() for name in names}
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": dict(sorted(weight_map.items())),
        }
        text = json.dumps(index, indent=2)
        (folder / f"model.safetensors{INDEX}").write_text(f"{text}\n", encoding="utf-8")


def convert_binaries(files: Files, folder: Path) -> None:
    """Write a checkpoint's `.bin` files as safetensors, shard for shard."""
    tensors = open_tensors(files)
    binaries = sorted(name for name in files if name.endswith(".bin") and _is_weights(name))
    names = [f"model-{n:05}-of-{len(binaries):05}" for n in range(1, len(binaries) + 1)]
    names = ["model"] if len(binaries) == 1 else names
    shards = {
        f"{name}.safetensors": sorted(n for n in _binary(files[file]) if not n.endswith(COMPUTED))
        for name, file in zip(names, binaries, strict=True)
    }
    write_shards(shards, lambda name: tensors[name](), folder)


def read_settings(file: Path) -> dict[str, Any]:
    """A JSON object; UserError when it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError("file", str(file), f"not JSON ({error}): fetch it again") from error
    if not isinstance(content, dict):
        raise UserError("file", str(file), "not a JSON object: fetch it again")
    return content


def _is_weights(name: str) -> bool:
    """Trainers leave `training_args.bin` beside the weights: a pickle that nothing needs."""
    return name != "training_args.bin"


def _safetensors(path: Path) -> Tensors:
    shard = open_shard(path)
    return {name: partial(shard.get_tensor, name) for name in shard.keys()}  # noqa: SIM118


def _binary(path: Path) -> Tensors:
    try:
        table = _load(path)
    except OSError as error:  # of a file that is there: its zip is cut
        if error.errno not in (None, EINVAL):
            raise
        raise UserError("weights", str(path), f"truncated ({error}): fetch it again") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, *MALFORMED) as error:
        reason = " ".join(str(error).split())[:120]
        remedy = f"is no plain table of tensors, or truncated ({reason}): fetch it again, or {SAFE}"
        raise UserError("weights", str(path), remedy) from error
    return {name: partial(table.__getitem__, name) for name in _checked(table, path)}


SAFE = "register a release with *.safetensors"
# What the unpickler meets in bytes that are no pickle at all.
MALFORMED = (
    ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError, OverflowError,
    MemoryError, struct.error,
)  # fmt: skip


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap can only be used" not in str(error):  # the layout before PyTorch 1.6
            raise
        return torch.load(path, map_location="cpu", weights_only=True)


def _checked(table: Any, path: Path) -> Iterator[str]:
    if not isinstance(table, Mapping):
        raise UserError("weights", str(path), f"holds a {type(table).__name__}, no table: {SAFE}")
    for name, tensor in table.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            remedy = f"{path} holds a {type(tensor).__name__} there, no tensor: {SAFE}"
            raise UserError("weights", str(name)[:80], remedy)
        yield name
