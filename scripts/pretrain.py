"""Train a checkpoint further on the languages of a mix, up to a budget.

Example: python -m scripts.pretrain --recipe recipes/pretrain/zh.target-only.original.0.5M-tokens.s1/<key>.json
Reads: checkpoint (model/, and trainer/ of a smaller chained budget), tokens.<language>
Writes: model/ (weights, vocabulary files), trainer/ (chained budgets), losses.csv, training.json
"""  # noqa: E501

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """The stage: see the module's text."""
    from langtransfer.pretraining.training import pretrain

    return pretrain(job)


if __name__ == "__main__":
    main("pretrain", run, __doc__)
