"""Adding pieces to a SentencePiece BPE vocabulary without disturbing what it already does.

Appended pieces get strictly decreasing scores below the base's lowest real one. (The widely
copied recipe gives them all 0: SentencePiece then breaks the ties by position, a merge list
cannot, and the Hugging Face tokenizer differs on 1,860 of 3,000 Chinese documents.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]

from langtransfer.errors import UserError
from langtransfer.languages import known_languages
from langtransfer.vocabulary.conversion import (
    BPE,
    NORMAL,
    SPACE,
    USER_DEFINED,
    ModelProto,
    load_processor,
)

# LLaMA's white-space pieces: no real score. Below it float32 steps are 64 wide.
SENTINEL_SCORE = -1.0e9


@dataclass(frozen=True)
class ExtensionReport:
    """Content of `extension.json`: counts of pieces; None where the kind has no such."""

    base_size: int
    size: int
    """Base, added, and special tokens."""
    added: int
    candidates: int
    """Pieces the base does not have."""
    already_in_base: int
    in_other_scripts: int
    """Candidates left out by `pieces: target-script`."""
    reachable: int
    """Of added: pieces that segmenting their own text (byte-level: bytes) gives."""
    characters_added: int | None = None
    """SentencePiece, of added: characters that longer pieces are made of and none was alone."""
    out_of_reach: int | None = None
    """Byte-level: candidates no text gives: the base's pre-tokenizer splits or its normalizer
    rewrites them, they are no UTF-8, or every way to them leads over tokens of the base."""
    intermediates: int | None = None
    """Byte-level, of added: tokens not taken for themselves, but on the way to one that is."""
    first_score: float | None = None
    """SentencePiece: score of the first new piece."""
    last_score: float | None = None
    """SentencePiece: score of the last new piece."""


def extend(
    base: Any, pieces: Any, languages: Iterable[str], choice: str, name: str
) -> tuple[Any, ExtensionReport]:
    """The base ModelProto with the new pieces of another, and what was done.

    choice is `all` or `target-script` (pieces with a letter of the languages' scripts); name is
    the vocabulary's, for messages. Raises UserError when nothing is added or the base is not BPE.
    """
    if base.trainer_spec.model_type != BPE:
        raise UserError("base vocabulary", "not BPE", "only a SentencePiece BPE can be extended")
    own = {p.piece for p in base.pieces}
    found = _normal_pieces(pieces)
    candidates = [p for p in found if p not in own]
    taken = candidates if choice == "all" else in_scripts(candidates, scripts_of(languages))
    characters = missing_characters(taken, own)
    added = [*taken, *characters]
    if not added:
        remedy = f"adds nothing to the base's {len(own):,} pieces: train more pieces or other ones"
        raise UserError(f"vocabularies.{name}.pieces", choice, remedy)
    merged = append_pieces(base, added)
    report = ExtensionReport(
        base_size=len(base.pieces),
        size=len(merged.pieces),
        added=len(added),
        candidates=len(candidates),
        already_in_base=len(found) - len(candidates),
        in_other_scripts=len(candidates) - len(taken),
        characters_added=len(characters),
        reachable=count_reachable(merged, len(base.pieces)),
        first_score=merged.pieces[len(base.pieces)].score,
        last_score=merged.pieces[-1].score,
    )
    return merged, report


def report_as_json(report: ExtensionReport) -> dict[str, Any]:
    """What `extension.json` holds."""
    return asdict(report)


def scripts_of(languages: Iterable[str]) -> tuple[str, ...]:
    """Unicode scripts the languages are written in, sorted."""
    return tuple(sorted({s for name in languages for s in known_languages()[name].scripts}))


def in_scripts(pieces: Sequence[str], scripts: Iterable[str]) -> list[str]:
    """Pieces holding at least one character of the scripts (Unicode's Script property)."""
    pattern = script_pattern(scripts)
    return [piece for piece in pieces if pattern.search(piece)]


def script_pattern(scripts: Iterable[str]) -> regex.Pattern[str]:
    """What matches one character of the scripts."""
    return regex.compile("|".join(rf"\p{{Script={script}}}" for script in scripts))


def missing_characters(pieces: Iterable[str], base: Collection[str]) -> list[str]:
    """Characters of the pieces that neither are among them nor in the base, in order met.

    SentencePiece merges a character that is no piece of its own into one; a merge list cannot.
    """
    pieces = list(pieces)
    known = {*pieces, *base}
    return list(dict.fromkeys(c for piece in pieces for c in piece if c not in known))


def append_pieces(base: Any, added: Sequence[str]) -> Any:
    """A copy of the base with pieces appended, scores falling by one from below its lowest.

    Raises UserError when float32, which the model's scores are, cannot tell the scores apart.
    """
    lowest = lowest_score(base)
    scores = lowest - np.arange(1, len(added) + 1, dtype=np.float64)
    if not (np.diff(np.array([lowest, *scores], np.float32)) < 0).all():
        remedy = "the base's scores are too low for float32 to tell new ones apart: rescale them"
        raise UserError("base vocabulary: lowest score", lowest, remedy)
    merged = ModelProto()
    merged.CopyFrom(base)
    for piece, score in zip(added, scores, strict=True):
        merged.pieces.add(piece=piece, score=float(score), type=NORMAL)
    merged.trainer_spec.vocab_size = len(merged.pieces)
    return merged


def lowest_score(proto: Any) -> float:
    """Lowest score of a normal piece, sentinels left out."""
    scores = [p.score for p in proto.pieces if p.type == NORMAL and p.score > SENTINEL_SCORE]
    return min(scores, default=0.0)


def without_prefix(proto: Any) -> Any:
    """A segmenter that takes text as it is, no space put before it: segments pieces themselves."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    copy.normalizer_spec.add_dummy_prefix = False
    return load_processor(copy)


def surface(piece: str) -> str:
    """The text a piece stands for."""
    return piece.replace(SPACE, " ")


def count_reachable(proto: Any, first: int) -> int:
    """Pieces from id `first` on that segmenting their own text gives as one piece."""
    texts = [surface(p.piece) for p in proto.pieces[first:]]
    segmented = without_prefix(proto).encode(texts)
    return sum(ids == [first + i] for i, ids in enumerate(segmented))


def _normal_pieces(proto: Any) -> list[str]:
    """Normal pieces, and those a user defined, by falling score, then id."""
    ranked = sorted(enumerate(proto.pieces), key=lambda item: (-item[1].score, item[0]))
    return [p.piece for _, p in ranked if p.type in (NORMAL, USER_DEFINED)]
