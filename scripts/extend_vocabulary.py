"""Append the pieces of a target-language vocabulary to the base vocabulary.

Example: python -m scripts.extend_vocabulary --recipe recipes/extend_vocabulary/zh/ext500/<key>.json
Reads: base (vocabulary or checkpoint folder), pieces (train_tokenizer, or an adopted vocabulary):
       both SentencePiece (tokenizer.spm), or both byte-level BPE
       (tokenizer.json without one).
Writes:
  tokenizer.spm (SentencePiece), tokenizer.json, tokenizer_config.json, special_tokens_map.json,
  chat_template.jinja (byte-level, where the base has one), vocabulary.json
                               the extended vocabulary; the base's ids and segmentation first
  extension.json               how many pieces were added, left out, reachable
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langtransfer.command import main
from langtransfer.job import Job

if TYPE_CHECKING:
    from langtransfer.config.vocabulary import ExtendVocabularyCell
    from langtransfer.vocabulary.extension import ExtensionReport


def run(job: Job) -> dict[str, Any]:
    """Merge, convert, and state contract and report."""
    from langtransfer.config.vocabulary import ExtendVocabularyCell
    from langtransfer.vocabulary.contract import check_contract, write_contract
    from langtransfer.vocabulary.conversion import write_json
    from langtransfer.vocabulary.extension import report_as_json

    config = job.config(ExtendVocabularyCell)
    check_contract(job.parent("base"), job.stage)
    base, pieces = (_model_file(job.parent(role), role) for role in ("base", "pieces"))
    extend = _byte_level if base.suffix == ".json" else _sentencepiece
    report = extend(job, base, pieces, config)
    write_contract(job.out, base_size=report.base_size)
    write_json(job.out / "extension.json", report_as_json(report))
    return {"pieces": report.size, "added": report.added}


def _sentencepiece(
    job: Job, base: Path, pieces: Path, config: ExtendVocabularyCell
) -> ExtensionReport:
    from dataclasses import replace

    from langtransfer.vocabulary.conversion import read_proto, save_tokenizer
    from langtransfer.vocabulary.extension import extend
    from langtransfer.vocabulary.special import add_special_tokens

    name = job.cell.rsplit("/", 1)[-1]
    own, others = read_proto(base), read_proto(_of_kind("bpe", pieces))
    merged, report = extend(own, others, config.languages, config.pieces, name)
    field = f"vocabularies.{name}.special_tokens"
    merged = add_special_tokens(merged, config.special_tokens, field)
    save_tokenizer(merged, job.out)
    return replace(report, size=len(merged.pieces))


def _byte_level(
    job: Job, base: Path, pieces: Path, config: ExtendVocabularyCell
) -> ExtensionReport:
    from dataclasses import replace

    from langtransfer.vocabulary import byte_level
    from langtransfer.vocabulary.byte_level_extension import extend_byte_level

    name = job.cell.rsplit("/", 1)[-1]
    own = byte_level.read_vocabulary(base.parent)
    others = byte_level.read_byte_level(_of_kind("byte-level-bpe", pieces))
    extended, report = extend_byte_level(
        own.tokenizer, others, config.languages, config.pieces, name
    )
    vocabulary = byte_level.add_special(
        own._replace(tokenizer=extended),
        config.special_tokens,
        f"vocabularies.{name}.special_tokens",
    )
    byte_level.save_byte_level(vocabulary, job.out)
    return replace(report, size=byte_level.size_of(vocabulary.tokenizer))


def _model_file(folder: Path, role: str) -> Path:
    """The file that decides a parent's ids: a SentencePiece model, else a tokenizer.json."""
    from langtransfer.errors import UserError

    names = ("tokenizer.spm", "tokenizer.json")
    for place in (folder / below / name for name in names for below in (".", "model")):
        if place.is_file():
            return place
    remedy = "holds neither a SentencePiece model nor a tokenizer.json: give a vocabulary"
    raise UserError(f"extend_vocabulary: {role}", str(folder), remedy)


def _of_kind(type_: str, pieces: Path) -> Path:
    """The pieces' file; UserError unless it is of the kind that extends the base's."""
    from langtransfer.errors import UserError

    kinds = {True: "byte-level BPE", False: "SentencePiece"}
    byte_level = type_ == "byte-level-bpe"
    if (pieces.suffix == ".json") != byte_level:
        remedy = f"the base is {kinds[byte_level]}: take pieces of a tokenizer with type: {type_}"
        raise UserError("extend_vocabulary: pieces", str(pieces), remedy)
    return pieces


if __name__ == "__main__":
    main("extend_vocabulary", run, __doc__)
