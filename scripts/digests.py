"""Record the digest of every stage's code: say that changed code leaves results as they are.

Example: python -m scripts.digests
When results do change, raise the stage's version in langtransfer/workflow/stages.py instead, and
then record: the version is recorded with the digest.
"""

from __future__ import annotations

import json

from langtransfer.job import write_atomically
from langtransfer.resources import ROOT
from langtransfer.workflow.code_digests import stage_digest
from langtransfer.workflow.stages import STAGES

PATH = ROOT / "tests" / "workflow" / "stage_digests.json"


def digests() -> dict[str, dict[str, object]]:
    """Stage -> its version and the digest of its code."""
    return {
        stage: {"version": version, "code": stage_digest(stage)}
        for stage, (version, _) in sorted(STAGES.items())
    }


if __name__ == "__main__":
    write_atomically(PATH, json.dumps(digests(), indent=1, sort_keys=True) + "\n")
