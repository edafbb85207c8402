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
from langtransfer.sharing import needs
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


def _cells(study: Study, names: str) -> list[Cell]:
    """Cells by parts of their names, separated by spaces; or those the next run reads."""
    if names == NEEDED:
        return needs.missing(study.cells)
    return [cell for name in names.split() for cell in verbs.find(study, name)]


VERBS = (publish, receive, needed, status)


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
        if verb in (publish, receive):
            command.add_argument("--remote", help="DVC remote; the default one without it")
        if verb is publish:
            command.add_argument("--again", help="cells whose remote objects are brought anew")
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
