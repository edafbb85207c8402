"""Run the study under a Snakemake profile and show how far it is.

Example: python -m scripts.watch --profile profiles/demo
On a terminal: a live view. Elsewhere: a line when something finished, at most every ten seconds and
at least every minute.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from langtransfer.disk import is_full, no_space
from langtransfer.errors import UserError
from langtransfer.workflow.study import open_study
from langtransfer.workflow.watching import Running, Watcher, clock

LOG = Path("logs/snakemake.log")


def config_of(profile: Path) -> Path:
    """Config file a profile names, or the paper's."""
    content = yaml.safe_load((profile / "config.yaml").read_text(encoding="utf-8"))
    named = content.get("configfile", "config.yaml")
    return Path(named[0] if isinstance(named, list) else named)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns Snakemake's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.watch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("snakemake", nargs="*", help="further arguments of snakemake, after --")
    arguments = parser.parse_args(argv)
    try:
        study = open_study(config_of(arguments.profile))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    watcher = Watcher(study.cells, os.cpu_count() or 1)
    console = Console()
    console.print(f"{watcher.total} cells in the study, {watcher.to_run} to compute")
    started = time.monotonic()
    command = ["snakemake", "--profile", str(arguments.profile), *arguments.snakemake]
    code = _run([str(Path(sys.executable).parent / command[0]), *command[1:]], watcher, console)
    if code:
        # A wrapped line would leave only its end as the last one shown.
        console.print(_tail(LOG), highlight=False, markup=False, soft_wrap=True)
        if is_full(Path.cwd()):  # then the log may lack Snakemake's last words
            print(f"error: {no_space(Path.cwd())}", file=sys.stderr)
        return code
    if not watcher.to_run:
        console.print(f"Nothing to do: all {watcher.total} cells are finished.")
    else:
        console.print(f"{watcher.finished} cells computed in {clock(time.monotonic() - started)}")
    console.print("Report: results/report/index.html")
    return 0


def _run(command: list[str], watcher: Watcher, console: Console) -> int:
    """Run Snakemake, showing progress until it ends."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log, _view(watcher, console) as show:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        # Asked to stop, stop Snakemake as Ctrl-C would: it ends its jobs and lets go of its lock.
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
        try:
            while process.poll() is None:
                show(watcher.look())
                time.sleep(0.5)
        except KeyboardInterrupt:
            process.wait()  # the terminal sent Snakemake the signal too
    watcher.look()
    return process.returncode


@contextmanager
def _view(watcher: Watcher, console: Console) -> Any:
    """A function that shows what is running, live or as occasional lines."""
    if not console.is_terminal:
        yield _lines(watcher, console)
        return
    columns = (
        TextColumn("cells"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    bar = Progress(*columns, console=console)
    task = bar.add_task("cells", total=watcher.to_run, left="")
    with Live(bar, console=console, refresh_per_second=4) as live:

        def show(running: list[Running]) -> None:
            left = f"{clock(watcher.seconds_left(running))} left"
            bar.update(task, completed=watcher.finished, left=left)
            live.update(Group(bar, *(Text(f"  {line}") for line in running)))

        yield show


def _lines(watcher: Watcher, console: Console) -> Callable[[list[Running]], None]:
    last = {"time": 0.0, "finished": -1.0}

    def show(running: list[Running]) -> None:
        now = time.monotonic()
        if not watcher.to_run:
            return
        quiet = now - last["time"]
        if quiet < 10 or (quiet < 60 and watcher.finished == last["finished"]):
            return
        last.update(time=now, finished=watcher.finished)
        left = clock(watcher.seconds_left(running))
        doing = "; ".join(str(line) for line in running[:2])
        console.print(
            f"[{watcher.finished}/{watcher.to_run}] {left} left  {doing}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    return show


def _tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


if __name__ == "__main__":
    sys.exit(main())
