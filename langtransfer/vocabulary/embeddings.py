"""Embedding rows for new pieces: sensible beginnings, and old rows left bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from langtransfer.config.vocabulary import ExtendEmbeddingsConfig
from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import round_up
from langtransfer.vocabulary.extension import surface, without_prefix


class Matrix(NamedTuple):
    """One embedding matrix of a model, (rows, hidden), and its name in the report."""

    name: str
    weight: torch.nn.Parameter


def extend_model(
    model: Any, base: Any, extended: Any, config: ExtendEmbeddingsConfig
) -> dict[str, Any]:
    """Resize a causal LM in place for the extended vocabulary; counts and norms of what was done.

    base and extended are ModelProtos, the former's pieces the first of the latter's. Ids beyond
    the vocabulary (padding to a multiple) begin as the mean of the base's rows: never read, and
    an average competitor in the softmax rather than a logit of zero. `resize` leaves both to
    Hugging Face, which keeps padding rows the base already has and gives them to new pieces.
    Raises UserError when the vocabularies do not belong together.
    """
    _require_prefix(base, extended)
    before = [(m.name, m.weight.detach().clone()) for m in matrices(model)]
    old_rows, base_size, size = before[0][1].shape[0], len(base.pieces), len(extended.pieces)
    rows = max(old_rows, round_up(size, config.pad_to_multiple_of))
    torch.manual_seed(config.seed)
    model.resize_token_embeddings(rows, mean_resizing=config.method == "resize")
    segments = sub_pieces(base, [p.piece for p in extended.pieces[base_size:]])
    if config.method != "resize":
        generator = torch.Generator().manual_seed(config.seed)
        for matrix, (_, old) in zip(matrices(model), before, strict=True):
            _initialise(matrix.weight, old[:base_size], segments, config, generator)
    for matrix, (name, old) in zip(matrices(model), before, strict=True):
        if not torch.equal(matrix.weight.detach()[:base_size], old[:base_size]):
            raise AssertionError(f"{name}: rows of the base vocabulary changed")
    return {
        "method": config.method,
        "base_size": base_size,
        "size": size,
        "new_pieces": size - base_size,
        "embedding_rows_before": old_rows,
        "embedding_rows": rows,
        "tied": len(before) == 1,
        "mean_sub_pieces": round(_mean_length(segments), 6),
        "norms": {m.name: _norms(m.weight.detach(), base_size, size) for m in matrices(model)},
    }


def matrices(model: Any) -> list[Matrix]:
    """Input embedding and, unless tied to it, output embedding."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    found = [Matrix("input", inputs.weight)]
    if outputs is not None and outputs.weight is not inputs.weight:
        found.append(Matrix("output", outputs.weight))
    return found


def sub_pieces(base: Any, pieces: list[str]) -> list[list[int]]:
    """Base ids of each new piece's text, a leading space being a space and none being none."""
    return [list(ids) for ids in without_prefix(base).encode([surface(p) for p in pieces])]


def _require_prefix(base: Any, extended: Any) -> None:
    """UserError unless the extended vocabulary begins with the base's pieces."""
    own, others = ([p.piece for p in proto.pieces] for proto in (base, extended))
    if others[: len(own)] != own:
        differing = next(
            (i for i, pair in enumerate(zip(own, others, strict=False)) if pair[0] != pair[1]),
            len(others),
        )
        remedy = "extend_vocabulary extended another vocabulary than this model's: use its own"
        raise UserError("vocabulary: first piece that differs from the base", differing, remedy)


@torch.no_grad()
def _initialise(
    weight: Tensor,
    old: Tensor,
    segments: list[list[int]],
    config: ExtendEmbeddingsConfig,
    generator: torch.Generator,
) -> None:
    """Fill all rows after the old ones, computing in float32 whatever the model's type."""
    size = len(old) + len(segments)
    rows = torch.stack(list(_means(old.float(), segments)))
    if config.method == "noise":
        noise = torch.empty_like(rows).normal_(0.0, config.noise_std, generator=generator)
        rows += noise
    weight[len(old) : size] = rows.to(weight.dtype)
    weight[size:] = old.float().mean(dim=0).to(weight.dtype)


def _means(old: Tensor, segments: list[list[int]]) -> Iterator[Tensor]:
    for ids in segments:
        yield old[ids].mean(dim=0)


def _norms(weight: Tensor, base_size: int, size: int) -> dict[str, float]:
    """Mean Euclidean norm of old and new rows."""
    norms = weight.float().norm(dim=1)
    parts = {"old": norms[:base_size], "new": norms[base_size:size]}
    return {name: round(float(part.mean()), 6) for name, part in parts.items()}


def _mean_length(segments: list[list[int]]) -> float:
    return sum(map(len, segments)) / max(len(segments), 1)
