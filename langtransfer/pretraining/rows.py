"""Which rows of the embedding matrices a training changed, read from the weights on disk.

Only the two matrices are read, a slice at a time, before and after. A fine-tuned adapter is read
as the matrices it makes when merged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig

from langtransfer.config.training import LoraConfig
from langtransfer.errors import UserError
from langtransfer.pretraining.adapters import new_ids
from langtransfer.pretraining.checkpoints import ADAPTER, ADAPTER_CONFIG
from langtransfer.pretraining.models import weight_files
from langtransfer.vocabulary.contract import VocabularyContract

# Matrix in training.json -> how its module is called.
MODULES = {"input": "embed_tokens", "output": "lm_head"}
SLICE = 4096  # our choice: rows read at once; 64 MiB at a hidden size of 4,096 in float32
Mask = NDArray[np.bool_]
Matrix = Callable[[int, int], Tensor]
"""Rows first .. end - 1 of a matrix: (end - first, hidden), float32."""
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Promise:
    """What the settings of a training say of the embedding rows."""

    new_rows_learn: bool
    old_rows_stay: bool


def promise(lora: LoraConfig | None) -> Promise:
    """What a method promises; None is full training."""
    if lora is None:
        return Promise(new_rows_learn=True, old_rows_stay=False)
    stay = lora.trainable_tokens == "new" or not lora.trains_embeddings
    return Promise(lora.trains_embeddings, stay)


def stored_matrices(folder: Path) -> dict[str, Matrix]:
    """Matrices of a `model/` folder by name; a tied pair is one, `input`."""
    settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    names = ["input"] if settings.tie_word_embeddings else list(MODULES)
    return {name: _stored(folder, f"{MODULES[name]}.weight") for name in names}


def merged_matrices(folder: Path, adapter: Path) -> dict[str, Matrix]:
    """Matrices of a `model/` folder with a peft adapter merged into them."""
    settings = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    with safe_open(adapter / ADAPTER, framework="pt") as tensors:
        return {
            name: _merged(matrix, MODULES[name], tensors, settings)
            for name, matrix in stored_matrices(folder).items()
        }


def count_rows(
    before: Mapping[str, Matrix],
    after: Mapping[str, Matrix],
    contract: VocabularyContract,
    earlier: Rows | None = None,
) -> Rows:
    """Old and new rows of each matrix, how many of them changed, and the ids of those that did not.

    A row changed when any number in it is another one. earlier are the rows of the run this one
    goes on from: what had changed there has changed. Padding rows are left out. AssertionError
    when a tied pair came apart.
    """
    if before.keys() != after.keys():
        raise AssertionError(f"{sorted(before)} became {sorted(after)}: embeddings lost their tie")
    return {
        name: _facts(
            _changed(before[name], after[name], contract.size, (earlier or {}).get(name)), contract
        )
        for name in before
    }


def explain_rows(rows: Rows, promised: Promise, stage: str) -> str | None:
    """What a reader should know of new rows that stayed as they were; None where all is well.

    Raises UserError when new rows were to learn and none changed, AssertionError (a defect) when
    old rows changed that were to stay.
    """
    moved = {name: row["old_changed"] for name, row in rows.items() if row["old_changed"]}
    if promised.old_rows_stay and moved:
        raise AssertionError(f"defect: trainable_tokens: new changed old embedding rows: {moved}")
    new = rows["input"]["new"]
    still = [name for name, row in rows.items() if not row["new_changed"]]
    if not new or not still:
        return None
    if not promised.new_rows_learn:
        return (
            f"LoRA trained no embedding rows: the {new} new ones are as before; "
            "lora.trainable_tokens: new or lora.modules_to_save would train them"
        )
    # Instructions may be of a few kinds of text, and a frozen half of a pair cannot change.
    if len(still) == len(rows) and stage != "finetune":
        remedy = (
            f"none of the {new} changed: the text holds none of the new pieces, or the learning "
            "rate was 0 at every step (a warm-up as long as the run): change the text or the budget"
        )
        raise UserError(f"{stage}: new embedding rows that learnt", 0, remedy)
    return f"none of the {new} new rows of the {' and '.join(still)} matrix changed"


def earlier_rows(checkpoint: Path) -> Rows:
    """The rows in a checkpoint folder's training.json; UserError where it states none."""
    file = checkpoint / "training.json"
    rows: Rows | None = json.loads(file.read_text(encoding="utf-8")).get("rows")
    if rows is None:
        remedy = "states no rows, so what the run changed so far is not known: redo that cell"
        raise UserError("checkpoint", str(file), remedy)
    return rows


def _stored(folder: Path, suffix: str) -> Matrix:
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            names = [n for n in tensors.keys() if n.endswith(suffix)]  # noqa: SIM118
        if names:
            return _reader(file, names[0])
    raise UserError("weights", str(folder), f"no tensor named *{suffix}: not a causal LM")


def _reader(file: Path, name: str) -> Matrix:
    def read(first: int, end: int) -> Tensor:
        with safe_open(file, framework="pt") as tensors:
            return _float(tensors.get_slice(name)[first:end])

    return read


def _merged(stored: Matrix, module: str, tensors: Any, settings: Mapping[str, Any]) -> Matrix:
    """A matrix with what an adapter says of its module: whole, some rows, low-rank, or nothing."""
    parts = [name.partition(f".{module}.") for name in tensors.keys()]  # noqa: SIM118
    found = {part[2]: "".join(part) for part in parts if part[2]}
    if "weight" in found:
        whole = _float(tensors.get_tensor(found["weight"]))
        return lambda first, end: whole[first:end]
    if "token_adapter.trainable_tokens_delta" in found:
        rows = _float(tensors.get_tensor(found["token_adapter.trainable_tokens_delta"]))
        return _with_rows(stored, settings["trainable_token_indices"][module], rows)
    # peft names an Embedding's factors otherwise, and lays its first one out transposed.
    for one, two in (("lora_embedding_A", "lora_embedding_B"), ("lora_A.weight", "lora_B.weight")):
        if one in found:
            a, b = (_float(tensors.get_tensor(found[part])) for part in (one, two))
            update = (b @ a) * (settings["lora_alpha"] / settings["r"])
            update = update.T if one == "lora_embedding_A" else update
            return lambda first, end: stored(first, end) + update[first:end]
    return stored


def _with_rows(stored: Matrix, ids: Sequence[int], rows: Tensor) -> Matrix:
    at = torch.tensor(ids)

    def read(first: int, end: int) -> Tensor:
        part, inside = stored(first, end), (at >= first) & (at < end)
        part[at[inside] - first] = rows[inside]
        return part

    return read


def _float(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32)


def _changed(before: Matrix, after: Matrix, size: int, earlier: Mapping[str, Any] | None) -> Mask:
    """(size,) whether each row of a matrix changed, now or in the run before."""
    changed = np.ones(size, np.bool_)
    for low, high in earlier["unchanged"] if earlier is not None else [[0, size - 1]]:
        changed[low : high + 1] = False
    for first in range(0, size, SLICE):
        end = min(first + SLICE, size)
        differs = before(first, end) != after(first, end)
        changed[first:end] |= differs.any(dim=1).numpy()
    return changed


def _facts(changed: Mask, contract: VocabularyContract) -> dict[str, Any]:
    """The entry of a matrix in training.json."""
    border = new_ids(contract).start
    edges = np.flatnonzero(np.diff(np.concatenate(([False], ~changed, [False])).astype(np.int8)))
    return {
        "old": border, "old_changed": int(changed[:border].sum()),
        "new": len(changed) - border, "new_changed": int(changed[border:].sum()),
        "unchanged": [[int(a), int(b) - 1] for a, b in zip(edges[::2], edges[1::2], strict=True)],
    }  # fmt: skip
