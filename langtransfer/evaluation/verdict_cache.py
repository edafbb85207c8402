"""Everything ever paid a chat model for, by content: one file a key, shared by cells and runs.

`<folder>/<first two digits>/<key>.json` is absent, a *claim* (somebody is asking) or an *answer*;
the key is a hash of all that decides the answer. A claim comes into being by a hard link, which
exactly one of several writers gets, on NFS too, and the answer takes its place by a rename. Nothing
is locked while a request is on its way: who finds a claim does something else and looks again.

A claim outlives its process when that is killed. It is then taken over: at once by a later run of
the same cell (of which there is one at a time) and by a process of the same machine that sees the
claimant gone; by others after they have watched it for longer than any request lasts. A claim of a
batch stands as long as the batch is recorded (`<folder>/batches/<token>.json`): it goes on without
us, and whoever needs its answers collects them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langtransfer.errors import UserError
from langtransfer.job import atomic_path, write_atomically

Value = dict[str, Any]


@dataclass
class VerdictCache:
    """One run's view of the shared folder."""

    folder: Path
    cell: str
    """`<cell>/<key>` of the run: claims an earlier run of it left are its own."""
    lease_seconds: float
    """Longest time a claim of an unseen machine is believed."""
    writer: str = field(default_factory=lambda: uuid.uuid4().hex)
    _watched: dict[tuple[str, str], float] = field(default_factory=dict)

    def get(self, key: str) -> str | None:
        """The answer under a key as the model wrote it, None where there is none yet."""
        return (self._read(self.path(key)) or {}).get("answer")

    def claim(self, key: str, batch: str = "") -> bool:
        """Make the key this run's to ask for; False where there is an answer, or a live claim."""
        path, mine = self.path(key), self._claim_file(batch)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with contextlib.suppress(FileExistsError):
                os.link(mine, path)
                return True
            content = self._read(path)
            if content is None:  # it has just been released
                continue
            if "claim" not in content or not self._is_abandoned(content["claim"], key):
                return False
            self._evict(path, content)

    def put(self, key: str, answer: str) -> None:
        """Keep an answer; on disk before it returns."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(
                json.dumps({"answer": answer}, ensure_ascii=False) + "\n",
                encoding="utf-8",
                newline="\n",
            )

    def release(self, key: str, batch: str = "") -> None:
        """Give up this run's claim, or a batch's; an answer and others' claims stay."""
        path = self.path(key)
        claim = (self._read(path) or {}).get("claim")
        if claim and (claim["writer"] == self.writer or (batch and claim["batch"] == batch)):
            path.unlink(missing_ok=True)

    # -- batches --------------------------------------------------------------------------------

    def batches(self) -> dict[str, Value]:
        """Recorded batches by token."""
        found = {}
        for path in sorted((self.folder / "batches").glob("*.json")):
            content = self._read(path)
            if content is not None:
                found[path.stem] = content
        return found

    def record_batch(self, token: str, record: Value) -> None:
        """Write or replace the record of a batch; on disk before it returns."""
        mine = {"claimant": self._claimant(token)} | record
        write_atomically(self.batch_path(token), json.dumps(mine, sort_keys=True) + "\n")

    def batch_path(self, token: str) -> Path:
        """File that records a batch."""
        return self.folder / "batches" / f"{token}.json"

    def forget_batch(self, token: str) -> None:
        """Remove the record of a batch: claims it had are free."""
        self.batch_path(token).unlink(missing_ok=True)

    def is_gone(self, claimant: Value, what: str) -> bool:
        """Whether who wrote a claim or a record is known, or must be taken, to have ended.

        what names the claim or record: each is watched for itself, since a busy writer makes new
        ones all the time.
        """
        if claimant["writer"] == self.writer:
            return False
        own_cell = bool(claimant["cell"] == self.cell)
        if claimant["machine"] == _machine():
            # Another live process may run the same cell of another study; this one runs it once.
            gone = bool(_started(claimant["process"]) != claimant["started"])
            return gone or (own_cell and claimant["process"] == os.getpid())
        if own_cell:
            return True
        first_seen = self._watched.setdefault((what, claimant["writer"]), time.monotonic())
        return time.monotonic() - first_seen > self.lease_seconds

    def path(self, key: str) -> Path:
        """File of a key."""
        return self.folder / key[:2] / f"{key}.json"

    def close(self) -> None:
        """Tidy up when nothing is claimed any more."""
        for path in (self.folder / "claims").glob(f"{self.writer}*.json"):
            path.unlink()

    # -- plumbing -------------------------------------------------------------------------------

    def _claim_file(self, batch: str) -> Path:
        """File with this run's claim; each key it claims is a link to it."""
        path = self.folder / "claims" / f"{self.writer}{batch}.json"
        if not path.exists():
            write_atomically(path, json.dumps({"claim": self._claimant(batch)}))
        return path

    def _claimant(self, batch: str) -> Value:
        process = os.getpid()
        return {
            "writer": self.writer,
            "cell": self.cell,
            "machine": _machine(),
            "process": process,
            "started": _started(process),
            "batch": batch,
        }

    def _is_abandoned(self, claim: Value, key: str) -> bool:
        recorded = claim["batch"] and self.batch_path(claim["batch"]).exists()
        return not recorded and self.is_gone(claim, key)

    def _evict(self, path: Path, seen: Value) -> None:
        """Remove the abandoned claim that was seen, and nothing that has come in its place."""
        aside = path.with_name(f".{path.stem}.{self.writer}.old")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return
        if self._read(aside) != seen:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()

    def _read(self, path: Path) -> Value | None:
        """Content of a file, None where there is none; UserError for what is not ours."""
        try:
            content: Value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            remedy = f"not JSON ({error}): delete it"
            raise UserError("runtime.judge_cache", str(path), remedy) from None
        return content


def _machine() -> str:
    """This machine, and the process numbers it uses: a container counts its own."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:  # no such file where the kernel hides it
        numbers = ""
    return f"{socket.gethostname()} {numbers}"


def _started(process: int) -> str | None:
    """When a process began, in clock ticks since the machine's start; None where it is gone."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # from the third on; a name may hold spaces
    return None if fields[0] in "ZX" else fields[19]
