"""Greedy answers of a tuned model to a response-quality benchmark.

Example: python -m scripts.generate --recipe recipes/generate/.../zh/<key>.json
Reads: checkpoint/model/, chat/adapter/ or chat/model/, benchmark/questions.jsonl
Writes:
    data/
    └── answers.jsonl   {"id", "category", "prompt", "answer", "tokens", "finish"}, question order

A prompt longer than the model's positions gets an empty answer with finish "context".
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Answer every question; finished batches survive a kill in `answers.partial.jsonl`."""
    from langtransfer.config.evaluation import GenerateCell
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.evaluation.generation import (
        Prompt,
        answer_batch,
        answer_row,
        count_finishes,
        plan_batches,
    )
    from langtransfer.evaluation.journal import Journal
    from langtransfer.evaluation.loading import load_evaluated, position_limit
    from langtransfer.evaluation.questions import read_questions
    from langtransfer.finetuning.templates import prompt_ids, render_prompt
    from langtransfer.pretraining.arguments import hardware

    settings = job.config(GenerateCell)
    model, tokenizer = load_evaluated(job)
    template = settings.template
    prompts = [
        Prompt(
            question.id,
            question.category,
            render_prompt(template, question.instruction, question.input),
            tuple(prompt_ids(tokenizer, template, question.instruction, question.input)),
        )
        for question in read_questions(job.parent("benchmark"))
    ]
    batches = plan_batches(
        prompts, position_limit(model), settings.max_new_tokens, job.runtime.eval_batch
    )
    journal = Journal(job.work / "answers.partial.jsonl")
    answers = {row["id"]: row for row in journal.rows}
    for batch in batches:
        if any(prompt.id not in answers for prompt in batch.prompts):
            rows = answer_batch(model, tokenizer, batch, settings.max_new_tokens)
            journal.append(rows)
            answers.update((row["id"], row) for row in rows)
        job.progress(len(answers), len(prompts), "answers")
    rows = [answers.get(p.id) or answer_row(p, "", 0, "context") for p in prompts]
    write_jsonl(job.out / "answers.jsonl", rows)
    return count_finishes(rows) | hardware(job.runtime)


if __name__ == "__main__":
    main("generate", run, __doc__)
