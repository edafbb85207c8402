"""Retrieval between parallel documents: whose translation is nearest, and at which layer.

Vectors in, hits out; nothing here knows where the vectors come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Half = Literal["choice", "report"]
Floats = NDArray[np.float64]

# Float32 sums move this much with how documents are batched: what is nearer by less is not nearer.
TIE = 1e-6


def directions(vectors: NDArray[Any], translations: NDArray[Any]) -> Floats:
    """Of the two directions, the share in which each document's own translation is the nearest.

    Both (documents, dimensions), row by row translations of each other; the result (documents,)
    holds 0, 0.5 and 1. Nearest by cosine after `centred`; a tie is a miss, so vectors that are
    all alike retrieve nothing. Chance is 1 in the number of documents.
    """
    similarity = _unit(centred(vectors)) @ _unit(centred(translations)).T
    own = similarity.diagonal().copy()
    np.fill_diagonal(similarity, -np.inf)
    to, back = (own > similarity.max(axis=axis) + TIE for axis in (1, 0))
    shares: Floats = (to.astype(np.float64) + back) / 2
    return shares


def centred(vectors: NDArray[Any]) -> Floats:
    """Vectors of one language less their mean.

    What all documents of a language share (its script, its words, the few dimensions in which a
    language model is large anywhere) says which language it is, not what a document says, and
    outweighs it in a cosine. Source: Libovický et al. 2020, arXiv 2004.05160.
    """
    exact = vectors.astype(np.float64)
    centre: Floats = exact - exact.mean(axis=0)
    # What is left of vectors that are all alike is rounding, and has a direction all the same.
    noise = TIE * np.linalg.norm(exact, axis=1).max()
    centre[np.linalg.norm(centre, axis=1) <= noise] = 0.0
    return centre


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return scaled


def halves(ids: Sequence[str]) -> dict[str, Half]:
    """Which half each document is in, by the order of a hash of its id; the odd one reports.

    The same for every model: models stay paired. Documents that choose a model's best layer are
    not those it is reported on, or having more layers to choose from would be an advantage.
    """
    order = sorted(ids, key=lambda name: hashlib.sha256(name.encode("utf-8")).digest())
    chosen = set(order[: len(order) // 2])
    return {name: "choice" if name in chosen else "report" for name in ids}


def best_layer(rows: Iterable[Mapping[str, Any]]) -> int:
    """Layer of the highest accuracy on the half that chooses; the lowest of equals.

    Never layer 0: the embeddings see no context. What they retrieve, shared pieces (digits, names)
    explain, and it would hide what the model makes of a text.
    """
    return 1 + int(np.argmax(accuracies(rows, "choice")[1:]))


def accuracies(rows: Iterable[Mapping[str, Any]], half: Half) -> Floats:
    """Accuracy of every layer, (layers,), on one half of the rows of `alignment.jsonl`."""
    accuracy: Floats = np.mean([row["layers"] for row in rows if row["half"] == half], axis=0)
    return accuracy


def document_rows(
    ids: Sequence[str], vectors: NDArray[Any], translations: NDArray[Any]
) -> list[dict[str, Any]]:
    """Rows of `alignment.jsonl`, from vectors (documents, layers, dimensions) of both languages."""
    layers = [directions(vectors[:, i], translations[:, i]) for i in range(vectors.shape[1])]
    half = halves(ids)
    hits = np.stack(layers, axis=1).tolist()
    return [
        {"id": name, "half": half[name], "layers": row} for name, row in zip(ids, hits, strict=True)
    ]


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best layer and its accuracy, every layer's accuracy, and what the choice was made on."""
    layer, reported = best_layer(rows), accuracies(rows, "report")
    return {
        "documents": len(rows),
        "chance": 1 / len(rows),
        "layer": layer,
        "retrieval": float(reported[layer]),
        "by_layer": reported.tolist(),
        "choice_by_layer": accuracies(rows, "choice").tolist(),
    }
