"""Log-likelihoods of many continuations whose contexts begin alike.

What sequences share is run once and its keys and values are kept; what is left of each is run on
top of them, longest first, in batches of like length, and the output layer sees only the positions
that are scored. Continuations that differ in their last token alone are one sequence. In float32
the results are those of running every sequence on its own, apart from rounding.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import (
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from langtransfer.errors import UserError

# A pass of its own pays off from about this many shared tokens on; likewise a batch of its own,
# from about this much padding saved. # our choice: what a call costs in a small model on a CPU
WORTH_A_PASS = 32
# Cached layers that a shallow copy separates: appending replaces their tensors.
PLAIN_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
# Rotary embeddings whose angles depend on the whole sequence's length, not on the position alone.
LENGTH_DEPENDENT = {"dynamic", "longrope"}

Score = tuple[float, bool]
"""Log-likelihood of a continuation in nats, and whether greedy decoding would give it."""


@dataclass
class Scored:
    """Token ids as the model sees them, and the continuations read off them."""

    tokens: np.ndarray
    """Context and continuation without its last token, cut on the left to the model's length."""
    continuations: list[tuple[int, list[int]]] = field(default_factory=list)
    """(Place of the request, its token ids); each ends one past the sequence."""

    @property
    def first(self) -> int:
        """The first position whose prediction is read."""
        return len(self.tokens) - max(len(tokens) for _, tokens in self.continuations)


@dataclass
class Shared:
    """A node of the tree of common prefixes: sequences that begin with the same tokens."""

    length: int
    """Of the common prefix, in tokens; 0 at the root."""
    alone: list[int] = field(default_factory=list)
    """Places of the sequences that share nothing further worth a pass."""
    deeper: list[Shared] = field(default_factory=list)
    """Groups of at least two that share more."""

    def any_place(self) -> int:
        """The place of one sequence below this node."""
        return self.alone[0] if self.alone else self.deeper[0].any_place()


def merge_requests(
    requests: Iterable[tuple[Sequence[int], Sequence[int]]], limit: int
) -> list[Scored]:
    """Sequences in the order of their tokens, one for all continuations that need the same pass.

    A request is (context, continuation), in token ids; `limit` is the longest sequence the model
    has positions for. What exceeds it is cut off on the left, as lm-evaluation-harness does; a
    UserError is raised when a continuation alone exceeds it.
    """
    merged: dict[bytes, Scored] = {}
    for place, (context, continuation) in enumerate(requests):
        if len(continuation) > limit:
            remedy = f"the model has {limit} positions: leave the item out"
            raise UserError("benchmark", f"an option of {len(continuation)} tokens", remedy)
        tokens = np.array([*context, *continuation][-(limit + 1) : -1], dtype=">u4")
        scored = merged.setdefault(tokens.tobytes(), Scored(tokens))
        scored.continuations.append((place, list(continuation)))
    return [merged[key] for key in sorted(merged)]  # big-endian bytes sort as the ids do


def common_lengths(sequences: Sequence[Scored]) -> list[int]:
    """How many tokens each sequence may share with the one after it.

    Never a position that is scored: its prediction is read in the pass of the sequence itself.
    """
    return [_common(a, b) for a, b in pairwise(sequences)]


def _common(one: Scored, other: Scored) -> int:
    most = min(one.first, other.first)
    differing = one.tokens[:most] != other.tokens[:most]
    return int(differing.argmax()) if differing.any() else most


def find_shared(common: Sequence[int], low: int, high: int, length: int = 0) -> Shared:
    """The tree over sequences low .. high - 1, sorted, all of which share `length` tokens."""
    node = Shared(length)
    start = low
    for stop in range(low + 1, high + 1):
        if stop < high and common[stop - 1] - length >= WORTH_A_PASS:
            continue
        if stop - start == 1:
            node.alone.append(start)
        else:
            node.deeper.append(find_shared(common, start, stop, min(common[start : stop - 1])))
        start = stop
    return node


def plan_batches(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Places by length, longest first, in batches of at most `limit` rows.

    Of all ways to cut the sorted list the one with the fewest padded tokens, a batch counting as
    WORTH_A_PASS tokens more.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    cost, cut = [0], [0]
    for stop in range(1, len(order) + 1):
        starts = range(max(0, stop - limit), stop)
        costs = [cost[s] + lengths[order[s]] * (stop - s) + WORTH_A_PASS for s in starts]
        best = min(range(len(costs)), key=costs.__getitem__)
        cost.append(costs[best])
        cut.append(starts[best])
    batches = []
    stop = len(order)
    while stop:
        batches.append(order[cut[stop] : stop])
        stop = cut[stop]
    return batches[::-1]


class BatchCache(DynamicCache):
    """A prefix's keys and values for every row of one pass, which leaves them as they are.

    Layer by layer, and nothing is kept: the memory is that of the prefix and of one layer of the
    batch.
    """

    def __init__(self, prefix: DynamicCache, rows: int) -> None:
        super().__init__()
        self.layers = prefix.layers
        self.rows = rows

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """A layer's states of the prefix, then the new ones: `[rows, heads, tokens, size]`."""
        layer: Any = copy.copy(self.layers[layer_idx])
        layer.keys = layer.keys.expand(self.rows, -1, -1, -1)
        layer.values = layer.values.expand(self.rows, -1, -1, -1)
        states: tuple[Tensor, Tensor] = layer.update(key_states, value_states, *args, **kwargs)
        return states


@contextmanager
def only_positions(head: torch.nn.Module, positions: Tensor) -> Iterator[None]:
    """Let an output layer see these positions (`[rows, scored]`) of its input only."""

    def choose(_: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = arguments
        index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        return hidden.gather(1, index), *rest

    hook = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        hook.remove()


def chosen_logits(model: Any, ids: Tensor, positions: Tensor, cache: DynamicCache | None) -> Tensor:
    """Logits `[rows, scored, vocabulary]` at positions `[rows, scored]` of ids `[rows, tokens]`.

    The ids follow what the cache holds and are added to it.
    """
    with only_positions(model.get_output_embeddings(), positions):
        output = model(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
    logits: Tensor = output.logits
    return logits


class PrefixScorer:
    """Scores with one causal language model of transformers; see the module."""

    def __init__(self, model: Any, rows: int, softmax_dtype: torch.dtype | None = None) -> None:
        """`rows` is the batch size; the softmax is in the logits' precision unless one is given."""
        self.model, self.rows, self.softmax_dtype = model, rows, softmax_dtype

    @torch.inference_mode()
    def score(self, sequences: Sequence[Scored]) -> dict[int, Score]:
        """Scores by place of the request, of sequences sorted as `merge_requests` does."""
        tree = find_shared(common_lengths(sequences), 0, len(sequences))
        scores: dict[int, Score] = {}
        self._descend(tree, sequences, None, scores)
        return scores

    def _descend(
        self,
        node: Shared,
        sequences: Sequence[Scored],
        cache: DynamicCache | None,
        scores: dict[int, Score],
    ) -> None:
        """Score what is below a node; `cache` holds its prefix, None at the root."""
        lengths = [len(sequences[place].tokens) for place in node.alone]
        for batch in plan_batches(lengths, self.rows):
            chosen = [sequences[node.alone[n]] for n in batch]
            scores.update(self._score_batch(chosen, node.length, cache))
        for group in node.deeper:
            tokens = sequences[group.any_place()].tokens[node.length : group.length]
            self._descend(group, sequences, self._extend(cache, tokens), scores)

    def _extend(self, cache: DynamicCache | None, tokens: np.ndarray) -> DynamicCache:
        """A new cache holding further tokens; the given one stays as it is."""
        longer = DynamicCache(config=self.model.config)
        if cache is not None:
            longer.layers = [copy.copy(layer) for layer in cache.layers]
        ids = self._tensor(tokens.astype(np.int64)[None])
        chosen_logits(self.model, ids, ids[:, :0], longer)
        return longer

    def _score_batch(
        self, batch: Sequence[Scored], prefix: int, cache: DynamicCache | None
    ) -> Iterator[tuple[int, Score]]:
        """Run what follows the prefix, padded on the right, where it cannot be seen."""
        rests = [len(scored.tokens) - prefix for scored in batch]
        reads = [len(scored.tokens) - scored.first for scored in batch]
        ids = np.zeros((len(batch), max(rests)), dtype=np.int64)
        positions = np.zeros((len(batch), max(reads)), dtype=np.int64)
        for row, (scored, rest, read) in enumerate(zip(batch, rests, reads, strict=True)):
            ids[row, :rest] = scored.tokens[prefix:]
            positions[row, -read:] = range(rest - read, rest)
        shared = None if cache is None else BatchCache(cache, len(batch))
        logits = chosen_logits(self.model, self._tensor(ids), self._tensor(positions), shared)
        logs = torch.log_softmax(logits, dim=-1, dtype=self.softmax_dtype)
        yield from self._read(batch, logs)

    def _read(self, batch: Sequence[Scored], logs: Tensor) -> Iterator[tuple[int, Score]]:
        """Scores from log-probabilities `[rows, scored, vocabulary]`, aligned at their end."""
        greedy = logs.argmax(dim=-1).tolist()
        asked = [
            (row, logs.shape[1] - len(tokens) + n, token)
            for row, scored in enumerate(batch)
            for _, tokens in scored.continuations
            for n, token in enumerate(tokens)
        ]
        taken = logs[self._tensor(np.array(asked).T).unbind()]
        counts = [len(tokens) for scored in batch for _, tokens in scored.continuations]
        # Summed in the logits' precision, as the stock backend does: the same rounding.
        totals = iter(torch.stack([part.sum() for part in torch.split(taken, counts)]).tolist())
        for row, scored in enumerate(batch):
            for place, tokens in scored.continuations:
                yield place, (next(totals), greedy[row][-len(tokens) :] == tokens)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.model.device)


@torch.inference_mode()
def can_share(model: Any) -> bool:
    """Whether a model's prefixes can be kept and its output layer be given chosen positions.

    Not so for recurrent layers, for rotary angles that depend on the length of the whole sequence,
    and where the model does not call its output layer as a module; one token is run to see.
    """
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        return False
    rotary = getattr(model.config, "rope_parameters", None) or {}
    kinds = [rotary, *(value for value in rotary.values() if isinstance(value, dict))]
    if any(kind.get("rope_type") in LENGTH_DEPENDENT for kind in kinds):
        return False
    cache = DynamicCache(config=model.config)
    if not all(type(layer) in PLAIN_LAYERS for layer in cache.layers):
        return False
    if not isinstance(model.get_output_embeddings(), torch.nn.Module):
        return False
    token = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    logits = chosen_logits(model, token, token[:, :0], cache)
    return logits.shape[1] == 0 and cache.get_seq_length() == 1
