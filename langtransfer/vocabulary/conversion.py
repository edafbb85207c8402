"""SentencePiece models as Hugging Face tokenizers with identical ids.

transformers' own loader is not exact: it orders merges by id and drops the dummy space before
text that begins with one (measured: 1,663 of 4,000 English lines of LLaMA differ). Here the
`tokenizers` model is built from the proto: merges in order of score, SentencePiece's normalisation
spelt out. What cannot be expressed is refused, never approximated.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import Tokenizer, decoders, models, normalizers, processors

from langtransfer.errors import UserError

SPACE = "▁"
"""U+2581, SentencePiece's visible space."""

_PB: Any = model_pb2  # protobuf makes the classes at run time
ModelProto = _PB.ModelProto
_TYPE = ModelProto.SentencePiece
NORMAL, UNKNOWN, CONTROL, BYTE = _TYPE.NORMAL, _TYPE.UNKNOWN, _TYPE.CONTROL, _TYPE.BYTE
USER_DEFINED = _TYPE.USER_DEFINED
UNIGRAM, BPE = _PB.TrainerSpec.UNIGRAM, _PB.TrainerSpec.BPE
# Named in tokenizer_config.json: transformers 4 and 5 both read tokenizer.json as it is for this
# class (5 maps it to TokenizersBackend), while LlamaTokenizer rebuilds the normalizer.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"
AS_PIECES = (
    "it cannot be a base's or a model's own vocabulary, but its pieces can extend one: register "
    "it with format sentencepiece and name it in vocabularies.<name>.adopt"
)
"""What to do with a SentencePiece model that is not exact."""


class Difference(NamedTuple):
    """A text two tokenizers segment differently."""

    text: str
    expected: list[int]
    found: list[int]


def read_proto(path: Path) -> Any:
    """A SentencePiece model file as ModelProto; UserError when it is not one, or not whole."""
    if not path.is_file():
        raise UserError("SentencePiece model", str(path), "no such file: check the path")
    proto = ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
        load_processor(proto)
    except (DecodeError, RuntimeError) as error:
        remedy = f"not a SentencePiece model ({error}): fetch or train it again"
        raise UserError("SentencePiece model", str(path), remedy) from error
    if not proto.pieces:
        raise UserError("SentencePiece model", str(path), "holds no piece: fetch it again")
    # The trainer writes both after the pieces: a file cut between two fields still parses.
    if not (proto.HasField("trainer_spec") and proto.HasField("normalizer_spec")):
        remedy = "ends before its settings, so it is truncated: fetch it again"
        raise UserError("SentencePiece model", str(path), remedy)
    return proto


def load_processor(proto: Any) -> SentencePieceProcessor:
    """The segmenter of a ModelProto; RuntimeError where SentencePiece refuses it."""
    return SentencePieceProcessor(model_proto=proto.SerializeToString())


def convert(proto: Any) -> Tokenizer:
    """A `tokenizers.Tokenizer` with a BPE model's ids; the wrapper adds the special tokens.

    Raises UserError for a model that SentencePiece and `tokenizers` cannot be made to agree on,
    such as unigram: SentencePiece sums its scores in float32 (measured: 3 of 173 texts of 200
    lines differ) and `tokenizers` cannot keep a literal `<s>` out of the lattice.
    """
    _require_convertible(proto)
    tokenizer = Tokenizer(_bpe(proto))
    steps = [normalizers.Prepend(SPACE)] if proto.normalizer_spec.add_dummy_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if proto.normalizer_spec.add_dummy_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    bos = special_ids(proto)["bos"]
    if bos is not None:
        name = proto.pieces[bos].piece
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{name} $A", pair=f"{name} $A {name} $B", special_tokens=[(name, bos)]
        )
    return tokenizer


def save_tokenizer(proto: Any, folder: Path) -> None:
    """Write tokenizer.spm and, for a BPE model, the files AutoTokenizer loads to the same ids.

    A unigram model stands alone: a source of pieces for an extension, not a tokenizer.
    """
    save_pieces(proto, folder)
    if proto.trainer_spec.model_type == UNIGRAM:
        return
    names: dict[str, Any] = dict(special_tokens(proto))
    if others := control_pieces(proto, without=names.values()):
        names["additional_special_tokens"] = others
    save_fast(convert(proto), names, folder)


def save_fast(tokenizer: Tokenizer, names: Mapping[str, Any], folder: Path, **more: Any) -> None:
    """Write the files AutoTokenizer loads to the same ids.

    names are Hugging Face's (`bos_token`) of special tokens, `additional_special_tokens` those
    without a name; more are further settings of its wrapper.
    """
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **names,
        **more,
    )
    wrapped.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    # additional_special_tokens is what transformers 4 reads and 5 still does; 5 writes
    # extra_special_tokens, a list that 4 cannot load.
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {**names, "tokenizer_class": TOKENIZER_CLASS}
    for name in ("backend", "extra_special_tokens"):
        settings.pop(name, None)
    for name, content in (("tokenizer_config", settings), ("special_tokens_map", names)):
        write_json(folder / f"{name}.json", content)


def save_pieces(proto: Any, folder: Path) -> None:
    """Write tokenizer.spm alone: a source of pieces for an extension, not a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.spm").write_bytes(proto.SerializeToString(deterministic=True))


def control_pieces(proto: Any, without: Collection[str] = ()) -> list[str]:
    """Pieces that text never becomes, by id, except some: chat markers, reserved ones."""
    return [p.piece for p in proto.pieces if p.type == CONTROL and p.piece not in without]


def special_tokens(proto: Any) -> dict[str, str]:
    """Hugging Face's names (`bos_token`) of the special pieces.

    A model without a pad piece, as LLaMA, pads with unk. Padding is masked everywhere, but a
    collator may mask by id: with eos it would hide every real end of text, while unk hardly
    ever stands in a text with byte fallback (our choice; Chinese-LLaMA-Alpaca added a piece,
    which made the 49,954).
    """
    ids = special_ids(proto)
    ids["pad"] = ids["unk"] if ids["pad"] is None else ids["pad"]
    return {f"{k}_token": proto.pieces[i].piece for k, i in ids.items() if i is not None}


def write_json(path: Path, content: Any) -> None:
    """JSON with sorted keys and a final newline: same content, same bytes."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, indent=1)
    path.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def special_ids(proto: Any) -> dict[str, int | None]:
    """Ids of unk, bos, eos and pad, None where the model has no such piece."""
    processor = load_processor(proto)
    ids = {name: getattr(processor, f"{name}_id")() for name in ("unk", "bos", "eos", "pad")}
    return {name: None if value < 0 else value for name, value in ids.items()}


def differences(
    processor: SentencePieceProcessor, tokenizer: Any, texts: Iterable[str]
) -> Iterator[Difference]:
    """Texts whose ids differ between SentencePiece and a Hugging Face tokenizer, in order.

    Special tokens spelt out in a text are text: the tokenizer is asked to split them.
    """
    remaining = iter(texts)
    while batch := list(islice(remaining, 1_000)):
        found = tokenizer(batch, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for text, ours, theirs in zip(batch, processor.encode(batch), found, strict=True):
            if ours != theirs:
                yield Difference(text, ours, theirs)


def inexact(proto: Any) -> str | None:
    """The first feature of a model that has no exact Hugging Face form, None where all have."""
    spec, pieces = proto.normalizer_spec, proto.pieces
    loose, ties, lone = _loose_characters(pieces), tied_pieces(proto), _lone_controls(pieces)
    kinds = sorted({p.type for p in pieces} - {NORMAL, UNKNOWN, CONTROL, BYTE})
    problems = {
        f"model type {_model_type(proto)}": proto.trainer_spec.model_type != BPE,
        f"normalisation {spec.name!r}": bool(spec.precompiled_charsmap),
        "remove_extra_whitespaces": spec.remove_extra_whitespaces,
        "escape_whitespaces off": not spec.escape_whitespaces,
        "white space as suffix": proto.trainer_spec.treat_whitespace_as_suffix,
        f"piece types {[_TYPE.Type.Name(k) for k in kinds]}": bool(kinds),
        f"pieces with characters that are no pieces: {loose[:5]}": bool(loose),
        f"pieces with equal scores: {ties[:5]}": bool(ties),
        f"control pieces of one character: {lone[:5]}": bool(lone),
    }
    return next((problem for problem, holds in problems.items() if holds), None)


def _require_convertible(proto: Any) -> None:
    """UserError for a model that has no exact Hugging Face form."""
    if (problem := inexact(proto)) is not None:
        raise UserError(
            "SentencePiece model", problem, f"has no exact Hugging Face form; {AS_PIECES}"
        )


def _lone_controls(pieces: Iterable[Any]) -> list[str]:
    """Control pieces a merge list finds in text as they stand, and SentencePiece does not."""
    return [p.piece for p in pieces if p.type in (UNKNOWN, CONTROL) and len(p.piece) == 1]


def _loose_characters(pieces: Iterable[Any]) -> list[str]:
    """Characters of normal pieces that are not pieces: SentencePiece merges them, others cannot."""
    normal = {p.piece for p in pieces if p.type == NORMAL}
    return sorted({character for piece in normal for character in piece} - normal)


def _model_type(proto: Any) -> str:
    return str(_PB.TrainerSpec.ModelType.Name(proto.trainer_spec.model_type)).lower()


def tied_pieces(proto: Any) -> list[str]:
    """BPE pieces of equal score whose order a merge list cannot express.

    SentencePiece breaks ties by position. Runs of one character (LLaMA's white space, all at
    -1e9) are safe: growing from the left is what "longest first" does too.
    """
    groups = defaultdict(list)
    for piece in proto.pieces:
        if piece.type == NORMAL and len(piece.piece) > 1:
            groups[piece.score].append(piece.piece)
    return [
        text
        for group in groups.values()
        if len(group) > 1 and any(len(set(text)) > 1 for text in group)
        for text in group
    ]


def _bpe(proto: Any) -> models.BPE:
    """Merges: every split of every piece, by falling score; equal scores longest first.

    The order among splits of one piece could only matter where two of them overlap; no such text
    was found for 300 random vocabularies over one to three letters (3,000 texts each).
    """
    scores = {p.piece: p.score for p in proto.pieces if p.type == NORMAL}
    ranked = sorted((p for p in scores if len(p) > 1), key=lambda p: (-scores[p], -len(p)))
    merges = [
        (piece[:cut], piece[cut:])
        for piece in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    return models.BPE(
        vocab={p.piece: i for i, p in enumerate(proto.pieces)},
        merges=merges,
        unk_token=_unknown(proto).piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _unknown(proto: Any) -> Any:
    return next(p for p in proto.pieces if p.type == UNKNOWN)
