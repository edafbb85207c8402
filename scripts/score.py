"""Response quality of the answers: five aspects from 0 to 3, by the judge the config names.

Example: python -m scripts.score --recipe recipes/score/.../zh/<key>.json
Reads: answers/answers.jsonl, benchmark/questions.jsonl; a chat model where judge.kind is openai
Writes:
    data/
    ├── scores.jsonl   {"id", "category", the five aspects, "judge"}, question order
    └── summary.json   {"judge", "n", "mean", "by_category", "uninformative"}
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Judge every answer and write scores and their means."""
    from langtransfer.config.evaluation import ScoreCell
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.evaluation import reference_judge
    from langtransfer.evaluation.judging import score_row, summarise
    from langtransfer.evaluation.questions import answered
    from langtransfer.evaluation.summaries import write_json

    settings = job.config(ScoreCell)
    pairs = list(answered(job.parent("benchmark"), job.parent("answers")))
    if settings.judge.kind == "reference":
        label, uninformative = reference_judge.JUDGE, reference_judge.UNINFORMATIVE
        verdicts, spent = reference_verdicts(job, pairs, settings.language), {}
    else:
        label, uninformative = f"{settings.judge.model}@{settings.judge.prompt}", ()
        verdicts, spent = model_verdicts(job, pairs, settings)
    rows = [
        score_row(question.id, question.category, verdict, label)
        for (question, _), verdict in zip(pairs, verdicts, strict=True)
    ]
    write_jsonl(job.out / "scores.jsonl", rows)
    write_json(job.out / "summary.json", summarise(rows, label, uninformative))
    return {"answers": len(rows)} | spent


def reference_verdicts(job: Job, pairs: list[Any], language: str) -> list[Any]:
    """Verdicts of the offline judge."""
    from langtransfer.evaluation.reference_judge import judge

    verdicts = []
    for question, answer in pairs:
        verdicts.append(judge(question, answer["answer"], answer["finish"], language))
        job.progress(len(verdicts), len(pairs), "answers")
    return verdicts


def model_verdicts(job: Job, pairs: list[Any], settings: Any) -> tuple[list[Any], dict[str, int]]:
    """Verdicts of a chat model, kept in `verdicts.jsonl` across kills."""
    from langtransfer.evaluation.journal import Journal
    from langtransfer.evaluation.openai_judge import build_request, judge_all, prompt_text

    prompt = prompt_text(settings.judge.prompt)
    requests = [
        build_request(settings.judge, prompt, settings.language, question, answer["answer"])
        for question, answer in pairs
    ]
    return judge_all(
        requests,
        settings.judge,
        Journal(job.work / "verdicts.jsonl"),
        job.runtime.judge_concurrency,
        lambda done: job.progress(done, len(requests), "verdicts"),
    )


if __name__ == "__main__":
    main("score", run, __doc__)
