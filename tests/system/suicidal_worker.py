"""A warm worker whose stages kill themselves at the moment `kill.json` in their folder names.

{"at": "module:attribute", "call": n, "torn": false}: SIGKILL as the n-th call of a function
begins; with torn, once the call has written its file and two thirds of it are on disk.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from langtransfer import warm

ORDER = Path("kill.json")
_run_stage = warm._run_stage


def arm(at: str, call: int, torn: bool) -> None:
    """Put the killer in a function's place."""
    module, _, path = at.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and torn:
            original(*args, **kwargs)
            tear(args)
        if calls == call:
            die()
        return original(*args, **kwargs)

    setattr(owner, name, deadly)


def tear(args: tuple[Any, ...]) -> None:
    """Cut what was written: the file of an object with a path, or the second argument."""
    path = Path(getattr(args[0], "path", None) or args[1])
    os.truncate(path, path.stat().st_size * 2 // 3)


def die() -> NoReturn:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


def run_stage(stage: str, argv: list[str]) -> int:
    """Run a stage, armed where there is an order."""
    if ORDER.exists():
        arm(**json.loads(ORDER.read_text()))
        ORDER.unlink()
    return _run_stage(stage, argv)


def main() -> None:
    """`python -m tests.system.suicidal_worker SOCKET PARENT`: as langtransfer.warm."""
    warm.preload()
    warm._run_stage = run_stage
    warm.Worker(Path(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
