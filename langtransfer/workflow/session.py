"""What one run of Snakemake needs around its rules: the plan, the warm worker, the last words."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langtransfer import warm
from langtransfer.costs.plan import check_cap, make_plan, named_hardware
from langtransfer.disk import full_disk_explained, is_full, no_space
from langtransfer.errors import UserError
from langtransfer.provenance import RESULTS, WORK
from langtransfer.reporting.publishing import publish_report
from langtransfer.workflow import needs, recovery
from langtransfer.workflow.history import remember
from langtransfer.workflow.study import Study
from langtransfer.workflow.study import open_study as plan
from langtransfer.workflow.verbs import apply_accepted

LOGS = Path("logs")
CAP = "max_gpu_hours"  # the one setting `--config` may give: it decides whether, never what
_root = Path.cwd()
_started = time.time()
_running = _failed = _noted = False
_worker: subprocess.Popen[bytes] | None = None
_planned: tuple[Path, Path] | None = None  # config file, and the report it leads to


def open_study(
    configfiles: Sequence[Path | str], basedir: str, overrides: Mapping[str, object] | None = None
) -> Study:
    """Plan the config given on the command line, or the paper's; one clear line when it is bad.

    overrides are what `--config` gave: a cap, or refused, for nothing but the config file is read.
    """
    global _planned
    given = dict(overrides or {})
    try:
        cap = given.pop(CAP, None)
        path = config_file(configfiles, Path(basedir), given)
        check_disk()
        with full_disk_explained(Path.cwd()):
            study = plan(path)
            check_hours(study, cap)
            study.write_recipes()
            apply_accepted(study.cells)
            _planned = path, study.report.folder
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    return study


def config_file(
    configfiles: Sequence[Path | str], basedir: Path, overrides: Mapping[str, object]
) -> Path:
    """The one config file to read; UserError for what would be ignored.

    A profile's table of what a cluster is asked for is no setting of the study.
    """
    if refused := {key: value for key, value in overrides.items() if key != needs.KEY}:
        values = " ".join(f"{key}={value}" for key, value in refused.items())
        raise UserError("--config", values, "only the config file is read: write the setting there")
    if len(configfiles) > 1:
        names = " ".join(map(str, configfiles))
        raise UserError("--configfile", names, "config files are not merged: give one")
    return Path(configfiles[0]) if configfiles else basedir / "config.yaml"


def check_hours(study: Study, given: object = None) -> None:
    """UserError where what is to run is planned to take more hours than the cap.

    given is the cap of the command line, in place of the config's.
    """
    runtime = study.config.runtime
    cap, field = runtime.max_gpu_hours, f"runtime.{CAP}"
    if given is not None:
        field = f"--config {CAP}"
        if isinstance(given, bool) or not isinstance(given, int | float) or given <= 0:
            raise UserError(field, given, "give a number of hours above 0")
        cap = float(given)
    if cap is not None:
        check_cap(make_plan(study.cells, runtime, named_hardware(runtime)), cap, field)


def check_disk() -> None:
    """UserError when a disk the run writes to has no room."""
    for folder in (_root, RESULTS, WORK):
        if is_full(folder):
            raise no_space(folder)


def start_worker(workflow: Any) -> None:
    """Start a warm worker for local runs; jobs use it once it has finished importing."""
    if not workflow.local_exec or os.environ.get(warm.SOCKET_VARIABLE) == "none":
        return
    # A folder only this user can enter: requests carry the environment's API keys.
    address = Path(tempfile.mkdtemp(prefix="langtransfer-")) / "worker.sock"
    os.environ[warm.SOCKET_VARIABLE] = str(address)
    global _worker
    LOGS.mkdir(exist_ok=True)
    with (LOGS / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "langtransfer.warm", str(address), str(os.getpid())]
        _worker = subprocess.Popen(
            command,
            env=os.environ | warm.ENVIRONMENT,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )


def remember_start() -> None:
    """Jobs begin: until success or failure is told, `close` finds a run that was cut short.

    What they make is `gc`'s to keep from now on.
    """
    global _running, _noted
    _running = _noted = True
    recovery.note_run(_root)
    if _planned is not None:
        remember(*_planned)


def remember_success() -> None:
    """All jobs are done."""
    global _running
    _running = False


def remember_failure() -> None:
    """A job failed: `close` will repeat what it said."""
    global _failed
    _failed = True


def close(study: Study, workflow: Any) -> None:
    """Runs last: copies the current report out, or says in closing lines what went wrong."""
    if _worker is not None:
        _worker.terminate()
        Path(os.environ[warm.SOCKET_VARIABLE]).unlink(missing_ok=True)
    if workflow.dryrun:
        return
    with contextlib.chdir(_root):  # Snakemake leaves --directory before it exits
        if _noted:
            recovery.forget_run(_root)
        if _failed or _running:
            for line in last_words():
                print(line, file=sys.stderr, flush=True)
        elif study.report.finished():
            publish_report(study, Path("results/report"), costs_of(study))


def costs_of(study: Study) -> dict[str, str]:
    """Pages of planned and actual cost; nothing, and a line why, where no plan can be made."""
    # Templates take a quarter of a second that a run without a report does not need.
    from langtransfer.costs.actual import actuals, costs_csv, costs_page

    runtime = study.config.runtime
    try:
        costs = make_plan(study.cells, runtime, named_hardware(runtime))
    except UserError as error:
        print(f"no costs.html: {error}", file=sys.stderr, flush=True)
        return {}
    found = actuals(costs)
    page = costs_page(costs, found, study.config.reporting.title)
    return {"costs.csv": costs_csv(costs, found), "costs.html": page}


def last_words() -> Iterator[str]:
    """Error lines of failed jobs; then that a disk is full, where no log had room to say so.

    Snakemake itself, too, may have stopped on a full disk, with a traceback and no failed job.
    """
    said = list(error_lines(LOGS, _started)) if _failed else []
    yield from said
    try:
        check_disk()
    except UserError as error:
        if error.remedy not in "".join(said[-1:]):
            yield f"error: {error}"


def error_lines(logs: Path, since: float) -> Iterator[str]:
    """Closing `error:` lines of the logs written since a time, oldest first, each once."""
    written = [log for log in logs.rglob("*.log") if log.stat().st_mtime >= since]
    seen = set()
    for log in sorted(written, key=lambda log: log.stat().st_mtime):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and lines[-1].startswith("error: ") and lines[-1] not in seen:
            seen.add(lines[-1])
            yield lines[-1]
