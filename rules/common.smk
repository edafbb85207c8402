# Takes: the config file. Makes: recipes, and what every rule shares.
# Only the main process reads the config; jobs find everything through the key in their own path,
# so a compute node, a group job or a second terminal never plans again.

import atexit
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"]]
)
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")])
)

# glibc gives big blocks back to the kernel and faults them in again, step after step: a tuning run
# with large logits took 34 s instead of 12 s, with the same bytes. Compiled modules are kept.
os.environ |= {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from langtransfer.workflow.needs import Needs

# A cluster's profile names the table of what each rule asks for; elsewhere rules ask for nothing.
needs = Needs.of_profile(
    workflow.config_settings.config, workflow.basedir, main=workflow.is_main_process
)

STUDY = None
if workflow.is_main_process:
    from langtransfer.workflow import session

    # `configfile:` would merge the paper's config into the one given: mappings add up.
    STUDY = session.open_study(
        workflow.overwrite_configfiles,
        workflow.basedir,
        workflow.config_settings.config,
    )
    os.environ["LANGTRANSFER_RUNTIME"] = STUDY.config.runtime.model_dump_json()
    atexit.register(session.close, STUDY, workflow)


def targets(*stages):
    """Manifests of all cells of some stages; nothing in a job's own process."""
    return [] if STUDY is None else STUDY.manifests(*stages)


def adopted(path, key):
    """Whether a cell's result, or the one accepted for it, is another lab's."""
    accepted = Path(f"accepted/{path}/{key}.json")
    if accepted.exists():
        key = json.loads(accepted.read_text(encoding="utf-8"))["accepted"]
    return os.path.exists(f"adopted/{path}/{key}.json")


def cell(path):
    """Inputs of a cell: its recipe, the manifests of its parents that the recipe names, gates."""

    def inputs(wildcards):
        recipe = f"recipes/{path}/{{key}}.json".format(**wildcards)
        folders = json.loads(Path(recipe).read_text(encoding="utf-8"))[
            "parents"
        ].values()
        own = f"results/{path}/{{key}}/manifest.json".format(**wildcards)
        if adopted(path.format(**wildcards), wildcards.key) and os.path.exists(own):
            # Another lab made it: what it was made from need not be here.
            folders = [f for f in folders if os.path.exists(f"{f}/manifest.json")]
        manifests = [ancient(f"{folder}/manifest.json") for folder in folders]
        gates = [] if STUDY is None else [ancient(gate) for gate in STUDY.gates(own)]
        return {"recipe": ancient(recipe), "parents": manifests, "gates": gates}

    return inputs


def stage(name):
    """The command line of a stage; the log holds everything it prints.

    It takes its shell's place: a signal to the job reaches the stage, not a shell that dies of it.
    """
    return (
        f"exec python -m scripts.{name} --recipe {{input.recipe:q}} --threads {{threads}}"
        ' --runtime "$LANGTRANSFER_RUNTIME" > {log:q} 2>&1'
    )


onstart:
    session.remember_start()
    session.start_worker(workflow)


onsuccess:
    session.remember_success()


onerror:
    session.remember_failure()
