"""Perplexity and bits per byte by sliding windows over separate documents.

Token-level perplexity depends on the vocabulary, bits per byte and per character do not; all
three come from the same sum of nats over the same text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from langtransfer.corpus.jsonl import read_jsonl, require_characters
from langtransfer.errors import UserError
from langtransfer.evaluation.batching import batched

CHUNK_DOCUMENTS = 64  # our choice: what a kill can cost; fixed, so that batches never depend on it
LOGITS_AT_ONCE = 2**28  # our choice: 1 GiB of float32 logits per forward pass
IGNORED = -100  # torch's own mark for targets without a loss


@dataclass(frozen=True)
class Window:
    """A slice of one document's sequence: the last `scored` of its tokens are scored."""

    document: int
    ids: tuple[int, ...]
    scored: int


def windows(ids: Sequence[int], window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, scored) slices that score each of ids[1:] exactly once.

    ids begins with the context token that is never scored. The first window scores all it holds
    after that, each later one the next `stride` tokens, with all the context that fits before
    them; stride < window.
    """
    done = 1
    while done < len(ids):
        end = min(len(ids), window if done == 1 else done + stride)
        yield max(0, end - window), end, end - done
        done = end


def take_documents(folder: Path, count: int) -> list[dict[str, Any]]:
    """First `count` documents of a split corpus (held-out part) or text benchmark, file order.

    Raises UserError when there are fewer (every model must see the same text), and for half a
    surrogate pair.
    """
    held_out = folder / "valid.jsonl.zst"
    path = held_out if held_out.exists() else folder / "documents.jsonl"
    documents = list(islice(read_jsonl(path), count))
    if len(documents) < count:
        remedy = f"{path} holds {len(documents)} documents: ask for no more, or hold out more"
        raise UserError("perplexity.documents", count, remedy)
    for document in documents:
        require_characters(document["text"], f"{path}: document", document["id"])
    return documents


def encode(tokenizer: Any, text: str) -> list[int]:
    """Context token and the text's ids; a literal `<s>` in the text is text, not control.

    The context token is bos, or eos for vocabularies without one.
    """
    context = tokenizer.bos_token_id
    context = tokenizer.eos_token_id if context is None else context
    if context is None:
        raise UserError("vocabulary", "no bos, no eos", "perplexity needs one as first context")
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [context, *ids]


def score_texts(
    model: Any, tokenizer: Any, texts: Sequence[str], window: int, stride: int, batch: int
) -> list[tuple[float, int]]:
    """(nats, tokens) of each text; a loss is float32, their sum float64."""
    encoded = [encode(tokenizer, text) for text in texts]
    parts = [
        Window(index, tuple(ids[start:end]), scored)
        for index, ids in enumerate(encoded)
        for start, end, scored in windows(ids, window, stride)
    ]
    parts.sort(key=lambda part: -len(part.ids))  # stable: neighbours need little padding
    size = max(1, min(batch, LOGITS_AT_ONCE // (window * model.config.vocab_size)))
    nats = [0.0] * len(texts)
    for members in batched(parts, size):
        for part, value in zip(members, score_windows(model, members), strict=True):
            nats[part.document] += value
    return [(value, len(ids) - 1) for value, ids in zip(nats, encoded, strict=True)]


def score_windows(model: Any, members: Sequence[Window]) -> list[float]:
    """Nats of the scored tokens of each window, in one forward pass.

    Padding stands on the right, where a causal model cannot see it from the scored tokens.
    """
    width = max(len(part.ids) for part in members)
    ids = torch.zeros((len(members), width), dtype=torch.long)
    targets = torch.full((len(members), width), IGNORED)
    for row, part in enumerate(members):
        end = len(part.ids)
        ids[row, :end] = torch.tensor(part.ids)
        targets[row, end - part.scored : end] = ids[row, end - part.scored : end]
    with torch.inference_mode():
        logits = model(input_ids=ids.to(model.device), use_cache=False).logits[:, :-1]
        losses = functional.cross_entropy(
            logits.transpose(1, 2).float(),
            targets[:, 1:].to(model.device),
            ignore_index=IGNORED,
            reduction="none",
        )
        values: list[float] = losses.double().sum(dim=1).tolist()
    return values


def document_row(document: Mapping[str, Any], nats: float, tokens: int) -> dict[str, Any]:
    """One row of `documents.jsonl`; nats rounded to 1e-6, below what batching can move."""
    text = document["text"]
    return {
        "id": document["id"],
        "nats": round(nats, 6),
        "tokens": tokens,
        "bytes": len(text.encode("utf-8")),
        "characters": len(text),
    }


def summarise(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Perplexity per token, bits per UTF-8 byte and per code point, over all documents."""
    rows = list(rows)
    total = {name: sum(row[name] for row in rows) for name in ("tokens", "bytes", "characters")}
    nats = math.fsum(row["nats"] for row in rows)
    return total | {
        "documents": len(rows),
        "perplexity": math.exp(nats / total["tokens"]),
        "bits_per_byte": nats / math.log(2) / total["bytes"],
        "bits_per_character": nats / math.log(2) / total["characters"],
    }
