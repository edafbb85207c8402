"""Ask about cells, and act on them.

Example: python -m scripts.cells --config profiles/demo/study.yaml why finetune/base
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from langtransfer.errors import UserError
from langtransfer.workflow import comparing, history, verbs
from langtransfer.workflow.study import Study, open_study

KEPT_CONFIGS = ("config.yaml", "profiles/*/study.yaml")


def where(study: Study, arguments: argparse.Namespace) -> int:
    """Folder of every cell whose name holds the argument."""
    for cell in verbs.find(study, arguments.cell):
        print(f"{'finished' if cell.finished() else 'absent  '} {cell.folder}")
    return 0


def why(study: Study, arguments: argparse.Namespace) -> int:
    """The leaf that differs from the nearest finished key."""
    for cell in verbs.find(study, arguments.cell):
        leaves = verbs.why(cell)
        if cell.finished():
            print(f"{cell.path}: finished with key {cell.key}")
        elif leaves is None:
            print(f"{cell.path}: was never computed")
        else:
            print(f"{cell.path}: not finished with key {cell.key}, because of")
            print("\n".join(f"  {leaf}" for leaf in leaves))
    return 0


def plan(study: Study, arguments: argparse.Namespace) -> int:
    """Key and recipe of every cell, as JSON."""
    cells = {cell.path: {"key": cell.key, "recipe": cell.recipe} for cell in study.cells}
    print(json.dumps(cells, sort_keys=True, ensure_ascii=False))
    return 0


def diff(study: Study, arguments: argparse.Namespace) -> int:
    """Two revisions, or config files, side by side."""
    sides = [
        comparing.side_of(open_study(Path(side)))
        if Path(side).is_file()
        else comparing.side_of_revision(side, arguments.config)
        for side in (arguments.a, arguments.b)
    ]
    print("\n".join(comparing.compare(*sides)))
    return 0


def redo(study: Study, arguments: argparse.Namespace) -> int:
    """Set a finished cell aside and compute it again."""
    cell = verbs.find_one(study, arguments.cell)
    aside = verbs.set_aside(cell)
    print(f"set aside: {aside}")
    command = ["snakemake", "--profile", "profiles/local", "--configfile", str(arguments.config)]
    code = subprocess.run([*command, "--", str(cell.manifest)], check=False).returncode
    if code == 0:
        for line in verbs.verify([c.folder for c in study.cells if c.finished()]):
            print(line)
    return code


def gc(study: Study, arguments: argparse.Namespace) -> int:
    """List, or remove, results that no config, run, tag or published pointer names."""
    keep = {cell.folder.as_posix() for cell in study.cells} | _tagged()
    for pattern in KEPT_CONFIGS:
        for path in sorted(Path().glob(pattern)):
            keep |= {cell.folder.as_posix() for cell in open_study(path).cells}
    for run in history.remembered():
        keep |= _named_by_run(run)
    for folder in verbs.garbage(keep):
        print(f"{'removed' if arguments.yes else 'would remove'} {folder}")
        if arguments.yes:
            verbs.remove(folder)
    return 0


def _named_by_run(run: history.Run) -> set[str]:
    """Result folders of a config that was run; of its last run where it cannot be planned now."""
    try:
        return {cell.folder.as_posix() for cell in open_study(Path(run.config)).cells}
    except UserError as error:
        print(f"kept as last run: {error}; to forget it, remove its file in {history.RUNS}")
        return history.named_by(run.report)


def _tagged() -> set[str]:
    """Result folders that a git tag holds a manifest of."""
    tags = subprocess.run(
        ["git", "tag"], capture_output=True, text=True, check=False
    ).stdout.split()
    kept: set[str] = set()
    for tag in tags:
        command = ["git", "ls-tree", "-r", "--name-only", tag, "results/"]
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        kept |= {str(Path(n).parent) for n in names.splitlines() if n.endswith("/manifest.json")}
    return kept


def verify(study: Study, arguments: argparse.Namespace) -> int:
    """Hash everything again; 2 when something differs."""
    folders = verbs.finished_folders()
    problems = list(verbs.verify(folders))
    print("\n".join([*problems, f"{len(folders)} finished cells, {len(problems)} problems"]))
    return 2 if problems else 0


def accept(study: Study, arguments: argparse.Namespace) -> int:
    """Let an older key's result stand for the expected one."""
    cell = verbs.find_one(study, arguments.cell)
    print(f"recorded: {verbs.accept(cell, arguments.key, arguments.reason)}")
    return 0


VERBS = {
    where: ("cell",),
    why: ("cell",),
    plan: (),
    diff: ("a", "b"),
    redo: ("cell",),
    gc: (),
    verify: (),
    accept: ("cell", "key", "reason"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.cells",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    commands = parser.add_subparsers(required=True)
    for verb, names in VERBS.items():
        command = commands.add_parser(verb.__name__, help=verb.__doc__)
        for name in names:
            command.add_argument(name)
        if verb is gc:
            command.add_argument("--yes", action="store_true", help="remove, not only list")
        command.set_defaults(verb=verb)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.verb(open_study(arguments.config), arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
