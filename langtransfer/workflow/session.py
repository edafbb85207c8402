"""What one run of Snakemake needs around its rules: the plan, the warm worker, the last words."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langtransfer import warm
from langtransfer.errors import UserError
from langtransfer.reporting.publishing import publish_report
from langtransfer.workflow.study import Study
from langtransfer.workflow.study import open_study as plan
from langtransfer.workflow.verbs import apply_accepted

LOGS = Path("logs")
_root = Path.cwd()
_started = time.time()
_failed = False
_worker: subprocess.Popen[bytes] | None = None


def open_study(configfiles: Sequence[Path | str], basedir: str) -> Study:
    """Plan the config given on the command line, or the paper's; one clear line when it is bad."""
    path = Path(configfiles[-1]) if configfiles else Path(basedir) / "config.yaml"
    try:
        study = plan(path)
        study.write_recipes()
        apply_accepted(study.cells)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    return study


def start_worker(workflow: Any) -> None:
    """Start a warm worker for local runs; jobs use it once it has finished importing."""
    if not workflow.local_exec or os.environ.get(warm.SOCKET_VARIABLE) == "none":
        return
    address = Path(tempfile.gettempdir()) / f"langtransfer-{os.getpid()}.sock"
    os.environ[warm.SOCKET_VARIABLE] = str(address)
    # Threads start on first use and do not survive a fork: none may start while importing.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    global _worker
    LOGS.mkdir(exist_ok=True)
    with (LOGS / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "langtransfer.warm", str(address)]
        _worker = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )


def remember_failure() -> None:
    """A job failed: `close` will repeat what it said."""
    global _failed
    _failed = True


def close(study: Study, workflow: Any) -> None:
    """Runs last: copies the current report out, or repeats the error lines of failed jobs."""
    if _worker is not None:
        _worker.terminate()
    if workflow.dryrun:
        return
    with contextlib.chdir(_root):  # Snakemake leaves --directory before it exits
        if _failed:
            for line in error_lines(LOGS, _started):
                print(line, file=sys.stderr, flush=True)
        elif study.report.finished():
            publish_report(study, Path("results/report"))


def error_lines(logs: Path, since: float) -> Iterator[str]:
    """Closing `error:` lines of the logs written since a time, oldest first, each once."""
    written = [log for log in logs.rglob("*.log") if log.stat().st_mtime >= since]
    seen = set()
    for log in sorted(written, key=lambda log: log.stat().st_mtime):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and lines[-1].startswith("error: ") and lines[-1] not in seen:
            seen.add(lines[-1])
            yield lines[-1]
