"""What each new piece of an extended vocabulary is made of in its base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langtransfer.errors import UserError
from langtransfer.vocabulary.byte_level import contents, read_byte_level, size_of
from langtransfer.vocabulary.contract import SPM, TOKENIZER, vocabulary_folder
from langtransfer.vocabulary.conversion import read_proto
from langtransfer.vocabulary.extension import surface, without_prefix


def sub_pieces_of(base_folder: Path, extended_folder: Path) -> list[list[int]]:
    """Base ids of the text (byte-level: bytes) of each id the extended vocabulary adds, by id.

    A leading space of a SentencePiece piece is a space and none is none; a special token counts
    as its spelling. Folders are of vocabularies or checkpoints. Raises UserError when the extended
    vocabulary does not begin with the base's tokens at the same ids.
    """
    base, extended = vocabulary_folder(base_folder), vocabulary_folder(extended_folder)
    kinds = [(folder / SPM).is_file() for folder in (base, extended)]
    if kinds[0] != kinds[1]:
        remedy = "only one of base and extended vocabulary is SentencePiece: use the base's own"
        raise UserError("vocabulary", str(extended_folder), remedy)
    return (_of_sentencepiece if kinds[0] else _of_byte_level)(base, extended)


def require_prefix(own: Sequence[str], others: Sequence[str]) -> None:
    """UserError unless the extended vocabulary's tokens (others) begin with the base's."""
    if others[: len(own)] != own:
        pairs = enumerate(zip(own, others, strict=False))
        differing = next((i for i, pair in pairs if pair[0] != pair[1]), len(others))
        remedy = "extend_vocabulary extended another vocabulary than this model's: use its own"
        raise UserError("vocabulary: first piece that differs from the base", differing, remedy)


def _of_sentencepiece(base: Path, extended: Path) -> list[list[int]]:
    old, new = read_proto(base / SPM), read_proto(extended / SPM)
    own, others = ([p.piece for p in proto.pieces] for proto in (old, new))
    require_prefix(own, others)
    texts = [surface(piece) for piece in others[len(own) :]]
    return [list(ids) for ids in without_prefix(old).encode(texts)]


def _of_byte_level(base: Path, extended: Path) -> list[list[int]]:
    old, new = (read_byte_level(folder / TOKENIZER) for folder in (base, extended))
    own, others = ([t.id_to_token(i) or "" for i in range(size_of(t))] for t in (old, new))
    require_prefix(own, others)
    special = {token["content"] for token in contents(new)["added_tokens"]}
    old.encode_special_tokens = True
    return [
        old.encode(token, add_special_tokens=False).ids
        if token in special
        else [part.id for part in old.model.tokenize(token)]
        for token in others[len(own) :]
    ]
