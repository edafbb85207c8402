"""A chat model behind any OpenAI-compatible endpoint: what is asked, what counts as an answer.

The endpoint is the config's, or OPENAI_BASE_URL of the environment where that names none. The key
is OPENAI_API_KEY of the environment; it is written nowhere, and is cut out of whatever the endpoint
says of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from langtransfer.config.evaluation import Prices
from langtransfer.errors import UserError
from langtransfer.evaluation.judge_cost import (
    OVERHEAD_TOKENS,
    Cap,
    Tokens,
    estimate_tokens,
)

if TYPE_CHECKING:
    from langtransfer.config.root import RuntimeConfig

# What a later attempt may mend: rate limits, timeouts, broken connections, server errors.
TRANSIENT = (openai.RateLimitError, openai.APIConnectionError, openai.InternalServerError)
FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
LONGEST_RETRY_AFTER = 600.0  # our choice: seconds a server may ask us to wait between two rounds


@dataclass(frozen=True)
class Patience:
    """How long an answer is waited for; it decides nothing but whether a run ends.

    All numbers are our choice; the client's own time-out of 600 s would stall a study.
    """

    timeout_seconds: float = 120.0
    client_retries: int = 5
    """Retries of one call by the client, with its exponential back-off (0.5 to 8 s)."""
    rounds: int = 4
    """Calls for one answer, each with the client's retries, before giving up."""
    pause_seconds: float = 15.0
    """Wait before the second round after an error; doubles with each."""
    poll_seconds: float = 1.0
    """Wait before looking again for an answer that another cell is asking for."""
    batch_poll_seconds: float = 30.0
    """Wait before asking again how far a batch is."""

    @property
    def lease_seconds(self) -> float:
        """Longest time one answer can take: every call timed out, every pause made."""
        calls = self.rounds * (self.client_retries + 1) * (self.timeout_seconds + 8.0)
        return float(calls + self.pause_seconds * 2**self.rounds)


class MalformedError(Exception):
    """The model answered, but not with what was asked for."""


@dataclass(frozen=True)
class Form:
    """What a good answer is."""

    name: str
    schema: Mapping[str, Any]
    """JSON schema, enforced by endpoints that can."""
    read: Callable[[str], Any]
    """What is meant by a model's text; raises MalformedError for text that is no good answer."""

    @property
    def response_format(self) -> dict[str, Any]:
        """Structured output, as the API wants it."""
        schema = {"name": self.name, "strict": True, "schema": dict(self.schema)}
        return {"type": "json_schema", "json_schema": schema}


@dataclass(frozen=True)
class Request:
    """One answer to be had: the message that asks for it, and the key it is kept under."""

    key: str
    message: str
    form: Form
    completion_tokens: int
    """Expected length of the answer."""

    @property
    def estimate(self) -> Tokens:
        """Tokens it will take, by the rule of `estimate_tokens`."""
        schema = json.dumps(self.form.response_format, ensure_ascii=False)
        prompt = estimate_tokens(self.message) + estimate_tokens(schema) + OVERHEAD_TOKENS
        return Tokens(prompt, self.completion_tokens)


@dataclass(frozen=True)
class Chat:
    """The model that is asked."""

    model: str
    temperature: float | None
    field: str
    """Config field that names the model, for messages."""
    base_url: str | None = None
    """Endpoint the config names; None takes the environment's."""

    @property
    def section(self) -> str:
        """Config section of the model."""
        return self.field.rpartition(".")[0]

    @property
    def endpoint(self) -> str:
        """Where requests go, without what may be secret: user name, password, query."""
        address = self.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        url = urlsplit(address)
        bare = url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="")
        return bare.geturl()

    @property
    def endpoint_field(self) -> str:
        """What to change for another endpoint, for messages."""
        return f"{self.section}.base_url" if self.base_url else "OPENAI_BASE_URL"

    def body(self, request: Request, structured: bool = True) -> dict[str, Any]:
        """Body of a chat completion request, with the schema of its answer or without."""
        options: dict[str, Any] = {}
        if self.temperature is not None:
            options["temperature"] = self.temperature
        if structured:
            options["response_format"] = request.form.response_format
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": request.message}],
            **options,
        }

    def key(self, prompt: str, message: str, repeat: int = 0) -> str:
        """Hash of all that decides an answer, an endpoint the config names among it.

        A repeated question has a key of its own.
        """
        parts = [prompt, self.model, self.temperature, message]
        parts += [repeat] * bool(repeat) + [self.base_url] * bool(self.base_url)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Service:
    """How answers are fetched: where and how fast, never what."""

    mode: str
    concurrency: int
    cache: str
    prices: Mapping[str, Prices]
    cap: Cap
    patience: Patience

    @property
    def batch(self) -> bool:
        """Whether answers come through the batch API."""
        return self.mode == "batch"


def service_of(runtime: RuntimeConfig) -> Service:
    """The config's runtime settings."""
    return Service(
        mode=runtime.judge_mode,
        concurrency=runtime.judge_concurrency,
        cache=runtime.judge_cache,
        prices=runtime.judge_prices,
        cap=Cap(runtime.judge_budget_dollars, runtime.judge_budget_tokens),
        patience=Patience(timeout_seconds=runtime.judge_timeout_seconds),
    )


def options(chat: Chat, patience: Patience) -> dict[str, Any]:
    """Arguments of the client; UserError without a usable OPENAI_API_KEY."""
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        remedy = (
            "set it (any value for a local server, whose address goes into OPENAI_BASE_URL or "
            f"{chat.section}.base_url), or take score.judge.kind: reference"
        )
        raise UserError("OPENAI_API_KEY", key, remedy)
    if not key.isascii() or not key.isprintable() or " " in key:
        remedy = "holds white space or other characters no key has: set it again"
        raise UserError("OPENAI_API_KEY", "(not shown)", remedy)
    return {
        "base_url": chat.base_url,  # None: the client reads OPENAI_BASE_URL
        "timeout": patience.timeout_seconds,
        "max_retries": patience.client_retries,
    }


def content_of(completion: Any, request: Request) -> str:
    """Text of a chat completion that is a good answer; MalformedError for anything else."""
    choices = getattr(completion, "choices", None)
    if not isinstance(completion, ChatCompletion) or not isinstance(choices, list) or not choices:
        raise MalformedError("no choices")
    # The client takes whatever an endpoint sends for what it should be.
    finish = getattr(choices[0], "finish_reason", None)
    message = getattr(choices[0], "message", None)
    content, refusal = getattr(message, "content", None), getattr(message, "refusal", None)
    if finish == "length":
        raise MalformedError("the answer was cut off (finish_reason length)")
    if refusal or not content or not isinstance(content, str):
        raise MalformedError(f"no content (refusal: {refusal!r})")
    request.form.read(content)
    return content


def usage_of(completion: Any, request: Request | None) -> Tokens:
    """Tokens of an exchange; by our own rule where the endpoint does not count them, and none
    for a request that is not known."""
    usage = completion.usage if isinstance(completion, ChatCompletion) else None
    prompt = getattr(usage, "prompt_tokens", None)
    written = getattr(usage, "completion_tokens", None)
    if not isinstance(prompt, int) or not isinstance(written, int):
        return request.estimate if request is not None else Tokens()
    return Tokens(prompt, written)


def plain(error: Exception) -> str:
    """What an error says, on one line, short, without the key."""
    text = " ".join(str(getattr(error, "message", error)).split())
    key = os.environ.get("OPENAI_API_KEY")
    return (text.replace(key, "***") if key else text)[:200]


def retry_after(error: Exception) -> float:
    """Seconds the server asks to be left alone, at most ten minutes; 0 where it says nothing."""
    response = getattr(error, "response", None)
    asked = response.headers.get("retry-after", "") if response is not None else ""
    return min(float(asked), LONGEST_RETRY_AFTER) if asked.isdigit() else 0.0


def refused(error: openai.APIStatusError, chat: Chat) -> UserError:
    """An answer of the endpoint that asking again would not change."""
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        remedy = f"refused by {chat.endpoint}: {plain(error)}"
        return UserError("OPENAI_API_KEY", f"HTTP {error.status_code}", remedy)
    if error.code == "insufficient_quota":
        return UserError("OPENAI_API_KEY", "insufficient_quota", f"no money left: {plain(error)}")
    remedy = f"the endpoint answers HTTP {error.status_code} ({plain(error)}): correct"
    return UserError(chat.field, chat.model, f"{remedy} {chat.section}")


def given_up(failure: Exception, chat: Chat, rounds: int) -> UserError:
    """What to change after the last round; the answers so far are kept."""
    kept = "answers so far are kept, run again to go on"
    if isinstance(failure, MalformedError):
        remedy = f"no usable answer in {rounds} ({plain(failure)}): take another model; {kept}"
        return UserError(chat.field, chat.model, remedy)
    remedy = f"gives up after retries ({plain(failure)}); {kept}"
    return UserError(chat.endpoint_field, chat.endpoint, remedy)


def without_fence(content: str) -> str:
    """A model's text without the code fence that some put around JSON."""
    fenced = FENCE.fullmatch(content.strip())
    return fenced[1] if fenced else content


def parse_object(content: str) -> dict[str, Any]:
    """A JSON object in a model's text; MalformedError otherwise."""
    try:
        value = json.loads(without_fence(content))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{content[:80]!r} is not JSON") from error
    if not isinstance(value, dict):
        raise MalformedError(f"{content[:80]!r} is no JSON object")
    return value


def unique(requests: Sequence[Request]) -> dict[str, Request]:
    """Requests by key, each once, in order."""
    return {request.key: request for request in requests}
