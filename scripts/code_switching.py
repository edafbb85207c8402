"""Which answers leave the language asked for, by line and by word, and how often.

Example: python -m scripts.code_switching --recipe recipes/code_switching/.../zh/<key>.json
Reads: answers/answers.jsonl, benchmark/questions.jsonl, resources/identification
Writes:
    data/
    ├── code_switching.jsonl   {"id", "category", "by_line", "by_word", "languages"}
    └── summary.json           {"n", "switched", "rate", "low", "high", "by_category", "matrix",
                                "empty", "exempt", "language_confusion", ...}

The rule is stated in langtransfer/evaluation/code_switching.py; answers it does not judge, and
empty ones, have no row. `language_confusion` holds the pass rates of the Language Confusion
Benchmark (langtransfer/evaluation/language_confusion.py) of the same answers.
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
    from langtransfer.evaluation.code_switching import (
        CONFIDENCE,
        find_switches,
        is_empty,
        judged,
        load_identifier,
        summarise,
    )
    from langtransfer.evaluation.language_confusion import confusion, load_english, pass_rates
    from langtransfer.evaluation.questions import answered
    from langtransfer.evaluation.summaries import write_json

    settings = job.config(CodeSwitchingCell)
    language = settings.language
    identify, english = load_identifier().classify, load_english()
    rows, confusions = [], []
    exempt: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    for question, answer in answered(job.parent("benchmark"), job.parent("answers")):
        text = answer["answer"]
        if not judged(question):
            exempt[question.category] += 1
        elif is_empty(text):
            empty[question.category] += 1
        else:
            found = find_switches(text, question, language, settings)
            confusions.append(confusion(text, language, identify, english))
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
    summary = summarise(rows, language, exempt, empty)
    summary["language_confusion"] = pass_rates(confusions, language, CONFIDENCE)
    write_json(job.out / "summary.json", summary)
    return {"answers": len(rows)}


if __name__ == "__main__":
    main("code_switching", run, __doc__)
