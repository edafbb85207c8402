"""Asking a chat model through the endpoint's batch API: cheaper, and up to a day later.

A batch is recorded beside the cache before it is sent and until its answers are had, so that it is
paid once, whatever happens to the run that sent it: a later run of the cell, or any other run in
need of one of its answers, finds the record, waits and collects.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import openai
from openai.types import Batch
from openai.types.chat import ChatCompletion

from langtransfer.errors import UserError
from langtransfer.evaluation.chat_client import (
    TRANSIENT,
    Chat,
    MalformedError,
    Request,
    content_of,
    given_up,
    options,
    plain,
    refused,
    unique,
    usage_of,
)
from langtransfer.evaluation.chat_run import Run
from langtransfer.evaluation.judge_cost import Tokens, total_of

URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"
LARGEST_BATCH = 50_000  # upstream: OpenAI's limits of a batch, requests and bytes
LARGEST_FILE = 190_000_000
ENDED = ("completed", "failed", "expired", "cancelled")
LABEL = "langtransfer"  # name of the metadata field that holds our token


class Batches:
    """The batches that a run sends or waits for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._attempts: Counter[str] = Counter()
        self._failures: dict[str, Exception] = {}
        self._collected: set[str] = set()
        self._client: openai.OpenAI | None = None

    @property
    def client(self) -> openai.OpenAI:
        """The client, made when first needed."""
        if self._client is None:
            self._client = openai.OpenAI(**options(self.run.chat, self.run.service.patience))
        return self._client

    # -- collecting -----------------------------------------------------------------------------

    def collect(self, requests: Sequence[Request]) -> None:
        """Wait for every recorded batch that holds one of these, and keep what it brings.

        Raises UserError for a batch of another endpoint, a failed one, and a request to which no
        batch brought a good answer.
        """
        by_key = unique(requests)
        for token, record in self.run.cache.batches().items():
            wanted = {key: by_key[key] for key in record["keys"] if key in by_key}
            if wanted and token not in self._collected:
                batch = self._find(token, record)
                if batch is not None:
                    self._collected.add(token)
                    self._collect(token, record, self._wait(batch, token), wanted)

    def _find(self, token: str, record: Mapping[str, Any]) -> Batch | None:
        """The batch of a record; None where its sender is still at it, or it never went out."""
        path = str(self.run.cache.batch_path(token))
        chat = self.run.chat
        if record["endpoint"] != _fingerprint(chat):
            remedy = f"a batch was sent to another one: set it back, or give it up: delete {path}"
            raise UserError(chat.endpoint_field, chat.endpoint, remedy)
        if record["id"]:
            try:
                return self._retrieve(record["id"])
            except openai.NotFoundError as error:
                remedy = f"the endpoint knows no batch {record['id']} any more: delete this file"
                raise UserError("runtime.judge_cache", path, remedy) from error
        if not self.run.cache.is_gone(record["claimant"], token):
            return None
        batch = self._sent(token)
        if batch is None:
            self._forget(token, record["keys"])
        return batch

    def _sent(self, token: str) -> Batch | None:
        """The batch that carries a token, if the endpoint has one."""
        with self._explained():
            batches = list(self.client.batches.list(limit=100))
        return next((b for b in batches if (b.metadata or {}).get(LABEL) == token), None)

    def _wait(self, batch: Batch, token: str) -> Batch:
        while batch.status not in ENDED:
            counts = batch.request_counts
            done = f", {counts.completed} of {counts.total} answered" if counts else ""
            print(f"batch {batch.id}: {batch.status}{done}", flush=True)
            time.sleep(self.run.service.patience.batch_poll_seconds)
            batch = self._retrieve(batch.id)
        if batch.status == "failed":
            self._forget(token, ())
            errors = (batch.errors.data if batch.errors else None) or []
            why = "; ".join(str(error.message) for error in errors) or "no reason is given"
            remedy = f"batch {batch.id} failed ({plain(Exception(why))}): correct the setting"
            raise UserError(self.run.chat.field, self.run.chat.model, remedy)
        return batch

    def _retrieve(self, name: str) -> Batch:
        with self._explained(openai.NotFoundError):
            return self.client.batches.retrieve(name)

    def _collect(
        self, token: str, record: Mapping[str, Any], batch: Batch, wanted: Mapping[str, Request]
    ) -> None:
        lines = list(self._lines(batch))
        used = [
            usage_of(completion, wanted.get(line["custom_id"]))
            for line in lines
            if (completion := _completion(line)) is not None
        ]
        self.run.budget.ledger.enter_batch(
            token, record["claimant"]["cell"], record["model"], len(used), total_of(used)
        )
        for line in lines:
            if line["custom_id"] in wanted:
                self._take(wanted[line["custom_id"]], line)
        missing = [request.key for request in self.run.look(wanted.values())]
        for key in missing:
            self.run.cache.release(key, token)
        done = (key in wanted or self.run.cache.get(key) is not None for key in record["keys"])
        if all(done):
            self.run.cache.forget_batch(token)
        self._attempts.update(missing)
        for key in missing:
            if self._attempts[key] >= self.run.service.patience.rounds:
                failure = self._failures.get(key, MalformedError(f"the batch {batch.status}"))
                raise given_up(failure, self.run.chat, self._attempts[key])

    def _take(self, request: Request, line: Mapping[str, Any]) -> None:
        """Keep one line's answer, or remember why it is none."""
        if self.run.cache.get(request.key) is not None:
            return  # another run collected it
        try:
            self.run.cache.put(request.key, content_of(_completion(line), request))
        except MalformedError as error:
            self._failures[request.key] = error

    def _lines(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """Lines of the output and the error file."""
        for name in filter(None, (batch.output_file_id, batch.error_file_id)):
            with self._explained():
                text = self.client.files.content(name).text
            # Not splitlines(): U+2028 and its like stand unescaped inside JSON texts.
            yield from (json.loads(line) for line in text.split("\n") if line.strip())

    # -- sending --------------------------------------------------------------------------------

    def send(self, requests: Iterable[Request]) -> UserError | None:
        """Send what nobody else asks for, and the budget allows, as one batch.

        Returns why not all of it was sent, if the budget is the reason. Raises UserError when the
        endpoint takes no batches.
        """
        token = uuid.uuid4().hex
        chosen, refusal = self._choose(requests, token)
        if not chosen:
            return refusal
        print(f"batch: {len(chosen)} requests", flush=True)
        keys = [request.key for request in chosen]
        record = {
            "id": "",
            "endpoint": _fingerprint(self.run.chat),
            "keys": keys,
            "model": self.run.chat.model,
        }
        try:
            file = self._upload(chosen)
        except UserError:
            self._forget(token, keys)
            raise
        self.run.cache.record_batch(token, record)
        estimate = total_of(request.estimate for request in chosen)
        self.run.budget.ledger.enter_batch(
            token, self.run.cache.cell, self.run.chat.model, len(chosen), estimate
        )
        batch = self._create(token, file, keys)
        self.run.cache.record_batch(token, record | {"id": batch.id})
        return refusal

    def _choose(
        self, requests: Iterable[Request], token: str
    ) -> tuple[list[Request], UserError | None]:
        """Requests claimed for a batch, and why no more of them."""
        chosen: list[Request] = []
        size, estimate = 0, Tokens()
        for request in requests:
            size += len(_line(self.run.chat, request))
            if len(chosen) == LARGEST_BATCH or size > LARGEST_FILE:
                break
            refusal = self.run.refusal(estimate + request.estimate)
            if refusal is not None:
                return chosen, refusal
            if self.run.cache.claim(request.key, token):
                chosen.append(request)
                estimate += request.estimate
        return chosen, None

    def _upload(self, requests: Sequence[Request]) -> str:
        """Name of the uploaded input file."""
        body = b"".join(_line(self.run.chat, request) for request in requests)
        with self._explained():
            upload = self.client.files.create(file=("requests.jsonl", body), purpose="batch")
        return upload.id

    def _create(self, token: str, file: str, keys: Sequence[str]) -> Batch:
        """Start the batch; a failure that leaves open whether it began is followed by a look."""
        once = self.client.with_options(max_retries=0)
        patience = self.run.service.patience
        failure: Exception | None = None
        for attempt in range(patience.rounds):
            try:
                batch = once.batches.create(
                    input_file_id=file,
                    endpoint=URL,
                    completion_window="24h",
                    metadata={LABEL: token},
                )
                if batch.id:
                    return batch
                failure = MalformedError("a batch without an id")
            except TRANSIENT as error:
                failure = error
                time.sleep(patience.pause_seconds * 2**attempt)
                if (begun := self._sent(token)) is not None:
                    return begun
            except openai.APIStatusError as error:
                self._forget(token, keys)
                raise self._refused(error) from error
        assert failure is not None
        raise given_up(failure, self.run.chat, patience.rounds) from failure

    def _forget(self, token: str, keys: Iterable[str]) -> None:
        """A batch that did not come about: its record, its claims and its estimated cost."""
        self.run.cache.forget_batch(token)
        self.run.budget.ledger.drop_batch(token)
        for key in keys:
            self.run.cache.release(key, token)

    @contextlib.contextmanager
    def _explained(self, *passed: type[openai.APIStatusError]) -> Iterator[None]:
        """The client's errors, once it has given up, as one line; `passed` go through."""
        try:
            yield
        except TRANSIENT as error:
            raise given_up(error, self.run.chat, self.run.service.patience.rounds) from error
        except openai.APIStatusError as error:
            if isinstance(error, passed):
                raise
            raise self._refused(error) from error

    def _refused(self, error: openai.APIStatusError) -> UserError:
        if error.status_code in (404, 405, 501):
            said = f"takes no batches (HTTP {error.status_code})"
            remedy = f"{self.run.chat.endpoint} {said}: set it to online"
            return UserError("runtime.judge_mode", "batch", remedy)
        return refused(error, self.run.chat)


def _line(chat: Chat, request: Request) -> bytes:
    """One line of a batch's input file."""
    row = {"custom_id": request.key, "method": "POST", "url": URL, "body": chat.body(request)}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _completion(line: Mapping[str, Any]) -> ChatCompletion | None:
    """The chat completion of an output line; None where the request failed."""
    response = line.get("response") or {}
    if response.get("status_code") != 200 or not isinstance(response.get("body"), dict):
        return None
    return ChatCompletion.construct(**response["body"])


def _fingerprint(chat: Chat) -> str:
    """The endpoint, told apart from others without being named."""
    return hashlib.sha256(chat.endpoint.encode()).hexdigest()[:16]
