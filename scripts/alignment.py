"""How well a model's layers tell which documents of two languages are each other's translation.

Example: python -m scripts.alignment --recipe recipes/alignment/.../zh/<key>.json
Reads: checkpoint/model/, {text,source_text}/documents.jsonl (one benchmark in two languages)
Writes:
    data/
    ├── alignment.jsonl   {"id", "half", "layers": [0, 0.5 or 1 of each]}, one a document
    └── summary.json      {"layer", "retrieval", "chance", "documents", every layer's accuracy}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langtransfer.command import main
from langtransfer.job import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def run(job: Job) -> dict[str, Any]:
    """Two passes over short texts: short enough to begin again after a kill."""
    from langtransfer.config.evaluation import AlignmentCell
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.evaluation.alignment import mean_states, take_pairs
    from langtransfer.evaluation.loading import load_evaluated
    from langtransfer.evaluation.retrieval import document_rows, summarise
    from langtransfer.evaluation.summaries import write_json
    from langtransfer.pretraining.arguments import hardware

    settings = job.config(AlignmentCell)
    pairs = take_pairs(job.parent("text"), job.parent("source_text"), settings.documents)
    model, tokenizer = load_evaluated(job)

    def states(texts: Sequence[str], before: int) -> NDArray[np.float32]:
        def tell(done: int) -> None:
            job.progress(before + done, 2 * len(pairs), "documents")

        return mean_states(model, tokenizer, texts, job.runtime.eval_batch, tell)

    rows = document_rows(
        [pair.id for pair in pairs],
        states([pair.text for pair in pairs], 0),
        states([pair.source for pair in pairs], len(pairs)),
    )
    write_jsonl(job.out / "alignment.jsonl", rows)
    summary = summarise(rows)
    write_json(job.out / "summary.json", summary)
    return {"documents": len(pairs), "layer": summary["layer"]} | hardware(job.runtime)


if __name__ == "__main__":
    main("alignment", run, __doc__)
