"""Attention on a GPU over packed blocks: FlashAttention with each document's own bounds.

Left to itself transformers turns position ids into a dense block-diagonal mask, and with a mask
PyTorch's flash kernel is out: at 2,048 tokens a block that is several times the work. PyTorch's
`varlen_attn` is told where documents begin instead and never looks across. Half precision only.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

NAME = "varlen"
# Before 2.12 PyTorch took fewer key than query heads without being told.
GROUPED: dict[str, Any] = (
    {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
)


def keep_documents_apart(model: Any) -> None:
    """Have a causal LM attend within the documents that its position ids show; in place.

    Its batches carry position ids (documents begin at 0) and no attention mask, and it keeps no
    cache. transformers makes no mask for an attention it does not know.
    """
    AttentionInterface.register(NAME, varlen_attention)
    model.set_attn_implementation(NAME)
    model.get_decoder().register_forward_pre_hook(_add_bounds, with_kwargs=True)


def document_bounds(position_ids: torch.Tensor) -> tuple[torch.Tensor, int]:
    """First tokens of documents in (blocks, length) laid end to end, and the longest document.

    Returns (documents + 1,) int32, the last entry the number of tokens; a block begins a document.
    """
    flat = position_ids.reshape(-1)
    starts = torch.nonzero(flat == 0).flatten().to(torch.int32)
    end = torch.tensor([flat.numel()], dtype=torch.int32, device=flat.device)
    bounds = torch.cat([starts, end])
    return bounds, int(bounds.diff().max())


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    document_bounds: torch.Tensor,
    longest_document: int,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: (blocks, heads, length, size) to (blocks, length, ...)."""
    blocks, heads, length, size = query.shape
    # Rotation leaves queries and keys in float32 under autocast.
    q, k, v = (s.to(value.dtype).transpose(1, 2).flatten(0, 1) for s in (query, key, value))
    grouped = GROUPED if key.shape[1] != heads else {}
    out = varlen_attn(
        q, k, v, document_bounds, document_bounds, longest_document, longest_document,
        scale=scaling, window_size=(-1, 0), **grouped,
    )  # fmt: skip
    assert isinstance(out, torch.Tensor), "no log-sum-exp was asked for"
    return out.view(blocks, length, heads, size), None


def _add_bounds(_module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    bounds, longest = document_bounds(kwargs["position_ids"])
    return args, kwargs | {"document_bounds": bounds, "longest_document": longest}
