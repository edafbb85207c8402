"""Control tokens appended to a vocabulary: padding, chat markers. Text never becomes one.

In a SentencePiece model they are CONTROL pieces, in a byte-level tokenizer.json special added
tokens; both take the ids after the last piece, and a literal in a text stays text as long as
special tokens are split (which every stage asks for).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langtransfer.config.vocabulary import control_token, control_tokens
from langtransfer.errors import UserError
from langtransfer.vocabulary.conversion import CONTROL, ModelProto, special_ids

PAD = "<pad>"
"""The special token that becomes the padding token."""


def add_special_tokens(proto: Any, tokens: Sequence[str], field: str) -> Any:
    """A copy of a SentencePiece ModelProto with the tokens after its pieces; `<pad>` pads.

    field is the config's, for messages. Raises UserError for a token that cannot be one, that is
    a piece already, and for `<pad>` where the model has its own padding.
    """
    pad = special_ids(proto)["pad"]
    own = None if pad is None else proto.pieces[pad].piece
    require_usable(tokens, {p.piece for p in proto.pieces}, own, field)
    return append_control(proto, tokens, {"pad": PAD} if PAD in tokens else {})


def append_control(proto: Any, tokens: Sequence[str], names: Mapping[str, str]) -> Any:
    """A copy of a ModelProto with tokens as CONTROL pieces at the end.

    names says which pieces are `bos`, `eos` or `pad` from now on.
    """
    longer = ModelProto()
    longer.CopyFrom(proto)
    for token in tokens:
        longer.pieces.add(piece=token, score=0.0, type=CONTROL)
    longer.trainer_spec.vocab_size = len(longer.pieces)
    ids = {p.piece: i for i, p in enumerate(longer.pieces)}
    for name, token in names.items():
        setattr(longer.trainer_spec, f"{name}_piece", token)
        setattr(longer.trainer_spec, f"{name}_id", ids[token])
    return longer


def add_to_tokenizer_json(
    content: Mapping[str, Any], tokens: Sequence[str], pad: str | None, field: str
) -> dict[str, Any]:
    """A copy of a tokenizer.json's content with the tokens as special added tokens.

    They take the ids after the last one in use. pad is the padding token there is already; the
    caller names `<pad>` as pad_token in tokenizer_config.json. Raises UserError as
    `add_special_tokens` does.
    """
    longer = copy.deepcopy(dict(content))
    added = longer["added_tokens"] = list(longer.get("added_tokens") or [])
    ids = dict(longer["model"]["vocab"]) | {token["content"]: token["id"] for token in added}
    require_usable(tokens, ids, pad, field)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    for i, token in enumerate(tokens, start=max(ids.values()) + 1):
        added.append({"id": i, "content": token, **flags, "special": True})
    return longer


def require_usable(
    tokens: Sequence[str], taken: Collection[str], pad: str | None, field: str
) -> None:
    """UserError for tokens a vocabulary with these pieces and this padding cannot be given."""
    for number, token in enumerate(tokens):
        try:
            control_token(token)
            control_tokens(tuple(tokens[: number + 1]))
        except ValueError as error:
            raise UserError(field, token, str(error)) from error
        if token in taken:
            raise UserError(field, token, "is a piece of the vocabulary already: leave it out")
        if token == PAD and pad is not None:
            raise UserError(field, token, f"the base pads with {pad} already: leave it out")
