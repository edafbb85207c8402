"""Prove a vocabulary exact on a language's text, measure it, and stop the pipeline otherwise.

Example: python -m scripts.check_vocabulary --recipe recipes/check_vocabulary/zh/original/<key>.json
Reads: vocabulary (vocabulary or checkpoint folder), base (the one it extends, where it does),
       text (valid.jsonl.zst of a split corpus, or documents.jsonl of a parallel benchmark),
       source_text (the same benchmark in the source language, for parity).
Writes:
  vocabulary_report.json       texts compared and what differed, by kind; the engine that is to
                               tokenize corpora; fertility, compression, pieces used, parity
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langtransfer.command import main
from langtransfer.job import Job

if TYPE_CHECKING:
    from langtransfer.config.vocabulary import CheckVocabularyCell
    from langtransfer.vocabulary.gate import Fertility, Identity


def run(job: Job) -> dict[str, Any]:
    """Compare, measure, report, and only then judge: a failed gate leaves its report in work/."""
    from langtransfer.config.vocabulary import CheckVocabularyCell
    from langtransfer.vocabulary import gate
    from langtransfer.vocabulary.contract import check_contract
    from langtransfer.vocabulary.conversion import write_json
    from langtransfer.vocabulary.encoding import load_encoder
    from langtransfer.vocabulary.probes import Probe, hard_texts

    config = job.config(CheckVocabularyCell)
    folder, base_folder = job.parent("vocabulary"), job.parents.get("base")
    contract = check_contract(folder, job.stage)
    base = None if base_folder is None else load_encoder(base_folder)
    base_size = gate.base_size_of(folder, base_folder)
    texts = _texts(job.parent("text"), config.documents)
    lines = [line for text in texts.values() for line in text.split("\n") if line.strip()]
    tokenizers = gate.load_tokenizers(folder)
    probes = [
        *(Probe("plain", line) for line in lines),
        *(Probe("documents", text) for text in texts.values()),
        *hard_texts(lines, contract.special_tokens),
    ]
    identity = gate.check_identity(tokenizers, probes)
    first = contract.size if base_size is None else base_size
    new = set(range(first, contract.size)) - set(contract.special_tokens.values())
    fertility = gate.measure(tokenizers.reference, base, new, lines)
    source = job.parents.get("source_text")
    source_texts = _texts(source, config.documents) if source is not None else {}
    report = {
        "language": config.language,
        "vocabulary_sha256": contract.identity,
        "size": contract.size,
        "base_size": base_size,
        "new_pieces": len(new),
        **gate.as_json(
            identity, fertility, gate.parity(tokenizers.reference, base, texts, source_texts)
        ),
    }
    write_json(job.work / "vocabulary_report.json", report)
    _judge(job, config, identity, fertility)
    (job.work / "vocabulary_report.json").rename(job.out / "vocabulary_report.json")
    return {"texts": len(probes), "engine": identity.engine}


def _texts(folder: Path, count: int) -> dict[str, str]:
    """First `count` held-out documents of a corpus, or of a benchmark of kind text, by id."""
    from itertools import islice

    from langtransfer.corpus.jsonl import read_jsonl, require_characters
    from langtransfer.errors import UserError

    held_out = folder / "valid.jsonl.zst"
    path = held_out if held_out.exists() else folder / "documents.jsonl"
    texts = {row["id"]: row["text"] for row in islice(read_jsonl(path), count)}
    for name, text in texts.items():
        require_characters(text, f"{path}: document", name)
    if not any(text.strip() for text in texts.values()):
        raise UserError("check_vocabulary: text", str(path), "holds no text: hold out documents")
    return texts


def _cause(job: Job) -> str:
    """What to do about a vocabulary that is not exact."""
    from langtransfer.vocabulary.contract import SPM, vocabulary_folder

    folder = vocabulary_folder(job.parent("vocabulary"))
    if (folder / SPM).is_file():
        return (
            "its files do not give SentencePiece's ids: adopt its tokenizer.model alone, from "
            "which exact ones are made"
        )
    return (
        "AutoTokenizer changes what tokenizer.json says, as the class named in "
        "tokenizer_config.json may: save it as a PreTrainedTokenizerFast (save_pretrained)"
    )


def _judge(job: Job, config: CheckVocabularyCell, identity: Identity, fertility: Fertility) -> None:
    """UserError where the vocabulary is not exact or changes too much of the source language."""
    from langtransfer.errors import UserError

    report = job.work / "vocabulary_report.json"
    if not identity.exact:
        first = identity.examples[0]
        value = f"{identity.differing.total()} texts with other ids, " + (
            f"{identity.bad_round_trips.total()} that do not come back"
        )
        remedy = (
            f"not exact ({first.kind}, {first.what}: {first.text[:80]!r}; all in {report}): "
            + _cause(job)
        )
        raise UserError(f"vocabulary ({job.cell})", value, remedy)
    share, allowed = fertility.lines_changed / fertility.lines, config.max_source_lines_changed
    if allowed is not None and share > allowed:
        remedy = (
            f"allowed are {allowed}: take pieces: target-script or fewer "
            f"pieces, or raise check_vocabulary.max_source_lines_changed (all in {report})"
        )
        raise UserError(f"source-language lines changed ({job.cell})", round(share, 6), remedy)


if __name__ == "__main__":
    main("check_vocabulary", run, __doc__)
