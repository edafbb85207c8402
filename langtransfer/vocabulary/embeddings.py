"""Embedding rows for new pieces: sensible beginnings, and old rows left bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from langtransfer.config.vocabulary import ExtendEmbeddingsConfig
from langtransfer.vocabulary.contract import round_up
from langtransfer.vocabulary.focus import Auxiliary, focus_rows

Segments = Sequence[Sequence[int]]
"""Base ids each new token's text consists of, in order of the new ids."""


class Matrix(NamedTuple):
    """One embedding matrix of a model, (rows, hidden), and its name in the report."""

    name: str
    weight: torch.nn.Parameter


class Focus(NamedTuple):
    """What `method: focus` needs beside the model."""

    auxiliary: Auxiliary
    log: Path
    """File for what deepfocus prints."""


def extend_model(
    model: Any,
    base_size: int,
    segments: Segments,
    config: ExtendEmbeddingsConfig,
    focus: Focus | None = None,
) -> dict[str, Any]:
    """Resize a causal LM in place for the extended vocabulary; counts and norms of what was done.

    New ids follow the base_size ids of the base. Ids beyond the vocabulary (padding to a multiple)
    begin as the mean of the base's rows: never read, and an average competitor in the softmax
    rather than a logit of zero. `resize` leaves both to Hugging Face, which keeps padding rows the
    base already has and gives them to new pieces. focus is needed by its method alone.
    """
    before = [(m.name, m.weight.detach().clone()) for m in matrices(model)]
    old_rows, size = before[0][1].shape[0], base_size + len(segments)
    rows = max(old_rows, round_up(size, config.pad_to_multiple_of))
    torch.manual_seed(config.seed)
    model.resize_token_embeddings(rows, mean_resizing=config.method == "resize")
    if config.method != "resize":
        old = [weight[:base_size].float() for _, weight in before]
        new = _new_rows(old, segments, config, focus)
        for matrix, first, second in zip(matrices(model), old, new, strict=True):
            _fill(matrix.weight, first, second)
    for matrix, (name, weight) in zip(matrices(model), before, strict=True):
        if not torch.equal(matrix.weight.detach()[:base_size], weight[:base_size]):
            raise AssertionError(f"{name}: rows of the base vocabulary changed")
    return {
        "method": config.method,
        "base_size": base_size,
        "size": size,
        "new_pieces": len(segments),
        "embedding_rows_before": old_rows,
        "embedding_rows": rows,
        "tied": len(before) == 1,
        "mean_sub_pieces": round(_mean_length(segments), 6),
        "norms": {m.name: _norms(m.weight.detach(), base_size, size) for m in matrices(model)},
    } | ({} if focus is None else _coverage(focus.auxiliary, len(segments)))


def matrices(model: Any) -> list[Matrix]:
    """Input embedding and, unless tied to it, output embedding."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    found = [Matrix("input", inputs.weight)]
    if outputs is not None and outputs.weight is not inputs.weight:
        found.append(Matrix("output", outputs.weight))
    return found


def _new_rows(
    old: Sequence[Tensor], segments: Segments, config: ExtendEmbeddingsConfig, focus: Focus | None
) -> list[Tensor]:
    """New rows of each matrix from its old ones, in float32 whatever the model's type."""
    new = [torch.stack([rows[list(ids)].mean(dim=0) for ids in segments]) for rows in old]
    if config.method == "noise":
        generator = torch.Generator().manual_seed(config.seed)
        for rows in new:
            rows += torch.empty_like(rows).normal_(0.0, config.noise_std, generator=generator)
    if config.method == "focus":
        assert focus is not None, "the stage gives it"
        size = len(old[0]) + len(segments)
        combined = focus_rows(torch.cat(list(old), dim=1), size, focus.auxiliary, focus.log)
        places = [i - len(old[0]) for i in focus.auxiliary.covered]
        # What FOCUS does not cover it would draw at random: the mean of sub-pieces stays.
        parts = torch.split(combined, [rows.shape[1] for rows in new], dim=1)
        for rows, part in zip(new, parts, strict=True):
            rows[places] = part
    return new


@torch.no_grad()
def _fill(weight: Tensor, old: Tensor, new: Tensor) -> None:
    """Write all rows after the old ones: the new ones, then padding."""
    size = len(old) + len(new)
    weight[len(old) : size] = new.to(weight.dtype)
    weight[size:] = old.mean(dim=0).to(weight.dtype)


def _coverage(auxiliary: Auxiliary, new_pieces: int) -> dict[str, Any]:
    """How many new pieces FOCUS gave a row, and from how many of the base's."""
    covered = len(auxiliary.covered)
    share = round(covered / new_pieces, 6)
    return {"covered": {"pieces": covered, "share": share}, "anchors": len(auxiliary.anchors)}


def _norms(weight: Tensor, base_size: int, size: int) -> dict[str, float]:
    """Mean Euclidean norm of old and new rows."""
    norms = weight.float().norm(dim=1)
    parts = {"old": norms[:base_size], "new": norms[base_size:size]}
    return {name: round(float(part.mean()), 6) for name, part in parts.items()}


def _mean_length(segments: Segments) -> float:
    return sum(map(len, segments)) / max(len(segments), 1)
