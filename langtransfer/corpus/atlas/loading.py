"""Loads the template file of a language and holds it against the code and the reference file."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from langtransfer.corpus.atlas.draw import Draw, vocabulary
from langtransfer.corpus.atlas.exams import KNOWLEDGE
from langtransfer.corpus.atlas.facts import world_refs
from langtransfer.corpus.atlas.speaker import Names
from langtransfer.corpus.atlas.stories import KINDS
from langtransfer.corpus.atlas.tasks import TASKS
from langtransfer.corpus.atlas.templates import (
    Templates,
    check_against,
    check_slots,
    read_templates,
)
from langtransfer.errors import UserError

REFERENCE = "en.yaml"


def load_templates(path: Path) -> Templates:
    """The templates of one language.

    The file must know every document kind, task and fact of the code, use no slot that they do
    not have, and agree in keys, variants and slots with `en.yaml` beside it, if there is one.
    Raises UserError naming the file and the key.
    """
    templates = read_templates(path)
    for section, found, wanted in _sections(templates):
        _check_names(path, section, found, wanted)
    _check_frames(path, templates)
    _check_locales(path, templates)
    reference = path.with_name(REFERENCE)
    if path.name != REFERENCE and reference.exists():
        check_against(path, templates, read_templates(reference))
    return templates


def _sections(ours: Templates) -> Iterator[tuple[str, Iterable[str], Iterable[str]]]:
    yield "documents", ours.documents, KINDS
    yield "tasks", ours.tasks, TASKS
    yield "knowledge", ours.knowledge, KNOWLEDGE
    for category, tasks in TASKS.items():
        yield f"tasks.{category}", ours.tasks.get(category, {}), tasks


def _check_names(path: Path, section: str, found: Iterable[str], wanted: Iterable[str]) -> None:
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or unknown:
        problem = "add it" if missing else "the code knows no such name: remove it"
        raise UserError(f"{path}: {section}", (missing or unknown)[0], problem)


def _check_frames(path: Path, templates: Templates) -> None:
    for kind, sentences in templates.documents.items():
        if "opening" not in sentences or len(sentences) < 3:
            remedy = "a kind of document needs an opening and two more sentences"
            raise UserError(f"{path}: documents.{kind}", sorted(sentences), remedy)
    known = dict(_known_slots(templates))
    for key, frame in templates.frames():
        name = ".".join(key.split(".")[: 3 if key.startswith("tasks.") else 2])
        check_slots(path, key, frame, known[name], exact=False)


def _check_locales(path: Path, templates: Templates) -> None:
    """CLDR must name the whole world: `world` vouches for the languages of the study only."""
    for field in ("locale", "translate_from"):
        names = Names(getattr(templates, field))
        for ref in world_refs():
            said_otherwise = field == "locale" and ref.key in templates.names.get(ref.kind, {})
            if not said_otherwise and not names.knows(ref):
                raise UserError(f"{path}: {field}", str(ref), "CLDR has no name: add it to names")


def _known_slots(templates: Templates) -> Iterator[tuple[str, frozenset[str]]]:
    """Slots that the code fills, by section: one draw shows them, as they do not vary."""
    words = vocabulary(templates)

    def fresh() -> Draw:
        return Draw(random.Random("slots"), words)

    for kind, (_, about) in KINDS.items():
        about(draw := fresh())
        yield f"documents.{kind}", frozenset(draw.slots)
    for category, tasks in TASKS.items():
        for name, spec in tasks.items():
            spec.draw(draw := fresh())
            yield f"tasks.{category}.{name}", frozenset(draw.slots)
    for kind, (_, ask) in KNOWLEDGE.items():
        ask(draw := fresh())
        yield f"knowledge.{kind}", frozenset(draw.slots)
