"""Judging by a chat model behind any OpenAI-compatible endpoint.

Every verdict is on disk before the next one is counted, under a key of all that decides it, so
an interrupted run pays for nothing twice. The client retries refused connections, 429 and 5xx
with back-off and honours retry-after; on top of that a few slower rounds are ours, and answers
that are no verdict (not JSON, wrong fields, a score of 7, cut off) are asked for again, a
bounded number of times.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import openai
from pydantic import ValidationError

from langtransfer.config.evaluation import JudgeConfig
from langtransfer.errors import UserError
from langtransfer.evaluation.journal import Journal
from langtransfer.evaluation.judging import Verdict
from langtransfer.evaluation.questions import Question
from langtransfer.languages import known_languages
from langtransfer.resources import RESOURCES

# What a later attempt may mend: rate limits, timeouts, broken connections, server errors.
TRANSIENT = (openai.RateLimitError, openai.APIConnectionError, openai.InternalServerError)


@dataclass(frozen=True)
class Patience:
    """How long a judge is waited for; it decides nothing but whether a run ends.

    All numbers are our choice; the client's own time-out of 600 s would stall a study.
    """

    timeout_seconds: float = 120.0
    client_retries: int = 5
    """Retries of one call by the client, with its exponential back-off (0.5 to 8 s)."""
    rounds: int = 4
    """Calls for one verdict, each with the client's retries, before giving up."""
    pause_seconds: float = 15.0
    """Wait before the second round after an error; doubles with each."""


@dataclass(frozen=True)
class Request:
    """One verdict to be had: the message that asks for it, and the key it is kept under."""

    key: str
    message: str


@dataclass
class Usage:
    """What this run spent: HTTP-level answers received and their tokens, good or malformed."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, completion: Any) -> None:
        """Count one completion; an endpoint may leave its usage out."""
        self.counts["requests"] += 1
        if completion.usage is not None:
            self.counts["prompt_tokens"] += completion.usage.prompt_tokens
            self.counts["completion_tokens"] += completion.usage.completion_tokens


class MalformedError(Exception):
    """The model answered, but not with a verdict."""


def prompt_text(name: str) -> str:
    """Source of `resources/prompts/judge/<name>.jinja`; UserError when there is none."""
    path = RESOURCES / "prompts" / "judge" / f"{name}.jinja"
    if not path.is_file():
        remedy = f"no such file: {path.relative_to(RESOURCES.parent)}"
        raise UserError("score.judge.prompt", name, remedy)
    return path.read_text(encoding="utf-8")


def build_request(
    config: JudgeConfig, prompt: str, language: str, question: Question, answer: str
) -> Request:
    """The message for one answer, keyed by prompt text, model, temperature and message."""
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    message = template.from_string(prompt).render(
        language=known_languages()[language].english_name,
        question=question.text,
        reference=question.reference,
        answer=answer,
    )
    parts = json.dumps([prompt, config.model, config.temperature, message])
    return Request(hashlib.sha256(parts.encode()).hexdigest(), message)


def response_format() -> dict[str, Any]:
    """Structured output: the JSON schema of a verdict, enforced by endpoints that can."""
    schema = Verdict.model_json_schema()
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }


def connect(patience: Patience) -> openai.AsyncOpenAI:
    """Client of the endpoint in the environment; UserError without OPENAI_API_KEY."""
    if not os.environ.get("OPENAI_API_KEY"):
        remedy = (
            "set it (any value for a local server, whose address goes into OPENAI_BASE_URL), "
            "or take score.judge.kind: reference"
        )
        raise UserError("OPENAI_API_KEY", os.environ.get("OPENAI_API_KEY"), remedy)
    return openai.AsyncOpenAI(timeout=patience.timeout_seconds, max_retries=patience.client_retries)


def judge_all(
    requests: Sequence[Request],
    config: JudgeConfig,
    journal: Journal,
    concurrency: int,
    on_progress: Callable[[int], None],
    patience: Patience | None = None,
) -> tuple[list[Verdict], dict[str, int]]:
    """Verdicts in the order of the requests, and what this run spent for them.

    Verdicts in the journal are not asked for again; equal requests are asked once. Raises
    UserError when the endpoint refuses or stays silent, naming what to change; verdicts had by
    then are in the journal.
    """
    verdicts = {row["key"]: Verdict(**row["verdict"]) for row in journal.rows}
    missing = {r.key: r for r in requests if r.key not in verdicts}
    usage = Usage(Counter(requests=0, prompt_tokens=0, completion_tokens=0))
    if missing:
        run = _Run(config, journal, verdicts, usage, on_progress, patience or Patience())
        asyncio.run(run.ask_all(list(missing.values()), concurrency))
    return [verdicts[request.key] for request in requests], dict(usage.counts)


@dataclass
class _Run:
    """State of one run: where verdicts go and what has been spent."""

    config: JudgeConfig
    journal: Journal
    verdicts: dict[str, Verdict]
    usage: Usage
    on_progress: Callable[[int], None]
    patience: Patience

    async def ask_all(self, requests: list[Request], concurrency: int) -> None:
        """At most `concurrency` requests in flight; the first failure ends the run."""
        queue = iter(requests)
        async with connect(self.patience) as client:

            async def work() -> None:
                for request in queue:
                    await self.ask(client, request)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(concurrency, len(requests))):
                        group.create_task(work())
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from failures

    async def ask(self, client: openai.AsyncOpenAI, request: Request) -> None:
        """One verdict, journalled; UserError when it is not to be had."""
        failure: Exception | None = None
        for attempt in range(self.patience.rounds):
            try:
                verdict = await self._call(client, request)
            except MalformedError as error:
                failure = error
            except TRANSIENT as error:
                failure = error
                if attempt + 1 < self.patience.rounds:
                    await asyncio.sleep(self.patience.pause_seconds * 2**attempt)
            except openai.APIStatusError as error:
                raise _refused(error, self.config) from error
            else:
                self._keep(request, verdict)
                return
        assert failure is not None
        raise _given_up(failure, self.config, self.patience) from failure

    async def _call(self, client: openai.AsyncOpenAI, request: Request) -> Verdict:
        options: Mapping[str, Any] = (
            {} if self.config.temperature is None else {"temperature": self.config.temperature}
        )
        completion = await client.chat.completions.create(  # type: ignore[call-overload]
            model=self.config.model,
            messages=[{"role": "user", "content": request.message}],
            response_format=response_format(),
            **options,
        )
        self.usage.add(completion)
        return parse_verdict(completion)

    def _keep(self, request: Request, verdict: Verdict) -> None:
        self.journal.append([{"key": request.key, "verdict": verdict.model_dump()}])
        self.verdicts[request.key] = verdict
        self.on_progress(len(self.verdicts))


def parse_verdict(completion: Any) -> Verdict:
    """The verdict in a chat completion; MalformedError for anything else."""
    if not completion.choices:
        raise MalformedError("no choices")
    choice = completion.choices[0]
    if choice.finish_reason == "length":
        raise MalformedError("the answer was cut off (finish_reason length)")
    if choice.message.refusal or not choice.message.content:
        raise MalformedError(f"no content (refusal: {choice.message.refusal!r})")
    try:
        return Verdict.model_validate_json(choice.message.content)
    except ValidationError as error:
        raise MalformedError(f"{choice.message.content[:80]!r} is no verdict") from error


def _refused(error: openai.APIStatusError, config: JudgeConfig) -> UserError:
    """An answer of the endpoint that asking again would not change."""
    reason = " ".join(str(error.message).split())[:200]
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return UserError("OPENAI_API_KEY", f"HTTP {error.status_code}", f"refused: {reason}")
    remedy = f"the endpoint answers HTTP {error.status_code} ({reason}): correct score.judge"
    return UserError("score.judge.model", config.model, remedy)


def _given_up(failure: Exception, config: JudgeConfig, patience: Patience) -> UserError:
    """What to change after the last round; the verdicts so far are kept."""
    kept = "verdicts so far are kept, run again to go on"
    if isinstance(failure, MalformedError):
        remedy = f"no verdict in {patience.rounds} answers ({failure}): take another model; {kept}"
        return UserError("score.judge.model", config.model, remedy)
    where = os.environ.get("OPENAI_BASE_URL", "the OpenAI API")
    return UserError("OPENAI_BASE_URL", where, f"gives up after retries ({failure}); {kept}")
