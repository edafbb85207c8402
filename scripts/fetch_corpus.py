"""The raw documents of one language, from the atlas and from registered datasets.

Example: python -m scripts.fetch_corpus --recipe recipes/fetch_corpus/zh/<key>.json
Reads: the dataset registry and the files it names
Writes: documents.jsonl.zst {"id","text"}, stats.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from langtransfer.command import main
from langtransfer.config.corpus import FetchCorpusCell
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the documents of every entry, one entry after another."""
    from langtransfer.corpus.jsonl import write_json, write_jsonl

    config = job.config(FetchCorpusCell)
    totals: Counter[str] = Counter()
    write_jsonl(job.out / "documents.jsonl.zst", _documents(job, config, totals))
    sources = {f"{e.dataset}.{e.language}.{e.start}": e.documents for e in config.entries}
    write_json(job.out / "stats.json", {**totals, "sources": sources})
    return dict(totals)


def _documents(job: Job, config: FetchCorpusCell, totals: Counter[str]) -> Iterator[dict[str, str]]:
    from langtransfer.corpus.sources import entry_documents
    from langtransfer.resources import locate

    expected = sum(entry.documents or 0 for entry in config.entries)
    for entry in config.entries:
        registry = locate(job.runtime.registry)
        for document in entry_documents(entry, config.seed, registry, job.work):
            text = document["text"]
            totals.update(documents=1, characters=len(text), bytes=len(text.encode()))
            # Without a number asked for, how many there are is not known before the end.
            job.progress(totals["documents"], max(expected, totals["documents"] + 1), "documents")
            yield document


if __name__ == "__main__":
    main("fetch_corpus", run, __doc__)
