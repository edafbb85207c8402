"""Asking a chat model, several requests in flight, every answer kept before it is counted.

The client retries refused connections, 429 and 5xx with back-off and honours retry-after; on top of
that a few slower rounds are ours, and answers that are not what was asked for (no JSON, wrong
fields, a score of 7, cut off) are asked for again, a bounded number of times.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Sequence
from typing import Any

import openai

from langtransfer.errors import UserError
from langtransfer.evaluation.chat_client import (
    TRANSIENT,
    MalformedError,
    Request,
    content_of,
    given_up,
    options,
    plain,
    refused,
    retry_after,
    usage_of,
)
from langtransfer.evaluation.chat_run import Run
from langtransfer.evaluation.judge_cost import Tokens

SETTLING_SECONDS = 0.05  # our choice: between two looks at what is in flight


def ask_online(run: Run, requests: Sequence[Request]) -> None:
    """Ask for every request nobody else is asking for; those had are in the cache.

    The first failure ends it: what is in flight may end, nothing new is begun. Raises UserError
    when the endpoint refuses or stays silent, or the budget is spent.
    """
    asyncio.run(_Asking(run, requests).all())


class _Asking:
    """Requests on their way."""

    def __init__(self, run: Run, requests: Sequence[Request]) -> None:
        self.run = run
        self.queue = deque(requests)
        self.failure: UserError | None = None
        self.structured = True
        """Whether the schema is sent along: some models refuse any request with one."""
        self.stopped = asyncio.Event()

    async def all(self) -> None:
        """At most `concurrency` requests in flight."""
        workers = min(self.run.service.concurrency, len(self.queue))
        async with openai.AsyncOpenAI(
            **options(self.run.chat, self.run.service.patience)
        ) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._work(client))
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from failures
        if self.failure is not None:
            raise self.failure

    async def _work(self, client: openai.AsyncOpenAI) -> None:
        while self.failure is None and self.queue:
            request = self.queue.popleft()
            estimate = request.estimate
            if (refusal := await self._refusal(estimate)) is not None:
                self._stop(refusal)
            elif self.run.cache.claim(request.key):
                self.run.budget.in_flight += estimate
                try:
                    content = await self._ask(client, request)
                except UserError as error:
                    self._stop(error)
                    self.run.cache.release(request.key)
                except BaseException:
                    self.run.cache.release(request.key)
                    raise
                else:
                    await self._keep(request, content)
                finally:
                    self.run.budget.in_flight -= estimate

    async def _keep(self, request: Request, content: str) -> None:
        """Into the cache, which waits for the disk, and then among the answers; not to be
        interrupted in between."""
        await asyncio.shield(asyncio.to_thread(self.run.cache.put, request.key, content))
        self.run.take(request, content)

    async def _refusal(self, estimate: Tokens) -> UserError | None:
        """Why no more may be sent: what is in flight, and will take less than estimated, is
        waited for first."""
        refusal = self.run.refusal(estimate)
        while refusal is not None and self.run.budget.in_flight.total and self.failure is None:
            await self._pause(SETTLING_SECONDS)
            refusal = self.run.refusal(estimate)
        return refusal

    def _stop(self, failure: UserError) -> None:
        self.failure = self.failure or failure
        self.stopped.set()

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not on after a failure elsewhere."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)

    async def _ask(self, client: openai.AsyncOpenAI, request: Request) -> str:
        """One answer; UserError when it is not to be had."""
        failure: Exception | None = None
        patience = self.run.service.patience
        for attempt in range(patience.rounds):
            if self.failure is not None:
                raise self.failure
            try:
                return await self._call(client, request)
            except MalformedError as error:
                failure = error
            except TRANSIENT as error:
                if getattr(error, "code", None) == "insufficient_quota":
                    raise refused(error, self.run.chat) from error  # type: ignore[arg-type]  # 429
                failure = error
                if attempt + 1 < patience.rounds:
                    pause = max(patience.pause_seconds * 2**attempt, retry_after(error))
                    await self._pause(pause)
            except openai.APIStatusError as error:
                raise refused(error, self.run.chat) from error
        assert failure is not None
        raise given_up(failure, self.run.chat, patience.rounds) from failure

    async def _call(self, client: openai.AsyncOpenAI, request: Request) -> str:
        structured = self.structured
        body: Any = self.run.chat.body(request, structured)
        try:
            completion = await client.chat.completions.create(**body)
        except openai.BadRequestError as error:
            # gpt-4 itself, which the paper asked, and some servers know no schemas; every answer
            # is checked here anyway.
            if not structured or "response_format" not in plain(error):
                raise
            self.structured = False
            return await self._call(client, request)
        except json.JSONDecodeError as error:
            raise MalformedError(f"the endpoint's answer is not JSON ({plain(error)})") from error
        self.run.paid(usage_of(completion, request))
        return content_of(completion, request)
