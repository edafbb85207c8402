"""Share finished cells between labs.

Example: python -m scripts.share --config profiles/demo/study.yaml publish
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from langtransfer.errors import UserError
from langtransfer.reporting.publishing import publish_report
from langtransfer.sharing import adopt as offers
from langtransfer.sharing import hub as cards
from langtransfer.sharing import needs
from langtransfer.sharing import release as releases
from langtransfer.sharing.artifacts import artifacts_of
from langtransfer.sharing.publish import publish as publish_cells
from langtransfer.sharing.receive import receive as receive_artifacts
from langtransfer.sharing.store import open_store
from langtransfer.workflow import verbs
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.study import Study, open_study

NEEDED = "needed"


def publish(study: Study, arguments: argparse.Namespace) -> int:
    """Put every finished cell under DVC, commit its manifest, recipe and pointer, push both."""
    again = _cells(study, arguments.again) if arguments.again else ()
    with open_store() as store:
        done = publish_cells(
            study.cells, arguments.config, store, remote=arguments.remote, again=again
        )
    print(done)
    return 0


def receive(study: Study, arguments: argparse.Namespace) -> int:
    """Bring published data, checked against their manifests; all of them, some, or `needed`."""
    verbs.apply_accepted(study.cells)
    named = arguments.cells
    cells = study.cells if not named else _cells(study, named)
    artifacts = list({a.folder: a for a in artifacts_of(cells)}.values())
    with open_store() as store:
        done = receive_artifacts(
            artifacts, store, remote=arguments.remote, contents=named not in (None, "", NEEDED)
        )
    print(*done.problems, done, sep="\n")
    if study.report.finished():
        publish_report(study, Path("results/report"))
    return 2 if done.problems else 0


def needed(study: Study, arguments: argparse.Namespace) -> int:
    """What the next run computes, and which published data it reads that are not here."""
    print(needs.report(study.cells))
    return 0


def status(study: Study, arguments: argparse.Namespace) -> int:
    """How many cells are finished, published, and here."""
    print(needs.status(study.cells))
    return 0


def adopt(study: Study, arguments: argparse.Namespace) -> int:
    """Show another repository's cell; with the digest of its outputs, take it over."""
    cell = verbs.find_one(study, arguments.cell)
    key = arguments.key or cell.key
    if key != cell.key and arguments.outputs and not (arguments.reason or "").strip():
        remedy = f"{cell.path} expects {cell.key}: say why {key} stands for it, REASON=..."
        raise UserError("REASON", arguments.reason or "", remedy)
    with offers.offer(arguments.source, arguments.revision, cell, arguments.key) as found:
        if not arguments.outputs:
            print(offers.describe(found))
            print(f"adopt it: the same command and OUTPUTS={found.digest[:16]}")
            return 0
        with open_store() as store:
            note, folder = offers.adopt(found, arguments.outputs, store, remote=arguments.remote)
    print(f"adopted {folder}; recorded: {note}")
    if key != cell.key:
        print(f"recorded: {verbs.accept(cell, key, arguments.reason)}")
    return 0


def release(study: Study, arguments: argparse.Namespace) -> int:
    """Enter a checkpoint into the model registry, the artifacts of dvc.yaml."""
    cell = verbs.find_one(study, arguments.cell)
    print(releases.release(cell, arguments.name))
    return 0


def hub(study: Study, arguments: argparse.Namespace) -> int:
    """Write a checkpoint and its model card as a hub keeps them."""
    cell, target = verbs.find_one(study, arguments.cell), Path(arguments.to)
    cards.export(
        study,
        cell,
        target,
        name=arguments.name or target.name,
        licence=arguments.licence,
        source=releases.source(),
    )
    print(f"written: {target}")
    return 0


def _cells(study: Study, names: str) -> list[Cell]:
    """Cells by parts of their names, separated by spaces; or those the next run reads."""
    if names == NEEDED:
        return needs.missing(study.cells)
    return [cell for name in names.split() for cell in verbs.find(study, name)]


VERBS = (publish, receive, needed, status, adopt, release, hub)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.share",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    commands = parser.add_subparsers(required=True)
    for verb in VERBS:
        command = commands.add_parser(verb.__name__, help=verb.__doc__)
        command.set_defaults(verb=verb)
        if verb in (publish, receive, adopt):
            command.add_argument("--remote", help="DVC remote; the default one without it")
        if verb is publish:
            command.add_argument("--again", help="cells whose remote objects are brought anew")
        if verb is adopt:
            command.add_argument("source", help="git repository of the other lab")
            command.add_argument("--revision", default="HEAD", help="commit, tag or branch there")
            command.add_argument("--key", help="their key, where it is not the one expected here")
            command.add_argument("--outputs", help="digest of the outputs that you trust")
            command.add_argument("--reason", help="why another key stands for the expected one")
        if verb in (adopt, release, hub):
            command.add_argument("cell", help="a part of its name")
        if verb is release:
            command.add_argument("name", help="its name in the registry")
        if verb is hub:
            command.add_argument("to", help="folder to write")
            command.add_argument("--name", help="of the model; the folder's name without it")
            command.add_argument("--licence", required=True, help="SPDX identifier")
        if verb is receive:
            command.add_argument("--cells", help=f"parts of cell names, or `{NEEDED}`")
    arguments = parser.parse_args(argv)
    try:
        study = open_study(arguments.config)
        study.write_recipes()
        return int(arguments.verb(study, arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
