"""Code-switching beyond its rate: who intrudes where, and whether such answers are worse."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.contrasts import random_stream
from langtransfer.reporting.csvfile import Record
from langtransfer.reporting.results import Observations
from langtransfer.statistics.intervals import wilson
from langtransfer.statistics.paired import paired_difference

MATRIX_COLUMNS = ("language", "intruder", "answers", "share", "low", "high", "n")
QUALITY_COLUMNS = (
    "language", "switched", "clean", "difference", "low", "high", "p", "questions",
)  # fmt: skip


def matrix_rows(results: Sequence[Observations], settings: ReportingConfig) -> Iterator[Record]:
    """Language asked for x intruding language, over all models and instruction sets of a language.

    Every cell's answers count once, however many rows of the study share it.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    judged: Counter[str] = Counter()
    cells = {o.row.cell: o for o in results if o.row.stage == "code_switching"}
    for found in cells.values():
        judged[found.row.evaluated] += found.n
        counts[found.row.evaluated].update(x for names in found.intruders for x in set(names))
    for language in sorted(counts):
        for intruder, answers in sorted(counts[language].items()):
            n = judged[language]
            yield {
                "language": language, "intruder": intruder, "answers": answers,
                "share": answers / n, **wilson(answers, n, settings.confidence)._asdict(), "n": n,
            }  # fmt: skip


def quality_rows(results: Sequence[Observations], settings: ReportingConfig) -> Iterator[Record]:
    """Quality (AVG) of switched against clean answers to the same question, by language.

    A question counts where some models switched and others did not; its answers are averaged on
    each side, so that what makes a question hard is on both. Each answer's quality is taken
    against the mean of its own model's clean answers: weak models switch more often, and their
    weakness is not switching's.
    """
    switched = {_key(o): o for o in results if o.row.stage == "code_switching"}
    by_language: dict[str, dict[str, dict[bool, list[float]]]] = defaultdict(dict)
    scored = {o.row.cell: o for o in results if o.row.stage == "score"}
    for quality in scored.values():
        judged = switched.get(_key(quality))
        if judged is None:
            continue
        flags = dict(zip(judged.ids, judged.values["any"].tolist(), strict=True))
        pairs = zip(quality.ids, quality.values["AVG"].tolist(), strict=True)
        values = {item: value for item, value in pairs if item in flags}
        clean = [value for item, value in values.items() if not flags[item]]
        if not clean:
            continue
        own = float(np.mean(clean))
        for item, value in values.items():
            question = f"{quality.row.benchmark}/{item}"
            sides = by_language[quality.row.evaluated].setdefault(question, defaultdict(list))
            sides[bool(flags[item])].append(value - own)
    for language, questions in sorted(by_language.items()):
        both = [questions[name] for name in sorted(questions) if len(questions[name]) == 2]
        if both:
            yield {"language": language, **_difference(both, language, settings)}


def _key(found: Observations) -> tuple[str, ...]:
    row = found.row
    return row.model, row.tuning, row.benchmark, row.evaluated


def _difference(
    questions: Sequence[dict[bool, list[float]]], language: str, settings: ReportingConfig
) -> Record:
    means = np.array([[np.mean(sides[flag]) for flag in (True, False)] for sides in questions])
    result = paired_difference(
        (means[:, 0] - means[:, 1])[:, None], np.ones((len(means), 1)),
        confidence=settings.confidence, samples=settings.bootstrap_samples,
        permutations=settings.permutations,
        rng=random_stream(settings, f"switched quality {language}"),
    )  # fmt: skip
    return {
        "switched": float(means[:, 0].mean()), "clean": float(means[:, 1].mean()),
        "difference": result.value, "low": result.low, "high": result.high, "p": result.p,
        "questions": result.n,
    }  # fmt: skip
