"""The clean documents of one language, and every dropped one with the reason.

Example: python -m scripts.clean_corpus --recipe recipes/clean_corpus/zh/<key>.json
Reads: fetch_corpus documents.jsonl.zst
Writes: documents.jsonl.zst, dropped/<reason>.jsonl.zst {"id","text","reason"}, stats.json
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

from langtransfer.command import main
from langtransfer.config.corpus import CleanCorpusCell
from langtransfer.errors import UserError
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Keep or drop each document; raises UserError when none is left."""
    from langtransfer.corpus.jsonl import write_json

    config = job.config(CleanCorpusCell)
    counts = _clean(job, config)
    kept = counts.pop("kept")
    read = kept + counts.total()
    if not kept:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items())) or "none read"
        remedy = f"nothing is left of {read} documents ({reasons}): loosen clean_corpus or add data"
        raise UserError("clean_corpus, language", config.language, remedy)
    stats = {"read": read, "kept": kept, "dropped": dict(counts)}
    write_json(job.out / "stats.json", stats)
    return {"documents": kept}


def _clean(job: Job, config: CleanCorpusCell) -> Counter[str]:
    """Write every document to its file; how many went where, `kept` among them."""
    from langtransfer.corpus.cleaning import Cleaner
    from langtransfer.corpus.jsonl import JsonlWriter, read_json, read_jsonl

    source = job.parent("corpus")
    total = read_json(source / "stats.json")["documents"]
    cleaner = Cleaner(config)
    counts: Counter[str] = Counter(kept=0)
    with ExitStack() as stack:
        keep = stack.enter_context(JsonlWriter(job.out / "documents.jsonl.zst"))
        dropped: dict[str, JsonlWriter] = {}
        for number, row in enumerate(read_jsonl(source / "documents.jsonl.zst"), start=1):
            text, reason = cleaner.clean(row["text"])
            counts[reason or "kept"] += 1
            if reason is None:
                keep.write({"id": row["id"], "text": text})
            else:
                if reason not in dropped:
                    path = job.out / "dropped" / f"{reason}.jsonl.zst"
                    dropped[reason] = stack.enter_context(JsonlWriter(path))
                dropped[reason].write({"id": row["id"], "text": row["text"], "reason": reason})
            job.progress(number, total, "documents")
    return counts


if __name__ == "__main__":
    main("clean_corpus", run, __doc__)
