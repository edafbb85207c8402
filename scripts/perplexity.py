"""Perplexity, bits per byte and bits per character of a model on held-out text.

Example: python -m scripts.perplexity --recipe recipes/perplexity/.../zh/<key>.json
Reads: checkpoint/model/, text/valid.jsonl.zst (split corpus) or documents.jsonl (benchmark)
Writes:
    data/
    ├── documents.jsonl   {"id", "nats", "tokens", "bytes", "characters"}, one a document
    └── summary.json      {"perplexity", "bits_per_byte", "bits_per_character", totals}
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Score the documents; finished chunks survive a kill in `documents.partial.jsonl`."""
    from langtransfer.config.evaluation import PerplexityCell
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.errors import UserError
    from langtransfer.evaluation.batching import batched
    from langtransfer.evaluation.journal import Journal
    from langtransfer.evaluation.loading import load_evaluated, position_limit
    from langtransfer.evaluation.perplexity import (
        CHUNK_DOCUMENTS,
        document_row,
        score_texts,
        summarise,
        take_documents,
    )
    from langtransfer.evaluation.summaries import write_json

    settings = job.config(PerplexityCell)
    documents = take_documents(job.parent("text"), settings.documents)
    model, tokenizer = load_evaluated(job)
    if settings.window > (limit := position_limit(model)):
        raise UserError("perplexity.window", settings.window, f"the model has {limit} positions")
    journal = Journal(job.work / "documents.partial.jsonl")
    done = {row.pop("index"): row for row in map(dict, journal.rows)}
    for chunk in batched(enumerate(documents), CHUNK_DOCUMENTS):
        if any(index not in done for index, _ in chunk):
            texts = [document["text"] for _, document in chunk]
            scores = score_texts(
                model, tokenizer, texts, settings.window, settings.stride, job.runtime.eval_batch
            )
            for (index, document), score in zip(chunk, scores, strict=True):
                done[index] = document_row(document, *score)
            journal.append({"index": index} | done[index] for index, _ in chunk)
        job.progress(len(done), len(documents), "documents")
    rows = [done[index] for index in range(len(documents))]
    write_jsonl(job.out / "documents.jsonl", rows)
    summary = summarise(rows)
    write_json(job.out / "summary.json", summary)
    from langtransfer.pretraining.arguments import hardware

    return {"tokens": summary["tokens"]} | hardware(job.runtime)


if __name__ == "__main__":
    main("perplexity", run, __doc__)
