"""Damaged and hostile input: one clear line, soon, and nothing written outside the folder.

A minute in `make test-system`, ten in `make test-long`.
"""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from langtransfer.errors import UserError
from tests.fuzzing import Read, damaged, targets

TARGETS = ("documents", "parquet", "instructions", "jsonl", "archives", "config", "registry",
           "checkpoints")  # fmt: skip
HANGS_AFTER_SECONDS = 20
EXAMPLES = 200
"""A round; rounds follow one another until the time is over."""


class Hang(BaseException):
    """Not an Exception, so that nothing that is read by catches it."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise Hang


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(60, marks=pytest.mark.system), pytest.param(600, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("ignore")  # torch and zipfile say what they think of such files
def test_nothing_but_one_line(tmp_path: Path, target: str, seconds: int) -> None:
    kinds = targets()[target]
    chosen = st.sampled_from(kinds).flatmap(
        lambda kind: st.tuples(st.just(kind[0]), damaged(kind[1]), st.just(kind[2]))
    )
    end = time.monotonic() + seconds / len(TARGETS)
    number = rounds = 0

    def check(example: tuple[str, bytes, Read]) -> None:
        nonlocal number
        number += 1
        read_safely(tmp_path / f"{number}", *example)

    signal.signal(signal.SIGALRM, _stop)
    while time.monotonic() < end:
        rounds += 1
        run: Any = seed(rounds)(
            settings(
                max_examples=EXAMPLES, deadline=None, database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink], print_blob=True,
            )(given(chosen)(check))
        )  # fmt: skip
        run()
    print(f"{target}: {number} inputs")
    assert number >= EXAMPLES


def read_safely(folder: Path, name: str, data: bytes, read: Read) -> None:
    """Read a file as the stages do and look at what came of it."""
    out = folder / "cell" / "out"
    out.mkdir(parents=True)
    path = folder / "cell" / name
    path.write_bytes(data)
    signal.alarm(HANGS_AFTER_SECONDS)
    said = "-"
    try:
        read(path, out)
    except UserError as error:
        said = str(error)
    finally:
        signal.alarm(0)
    assert said
    assert "\n" not in said
    outside = [
        p for p in folder.rglob("*") if p not in (out.parent, out, path) and out not in p.parents
    ]
    assert outside == [], "something was written outside the folder"
    assert path.read_bytes() == data
    assert not any(p.is_symlink() for p in out.rglob("*"))
    shutil.rmtree(folder)
