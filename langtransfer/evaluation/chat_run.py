"""State of one run that asks a chat model: what is had, what it cost, what may still be spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.evaluation.chat_client import Chat, MalformedError, Request, Service
from langtransfer.evaluation.judge_cost import Budget, Ledger, Tokens, dollars
from langtransfer.evaluation.verdict_cache import VerdictCache


@dataclass
class Run:
    """One run over some requests; answers go to the cache before they are counted."""

    chat: Chat
    service: Service
    cache: VerdictCache
    budget: Budget
    on_progress: Callable[[int], None]
    answers: dict[str, Any] = field(default_factory=dict)
    """What was read out of each answer, by key."""
    exchanges: int = 0
    usage: Tokens = field(default_factory=Tokens)
    cost: float = 0.0

    def look(self, requests: Iterable[Request]) -> list[Request]:
        """Take in what the cache has; the requests it has no answer to."""
        missing = []
        for request in requests:
            content = self.cache.get(request.key)
            if content is None:
                missing.append(request)
            else:
                self.answers[request.key] = self._read(request, content)
        self.on_progress(len(self.answers))
        return missing

    def refusal(self, estimate: Tokens) -> UserError | None:
        """Why no request of this size may be sent any more."""
        return self.budget.refusal(self.chat.model, estimate, batch=self.service.batch)

    def paid(self, tokens: Tokens) -> None:
        """Count an answer received, good or malformed."""
        self.budget.ledger.record(self.chat.model, tokens)
        self.count(tokens, batch=False)

    def count(self, tokens: Tokens, *, batch: bool) -> None:
        """Add to what this run spent."""
        self.exchanges += 1
        self.usage += tokens
        if self.chat.model in self.service.prices:
            self.cost += dollars(tokens, self.service.prices[self.chat.model], batch=batch)

    def take(self, request: Request, content: str) -> None:
        """Count an answer that is in the cache."""
        self.answers[request.key] = self._read(request, content)
        self.on_progress(len(self.answers))

    def spent(self) -> dict[str, int | float]:
        """Facts for the manifest."""
        facts: dict[str, int | float] = {
            "requests": self.exchanges,
            "prompt_tokens": self.usage.prompt,
            "completion_tokens": self.usage.completion,
            "tokens": self.usage.total,
        }
        priced = self.chat.model in self.service.prices
        return facts | ({"cost": round(self.cost, 6)} if priced else {})

    def _read(self, request: Request, content: str) -> Any:
        try:
            return request.form.read(content)
        except MalformedError as error:
            path = self.cache.path(request.key)
            raise UserError("runtime.judge_cache", str(path), f"{error}: delete it") from error


def begin(chat: Chat, service: Service, cell: str, on_progress: Callable[[int], None]) -> Run:
    """A run over the shared cache; UserError for a cap in dollars without a price."""
    cache = VerdictCache(Path(service.cache), cell, service.patience.lease_seconds)
    ledger = Ledger(cache.folder / "spending", cache.writer)
    budget = Budget(ledger, service.cap, service.prices)
    budget.check(chat.model)
    return Run(chat, service, cache, budget, on_progress)
