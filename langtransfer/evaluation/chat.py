"""Structured answers of a chat model for many requests: from the cache, or asked for and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from langtransfer.evaluation.chat_batches import Batches
from langtransfer.evaluation.chat_client import Chat, Request, Service, unique
from langtransfer.evaluation.chat_online import ask_online
from langtransfer.evaluation.chat_run import Run, begin
from langtransfer.evaluation.judge_cost import in_words, total_of


def ask_all(
    requests: Sequence[Request],
    chat: Chat,
    service: Service,
    cell: str,
    on_progress: Callable[[int], None],
) -> tuple[list[Any], dict[str, int | float]]:
    """What was read out of each answer, in the order of the requests, and what the cell spent.

    Answers in the cache are not asked for again, equal requests are asked once, and what another
    cell is asking for is waited for. The estimate is printed before anything is asked. Raises
    UserError when the endpoint refuses or stays silent, or the budget is spent; answers had by then
    are in the cache, and what they cost is printed all the same.
    """
    wanted = unique(requests)
    run = begin(chat, service, cell, on_progress)
    missing = run.look(wanted.values())
    expected = total_of(request.estimate for request in missing)
    had = len(wanted) - len(missing)
    amount = in_words({(chat.model, service.batch): expected}, service.prices)
    print(
        f"{chat.model}: {len(wanted)} answers wanted, {had} of them in {service.cache}, "
        f"{len(missing)} to ask for: about {amount}",
        flush=True,
    )
    try:
        _ask_for(run, missing)
    finally:  # what was paid for is told whatever happened
        run.cache.close()
        print(f"{chat.model}: {run.spent_in_words()}", flush=True)
    facts = run.spent() | {"from_cache": had, "estimated_tokens": expected.total}
    return [run.answers[request.key] for request in requests], facts


def _ask_for(run: Run, missing: Sequence[Request]) -> None:
    """Ask, and wait for what others ask, until nothing is missing."""
    batches = Batches(run)
    while missing:
        before, refusal = len(run.answers), None
        if run.service.batch:
            refusal = batches.send(missing)
        else:
            ask_online(run, missing)
        missing = run.look(missing)
        batches.collect(missing)
        missing = run.look(missing)
        if missing and len(run.answers) == before:
            if refusal is not None:
                raise refusal
            time.sleep(run.service.patience.poll_seconds)  # another cell is asking for the rest
