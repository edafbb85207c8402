"""From evidence to advice: one answer a question, and the recipe they add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.answers import (
    QUESTIONS,
    Evidence,
    Question,
    better,
    evidence_row,
    language_evidence,
)
from langtransfer.reporting.contrasts import estimate
from langtransfer.reporting.csvfile import Record
from langtransfer.reporting.figure_data import language_name
from langtransfer.reporting.results import (
    PLAIN_MIX,
    Observations,
    amount,
    is_base,
    model_name,
    on_target,
)

ANSWER_COLUMNS = ("language", "question", "choice", "shown", "answer")
RECIPE_COLUMNS = (
    "language", "label", "vocabulary", "mix", "budget", "budget_tokens", "tuning",
    "tuning_examples", "exact", "AVG", "low", "high", "n", "base_AVG", "base_tuning", "seeds",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What is advised on one question. shown: whether a difference carries it."""

    question: Question
    choice: str
    shown: bool
    text: str


def answers(
    found: Sequence[Evidence], settings: ReportingConfig, source: str = "the source language"
) -> list[Answer]:
    """One answer a question, in the order of QUESTIONS; source names the language kept or lost."""
    rules: dict[str, Callable[[Sequence[Evidence], ReportingConfig], Answer]] = {
        "vocabulary": _vocabulary,
        "mix": partial(_mix, source=source),
        "pretraining": _pretraining,
        "tuning": _tuning,
        "together": _together,
    }
    return [
        rules[question]([e for e in found if e.question == question], settings)
        for question in QUESTIONS
    ]


def _vocabulary(found: Sequence[Evidence], settings: ReportingConfig) -> Answer:
    if not found:
        return Answer("vocabulary", "original", False, "Not studied: no extended vocabulary here.")
    decided = [e for e in found if better(e, settings) != "neither"]
    # Quality before bits per byte, then the largest gain among several extensions.
    decided.sort(key=lambda e: (e.metric != "AVG", -e.gain))
    if not decided:
        text = "No difference shown: keep the original vocabulary, which costs nothing to keep."
        return Answer("vocabulary", "original", False, text)
    first = decided[0]
    by = "answers are better" if first.metric == "AVG" else "the model predicts the text better"
    if better(first, settings) == "option":
        text = f"Extend it ({first.option}): {by}{_quality_open(first, found)}."
        return Answer("vocabulary", first.option, True, text)
    text = f"Keep the original: {by} than with {first.option}{_quality_open(first, found)}."
    return Answer("vocabulary", "original", True, text)


def _quality_open(evidence: Evidence, found: Sequence[Evidence]) -> str:
    if evidence.metric == "AVG":
        return ""
    measured = any(e.metric == "AVG" for e in found)
    return "; answer quality shows no difference" if measured else "; answers were not scored"


def _mix(found: Sequence[Evidence], settings: ReportingConfig, source: str) -> Answer:
    kept = [e for e in found if e.evaluated == "source" and better(e, settings) == "option"]
    if not found:
        return Answer("mix", PLAIN_MIX, False, "Not studied for this language: no mixed run.")
    if not kept:
        text = f"Mixing is not shown to keep more of {source}: train on the target alone."
        return Answer("mix", PLAIN_MIX, False, text)
    best = max(kept, key=lambda e: e.gain)
    target = [e for e in found if e.option == best.option and e.evaluated == "target"]
    losses = [e for e in target if better(e, settings) == "against"]
    gains = [e for e in target if better(e, settings) == "option"]
    return Answer("mix", best.option, True, _mix_text(best, losses, gains, source))


def _mix_text(
    best: Evidence, losses: Sequence[Evidence], gains: Sequence[Evidence], source: str
) -> str:
    head = f"Mix ({best.option}): it keeps {source}"
    if gains and not losses:
        return f"{head}, and helps the target too."
    if not losses:
        return f"{head}; no cost to the target is shown."
    what = " and ".join("answers" if e.metric == "AVG" else "prediction of text" for e in losses)
    return f"{head}, if you still need it; it costs the target some ({what})."


def _pretraining(found: Sequence[Evidence], settings: ReportingConfig) -> Answer:
    if not found:
        return Answer("pretraining", "0", False, "Not studied: one budget only.")
    steps = sorted({e.option_amount for e in found})
    helped = [
        e for s in steps for e in _deciding([e for e in found if e.option_amount == s], settings)
    ]
    if not helped:
        text = "No gain shown from further pretraining: tune the base model directly."
        return Answer("pretraining", "0", False, text)
    last = max(helped, key=lambda e: e.option_amount)
    most = max(e.option_amount for e in found)
    by = [e for e in helped if e.option_amount == last.option_amount]
    what = " and ".join(sorted({"answers" if e.metric == "AVG" else "text" for e in by}))
    if last.option_amount == most:
        text = f"{spoken(last.option)}, the most tried, and still gaining ({what}): more may help."
    else:
        text = f"{spoken(last.option)}: beyond it no gain is shown."
    return Answer("pretraining", last.option, True, text)


def _deciding(step: Sequence[Evidence], settings: ReportingConfig) -> list[Evidence]:
    """Evidence that a step helps: answers decide, prediction of text where they show nothing."""
    by_answers = [e for e in step if e.metric == "AVG" and better(e, settings) != "neither"]
    deciding = by_answers or [e for e in step if e.metric != "AVG"]
    if any(better(e, settings) == "against" for e in deciding):
        return []
    return [e for e in step if better(e, settings) == "option"]


def _tuning(found: Sequence[Evidence], settings: ReportingConfig) -> Answer:
    if not found:
        return Answer("tuning", "", False, "Not studied: one size of instruction set.")
    helped = [e for e in found if better(e, settings) == "option"]
    if not helped:
        least = min(found, key=lambda e: e.option_amount)
        text = f"The smallest set ({least.against}): no gain shown from more."
        return Answer("tuning", least.against, False, text)
    last = max(helped, key=lambda e: e.option_amount)
    more = last.option_amount == max(e.option_amount for e in found)
    tail = "the most tried, and still gaining" if more else "beyond it no gain is shown"
    text = f"{last.option_amount:,} examples ({last.option}): {tail}."
    return Answer("tuning", last.option, True, text)


def _together(found: Sequence[Evidence], settings: ReportingConfig) -> Answer:
    if not found:
        return Answer("together", "alone", False, "Not studied: no set of several languages.")
    best = max(found, key=lambda e: e.gain)
    if better(best, settings) == "option":
        text = f"Together ({best.option}): better answers than as many examples of it alone."
        return Answer("together", best.option, True, text)
    if all(better(e, settings) == "against" for e in found):
        text = "Alone: as many examples shared between languages give worse answers."
        return Answer("together", "alone", True, text)
    # One tuned model for all languages is the cheaper one to make and to keep.
    open_ = next(e for e in found if better(e, settings) == "neither")
    text = f"No difference shown: one model for all languages ({open_.option}) is cheaper."
    return Answer("together", open_.option, False, text)


def spoken(budget: str) -> str:
    """A budget as read: `0.5B-tokens` is `0.5B tokens`."""
    return budget.replace("-", " ")


def recipe(
    language: str, given: Sequence[Answer], results: Sequence[Observations],
    settings: ReportingConfig,
) -> Record | None:  # fmt: skip
    """The row of the study nearest to the advice, with its quality beside the base's.

    None where nothing was tuned and scored in the language. exact: the row has every choice
    advised; otherwise the combination was not run and vocabulary, budget, tuning and mix are
    given up in reverse order.
    """
    scored = [
        o for o in results
        if o.row.stage == "score" and o.row.language == language and on_target(o.row)
        and not o.row.adopted
    ]  # fmt: skip
    if not scored:
        return None
    choice = {answer.question: answer.choice for answer in given}
    best = max(scored, key=lambda o: _agreement(o, choice))
    base = next((o for o in scored if is_base(o.row) and o.row.tuning == best.row.tuning), None)
    seeds = {o.row.seed for o in scored if model_name(o.row) == model_name(best.row)}
    exact = all(_agreement(best, choice))
    return _recipe_row(best, base, settings) | {"exact": exact, "seeds": len(seeds)}


def _agreement(found: Observations, choice: dict[Question, str]) -> tuple[bool, ...]:
    row = found.row
    return (
        row.vocabulary == choice["vocabulary"],
        row.budget == choice["pretraining"],
        choice["tuning"] in ("", row.tuning),
        row.mix == choice["mix"] or amount(row) == 0,
    )


def _recipe_row(best: Observations, base: Observations | None, settings: ReportingConfig) -> Record:
    value = estimate(best, "AVG", settings)
    row = best.row
    names = RECIPE_COLUMNS[:8]
    return {name: getattr(row, name) for name in names} | {
        "AVG": value.value, "low": value.low, "high": value.high, "n": best.n,
        "base_AVG": float(base.values["AVG"].mean()) if base else None,
        "base_tuning": base.row.tuning if base else None,
    }  # fmt: skip


@dataclass(frozen=True)
class Advice:
    """Rows of evidence.csv, answers.csv and recipes.csv, language by language."""

    evidence: list[Record]
    answers: list[Record]
    recipes: list[Record]


def _source_name(results: Sequence[Observations]) -> str:
    """The language the models come from, as far as the study looks at it."""
    found = {o.row.evaluated for o in results if not on_target(o.row)}
    return " and ".join(language_name(code) for code in sorted(found)) or "the source language"


def advise(results: Sequence[Observations], settings: ReportingConfig) -> Advice:
    """Evidence, answers and recipe of every target language of the study."""
    advised = Advice([], [], [])
    for language in sorted({found.row.language for found in results}):
        found = language_evidence(results, language, settings)
        given = answers(found, settings, _source_name(results))
        advised.evidence.extend(evidence_row(language, e, settings) for e in found)
        advised.answers.extend(
            {
                "language": language, "question": answer.question, "choice": answer.choice,
                "shown": answer.shown, "answer": answer.text,
            }
            for answer in given
        )  # fmt: skip
        row = recipe(language, given, results, settings)
        advised.recipes.extend([row] if row else [])
    return advised
