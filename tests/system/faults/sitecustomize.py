"""Put on PYTHONPATH by the cluster's tests: every stage shows its job, and one may misbehave.

`fault.json` in the working folder, {"stage", "at": "module:attribute", "call": n, "do"}, is taken
by the first process of the stage; as the n-th call of the function begins it exits with 1, or
pauses until the file `go` appears.
"""

import json
import os
import sys
import time
from pathlib import Path

ORDER = Path("fault.json")
SHOWN = (
    "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "SLURM_JOB_ID",
    "SLURMD_NODENAME", "RANK",
)  # fmt: skip


def show(stage):
    """Leave what a stage sees of its job."""
    Path("seen").mkdir(exist_ok=True)
    seen = {name: os.environ.get(name) for name in SHOWN} | {"stage": stage, "pid": os.getpid()}
    Path("seen", f"{stage}.{os.getpid()}.json").write_text(json.dumps(seen))


def misbehave(do):
    """What the order says."""
    if do == "exit":
        sys.exit(1)
    Path("paused").write_text(str(os.getpid()))
    while not Path("go").exists():
        time.sleep(0.05)


def arm(at, call, do):
    """Put the fault in a function's place."""
    import importlib

    module, _, path = at.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), 0

    def faulty(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call:
            misbehave(do)
        return original(*args, **kwargs)

    setattr(owner, name, faulty)


def main():
    """Only in processes of stages, and in ranks of a training, shown as `launch`."""
    ours = ("scripts.", "langtransfer.launch")
    modules = [word for word in sys.orig_argv[1:4] if word.startswith(ours)]
    if not modules:
        return
    stage = modules[0].rpartition(".")[2]
    show(stage)
    try:
        order = json.loads(ORDER.read_text())
        if order.pop("stage") == stage:
            ORDER.unlink()
            arm(**order)
    except FileNotFoundError:  # none, or another process took it
        pass


main()
