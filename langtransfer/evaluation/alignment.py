"""Where a model lays parallel documents, layer by layer: means over their tokens' hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from langtransfer.corpus.jsonl import read_jsonl, require_characters
from langtransfer.errors import UserError
from langtransfer.evaluation.batching import batched
from langtransfer.evaluation.loading import position_limit
from langtransfer.evaluation.perplexity import encode

STATES_AT_ONCE = 2**28  # our choice: 1 GiB of float32 hidden states per forward pass
LONGEST_PART = 2048  # our choice: LLaMA's context; bounds the memory of models that read more


@dataclass(frozen=True)
class Pair:
    """A document in the target language and the same one in the source language."""

    id: str
    text: str
    source: str


@dataclass(frozen=True)
class Part:
    """As much of a document as the model reads at once; the first of ids is only context."""

    document: int
    ids: tuple[int, ...]


def take_pairs(target: Path, source: Path, count: int) -> list[Pair]:
    """First `count` documents of a text benchmark in one language, with the other's by id.

    Raises UserError when there are fewer, for an id twice, for a document the source language
    lacks, and for half a surrogate pair.
    """
    texts, path = _texts(target), target / "documents.jsonl"
    if len(texts) < count:
        remedy = f"{path} holds {len(texts)} documents: ask for no more"
        raise UserError("alignment.documents", count, remedy)
    sources = _texts(source)
    chosen = list(texts)[:count]
    for name in chosen:
        if name not in sources:
            remedy = (
                f"not in {source}: alignment.benchmark needs the same documents in all languages"
            )
            raise UserError(f"{path}: id", name, remedy)
    return [Pair(name, texts[name], sources[name]) for name in chosen]


def _texts(folder: Path) -> dict[str, str]:
    path = folder / "documents.jsonl"
    texts: dict[str, str] = {}
    for row in read_jsonl(path):
        if row["id"] in texts:
            raise UserError(str(path), row["id"], "the id occurs twice; ids pair the languages")
        require_characters(row["text"], f"{path}: document", row["id"])
        texts[row["id"]] = row["text"]
    return texts


def split(ids: Sequence[int], longest: int) -> Iterator[tuple[int, ...]]:
    """A sequence in parts of at most `longest`, each led by its first id, the context token.

    Nothing of a long document is left out, so every model sees equal text.
    """
    for start in range(1, len(ids), longest - 1):
        yield (ids[0], *ids[start : start + longest - 1])


def mean_states(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    batch: int,
    tell: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float32]:
    """Mean hidden state over each text's tokens, (texts, layers + 1, hidden size).

    Layer 0 is the embeddings, the last one stands after the model's final norm. The context token
    is left out: it is the same before every text. tell is given the number of texts done. Raises
    UserError for a text without a token.
    """
    encoded = [encode(tokenizer, text) for text in texts]
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) < 2:
            raise UserError("alignment: document", text, "holds no token: drop it from the text")
    longest = min(position_limit(model), LONGEST_PART)
    parts = [
        Part(index, ids) for index, whole in enumerate(encoded) for ids in split(whole, longest)
    ]
    parts.sort(key=lambda part: -len(part.ids))  # stable: neighbours need little padding
    shape = (len(texts), model.config.num_hidden_layers + 1, model.config.hidden_size)
    sums = np.zeros(shape, dtype=np.float32)
    size = max(1, min(batch, STATES_AT_ONCE // (len(parts[0].ids) * shape[1] * shape[2])))
    done = 0
    for members in batched(parts, size):
        for part, states in zip(members, summed_states(model, members), strict=True):
            sums[part.document] += states
        done += len(members)
        tell(done * len(texts) // len(parts))
    counts = np.array([len(ids) - 1 for ids in encoded], dtype=np.float32)
    sums /= counts[:, None, None]
    return sums


def summed_states(model: Any, members: Sequence[Part]) -> NDArray[np.float32]:
    """Sum of hidden states over each part's tokens but the first, (parts, layers + 1, hidden).

    Padding stands on the right, where a causal model cannot see it from the summed tokens.
    """
    width = max(len(part.ids) for part in members)
    ids = torch.zeros((len(members), width), dtype=torch.long)
    mask = torch.zeros((len(members), width), dtype=torch.float32)
    for row, part in enumerate(members):
        ids[row, : len(part.ids)] = torch.tensor(part.ids)
        mask[row, 1 : len(part.ids)] = 1
    mask = mask.to(model.device)
    with torch.inference_mode():
        # The body alone: logits are not looked at.
        found = model.base_model(
            input_ids=ids.to(model.device), use_cache=False, output_hidden_states=True
        )
        sums = [torch.einsum("bth,bt->bh", states, mask) for states in found.hidden_states]
        stacked: NDArray[np.float32] = torch.stack(sums, dim=1).cpu().numpy()
    return stacked
