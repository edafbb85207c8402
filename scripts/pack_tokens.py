"""Turn a language's training documents into one file of token ids, in a seeded global order.

Example: python -m scripts.pack_tokens --recipe recipes/pack_tokens/zh/zh.ext500/<key>.json
Reads: corpus/train.jsonl.zst (split_corpus), vocabulary (vocabulary or checkpoint folder).
Writes:
  tokens.bin                   [bos] ids [eos] of each document, little-endian uint16 or uint32
  offsets.npy                  int64, documents + 1: where each document begins
  meta.json                    dtype, tokens, documents, bytes, vocabulary_sha256, and documents
                               that hold U+2581, which SentencePiece reads as a space
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job

PROOF_DOCUMENTS = 500  # our choice: about a second; every 500th later one is compared as well


def run(job: Job) -> dict[str, Any]:
    """Check the vocabulary, then tokenize and order."""
    from itertools import islice

    from langtransfer.config.vocabulary import PackTokensCell
    from langtransfer.corpus.jsonl import read_jsonl, read_lines
    from langtransfer.pretraining.packing import pack
    from langtransfer.vocabulary.contract import check_contract
    from langtransfer.vocabulary.encoding import guarded, load_encoder, reference_engine
    from langtransfer.vocabulary.gate import fastest_engine

    config = job.config(PackTokensCell)
    vocabulary, corpus = job.parent("vocabulary"), job.parent("corpus") / "train.jsonl.zst"
    contract = check_contract(vocabulary, job.stage)
    engine, encode = reference_engine(vocabulary), load_encoder(vocabulary)
    if job.runtime.tokenization == "fastest":
        engine = fastest_engine(vocabulary, islice(read_jsonl(corpus), PROOF_DOCUMENTS))
        encode = guarded(load_encoder(vocabulary, engine), encode)
    total = sum(1 for _ in read_lines(corpus))
    meta = pack(
        corpus,
        job.out,
        job.work,
        encode,
        contract,
        config.seed,
        lambda documents: job.progress(documents, total, "documents"),
    )
    return {"tokens": meta["tokens"], "documents": meta["documents"], "engine": engine}


if __name__ == "__main__":
    main("pack_tokens", run, __doc__)
