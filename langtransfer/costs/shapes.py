"""Shapes of LLaMA models, and the shape every cell of a study works with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from langtransfer.config.training import LoraConfig, ModelShape, name_embeddings
from langtransfer.config.vocabulary import (
    ExtendEmbeddingsConfig,
    ExtendVocabularyCell,
    TrainTokenizerCell,
)
from langtransfer.costs.resources import COSTS, read_rows
from langtransfer.errors import UserError
from langtransfer.workflow.cells import Cell

FLOAT32 = 4  # bytes a parameter of what training writes
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Shape:
    """A LLaMA: sizes of its matrices."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    """Rows of the embedding."""
    tied: bool = False
    bytes_per_parameter: int = FLOAT32
    """Of the checkpoint as it is stored."""
    new_rows: int = 0
    """Rows that extending the vocabulary added."""

    @property
    def key_value_size(self) -> int:
        """Width of keys, and of values."""
        return self.hidden // self.heads * self.key_value_heads

    def modules(self) -> dict[str, tuple[int, int]]:
        """Linear modules of one layer: name -> (inputs, outputs)."""
        hidden, wide, narrow = self.hidden, self.intermediate, self.key_value_size
        return {
            "q_proj": (hidden, hidden), "k_proj": (hidden, narrow), "v_proj": (hidden, narrow),
            "o_proj": (hidden, hidden), "gate_proj": (hidden, wide), "up_proj": (hidden, wide),
            "down_proj": (wide, hidden),
        }  # fmt: skip

    @property
    def body(self) -> int:
        """Parameters of all layers' matrices."""
        return self.layers * sum(rows * columns for rows, columns in self.modules().values())

    @property
    def embedding(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocabulary * self.hidden

    @property
    def multiplied(self) -> int:
        """Parameters every token is multiplied with: the layers and lm_head, no looked-up row."""
        return self.body + self.embedding

    @property
    def parameters(self) -> int:
        """All of them, norms included."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.body + norms + self.embedding * (1 if self.tied else 2)


@dataclass(frozen=True)
class Trained:
    """What a training run changes, in parameters."""

    multiplied: int
    """Of the model's own matrices that tokens are multiplied with, trained whole or by rows."""
    adapters: int
    looked_up: int = 0
    """Of the input embedding, which costs no arithmetic."""

    @property
    def total(self) -> int:
        """What the optimizer holds moments of."""
        return self.multiplied + self.adapters + self.looked_up


def trained_by(shape: Shape, lora: LoraConfig | None) -> Trained:
    """What full training (None) or an adapter trains of a model."""
    if lora is None:
        looked_up = 0 if shape.tied else shape.embedding
        return Trained(shape.parameters - looked_up, 0, looked_up)
    modules = shape.modules()
    targets = [modules[name] for name in lora.target_modules if name in modules]
    adapters = shape.layers * sum(lora.rank * (rows + columns) for rows, columns in targets)
    named = name_embeddings((*lora.modules_to_save, *lora.target_modules))
    rows = shape.new_rows if lora.trainable_tokens == "new" else shape.vocabulary
    both = lora.trainable_tokens == "new" or (shape.tied and bool(named))
    head = rows * shape.hidden if both or "lm_head" in named else 0
    lookup = 0 if shape.tied else rows * shape.hidden if both or "embed_tokens" in named else 0
    return Trained(head, adapters, lookup)


@cache
def known_models() -> Mapping[str, Mapping[str, str]]:
    """Rows of resources/costs/models.csv by registry key."""
    return {row["key"]: row for row in read_rows("models")}


@dataclass
class Shapes:
    """Shapes by cell. Raises UserError for an adopted model nothing is known of."""

    _known: dict[str, Shape] = field(default_factory=dict)

    def of(self, cell: Cell) -> Shape:
        """Shape of the model a cell makes, or reads as its checkpoint."""
        if cell.path not in self._known:
            self._known[cell.path] = self._find(cell)
        return self._known[cell.path]

    def _find(self, cell: Cell) -> Shape:
        if cell.stage == "adopt_model":
            return adopted_shape(cell)
        if cell.stage == "train_base":
            shape = getattr(cell.settings, "shape")  # noqa: B009  # of TrainBaseCell
            assert isinstance(shape, ModelShape)
            return from_config(shape, rows_of(cell.parents["vocabulary"]))
        below = self.of(cell.parents["checkpoint"])
        if cell.stage == "extend_embeddings":
            assert isinstance(cell.settings, ExtendEmbeddingsConfig)
            rows, step = rows_of(cell.parents["vocabulary"]), cell.settings.pad_to_multiple_of
            padded = -(-rows // step) * step
            return replace(below, vocabulary=padded, new_rows=rows - below.vocabulary)
        if cell.stage in ("pretrain", "finetune"):
            return replace(below, bytes_per_parameter=FLOAT32)
        return below


def from_config(shape: ModelShape, rows: int) -> Shape:
    """The shape of a model trained here."""
    return Shape(
        shape.hidden_size, shape.intermediate_size, shape.layers, shape.heads,
        shape.key_value_heads, rows, shape.tie_embeddings,
    )  # fmt: skip


def adopted_shape(cell: Cell) -> Shape:
    """Shape of an adopted model: its config.json where it is here, else models.csv."""
    path = cell.folder / "data" / "model" / "config.json"
    if path.is_file():
        return from_json(path)
    row = known_models().get(cell.point[0])
    if row is None or not row["hidden_size"]:
        remedy = f"its shape is not known: add a row to {COSTS / 'models.csv'}, or run adopt_model"
        raise UserError("models.csv", cell.point[0], remedy)
    sizes = ("hidden_size", "intermediate_size", "layers", "heads", "key_value_heads", "vocabulary")
    hidden, wide, layers, heads, narrow, rows = (int(row[name]) for name in sizes)
    tied, size = row["tied"] == "yes", int(row["bytes_per_parameter"])
    return Shape(hidden, wide, layers, heads, narrow, rows, tied, size)


def from_json(path: Path) -> Shape:
    """The shape a config.json states. UserError where it is no LLaMA's."""
    config = json.loads(path.read_text(encoding="utf-8"))
    try:
        heads = int(config["num_attention_heads"])
        return Shape(
            int(config["hidden_size"]), int(config["intermediate_size"]),
            int(config["num_hidden_layers"]), heads,
            int(config.get("num_key_value_heads") or heads), int(config["vocab_size"]),
            bool(config.get("tie_word_embeddings", False)),
            BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), FLOAT32),
        )  # fmt: skip
    except KeyError as error:
        raise UserError("config.json", str(path), f"names no {error.args[0]}: add it") from error


def rows_of(cell: Cell) -> int:
    """Ids of the vocabulary a cell holds; an extension's are at most base and pieces together."""
    if cell.stage == "train_tokenizer":
        assert isinstance(cell.settings, TrainTokenizerCell)
        return cell.settings.size
    contract = cell.folder / "data" / "vocabulary.json"
    if contract.is_file():
        return int(json.loads(contract.read_text(encoding="utf-8"))["size"])
    if cell.stage == "extend_vocabulary":
        assert isinstance(cell.settings, ExtendVocabularyCell)
        parts = rows_of(cell.parents["base"]) + rows_of(cell.parents["pieces"])
        return parts + len(cell.settings.special_tokens)
    row = known_models().get(cell.point[0])
    if row is None:
        remedy = f"its size is not known: add a row to {COSTS / 'models.csv'}, or run adopt_model"
        raise UserError("models.csv", cell.point[0], remedy)
    return int(row["vocabulary"])
