"""Judging by a chat model: the message for an answer, and the verdict in what comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jinja2
from pydantic import ValidationError

from langtransfer.config.evaluation import JudgeConfig
from langtransfer.errors import UserError
from langtransfer.evaluation.chat import ask_all
from langtransfer.evaluation.chat_client import (
    Chat,
    Form,
    MalformedError,
    Request,
    Service,
    without_fence,
)
from langtransfer.evaluation.judging import ASPECTS, Verdict, agreement
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.resources import prompt_file
from langtransfer.languages import known_languages

VERDICT_TOKENS = 45  # our choice: five names and numbers in JSON
Pair = tuple[Question, str]


def prompt_text(name: str) -> str:
    """Source of `resources/prompts/judge/<name>.jinja`; UserError when there is none."""
    return prompt_file("judge", name, "score.judge.prompt").read_text(encoding="utf-8")


def render(prompt: str, **fields: Any) -> str:
    """A prompt filled in; a field it names and does not get is a mistake in the prompt."""
    try:
        return _compiled(prompt).render(**fields)
    except jinja2.TemplateError as error:
        raise UserError("prompt", str(error), f"fields are {', '.join(sorted(fields))}") from error


@cache
def _compiled(prompt: str) -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return environment.from_string(prompt)


def chat_of(config: JudgeConfig) -> Chat:
    """The judge's model."""
    return Chat(config.model, config.temperature, "score.judge.model", config.base_url)


def build_request(
    config: JudgeConfig,
    prompt: str,
    language: str,
    question: Question,
    answer: str,
    *,
    repeat: int = 0,
    swapped: bool = False,
) -> Request:
    """The message for one answer, keyed by prompt text, model, temperature, message and the
    endpoint the config names.

    repeat > 0 is the same message under another key: asked again. swapped names aspects, and shows
    answer and reference, in the other order.
    """
    message = render(
        prompt,
        language=known_languages()[language].english_name,
        question=question.text,
        reference=question.reference,
        answer=answer,
        swapped=swapped,
    )
    key = chat_of(config).key(prompt, message, repeat)
    return Request(key, message, SWAPPED_FORM if swapped else FORM, VERDICT_TOKENS)


def read_verdict(content: str) -> Verdict:
    """The verdict in a model's text; MalformedError for anything else."""
    try:
        return Verdict.model_validate_json(without_fence(content))
    except ValidationError as error:
        raise MalformedError(f"{content[:80]!r} is no verdict") from error


def verdict_form(aspects: Sequence[str]) -> Form:
    """A verdict, its aspects named in an order."""
    schema = Verdict.model_json_schema()
    properties = {aspect: schema["properties"][aspect] for aspect in aspects}
    schema |= {"properties": properties, "required": list(aspects)}
    return Form("verdict", schema, read_verdict)


FORM, SWAPPED_FORM = verdict_form(ASPECTS), verdict_form(ASPECTS[::-1])


def judge_all(
    pairs: Sequence[Pair],
    config: JudgeConfig,
    language: str,
    service: Service,
    cell: str,
    on_progress: Callable[[int, int], None],
) -> tuple[list[Verdict], dict[str, Any], dict[str, int | float]]:
    """Verdicts in the order of the answers, what the judge's checks found, and what was spent.

    on_progress is told how many verdicts are there, of how many. Raises UserError as `ask_all`.
    """
    prompt = prompt_text(config.prompt)
    sample = checked(pairs, config.checks.items)

    def ask(chosen: Sequence[Pair], **how: Any) -> list[Request]:
        return [build_request(config, prompt, language, q, text, **how) for q, text in chosen]

    groups = [ask(pairs), ask(sample)]
    groups += [ask(sample, repeat=number + 1) for number in range(config.checks.repeat)]
    if sample and config.checks.position:
        groups.append(ask(sample, swapped=True))
        _require_other_order(config.prompt, groups[1], groups[-1])
    requests = [request for group in groups for request in group]
    total = len({request.key for request in requests})
    verdicts, spent = ask_all(
        requests, chat_of(config), service, cell, lambda done: on_progress(done, total)
    )
    by_group = []
    for group in groups:
        by_group.append(verdicts[: len(group)])
        del verdicts[: len(group)]
    return by_group[0], _consistency(config, by_group[1], by_group[2:]), spent


def checked(pairs: Sequence[Pair], items: int) -> list[Pair]:
    """The answers the judge is checked on: the same questions whoever answered them."""
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256(pair[0].id.encode()).hexdigest())
    return ranked[:items]


def _require_other_order(
    name: str, requests: Sequence[Request], swapped: Sequence[Request]
) -> None:
    if any(a.message == b.message for a, b in zip(requests, swapped, strict=True)):
        remedy = "the prompt does not use `swapped`: write it, or set checks.position: false"
        raise UserError("score.judge.prompt", name, remedy)


def _consistency(
    config: JudgeConfig, first: Sequence[Verdict], others: Sequence[Sequence[Verdict]]
) -> dict[str, Any]:
    """How far verdicts asked for again are the first ones; empty where nothing was checked."""
    if not first:
        return {}
    repeats = others[: config.checks.repeat]
    found: dict[str, Any] = {"items": len(first)}
    if repeats:
        again = [verdict for group in repeats for verdict in group]
        found["repeat"] = agreement(list(first) * len(repeats), again)
    if config.checks.position:
        found["position"] = agreement(first, others[-1])
    return found
