"""Tune a checkpoint on instruction pairs, with loss on the response only.

Example: python -m scripts.finetune --recipe recipes/finetune/base/1k.zh.s1/<key>.json
Reads: checkpoint (model/), instructions.<language> (instructions.jsonl.zst)
Writes: adapter/ (LoRA) or model/ (full), losses.csv, training.json
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """The stage: see the module's text."""
    from langtransfer.finetuning.training import finetune

    return finetune(job)


if __name__ == "__main__":
    main("finetune", run, __doc__)
