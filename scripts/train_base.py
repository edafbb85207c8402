"""Train the English base model from scratch.

Example: python -m scripts.train_base --recipe recipes/train_base/base/<key>.json
Reads: vocabulary (vocabulary folder), tokens.<language> (tokens.bin, offsets.npy, meta.json)
Writes: model/ (weights, vocabulary files), losses.csv, training.json
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """The stage: see the module's text."""
    from langtransfer.pretraining.training import train_base

    return train_base(job)


if __name__ == "__main__":
    main("train_base", run, __doc__)
