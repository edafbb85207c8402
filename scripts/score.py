"""Response quality of the answers: five aspects from 0 to 3, by the judge the config names.

Example: python -m scripts.score --recipe recipes/score/.../zh/<key>.json
Reads: answers/answers.jsonl, benchmark/questions.jsonl; a chat model where judge.kind is openai
Writes:
    data/
    ├── scores.jsonl   {"id", "category", the five aspects, "judge"}, question order
    └── summary.json   {"judge", "n", "mean", "by_category", "uninformative", "checks"}
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Judge every answer and write scores and their means."""
    from langtransfer.config.evaluation import ScoreCell
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.evaluation.judging import score_row, summarise
    from langtransfer.evaluation.questions import answered
    from langtransfer.evaluation.summaries import write_json

    settings = job.config(ScoreCell)
    pairs = list(answered(job.parent("benchmark"), job.parent("answers")))
    uninformative: tuple[str, ...] = ()
    checks: dict[str, Any] = {}
    spent: dict[str, Any] = {}
    if settings.judge.kind == "reference":
        from langtransfer.evaluation import reference_judge

        label, uninformative = reference_judge.JUDGE, reference_judge.UNINFORMATIVE
        verdicts = reference_verdicts(job, pairs, settings.language)
    else:
        label = f"{settings.judge.model}@{settings.judge.prompt}"
        verdicts, checks, spent = model_verdicts(job, pairs, settings)
    rows = [
        score_row(question.id, question.category, verdict, label)
        for (question, _), verdict in zip(pairs, verdicts, strict=True)
    ]
    write_jsonl(job.out / "scores.jsonl", rows)
    write_json(job.out / "summary.json", summarise(rows, label, uninformative, checks))
    return {"answers": len(rows)} | spent


def reference_verdicts(job: Job, pairs: list[Any], language: str) -> list[Any]:
    """Verdicts of the offline judge."""
    from langtransfer.evaluation.reference_judge import judge

    verdicts = []
    for question, answer in pairs:
        verdicts.append(judge(question, answer["answer"], answer["finish"], language))
        job.progress(len(verdicts), len(pairs), "answers")
    return verdicts


def model_verdicts(job: Job, pairs: list[Any], settings: Any) -> tuple[Any, Any, Any]:
    """Verdicts of a chat model, its checks and what it cost; all it says is kept in the cache."""
    from langtransfer.evaluation.chat_client import service_of
    from langtransfer.evaluation.openai_judge import judge_all

    return judge_all(
        [(question, answer["answer"]) for question, answer in pairs],
        settings.judge,
        settings.language,
        service_of(job.runtime),
        f"{job.cell}/{job.key}",
        lambda done, total: job.progress(done, total, "verdicts"),
    )


if __name__ == "__main__":
    main("score", run, __doc__)
