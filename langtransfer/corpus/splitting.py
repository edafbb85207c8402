"""Splitting a corpus into training and held-out documents, by a hash of the text alone.

A document's side does not depend on the order of the corpus, and a text that is held out never
trains, however often it occurs.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable


def seeded_hash(text: str, seed: int) -> bytes:
    """sha256 of seed and text: the document's place in a random but lasting order."""
    return hashlib.sha256(f"{seed}\n{text}".encode()).digest()


def smallest_hashes(texts: Iterable[str], count: int, seed: int) -> list[bytes]:
    """The `count` smallest distinct hashes, sorted; memory grows with `count` only."""
    # heapq keeps the smallest first: negated, the largest of those kept is on top.
    heap: list[int] = []
    kept: set[int] = set()
    for text in texts:
        value = -int.from_bytes(seeded_hash(text, seed))
        if value in kept or (len(heap) == count and value < heap[0]):
            continue
        kept.add(value)
        if len(heap) == count:
            kept.remove(heapq.heapreplace(heap, value))
        else:
            heapq.heappush(heap, value)
    return sorted((-value).to_bytes(32) for value in heap)
