"""Adopt a published checkpoint or SentencePiece model, as this project's folders.

Example: python -m scripts.adopt_model --recipe recipes/adopt_model/stories260k/<key>.json
Reads: the files of a row of the dataset registry
Writes: model/ (weights, vocabulary files; or a vocabulary alone), adoption.json
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """The stage: see the module's text."""
    from langtransfer.pretraining.adoption import adopt_model

    return adopt_model(job)


if __name__ == "__main__":
    main("adopt_model", run, __doc__)
