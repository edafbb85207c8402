"""Instruction pairs of one language, in an order whose prefixes are the tuning sets.

Example: python -m scripts.prepare_instructions --recipe recipes/prepare_instructions/zh/<key>.json
Reads: the dataset registry and the files it names
Writes: instructions.jsonl.zst {"id","category","instruction","input","output"}, stats.json
"""

from __future__ import annotations

import itertools
from typing import Any

from langtransfer.command import main
from langtransfer.config.training import PrepareInstructionsCell
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Read, filter, order and cut; stats.json counts what was dropped and why."""
    from langtransfer.corpus.jsonl import write_json, write_jsonl
    from langtransfer.corpus.registry import fetch
    from langtransfer.finetuning.instructions import (
        Filter,
        first_pairs,
        in_stable_order,
        read_pairs,
    )
    from langtransfer.finetuning.quality import FILTERED
    from langtransfer.resources import locate

    config = job.config(PrepareInstructionsCell)
    registry = locate(job.runtime.registry)
    paths = fetch(registry, config.identity, config.language, job.work)
    chosen = Filter(config.max_characters, judged=config.identity.format in FILTERED)
    # The atlas has no end: its first pairs are put in order; of a file, all are.
    enough = config.source.examples if config.identity.format == "atlas" else None
    kept = itertools.islice(chosen.keep(read_pairs(config, paths)), enough)
    ordered = in_stable_order(kept, config.seed)
    pairs = first_pairs(ordered, config.source.examples, config.source.dataset)
    written = write_jsonl(job.out / "instructions.jsonl.zst", pairs)
    usable = chosen.read - chosen.dropped.total()
    stats = {
        "read": chosen.read,
        "dropped": dict(chosen.dropped),
        "usable": usable,
        "written": written,
    }
    write_json(job.out / "stats.json", stats)
    return {"examples": written}


if __name__ == "__main__":
    main("prepare_instructions", run, __doc__)
