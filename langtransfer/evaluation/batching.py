"""Consecutive items in tuples (Python 3.12's `itertools.batched`; this project starts at 3.11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Tuples of `size` consecutive items, the last one shorter where they run out."""
    rest = iter(items)
    while members := tuple(islice(rest, size)):
        yield members
