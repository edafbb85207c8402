"""Questions of a benchmark with a clause of the source language in each of them.

Example: python -m scripts.switch_prompts --recipe recipes/switch_prompts/llm-eval/sw/<key>.json
Reads: questions/questions.jsonl, and source/questions.jsonl, the same in the source language
Writes:
    data/
    ├── questions.jsonl   as fetch_benchmark's; same ids and order, the instructions mixed
    └── stats.json        {"items", "clause", "left_out"}: ids that the source language lacks
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Put the first words of each question in the source language into it."""
    from langtransfer.config.evaluation import SwitchPromptsCell
    from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
    from langtransfer.errors import UserError
    from langtransfer.evaluation.questions import read_questions
    from langtransfer.evaluation.summaries import write_json
    from langtransfer.evaluation.switched_prompts import switched_questions

    settings = job.config(SwitchPromptsCell)
    folder = job.parent("questions")
    mixed = {
        question.id: question.instruction
        for question in switched_questions(
            read_questions(folder), read_questions(job.parent("source"))
        )
    }
    rows = list(read_jsonl(folder / "questions.jsonl"))
    if not mixed:
        remedy = f"share no id with those in {settings.source}: give both languages the same ones"
        raise UserError(str(folder / "questions.jsonl"), len(rows), remedy)
    kept = [row | {"instruction": mixed[row["id"]]} for row in rows if row["id"] in mixed]
    write_jsonl(job.out / "questions.jsonl", kept)
    left_out = [row["id"] for row in rows if row["id"] not in mixed]
    facts = {"items": len(kept), "clause": settings.source, "left_out": left_out}
    write_json(job.out / "stats.json", facts)
    return {"items": len(kept)}


if __name__ == "__main__":
    main("switch_prompts", run, __doc__)
