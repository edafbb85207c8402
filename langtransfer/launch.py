"""Launching a training stage on several processes: torchrun on a node, srun + torchrun on several.

The process a rule starts owns the cell: it alone holds the lock, makes the out folder, hashes,
renames and writes the manifest. Where training is to run on several processes it starts them with
`launch_line`, as ranks that train and do nothing else, and waits:

    owner (scripts.pretrain) -> [srun ->] torchrun -> ranks (langtransfer.launch)

Owner and ranks meet in `work/<cell>/<key>/ranks/`: `job.json` says what to run, `result.json` holds
what rank 0 returned, `error-<rank>.json` why a rank gave up. The first error ends all ranks and
comes out of the owner as if it had happened there: one line, exit code 2 for bad input. A signal to
the owner is handed to every rank. When the owner dies, so do its ranks, however it dies.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langtransfer import errors
from langtransfer.errors import UserError
from langtransfer.job import Job, write_atomically

if TYPE_CHECKING:
    from langtransfer.config import RuntimeConfig
    from langtransfer.execution import Stage

TRAINING = frozenset({"train_base", "pretrain", "finetune"})
"""Stages that can run on several processes."""
HANDED_ON = (signal.SIGTERM, signal.SIGUSR1)
POLL_SECONDS = 0.2
SECONDS_TO_SAVE = 240
"""After SIGTERM, which SLURM sends torchrun as well: ranks write a checkpoint meanwhile."""
SECONDS_TO_END = 30.0
"""Between asking ranks on other nodes to end and ending srun itself."""


@dataclass(frozen=True)
class Placement:
    """Where ranks run."""

    nodes: int
    processes: int
    """On each node."""


def spread(stage: str, run: Stage, runtime: RuntimeConfig) -> Stage:
    """The stage as it is, or on the processes that hardware and `runtime` call for.

    Raises UserError for more processes than GPUs.
    """
    place = placement(stage, runtime, os.environ)
    if place is None:
        return run
    return lambda job: run_ranks(job, place)


def placement(
    stage: str, runtime: RuntimeConfig, environment: Mapping[str, str]
) -> Placement | None:
    """Nodes and processes a stage runs on; None for this very process.

    One process a visible GPU, or `runtime.processes` of them, on every node of the allocation.
    """
    if stage not in TRAINING:
        return None
    nodes = allocated_nodes(environment)
    gpus = 0 if runtime.device == "cpu" else visible_gpus()
    processes = runtime.processes or max(gpus, 1)
    if gpus and processes > gpus:
        remedy = f"{gpus} GPUs are visible on a node: ask for as many or leave it out"
        raise UserError("runtime.processes", processes, remedy)
    # One process that sees several GPUs would be given DataParallel by the Trainer.
    alone = nodes * processes == 1 and gpus <= 1
    return None if alone else Placement(nodes, processes)


def visible_gpus() -> int:
    """GPUs this process may use, without starting CUDA in it."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def allocated_nodes(environment: Mapping[str, str]) -> int:
    """Nodes of the SLURM job this process is in; 1 outside of one.

    Snakemake's executor hides all but the job's number from jobs that start srun themselves.
    """
    told = environment.get("SLURM_JOB_NUM_NODES") or environment.get("SLURM_NNODES")
    job = environment.get("SLURM_JOB_ID")
    if told is not None:
        return int(told)
    if job is None or shutil.which("squeue") is None:
        return 1
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%D"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return int(answer.stdout.strip() or "1")


def launch_line(place: Placement, request: Path, host: str, port: int, run_id: str) -> list[str]:
    """The command that starts all ranks; see the module's text.

    host is a node of the allocation, best this one, and port is free on it: ranks of several nodes
    meet there. run_id tells this run's meeting from others on the same port.
    """
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--max-restarts=0",
        f"--shutdown-timeout={SECONDS_TO_SAVE}",
    ]  # fmt: skip
    ranks = [f"--nproc-per-node={place.processes}", "-m", "langtransfer.launch", str(request)]
    if place.nodes == 1:
        return [*torchrun, "--standalone", "--local-addr=127.0.0.1", *ranks]
    # One torchrun a node. The step shares all the job has with whatever else runs in it, and the
    # processes share a node's cores: srun would bind each torchrun to one.
    srun = [
        "srun", f"--nodes={place.nodes}", f"--ntasks={place.nodes}", "--ntasks-per-node=1",
        "--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1",
    ]  # fmt: skip
    meeting = [
        f"--nnodes={place.nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={host}:{port}",
        f"--rdzv-id={run_id}",
    ]  # fmt: skip
    return [*srun, *torchrun, *meeting, *ranks]


def run_ranks(job: Job, place: Placement) -> dict[str, Any]:
    """Run a job's stage on ranks; what rank 0 returned.

    Raises what a rank raised, where it is one of this project's errors, RuntimeError otherwise.
    """
    folder = job.work / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_atomically(folder / "job.json", json.dumps(_as_json(job)))
    line = launch_line(
        place, folder / "job.json", socket.gethostname(), free_port(),
        os.environ.get("SLURM_JOB_ID", job.key),
    )  # fmt: skip
    threads = max(int(os.environ.get("OMP_NUM_THREADS", "1")) // place.processes, 1)
    here = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
    # srun is asked to end: it ends what runs on the other nodes first.
    last_word = signal.SIGKILL if place.nodes == 1 else signal.SIGTERM
    child = subprocess.Popen(
        line, env=environment, stdin=subprocess.DEVNULL,
        preexec_fn=partial(_die_with, os.getpid(), last_word),
    )  # fmt: skip
    with _noting_signals() as told:
        try:
            _wait(child, folder, told)
        finally:
            _end(child, last_word)
    return _outcome(child.returncode, folder)


def take_part(request: Path) -> None:
    """Be one rank of a launched job; leaves the process."""
    _die_with(os.getppid(), signal.SIGKILL)
    folder, rank = request.parent, os.environ["RANK"]
    threading.Thread(target=_take_signals, args=(folder,), daemon=True).start()
    try:
        wanted = json.loads(request.read_text(encoding="utf-8"))
        job = _from_json(wanted)
        result = importlib.import_module(f"scripts.{job.stage}").run(job)
        if rank == "0":
            write_atomically(folder / "result.json", json.dumps(result))
    except BaseException as error:  # the process boundary: the owner says it
        if not isinstance(error, UserError | errors.Interrupted | SystemExit):
            traceback.print_exc()
        write_atomically(folder / f"error-{rank}.json", json.dumps(_describe(error)))
        _flush()
        time.sleep(2 * SECONDS_TO_END)  # the owner ends all ranks at once, without torchrun's words
        os._exit(1)
    _flush()
    # Everything is written; destructors of communication threads sometimes abort at exit.
    os._exit(0)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _wait(child: subprocess.Popen[bytes], folder: Path, told: Sequence[int]) -> None:
    """Return when the ranks have ended or one of them has given up.

    A signal to this process, told by number, is written down for every rank, on any node.
    """
    handed_on = False
    while child.poll() is None and not any(folder.glob("error-*.json")):
        if told and not handed_on:
            write_atomically(folder / "signal", str(told[0]))
            handed_on = True
        time.sleep(POLL_SECONDS)


def _end(child: subprocess.Popen[bytes], last_word: signal.Signals) -> None:
    if child.poll() is None:
        child.send_signal(last_word)
    try:
        child.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _outcome(code: int, folder: Path) -> dict[str, Any]:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("error-*.json")]
    if found:
        # A rank that loses its peers fails too, later: bad input says more than that.
        first = min(found, key=lambda error: (error["kind"] != "UserError", error["time"]))
        if first["kind"] == "SystemExit":
            raise SystemExit(*first["args"])
        known = getattr(errors, first["kind"], None)
        raise known(*first["args"]) if known is not None else RuntimeError(first["text"])
    if code and (folder / "signal").is_file():
        raise SystemExit(128 + int((folder / "signal").read_text(encoding="utf-8")))
    if code or not (folder / "result.json").is_file():
        raise RuntimeError(f"training processes ended with {code} and no word: out of memory?")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


def _describe(error: BaseException) -> dict[str, Any]:
    arguments = [a if isinstance(a, str | int | float | None) else str(a) for a in error.args]
    kind = type(error).__name__
    return {"kind": kind, "args": arguments, "text": f"{kind}: {error}", "time": time.time()}


def _as_json(job: Job) -> dict[str, Any]:
    return {
        "stage": job.stage, "cell": job.cell, "key": job.key, "settings": job.settings,
        "parents": {role: str(folder) for role, folder in job.parents.items()},
        "out": str(job.out), "work": str(job.work), "runtime": job.runtime.model_dump(mode="json"),
    }  # fmt: skip


def _from_json(said: Mapping[str, Any]) -> Job:
    from langtransfer.config import RuntimeConfig

    folders = {role: Path(folder) for role, folder in said["parents"].items()}
    return Job(
        said["stage"], said["cell"], said["key"], said["settings"], folders, Path(said["out"]),
        Path(said["work"]), RuntimeConfig.model_validate(said["runtime"]),
    )  # fmt: skip


@contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """While this lasts signals to the owner are noted; a handler may interrupt itself."""
    told: list[int] = []
    before = {n: signal.signal(n, lambda number, frame: told.append(number)) for n in HANDED_ON}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_signals(folder: Path) -> None:
    """Watch for a signal to the owner and give it to this process."""
    while not (folder / "signal").exists():
        time.sleep(1.0)
    os.kill(os.getpid(), int((folder / "signal").read_text(encoding="utf-8")))


def _die_with(parent: int, number: signal.Signals) -> None:
    """Ask the kernel for this signal when the parent process ends (PR_SET_PDEATHSIG = 1)."""
    if _prctl is not None:
        _prctl(1, number)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it

if __name__ == "__main__":
    take_part(Path(sys.argv[1]))
