"""The shared cache: one writer a key, whatever dies when."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from langtransfer.errors import UserError
from langtransfer.evaluation import verdict_cache
from langtransfer.evaluation.verdict_cache import VerdictCache

KEYS = [f"{i:02x}{i:062x}" for i in range(200)]


def cache(folder: Path, cell: str = "score/a/k", lease: float = 3600.0) -> VerdictCache:
    return VerdictCache(folder, cell, lease)


def test_absent_claimed_had(tmp_path: Path) -> None:
    one, two = cache(tmp_path), cache(tmp_path, "score/b/k")
    assert one.get(KEYS[0]) is None
    assert one.claim(KEYS[0])
    assert not two.claim(KEYS[0])
    assert two.get(KEYS[0]) is None
    two.release(KEYS[0])  # not its own
    assert not two.claim(KEYS[0])
    one.put(KEYS[0], '{"level": "½"}')
    assert two.get(KEYS[0]) == '{"level": "½"}'
    assert not one.claim(KEYS[0])
    one.release(KEYS[0])  # an answer stays
    assert one.get(KEYS[0]) is not None
    assert one.claim(KEYS[1])
    one.release(KEYS[1])
    assert two.claim(KEYS[1])
    two.put(KEYS[1], "x")
    one.close()
    two.close()
    files = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert files == [f"{KEYS[0]}.json", f"{KEYS[1]}.json"]


def claims_all(folder: Path, name: str, start: Any, results: Any) -> None:
    mine = cache(folder, f"score/{name}/k")
    start.wait()
    won = [key for key in KEYS if mine.claim(key)]
    for key in won:
        mine.put(key, name)
    results.put(won)


def test_each_key_goes_to_exactly_one_of_many_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    processes = [
        context.Process(target=claims_all, args=(tmp_path, str(i), start, results))
        for i in range(6)
    ]
    for process in processes:
        process.start()
    start.set()
    won = Counter(key for _ in processes for key in results.get(timeout=60))
    for process in processes:
        process.join()
    assert won == Counter(KEYS)


LEAVES_A_CLAIM = """
import sys, pathlib
from langtransfer.evaluation.verdict_cache import VerdictCache
cache = VerdictCache(pathlib.Path(sys.argv[1]), sys.argv[2], 3600.0)
for key in sys.argv[4:]:
    assert cache.claim(key, sys.argv[3])
"""


def leave_claims(folder: Path, cell: str, batch: str, *keys: str) -> None:
    """Claims of a process that has ended without giving them up."""
    command = [sys.executable, "-c", LEAVES_A_CLAIM, str(folder), cell, batch, *keys]
    root = str(Path(__file__).resolve().parents[3])
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": root})


def test_claims_of_the_dead_are_taken_over(tmp_path: Path) -> None:
    leave_claims(tmp_path, "score/b/k", "", KEYS[0])
    leave_claims(tmp_path, "score/b/k", "batch", KEYS[1])
    mine = cache(tmp_path)
    assert mine.claim(KEYS[0])
    mine.record_batch("batch", {"id": "x", "keys": [KEYS[1]]})
    assert not mine.claim(KEYS[1])  # the batch goes on without its sender
    mine.forget_batch("batch")
    assert mine.claim(KEYS[1])


def test_another_machine_is_believed_for_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(verdict_cache.time, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(verdict_cache, "_machine", lambda: "elsewhere")
        theirs = cache(tmp_path, "score/b/k")
        assert theirs.claim(KEYS[0])
        assert cache(tmp_path, "score/c/k").claim(KEYS[1])
    mine = cache(tmp_path, lease=60.0)
    assert not mine.claim(KEYS[0])
    now[0] += 59
    assert not mine.claim(KEYS[0])
    now[0] += 2
    assert mine.claim(KEYS[0])
    theirs.release(KEYS[0])  # late; the claim is no longer theirs
    assert not theirs.claim(KEYS[0])
    assert cache(tmp_path, "score/c/k").claim(KEYS[1])  # a later run of the same cell: at once


def test_each_claim_of_another_machine_is_watched_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(verdict_cache.time, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(verdict_cache, "_machine", lambda: "elsewhere")
        busy = cache(tmp_path, "score/b/k")
        assert busy.claim(KEYS[0])
        mine = cache(tmp_path, lease=60.0)
        patch.undo()
        assert not mine.claim(KEYS[0])
        now[0] += 50
        patch.setattr(verdict_cache, "_machine", lambda: "elsewhere")
        assert busy.claim(KEYS[1])  # the same writer, alive, goes on
    now[0] += 11
    assert mine.claim(KEYS[0])
    assert not mine.claim(KEYS[1])  # this one was made 11 seconds ago, and is first seen now
    now[0] += 59
    assert not mine.claim(KEYS[1])
    now[0] += 2
    assert mine.claim(KEYS[1])


HOLDS_A_CLAIM = """
import sys, pathlib
from langtransfer.evaluation.verdict_cache import VerdictCache
assert VerdictCache(pathlib.Path(sys.argv[1]), "score/a/k", 3600.0).claim(sys.argv[2])
print("claimed", flush=True)
sys.stdin.read()
"""


def test_the_same_cell_of_another_store_is_not_robbed_while_it_lives(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS_A_CLAIM, str(tmp_path), KEYS[0]]
    root = str(Path(__file__).resolve().parents[3])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": root},
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        mine = cache(tmp_path)  # the same recipe, in a second results folder
        assert not mine.claim(KEYS[0])
        other.communicate()
    assert mine.claim(KEYS[0])
    # A process runs a cell once at a time: what an earlier run of it left is this one's.
    assert cache(tmp_path).claim(KEYS[0])


def test_an_eviction_never_removes_what_came_meanwhile(tmp_path: Path) -> None:
    leave_claims(tmp_path, "score/b/k", "", *KEYS[:3])
    mine, other = cache(tmp_path), cache(tmp_path, "score/c/k")
    seen = json.loads(mine.path(KEYS[0]).read_text())
    assert other.claim(KEYS[0])
    mine._evict(mine.path(KEYS[0]), seen)
    assert not mine.claim(KEYS[0])
    other.put(KEYS[1], "had")
    mine._evict(mine.path(KEYS[1]), seen)
    assert mine.get(KEYS[1]) == "had"
    mine.path(KEYS[2]).unlink()
    mine._evict(mine.path(KEYS[2]), seen)
    assert mine.claim(KEYS[2])


def test_what_is_not_ours_is_named(tmp_path: Path) -> None:
    mine = cache(tmp_path)
    mine.path(KEYS[0]).parent.mkdir(parents=True)
    mine.path(KEYS[0]).write_text("")
    with pytest.raises(UserError, match=r"runtime\.judge_cache: .*json': not JSON .*delete it"):
        mine.get(KEYS[0])
