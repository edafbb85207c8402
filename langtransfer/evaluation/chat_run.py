"""State of one run that asks a chat model: what is had, what it cost, what may still be spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.evaluation.chat_client import Chat, MalformedError, Request, Service
from langtransfer.evaluation.judge_cost import (
    Budget,
    Ledger,
    Spent,
    Tokens,
    in_words,
    price_of,
    total_of,
)
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

    def take(self, request: Request, content: str) -> None:
        """Count an answer that is in the cache."""
        self.answers[request.key] = self._read(request, content)
        self.on_progress(len(self.answers))

    def spent(self) -> dict[str, int | float]:
        """Facts for the manifest: what the cell has taken, runs that were cut short included."""
        requests, spent = self._spent()
        tokens, price = total_of(spent.values()), price_of(spent, self.service.prices)
        facts: dict[str, int | float] = {
            "requests": requests,
            "prompt_tokens": tokens.prompt,
            "completion_tokens": tokens.completion,
            "tokens": tokens.total,
        }
        return facts | ({} if price is None else {"cost": round(price, 6)})

    def spent_in_words(self) -> str:
        """The same for a reader."""
        requests, spent = self._spent()
        amount = in_words(spent, self.service.prices)
        return f"{requests} answers received for this cell, in earlier runs too: {amount}"

    def _spent(self) -> tuple[int, Spent]:
        """Of the ledger; the model is there even where it was not asked."""
        requests, spent = self.budget.ledger.spent_here()
        return requests, {(self.chat.model, self.service.batch): Tokens()} | spent

    def _read(self, request: Request, content: str) -> Any:
        try:
            return request.form.read(content)
        except MalformedError as error:
            path = self.cache.path(request.key)
            raise UserError("runtime.judge_cache", str(path), f"{error}: delete it") from error


def begin(chat: Chat, service: Service, cell: str, on_progress: Callable[[int], None]) -> Run:
    """A run over the shared cache; UserError for a cap in dollars without a price."""
    cache = VerdictCache(Path(service.cache), cell, service.patience.lease_seconds)
    ledger = Ledger(cache.folder / "spending", cache.writer, cell)
    budget = Budget(ledger, service.cap, service.prices)
    budget.check(chat.model)
    return Run(chat, service, cache, budget, on_progress)
