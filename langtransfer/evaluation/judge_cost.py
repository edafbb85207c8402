"""What a chat model costs: estimated before, counted after, held below a cap.

Everything ever spent through a cache stands in `<cache>/spending/`, so that a cap holds over all
cells and runs that share it: one file a run, one line an answer, and one file a batch. A run's file
has one writer; readers ignore a line a kill has torn.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langtransfer.config.evaluation import Prices
from langtransfer.errors import UserError
from langtransfer.job import write_atomically

ASCII_PER_TOKEN = 4  # upstream: OpenAI's rule of thumb for English text
OVERHEAD_TOKENS = 10  # our choice: what a chat message and its answer are wrapped in
REFRESH_SECONDS = 1.0  # our choice: how old others' spending may be when a request is let through


@dataclass(frozen=True)
class Tokens:
    """Tokens of one or many exchanges."""

    prompt: int = 0
    completion: int = 0

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return self.prompt + self.completion

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)


def estimate_tokens(text: str) -> int:
    """Tokens of a text by a rule: four ASCII characters a token, any other character one.

    The rule needs no vocabulary of the model and errs upwards for Chinese; scripts that a model's
    vocabulary hardly knows can take twice as many.
    """
    ascii_characters = sum(character < "\x80" for character in text)
    return math.ceil(ascii_characters / ASCII_PER_TOKEN) + len(text) - ascii_characters


def dollars(tokens: Tokens, prices: Prices, *, batch: bool) -> float:
    """Price of some tokens."""
    price = (tokens.prompt * prices.prompt + tokens.completion * prices.completion) / 1e6
    return price * prices.batch if batch else price


@dataclass(frozen=True)
class Cap:
    """What may be spent at most; None is no limit."""

    dollars: float | None = None
    tokens: int | None = None


@dataclass
class Ledger:
    """Spending of every run that shares a cache, as tokens by (model, batch)."""

    folder: Path
    writer: str
    """Name of this run's file; no other run has it."""
    _read: dict[str, int] = field(default_factory=dict)
    _others: Counter[tuple[str, bool, str]] = field(default_factory=Counter)
    _own: Counter[tuple[str, bool, str]] = field(default_factory=Counter)
    _batches: Counter[tuple[str, bool, str]] = field(default_factory=Counter)
    _refreshed: float = -math.inf

    def record(self, model: str, tokens: Tokens, *, batch: bool = False) -> None:
        """Note one answer of this run, good or malformed."""
        path = self.folder / f"{self.writer}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        row = spending_row(model, tokens, batch=batch)
        with path.open("a", encoding="utf-8") as handle:  # a power cut may lose some: no fsync
            handle.write(json.dumps(row) + "\n")
        self._own.update(_parts(row))

    def enter_batch(self, token: str, model: str, tokens: Tokens) -> None:
        """Note a batch: its estimate when sent, what it took when had, whoever has it."""
        row = json.dumps(spending_row(model, tokens, batch=True))
        write_atomically(self._batch(token), f"{row}\n")
        self._refreshed = -math.inf

    def drop_batch(self, token: str) -> None:
        """Take back what was noted of a batch that did not come about."""
        self._batch(token).unlink(missing_ok=True)

    def spent(self) -> dict[tuple[str, bool], Tokens]:
        """Tokens by model and whether in batches, of all runs; others' at most a second old."""
        if time.monotonic() - self._refreshed >= REFRESH_SECONDS:
            self._refresh()
        total = self._own + self._others + self._batches
        kinds = sorted({(model, batch) for model, batch, _ in total})
        return {
            (model, batch): Tokens(
                total[model, batch, "prompt_tokens"], total[model, batch, "completion_tokens"]
            )
            for model, batch in kinds
        }

    def _refresh(self) -> None:
        self._refreshed = time.monotonic()
        for path in sorted(self.folder.glob("*.jsonl")):
            if path.stem != self.writer:
                self._read_on(path)
        self._batches = Counter()
        for path in sorted((self.folder / "batches").glob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # dropped meanwhile
                self._batches.update(_parts(json.loads(path.read_text(encoding="utf-8"))))

    def _batch(self, token: str) -> Path:
        return self.folder / "batches" / f"{token}.json"

    def _read_on(self, path: Path) -> None:
        """Take in the whole lines after what was read before."""
        with path.open("rb") as handle:
            handle.seek(self._read.get(path.name, 0))
            new = handle.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read[path.name] = self._read.get(path.name, 0) + len(whole)
        for line in whole.splitlines():
            self._others.update(_parts(json.loads(line)))


def spending_row(model: str, tokens: Tokens, *, batch: bool) -> dict[str, Any]:
    """A line of the ledger."""
    return {
        "model": model,
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "batch": batch,
    }


def _parts(row: Mapping[str, Any]) -> Counter[tuple[str, bool, str]]:
    """A line of the ledger as counts."""
    where = (str(row["model"]), bool(row["batch"]))
    names = ("prompt_tokens", "completion_tokens")
    return Counter({(*where, name): int(row[name]) for name in names})


@dataclass
class Budget:
    """Lets requests through while everything spent, and in flight here, stays below the cap.

    What other processes have in flight is not seen: with several cells at once the cap can be
    passed by that much.
    """

    ledger: Ledger
    cap: Cap
    prices: Mapping[str, Prices]
    in_flight: Tokens = field(default_factory=Tokens)

    def check(self, model: str) -> None:
        """UserError where the cap is in dollars and the model has no price."""
        if self.cap.dollars is not None and model not in self.prices:
            remedy = f"runtime.judge_prices has no {model}: add it, or use judge_budget_tokens"
            raise UserError("runtime.judge_budget_dollars", self.cap.dollars, remedy)

    def refusal(self, model: str, tokens: Tokens, *, batch: bool) -> UserError | None:
        """Why a request of so many estimated tokens may not be sent; None where it may."""
        if self.cap.tokens is not None:
            total = self.ledger_tokens() + self.in_flight.total
            if total + tokens.total > self.cap.tokens:
                return _reached("judge_budget_tokens", self.cap.tokens, f"{total:,} tokens")
        if self.cap.dollars is not None:
            self.check(model)
            total_dollars = self.ledger_dollars() + self._price(model, self.in_flight, batch)
            if total_dollars + self._price(model, tokens, batch) > self.cap.dollars:
                return _reached("judge_budget_dollars", self.cap.dollars, f"${total_dollars:,.4f}")
        return None

    def ledger_tokens(self) -> int:
        """Tokens of everything recorded."""
        return sum(tokens.total for tokens in self.ledger.spent().values())

    def ledger_dollars(self) -> float:
        """Price of everything recorded; UserError where a model has none."""
        spent = self.ledger.spent()
        for model, _ in spent:
            self.check(model)
        return sum(self._price(model, tokens, batch) for (model, batch), tokens in spent.items())

    def _price(self, model: str, tokens: Tokens, batch: bool) -> float:
        return dollars(tokens, self.prices[model], batch=batch)


def _reached(name: str, cap: float, total: str) -> UserError:
    remedy = f"{total} are spent and the next answer would pass it; answers so far are kept: raise"
    return UserError(f"runtime.{name}", cap, f"{remedy} it and run again")


def in_words(model: str, tokens: Tokens, prices: Mapping[str, Prices], *, batch: bool) -> str:
    """`190,000 prompt and 20,000 completion tokens, $6.90`, or that no price is known."""
    amount = f"{tokens.prompt:,} prompt and {tokens.completion:,} completion tokens"
    if model not in prices:
        return f"{amount} (no price of {model} in runtime.judge_prices)"
    return f"{amount}, ${dollars(tokens, prices[model], batch=batch):,.4f}"


def total_of(many: Iterable[Tokens]) -> Tokens:
    """Sum of tokens."""
    return sum(many, Tokens())
