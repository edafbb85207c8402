"""What one run of Snakemake needs around its rules: the plan, the warm worker, the last words."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langtransfer import warm
from langtransfer.disk import full_disk_explained, is_full, no_space
from langtransfer.errors import UserError
from langtransfer.provenance import RESULTS, WORK
from langtransfer.reporting.publishing import publish_report
from langtransfer.workflow.study import Study
from langtransfer.workflow.study import open_study as plan
from langtransfer.workflow.verbs import apply_accepted

LOGS = Path("logs")
_root = Path.cwd()
_started = time.time()
_failed = _succeeded = False
_worker: subprocess.Popen[bytes] | None = None


def open_study(workflow: Any) -> Study:
    """Plan the config given on the command line, or the paper's; one clear line when it is bad."""
    try:
        path = config_file(workflow.config_settings, Path(workflow.basedir))
        with full_disk_explained(Path.cwd()):
            study = plan(path)
            study.write_recipes()
            apply_accepted(study.cells)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    return study


def config_file(given: Any, basedir: Path) -> Path:
    """The one config file of Snakemake's settings; UserError for what would be ignored."""
    if given.config:
        values = " ".join(f"{key}={value}" for key, value in given.config.items())
        remedy = "settings come from the config file alone: write it there, or copy the file"
        raise UserError("--config", values, remedy)
    if len(given.configfiles) > 1:
        names = " ".join(map(str, given.configfiles))
        raise UserError("--configfile", names, "config files are not merged: give one")
    return Path(given.configfiles[0]) if given.configfiles else basedir / "config.yaml"


def start_worker(workflow: Any) -> None:
    """Start a warm worker for local runs; jobs use it once it has finished importing."""
    if not workflow.local_exec or os.environ.get(warm.SOCKET_VARIABLE) == "none":
        return
    address = Path(tempfile.gettempdir()) / f"langtransfer-{os.getpid()}.sock"
    os.environ[warm.SOCKET_VARIABLE] = str(address)
    global _worker
    LOGS.mkdir(exist_ok=True)
    with (LOGS / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "langtransfer.warm", str(address)]
        _worker = subprocess.Popen(
            command,
            env=os.environ | warm.ENVIRONMENT,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )


def remember_failure() -> None:
    """A job failed: `close` will repeat what it said."""
    global _failed
    _failed = True


def remember_success() -> None:
    """All jobs are done: `close` has nothing to explain."""
    global _succeeded
    _succeeded = True


def close(study: Study, workflow: Any) -> None:
    """Runs last: copies the current report out, or says in closing lines what went wrong."""
    if _worker is not None:
        _worker.terminate()
        Path(os.environ[warm.SOCKET_VARIABLE]).unlink(missing_ok=True)
    if workflow.dryrun:
        return
    idle = workflow.dag is not None and not len(workflow.dag)
    with contextlib.chdir(_root):  # Snakemake leaves --directory before it exits
        if not (_succeeded or idle):
            for line in last_words():
                print(line, file=sys.stderr, flush=True)
        elif study.report.finished():
            publish_report(study, Path("results/report"))


def last_words() -> Iterator[str]:
    """Error lines of failed jobs; then that the disk is full, which no log may have had room for.

    Snakemake itself, too, may have stopped on a full disk, with a traceback and no failed job.
    """
    said = list(error_lines(LOGS, _started)) if _failed else []
    yield from said
    full = next((folder for folder in (_root, RESULTS, WORK) if is_full(folder)), None)
    if full is not None and "no space left on device" not in "".join(said[-1:]):
        yield f"error: {no_space(full)}"


def error_lines(logs: Path, since: float) -> Iterator[str]:
    """Closing `error:` lines of the logs written since a time, oldest first, each once."""
    written = [log for log in logs.rglob("*.log") if log.stat().st_mtime >= since]
    seen = set()
    for log in sorted(written, key=lambda log: log.stat().st_mtime):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and lines[-1].startswith("error: ") and lines[-1] not in seen:
            seen.add(lines[-1])
            yield lines[-1]
