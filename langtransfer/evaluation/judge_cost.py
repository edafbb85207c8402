"""What a chat model costs: estimated before, counted after, held below a cap.

Everything ever spent through a cache stands in `<cache>/spending/`, so that a cap holds over all
cells and runs that share it, and a cell resumed after a kill knows what it took before: one file a
run, one line an answer, and one file a batch, each under the name of the cell that asked. A run's
file has one writer; readers ignore a line a kill has torn.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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


Kind = tuple[str, bool]
"""A model, and whether it was asked through the batch API."""
Spent = Mapping[Kind, Tokens]


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


class Entry(NamedTuple):
    """What is counted apart in the ledger."""

    cell: str
    model: str
    batch: bool
    counted: str
    """One of COUNTED."""


COUNTED = ("requests", "prompt_tokens", "completion_tokens")


@dataclass
class Ledger:
    """Spending of every run that shares a cache, as requests and tokens by cell and model."""

    folder: Path
    writer: str
    """Name of this run's file; no other run has it."""
    cell: str
    """`<cell>/<key>` of this run."""
    _read: dict[str, int] = field(default_factory=dict)
    _others: Counter[Entry] = field(default_factory=Counter)
    _own: Counter[Entry] = field(default_factory=Counter)
    _batches: Counter[Entry] = field(default_factory=Counter)
    _refreshed: float = -math.inf

    def record(self, model: str, tokens: Tokens) -> None:
        """Note one answer of this run, good or malformed."""
        path = self.folder / f"{self.writer}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        row = spending_row(self.cell, model, 1, tokens, batch=False)
        with path.open("a", encoding="utf-8") as handle:  # a power cut may lose some: no fsync
            handle.write(json.dumps(row) + "\n")
        self._own.update(_parts(row))

    def enter_batch(self, token: str, cell: str, model: str, requests: int, tokens: Tokens) -> None:
        """Note a batch a cell sent: its estimate when sent, what it took when had by anybody."""
        row = json.dumps(spending_row(cell, model, requests, tokens, batch=True))
        write_atomically(self._batch(token), f"{row}\n")
        self._refreshed = -math.inf

    def drop_batch(self, token: str) -> None:
        """Take back what was noted of a batch that did not come about."""
        self._batch(token).unlink(missing_ok=True)

    def spent(self) -> dict[Kind, Tokens]:
        """Tokens of all runs; others' at most a second old."""
        return _by_kind(self._total())

    def spent_here(self) -> tuple[int, dict[Kind, Tokens]]:
        """Answers received, and their tokens, by this run's cell, earlier runs of it included."""
        own = Counter({e: n for e, n in self._total().items() if e.cell == self.cell})
        return sum(n for e, n in own.items() if e.counted == "requests"), _by_kind(own)

    def _total(self) -> Counter[Entry]:
        if time.monotonic() - self._refreshed >= REFRESH_SECONDS:
            self._refresh()
        return self._own + self._others + self._batches

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


def spending_row(
    cell: str, model: str, requests: int, tokens: Tokens, *, batch: bool
) -> dict[str, Any]:
    """A line of the ledger."""
    return {
        "cell": cell,
        "model": model,
        "requests": requests,
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "batch": batch,
    }


def _parts(row: Mapping[str, Any]) -> Counter[Entry]:
    """A line of the ledger as counts; the first caches named no cell and counted no requests."""
    row = {"cell": "", "requests": 1, **row}
    where = (str(row["cell"]), str(row["model"]), bool(row["batch"]))
    return Counter({Entry(*where, name): int(row[name]) for name in COUNTED})


def _by_kind(counts: Counter[Entry]) -> dict[Kind, Tokens]:
    """Tokens by model and batch."""
    found: dict[Kind, Tokens] = defaultdict(Tokens)
    for entry, number in counts.items():
        if entry.counted == "prompt_tokens":
            found[entry.model, entry.batch] += Tokens(number, 0)
        elif entry.counted == "completion_tokens":
            found[entry.model, entry.batch] += Tokens(0, number)
    return dict(found)


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
        return price_of(spent, self.prices) or 0.0

    def _price(self, model: str, tokens: Tokens, batch: bool) -> float:
        return dollars(tokens, self.prices[model], batch=batch)


def _reached(name: str, cap: float, total: str) -> UserError:
    remedy = f"{total} are spent and the next answer would pass it; answers so far are kept: raise"
    return UserError(f"runtime.{name}", cap, f"{remedy} it and run again")


def price_of(spent: Spent, prices: Mapping[str, Prices]) -> float | None:
    """Dollars; None where a model has no price."""
    if any(model not in prices for model, _ in spent):
        return None
    return sum(dollars(tokens, prices[m], batch=batch) for (m, batch), tokens in spent.items())


def in_words(spent: Spent, prices: Mapping[str, Prices]) -> str:
    """`190,000 prompt and 20,000 completion tokens, $6.90`, or that no price is known."""
    tokens, price = total_of(spent.values()), price_of(spent, prices)
    amount = f"{tokens.prompt:,} prompt and {tokens.completion:,} completion tokens"
    if price is None:
        unpriced = ", ".join(sorted({model for model, _ in spent} - prices.keys()))
        return f"{amount} (no price of {unpriced} in runtime.judge_prices)"
    return f"{amount}, ${price:,.4f}"


def total_of(many: Iterable[Tokens]) -> Tokens:
    """Sum of tokens."""
    return sum(many, Tokens())
