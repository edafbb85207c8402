"""Adding tokens to a byte-level BPE without disturbing what it already does.

New merges stand after all of the base's: they join what the base leaves apart, and text without
such a pair keeps its ids. A token the base breaks into more than two parts needs others on the
way; the joining order is chosen so that these hold bytes of the target's script too.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from langtransfer.errors import UserError
from langtransfer.vocabulary.byte_level import (
    contents,
    merges_of,
    size_of,
    spell,
    token_bytes,
    with_content,
)
from langtransfer.vocabulary.extension import ExtensionReport, script_pattern, scripts_of

Pair = tuple[str, str]


class Utf8(NamedTuple):
    """Bytes as UTF-8 reads them: the end of a character, whole ones, the beginning of one."""

    head: bytes
    text: str
    tail: bytes


def extend_byte_level(
    base: Tokenizer, pieces: Tokenizer, languages: Sequence[str], choice: str, name: str
) -> tuple[Tokenizer, ExtensionReport]:
    """The base with the new tokens of another, in the order of its merges, and what was done.

    choice is `all` or `target-script` (tokens with a whole character of the languages' scripts);
    name is the vocabulary's, for messages. Raises UserError when nothing is added.
    """
    own = base.get_vocab(with_added_tokens=True)
    found = list(dict.fromkeys(left + right for left, right in merges_of(pieces)))
    candidates = [token for token in found if token not in own]
    taken = candidates if choice == "all" else in_scripts(candidates, scripts_of(languages))
    possible = [token for token in taken if can_occur(base, token_bytes(token))]
    joining = Joining(base, possible, scripts_of(languages))
    reached = sum(joining.join(token) for token in possible)
    if not joining.added:
        remedy = f"adds nothing to the base's {len(own):,} tokens: train more pieces or other ones"
        raise UserError(f"vocabularies.{name}.pieces", choice, remedy)
    extended = append_tokens(base, joining.added, joining.merges)
    report = ExtensionReport(
        base_size=size_of(base),
        size=size_of(extended),
        added=len(joining.added),
        candidates=len(candidates),
        already_in_base=len(found) - len(candidates),
        in_other_scripts=len(candidates) - len(taken),
        out_of_reach=len(taken) - reached,
        intermediates=len(joining.added) - reached,
        reachable=count_reachable(extended, joining.added),
    )
    return extended, report


def append_tokens(base: Tokenizer, added: Sequence[str], merges: Sequence[Pair]) -> Tokenizer:
    """The base with tokens after its last id and merges after its last one."""
    content = contents(base)
    model = content["model"] | {"merges": [*content["model"]["merges"], *map(list, merges)]}
    return with_content(content | {"model": model}, added)


def count_reachable(tokenizer: Tokenizer, tokens: Iterable[str]) -> int:
    """Tokens that the merges make of their own bytes."""
    model = Tokenizer.from_str(tokenizer.to_str()).model
    model.ignore_merges = False  # it takes a word that is a token as it is
    return sum(segment(model, token) == [token] for token in tokens)


def segment(model: Any, token: str) -> list[str]:
    """What a model makes of bytes as the file spells them, in one word."""
    return [part.value for part in model.tokenize(token)]


class Joining:
    """Tokens and merges to append to a base, found one wanted token at a time.

    added and merges are in the order they are to be appended; each token comes from one merge.
    """

    def __init__(self, base: Tokenizer, wanted: Iterable[str], scripts: Iterable[str]) -> None:
        self.added: list[str] = []
        self.merges: list[Pair] = []
        self._model = base.model
        self._ranks: dict[Pair, int] = {}
        self._taken = set(base.get_vocab(with_added_tokens=True))
        self._wanted = set(wanted)
        self._scripts = tuple(scripts)

    def join(self, token: str) -> bool:
        """Append what makes the token of its bytes; False, and nothing, where no order can.

        That is where every joint would be a token the base has but never makes here.
        """
        parts, steps = self.parts(token), list[Pair]()
        while len(parts) > 1:
            made = {left + right for left, right in steps}
            pair = self._next(parts, made)
            if pair is None:
                return False
            steps.append(pair)
            parts = apply_merge(parts, pair)
        for pair in steps:
            self._ranks[pair] = len(self.merges)
            self.merges.append(pair)
            self.added.append("".join(pair))
        self._taken.update(map("".join, steps))
        return True

    def parts(self, token: str) -> list[str]:
        """The token's bytes as the base and all merges so far leave them.

        No new merge makes a token of the base, so the base's merges are done before the first.
        """
        parts = segment(self._model, token)
        while ranks := [self._ranks[p] for p in pairwise(parts) if p in self._ranks]:
            parts = apply_merge(parts, self.merges[min(ranks)])
        return parts

    def _next(self, parts: Sequence[str], made: Collection[str]) -> Pair | None:
        """The pair to join first: its script above all, then what is wanted anyway, then what
        completes a character, then the first."""
        choices = [
            (self._strangeness(joint), joint not in self._wanted, not _inside(right), number)
            for number, (left, right) in enumerate(pairwise(parts))
            if (joint := left + right) not in self._taken and joint not in made
        ]
        return (parts[(at := min(choices)[-1])], parts[at + 1]) if choices else None

    def _strangeness(self, joint: str) -> int:
        """Who else may meet a joint: 0 no text without the scripts, 1 no ASCII text, 2 any."""
        data = token_bytes(joint)
        if _only_in(data, self._scripts):
            return 0
        return 2 if data.isascii() else 1


def apply_merge(parts: Sequence[str], pair: Pair) -> list[str]:
    """The parts with every occurrence of the pair joined, from the left."""
    joined: list[str] = []
    for part in parts:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def in_scripts(tokens: Iterable[str], scripts: Iterable[str]) -> list[str]:
    """Tokens whose bytes hold at least one whole character of the scripts."""
    pattern = script_pattern(scripts)
    read = ((token, read_utf8(token_bytes(token))) for token in tokens)
    return [token for token, found in read if found is not None and pattern.search(found.text)]


def can_occur(base: Tokenizer, data: bytes) -> bool:
    """Whether some text holds the bytes in one word of the base, after its normalizer.

    A character the bytes hold only in part is tried as every kind of character it may be.
    """
    found = read_utf8(data)
    if found is None:
        return False
    if not found.text and not (found.head and found.tail):
        return bool(found.head or _beginnings(found.tail))  # inside one character no word ends
    token = spell(data)
    return any(
        token in word
        for first in _endings(found.head)
        for last in _beginnings(found.tail)
        for word in _words(base, f"{first}{found.text}{last}")
    )


def read_utf8(data: bytes) -> Utf8 | None:
    """Bytes cut from UTF-8 text anywhere; None for bytes no such text holds."""
    start = next((i for i, byte in enumerate(data) if not _is_continuation(byte)), len(data))
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        text = decoder.decode(data[start:])
    except UnicodeDecodeError:
        return None
    tail = decoder.getstate()[0]
    return Utf8(data[:start], text, tail) if start <= 3 else None


def _words(base: Tokenizer, text: str) -> list[str]:
    """The words the base's merges stay within, as the file spells them."""
    if base.normalizer is not None:
        text = base.normalizer.normalize_str(text)
    return [word for word, _ in base.pre_tokenizer.pre_tokenize_str(text)]


@cache
def _endings(head: bytes) -> tuple[str, ...]:
    """One character of every kind that ends with the bytes; the empty text for none."""
    if not head:
        return ("",)
    step = 1 << 6 * len(head)  # six bits in every continuation byte
    low = _bits(head)
    first = {1: 0x80, 2: 0x800, 3: 0x10000}[len(head)]  # UTF-8's shortest longer than the bytes
    return tuple(_kinds(range(low + -(-(first - low) // step) * step, 0x110000, step)).values())


@cache
def _beginnings(tail: bytes) -> tuple[str, ...]:
    """One character of every kind that begins with the bytes; the empty text for none."""
    return tuple(_kinds(_range(tail)).values()) if tail else ("",)


def _range(tail: bytes) -> range:
    """Code points whose UTF-8 begins with the bytes of an unfinished character."""
    lead, length = tail[0], 2 + (tail[0] >= 0xE0) + (tail[0] >= 0xF0)
    missing = 6 * (length - len(tail))
    low = ((lead & (0x7F >> length)) << 6 * (len(tail) - 1) | _bits(tail[1:])) << missing
    shortest = {2: 0x80, 3: 0x800, 4: 0x10000}[length]
    return range(max(low, shortest), min(low + (1 << missing), 0x110000))


def _bits(continuation: bytes) -> int:
    """The bits that continuation bytes carry."""
    return sum((byte & 0x3F) << 6 * i for i, byte in enumerate(reversed(continuation)))


def _kinds(points: Iterable[int]) -> dict[Any, str]:
    """The first assigned character of every general category and block of names.

    Pre-tokenizers tell characters apart by category, some by script, which the first word of a
    name stands for.
    """
    found: dict[Any, str] = {}
    for character in map(chr, points):
        category = unicodedata.category(character)
        if category not in ("Cn", "Cs"):
            name = unicodedata.name(character, "").split(" ", 1)[0]
            found.setdefault((category, name), character)
    return found


@cache
def _only_in(data: bytes, scripts: tuple[str, ...]) -> bool:
    """Whether all text that holds the bytes has a character of the scripts."""
    found = read_utf8(data)
    if found is None:
        return False
    return bool(script_pattern(scripts).search(found.text)) or _begins_only(found.tail, scripts)


@cache
def _begins_only(tail: bytes, scripts: tuple[str, ...]) -> bool:
    """Whether every assigned character that begins with the bytes is of the scripts."""
    if not tail:
        return False
    characters = "".join(chr(point) for point in _range(tail) if not 0xD800 <= point < 0xE000)
    assigned = regex.sub(r"\p{Cn}", "", characters)
    return bool(assigned) and not script_pattern(scripts).sub("", assigned)


def _inside(part: str) -> bool:
    """Whether a part begins inside a character."""
    return _is_continuation(token_bytes(part)[0])


def _is_continuation(byte: int) -> bool:
    return 0x80 <= byte < 0xC0
