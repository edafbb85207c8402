"""Append the pieces of a target-language vocabulary to the base vocabulary.

Example: python -m scripts.extend_vocabulary --recipe recipes/extend_vocabulary/zh/ext500/<key>.json
Reads: base (vocabulary or checkpoint folder), pieces (train_tokenizer, or an adopted vocabulary:
       tokenizer.spm or pieces.model).
Writes:
  tokenizer.spm, tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocabulary.json
                               the extended vocabulary; the base's ids and segmentation first
  vocabulary_report.json       how many pieces were added, left out, reachable
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Merge, convert, and state contract and report."""
    from langtransfer.config.vocabulary import ExtendVocabularyCell
    from langtransfer.vocabulary.contract import check_contract, write_vocabulary
    from langtransfer.vocabulary.conversion import read_proto, write_json
    from langtransfer.vocabulary.extension import extend, report_as_json

    config = job.config(ExtendVocabularyCell)
    check_contract(job.parent("base"), job.stage)
    base = read_proto(_model_file(job.parent("base"), "base"))
    pieces = read_proto(_model_file(job.parent("pieces"), "pieces"))
    name = job.cell.rsplit("/", 1)[-1]
    merged, report = extend(base, pieces, config.languages, config.pieces, name)
    write_vocabulary(merged, job.out)
    write_json(job.out / "vocabulary_report.json", report_as_json(report))
    return {"pieces": report.size, "added": report.added}


def _model_file(folder: Path, role: str) -> Path:
    """The SentencePiece model in a parent's data folder."""
    from langtransfer.errors import UserError

    for place in ("tokenizer.spm", "model/tokenizer.spm", "pieces.model"):
        if (folder / place).is_file():
            return folder / place
    remedy = "holds no SentencePiece model: extend_vocabulary takes SentencePiece vocabularies"
    raise UserError(f"extend_vocabulary: {role}", str(folder), remedy)


if __name__ == "__main__":
    main("extend_vocabulary", run, __doc__)
