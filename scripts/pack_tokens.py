"""Turn a language's training documents into one file of token ids, in a seeded global order.

Example: python -m scripts.pack_tokens --recipe recipes/pack_tokens/zh/zh.ext500/<key>.json
Reads: corpus/train.jsonl.zst (split_corpus), vocabulary (vocabulary or checkpoint folder).
Writes:
  tokens.bin                   [bos] ids [eos] of each document, little-endian uint16 or uint32
  offsets.npy                  int64, documents + 1: where each document begins
  meta.json                    dtype, tokens, documents, bytes, vocabulary_sha256
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Check the vocabulary, then tokenize and order."""
    from langtransfer.config.vocabulary import PackTokensCell
    from langtransfer.corpus.jsonl import read_lines
    from langtransfer.pretraining.packing import pack
    from langtransfer.vocabulary.contract import check_contract
    from langtransfer.vocabulary.encoding import load_encoder

    config = job.config(PackTokensCell)
    vocabulary, corpus = job.parent("vocabulary"), job.parent("corpus") / "train.jsonl.zst"
    contract = check_contract(vocabulary, job.stage)
    total = sum(1 for _ in read_lines(corpus))
    meta = pack(
        corpus,
        job.out,
        job.work,
        load_encoder(vocabulary),
        contract,
        config.seed,
        lambda documents: job.progress(documents, total, "documents"),
    )
    return {"tokens": meta["tokens"], "documents": meta["documents"]}


if __name__ == "__main__":
    main("pack_tokens", run, __doc__)
