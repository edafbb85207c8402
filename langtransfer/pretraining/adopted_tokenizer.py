"""The vocabulary of a checkpoint made elsewhere, from the files beside its weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from langtransfer.errors import UserError
from langtransfer.pretraining.published_weights import read_settings
from langtransfer.vocabulary.contract import (
    VocabularyContract,
    write_contract,
    write_vocabulary,
)
from langtransfer.vocabulary.conversion import (
    AS_PIECES,
    control_pieces,
    inexact,
    read_proto,
    special_ids,
)
from langtransfer.vocabulary.special import append_control
from langtransfer.vocabulary.ties import break_ties

Files = Mapping[str, Path]
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip
# Kinds of tokenizer.json that give text back; WordPiece and WordLevel lose what they do not know.
LOSSLESS = ("BPE", "Unigram")


def has_tokenizer(files: Files) -> bool:
    """Whether a vocabulary is among the files."""
    return "tokenizer.model" in files or "tokenizer.json" in files


def write_tokenizer(files: Files, target: Path, rows: int) -> tuple[VocabularyContract, int]:
    """Put the vocabulary beside the weights; its contract, and how many scores were changed.

    Equal scores, which the recipe of Chinese-LLaMA gives every new piece, are put in an order.
    """
    if "tokenizer.model" in files:
        proto, rescored = break_ties(read_proto(files["tokenizer.model"]))
        proto = with_added_tokens(proto, files)
        if (problem := inexact(proto)) is not None:
            remedy = f"has no exact Hugging Face form; {AS_PIECES}"
            raise UserError("tokenizer.model", problem, remedy)
        return write_vocabulary(proto, target, rows), rescored
    if "tokenizer.json" not in files:
        raise UserError("tokenizer", sorted(files), "neither tokenizer.model nor tokenizer.json")
    check_kind(files["tokenizer.json"])
    for name in TOKENIZER_FILES:
        if name in files:
            if name.endswith(".json"):
                read_settings(files[name])
            shutil.copyfile(files[name], target / name)
    return write_contract(target, rows), 0


def with_added_tokens(proto: Any, files: Files) -> Any:
    """The model with the tokens that files beside it add, and named as they name them.

    They become control pieces: text never becomes one, whatever their own flags say (our choice:
    a corpus that spells one out must not be able to end a text). Raises UserError when their ids
    are not the ones after the last piece, or their text is a piece.
    """
    size = len(proto.pieces)
    added = {i: token for i, token in sorted(added_tokens(files).items()) if i >= size}
    pieces = {p.piece for p in proto.pieces}
    if list(added) != list(range(size, size + len(added))) or pieces & {*added.values()}:
        remedy = (
            f"must be new and follow the {size:,} pieces of tokenizer.model: files do not match"
        )
        raise UserError("added tokens", added, remedy)
    longer = append_control(proto, list(added.values()), {})
    return append_control(longer, [], special_names(longer, files))


def added_tokens(files: Files) -> dict[int, str]:
    """Id -> token of added_tokens.json and tokenizer_config.json, where there are such files."""
    listed = settings_of(files, "added_tokens.json")
    decoder = settings_of(files, "tokenizer_config.json").get("added_tokens_decoder") or {}
    try:
        return {int(i): token for token, i in listed.items()} | {
            int(i): str(token["content"]) for i, token in decoder.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        remedy = (
            "not a table of tokens and ids: fetch added_tokens.json, tokenizer_config.json again"
        )
        raise UserError("added tokens", listed or decoder, remedy) from error


def special_names(proto: Any, files: Files) -> dict[str, str]:
    """Which control pieces tokenizer_config.json names bos, eos and pad.

    A padding that is another special token too is left out: see `special_tokens`.
    """
    settings = settings_of(files, "tokenizer_config.json")
    control = control_pieces(proto)
    named = {name: token_content(settings.get(f"{name}_token")) for name in ("bos", "eos", "pad")}
    own = {n: None if i is None else proto.pieces[i].piece for n, i in special_ids(proto).items()}
    if named["pad"] in (named["bos"], named["eos"], own["bos"], own["eos"]):
        named["pad"] = None
    return {n: t for n, t in named.items() if t is not None and t in control and t != own[n]}


def token_content(token: Any) -> str | None:
    """A token's text, given plainly or as an object with flags."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def check_kind(file: Path) -> None:
    """UserError for a tokenizer.json that cannot be read, or of a kind that loses text."""
    read_settings(file)
    try:
        kind = type(Tokenizer.from_file(str(file)).model).__name__
    except Exception as error:  # tokenizers raises nothing narrower
        remedy = f"not a tokenizer ({error}): fetch it again"
        raise UserError("tokenizer.json", str(file), remedy) from error
    if kind not in LOSSLESS:
        remedy = f"text does not come back from it: a causal model has {' or '.join(LOSSLESS)}"
        raise UserError("tokenizer.json: model type", kind, remedy)


def settings_of(files: Files, name: str) -> dict[str, Any]:
    """The JSON object of a file, empty where there is no such file."""
    return read_settings(files[name]) if name in files else {}
