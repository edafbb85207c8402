"""The training stream: which document stands where, the same on any number of processes.

Documents of each language are put in an order of their own by the run's seed, then laid end to
end and cut into blocks of `sequence_length` tokens. A document that does not end with its block
goes on in the next one as a new segment: no token is lost, none comes twice, and no attention or
position crosses from one document to another.

**Shares** (interleaved). The next document is of the language that is furthest behind its share
of the tokens: fair queueing by start tags, tokens so far / share, ties to the first language by
name. So every prefix keeps the shares to within a document of each language, and a larger budget
is a longer prefix of the same stream. The stream ends where the first language runs out.

**Order** (one after another). A budget of T tokens over k languages gives each T / k, in whole
documents. The stream of a larger budget is therefore *not* an extension of a smaller one's, and
ordered mixes cannot be chained: `Stream.is_prefix_stable` is False for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langtransfer.budget import Budget
from langtransfer.config.training import Mix
from langtransfer.errors import UserError
from langtransfer.pretraining.packing import PackedTokens, open_packed

IGNORED = -100
"""Label of a token that is not to be predicted (PyTorch's ignore_index)."""

Ints = NDArray[np.int64]


class Layout(NamedTuple):
    """Documents in stream order, n of them."""

    source: Ints
    """(n,) index into the stream's languages."""
    document: Ints
    """(n,) index within the language's packed folder."""
    start: Ints
    """(n + 1,) first token within the stream; the last entry is the stream's length."""


@dataclass(frozen=True)
class Stream:
    """The deterministic stream of a mix; see the module's docstring for its order."""

    packs: Mapping[str, PackedTokens]
    """By language, sorted."""
    mix: Mix
    sequence_length: int
    seed: int

    @property
    def is_prefix_stable(self) -> bool:
        """Whether a smaller budget's stream is the beginning of a larger one's."""
        return self.mix.shares is not None

    @property
    def vocabulary_sha256(self) -> str:
        """Identity of the vocabulary whose ids these are (`VocabularyContract.identity`)."""
        return str(next(iter(self.packs.values())).meta["vocabulary_sha256"])

    def available(self) -> int:
        """Tokens the longest stream of this mix holds."""
        if self.mix.order is not None:
            smallest = min(p.meta["tokens"] for p in self.packs.values())
            return int(smallest) * len(self.mix.order)
        return int(self._interleaved.start[-1])

    def blocks(self, budget: Budget, global_batch_tokens: int) -> int:
        """Blocks to train on: a whole number of optimizer steps of global_batch_tokens.

        A budget in tokens is rounded down to whole steps, to one at least; one in samples
        (documents) up to the step that completes them, or down where the corpus ends within
        that step. Raises UserError when the corpora do not hold as much.
        """
        if not budget.amount:
            return 0
        whole = self.available() // global_batch_tokens
        if budget.unit == "samples":
            tokens = self._tokens_of_samples(budget)
            steps = min(-(-tokens // global_batch_tokens), whole)
        else:
            steps = max(budget.amount // global_batch_tokens, 1)
        if not 0 < steps <= whole:
            raise self._exceeded(budget)
        return steps * (global_batch_tokens // self.sequence_length)

    def dataset(self, n_blocks: int) -> Blocks:
        """The first n_blocks as a map-style dataset, to be read in order, never shuffled."""
        return Blocks(
            tuple(self.packs.values()), self._layout(n_blocks), self.sequence_length, n_blocks
        )

    def samples(self, n_blocks: int) -> int:
        """Documents that begin in the first n_blocks."""
        start = self._layout(n_blocks).start[:-1]
        return int(np.searchsorted(start, n_blocks * self.sequence_length, side="left"))

    def sources(self, n_blocks: int) -> dict[str, int]:
        """Tokens of each language in the first n_blocks."""
        layout = self._layout(n_blocks)
        end = np.minimum(layout.start, n_blocks * self.sequence_length)
        tokens = np.zeros(len(self.packs), np.int64)
        np.add.at(tokens, layout.source, np.diff(end))
        return {name: int(n) for name, n in zip(self.packs, tokens, strict=True)}

    @cached_property
    def _orders(self) -> tuple[Ints, ...]:
        """Documents of each language in the seed's order."""
        return tuple(
            permutation(len(p.offsets) - 1, f"{self.seed}:{language}")
            for language, p in self.packs.items()
        )

    @cached_property
    def _lengths(self) -> tuple[Ints, ...]:
        """Tokens of each language's documents, in the seed's order."""
        return tuple(
            np.diff(p.offsets)[order]
            for p, order in zip(self.packs.values(), self._orders, strict=True)
        )

    @cached_property
    def _interleaved(self) -> Layout:
        shares = self.mix.shares or {}
        source, place = interleave(self._lengths, [shares[language] for language in self.packs])
        return self._place(source, place)

    def _layout(self, n_blocks: int) -> Layout:
        """Where documents stand in a stream of at least n_blocks; UserError when too short."""
        tokens = n_blocks * self.sequence_length
        if tokens > self.available():
            raise self._exceeded(Budget(tokens, "tokens"))
        if self.mix.order is None:
            return self._interleaved
        names = list(self.packs)
        parts = [names.index(language) for language in self.mix.order]
        return self._place(*in_sequence(self._lengths, parts, tokens))

    def _place(self, source: Ints, place: Ints) -> Layout:
        """Layout of documents given by language and place in its order."""
        document, length = np.empty_like(place), np.empty_like(place)
        for index, (order, lengths) in enumerate(zip(self._orders, self._lengths, strict=True)):
            mine = source == index
            document[mine], length[mine] = order[place[mine]], lengths[place[mine]]
        return Layout(source, document, np.concatenate([[0], np.cumsum(length)]).astype(np.int64))

    def _tokens_of_samples(self, budget: Budget) -> int:
        """Tokens of the first documents; an ordered mix takes as many of each language."""
        if self.mix.order is None:
            start = self._interleaved.start
            if budget.amount >= len(start):
                raise self._exceeded(budget)
            return int(start[budget.amount])
        share, rest = divmod(budget.amount, len(self.mix.order))
        wanted = {language: share + (i < rest) for i, language in enumerate(self.mix.order)}
        lengths = dict(zip(self.packs, self._lengths, strict=True))
        if any(n > len(lengths[language]) for language, n in wanted.items()):
            raise self._exceeded(budget)
        return sum(int(lengths[language][:n].sum()) for language, n in wanted.items())

    def _exceeded(self, budget: Budget) -> UserError:
        held = self.available()
        documents = sum(len(p.offsets) - 1 for p in self.packs.values())
        remedy = (
            f"the corpora of {'+'.join(self.packs)} hold {held:,} tokens in this mix "
            f"({documents:,} documents): lower the budget or fetch more text"
        )
        return UserError("budget", str(budget), remedy)


@dataclass(frozen=True)
class Blocks:
    """Blocks 0 .. length - 1 of a stream, each found by bisection in the documents' starts."""

    packs: tuple[PackedTokens, ...]
    layout: Layout
    sequence_length: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Ints]:
        """`input_ids`, `position_ids` from 0 in each segment, `labels` (not shifted; -100 at
        the first token of each segment, which nothing before it can predict); int64[L] each."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        length, source, document, start = self.sequence_length, *self.layout
        first, end = index * length, (index + 1) * length
        ids, positions = np.empty(length, np.int64), np.empty(length, np.int64)
        labels = np.empty(length, np.int64)
        at, entry = first, int(np.searchsorted(start, first, side="right")) - 1
        while at < end:
            stop = min(int(start[entry + 1]), end)
            if stop > at:
                pack = self.packs[source[entry]]
                begin = int(pack.offsets[document[entry]]) + at - int(start[entry])
                segment = slice(at - first, stop - first)
                ids[segment] = pack.tokens[begin : begin + stop - at]
                positions[segment] = np.arange(stop - at)
                labels[segment] = ids[segment]
                labels[at - first] = IGNORED
            at, entry = max(at, stop), entry + 1
        return {"input_ids": ids, "position_ids": positions, "labels": labels}


def open_stream(
    folders: Mapping[str, Path], mix: Mix, sequence_length: int, *, seed: int
) -> Stream:
    """The stream of a mix over pack_tokens data folders by language.

    Raises UserError when a language has no folder or stands twice in an order, when the folders
    hold ids of different vocabularies, and when a folder is damaged.
    """
    missing = [language for language in mix.languages() if language not in folders]
    if missing:
        raise UserError("mix", missing, "no packed tokens of these languages: pack them first")
    if mix.order is not None and len(set(mix.order)) < len(mix.order):
        raise UserError("mix.order", list(mix.order), "names a language twice: keep one")
    packs = {language: open_packed(folders[language]) for language in mix.languages()}
    vocabularies = {p.meta["vocabulary_sha256"] for p in packs.values()}
    if len(vocabularies) > 1:
        remedy = "packed with different vocabularies: pack all with the model's"
        raise UserError("packed tokens", sorted(packs), remedy)
    return Stream(packs, mix, sequence_length, seed)


def interleave(lengths: tuple[Ints, ...], shares: list[float]) -> tuple[Ints, Ints]:
    """Language and place of each document, the one furthest behind its share next.

    lengths[l] are tokens of language l's documents in order. A document's start tag is the
    tokens before it over the language's share; tags in rising order are the stream, up to where
    the first language has no more.
    """
    tags = [(np.cumsum(n) - n) / share for n, share in zip(lengths, shares, strict=True)]
    end = min(n.sum() / share for n, share in zip(lengths, shares, strict=True))
    tags = [t[: np.searchsorted(t, end, side="left")] for t in tags]
    source = np.repeat(np.arange(len(tags)), [len(t) for t in tags])
    place = np.concatenate([np.arange(len(t)) for t in tags])
    rank = np.argsort(np.concatenate(tags), kind="stable")
    return source[rank], place[rank]


def in_sequence(lengths: tuple[Ints, ...], parts: list[int], tokens: int) -> tuple[Ints, Ints]:
    """Language and place of each document for parts one after another, tokens in all.

    Each part takes whole documents until it has its equal share, the last what is left.
    """
    sources, places, filled = [], [], 0
    for position, language in enumerate(parts):
        goal = tokens * (position + 1) // len(parts)
        before = np.cumsum(lengths[language]) - lengths[language]
        count = int(np.searchsorted(before, max(goal - filled, 0), side="left"))
        sources.append(np.full(count, language))
        places.append(np.arange(count))
        filled += int(lengths[language][:count].sum())
    return np.concatenate(sources), np.concatenate(places)


def permutation(count: int, seed: str) -> Ints:
    """An order of 0 .. count - 1 that the seed alone decides, on any version of numpy.

    Indices sorted by splitmix64 of (index + hash of the seed).
    """
    offset = np.frombuffer(blake2b(seed.encode(), digest_size=8).digest(), "<u8")
    state = (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) + offset
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(state ^ (state >> np.uint64(31)), kind="stable").astype(np.int64)
