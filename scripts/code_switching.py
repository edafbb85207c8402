"""Which answers leave the language asked for, by word and by line, and how often.

Example: python -m scripts.code_switching --recipe recipes/code_switching/.../zh/<key>.json
Reads: answers/answers.jsonl, benchmark/questions.jsonl
Writes:
    data/
    ├── code_switching.jsonl   {"id", "category", "by_line", "by_word", "languages"}
    └── summary.json           {"n", "switched", "rate", "low", "high", "by_category", ...}

The rule is stated in langtransfer/evaluation/code_switching.py.
"""

from __future__ import annotations

from typing import Any

from langtransfer.command import main
from langtransfer.job import Job


def run(job: Job) -> dict[str, Any]:
    """Judge every answer the rule applies to."""
    from collections import Counter

    from langtransfer.config.evaluation import CodeSwitchingCell
    from langtransfer.corpus.jsonl import write_jsonl
    from langtransfer.evaluation.code_switching import find_switches, judged, summarise
    from langtransfer.evaluation.questions import answered
    from langtransfer.evaluation.summaries import write_json

    settings = job.config(CodeSwitchingCell)
    rows = []
    exempt: Counter[str] = Counter()
    for question, answer in answered(job.parent("benchmark"), job.parent("answers")):
        if not judged(question):
            exempt[question.category] += 1
            continue
        found = find_switches(answer["answer"], question, settings.language, settings)
        rows.append(
            {
                "id": question.id,
                "category": question.category,
                "by_line": bool(found.lines),
                "by_word": bool(found.words),
                "languages": found.languages,
            }
        )
    write_jsonl(job.out / "code_switching.jsonl", rows)
    write_json(job.out / "summary.json", summarise(rows, exempt))
    return {"answers": len(rows)}


if __name__ == "__main__":
    main("code_switching", run, __doc__)
