"""The training and the held-out documents of one language.

Example: python -m scripts.split_corpus --recipe recipes/split_corpus/zh/<key>.json
Reads: clean_corpus documents.jsonl.zst
Writes: train.jsonl.zst, valid.jsonl.zst {"id","text"}, stats.json
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langtransfer.command import main
from langtransfer.config.corpus import SplitCorpusCell
from langtransfer.errors import UserError
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Hold out the smallest hashes; copies of a held-out text are left out of both sides.

    Raises UserError when nothing would be left to train on.
    """
    from langtransfer.corpus.jsonl import read_json, read_jsonl, write_json, write_jsonl
    from langtransfer.corpus.splitting import smallest_hashes

    config = job.config(SplitCorpusCell)
    source = job.parent("corpus") / "documents.jsonl.zst"
    # Traces of other languages in a corpus train, but are not what the language is measured on.
    own = f".{config.language}."
    texts = (row["text"] for row in read_jsonl(source) if own in row["id"])
    hashes = smallest_hashes(texts, config.valid_documents, config.seed)
    valid: dict[bytes, dict[str, Any]] = {}
    trained = write_jsonl(job.out / "train.jsonl.zst", _train(job, config, set(hashes), valid))
    if not trained:
        remedy = f"{config.language} has only {len(hashes)} documents: add some or hold out fewer"
        raise UserError("split_corpus.valid_documents", config.valid_documents, remedy)
    write_jsonl(job.out / "valid.jsonl.zst", (valid[digest] for digest in hashes))
    read = read_json(source.parent / "stats.json")["kept"]
    stats = {"train": trained, "valid": len(hashes), "copies": read - trained - len(hashes)}
    write_json(job.out / "stats.json", stats)
    return {"documents": trained}


def _train(
    job: Job, config: SplitCorpusCell, held_out: set[bytes], valid: dict[bytes, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Training documents in corpus order; the first copy of each held-out text goes to `valid`."""
    from langtransfer.corpus.jsonl import read_json, read_jsonl
    from langtransfer.corpus.splitting import seeded_hash

    source = job.parent("corpus")
    total = read_json(source / "stats.json")["kept"]
    for number, row in enumerate(read_jsonl(source / "documents.jsonl.zst"), start=1):
        digest = seeded_hash(row["text"], config.seed)
        if digest in held_out:
            valid.setdefault(digest, row)
        else:
            yield row
        job.progress(number, total, "documents")


if __name__ == "__main__":
    main("split_corpus", run, __doc__)
