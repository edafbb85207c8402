"""The template file of one language: its model, and what can be checked in it alone."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter

import yaml
from babel import Locale, UnknownLocaleError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from langtransfer.errors import UserError

WORD_KINDS = (
    "person", "food", "animal", "job", "place", "object", "plant", "trait", "activity", "colour",
    "vehicle", "weather", "subject", "relation", "feeling", "label",
)  # fmt: skip

Frames = dict[str, list[str]]


class Task(BaseModel):
    """Frames of one task; variant i of every part belongs to variant i in every language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instruction: list[str] = Field(min_length=1)
    input: str = ""
    output: str


class Templates(BaseModel):
    """How one language says everything the atlas can say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    locale: str
    """Locale as babel knows it; names, numbers, dates and lists come from there."""
    translate_from: str
    """Locale whose names the task Translation shows."""
    joiner: str
    """What stands between two sentences."""
    articles: list[str] = []
    """Words that may be dropped from the front of a value when an answer is checked."""
    names: dict[str, dict[str, str]] = {}
    """CLDR names to replace, by kind and code."""
    words: dict[str, dict[str, str]]
    """Vocabulary, by kind and key; the keys are the same in every language."""
    documents: dict[str, Frames]
    """Sentence frames, by document kind and sentence; `opening` always comes first."""
    tasks: dict[str, dict[str, Task]]
    """Frames of instructions and questions, by category and task."""
    knowledge: dict[str, str]
    """Frames of the four-option test, by kind of fact."""

    @field_validator("locale", "translate_from")
    @classmethod
    def _known_locale(cls, value: str) -> str:
        try:
            Locale.parse(value)
        except (UnknownLocaleError, ValueError) as error:
            raise ValueError("babel has no such locale") from error
        return value

    @field_validator("words")
    @classmethod
    def _complete_words(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        if sorted(value) != sorted(WORD_KINDS):
            raise ValueError(f"must hold exactly these kinds: {', '.join(WORD_KINDS)}")
        for kind, words in value.items():
            twice = [word for word, count in Counter(words.values()).items() if count > 1]
            if twice:
                raise ValueError(f"{kind}: {twice[0]!r} stands for more than one key")
        return value

    def frames(self) -> Iterator[tuple[str, str]]:
        """(dotted key, frame) of every frame of the file, variants numbered from 0."""
        for kind, sentences in self.documents.items():
            for name, variants in sentences.items():
                yield from _numbered(f"documents.{kind}.{name}", variants)
        for category, tasks in self.tasks.items():
            for name, task in tasks.items():
                yield from _numbered(f"tasks.{category}.{name}.instruction", task.instruction)
                yield f"tasks.{category}.{name}.input", task.input
                yield f"tasks.{category}.{name}.output", task.output
        for name, frame in self.knowledge.items():
            yield f"knowledge.{name}", frame


def _numbered(key: str, variants: list[str]) -> Iterator[tuple[str, str]]:
    for index, frame in enumerate(variants):
        yield f"{key}.{index}", frame


def slots_of(frame: str) -> frozenset[str]:
    """Names of the slots of a frame; ValueError if its braces do not match."""
    return frozenset(name for _, name, _, _ in Formatter().parse(frame) if name is not None)


def read_templates(path: Path) -> Templates:
    """Parse one file. UserError names the file and the key that is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Templates.model_validate(content)
    except FileNotFoundError as error:
        raise UserError(str(path), "missing", "write it: see resources/atlas/README.md") from error
    except yaml.YAMLError as error:
        raise UserError(str(path), "not YAML", str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UserError(f"{path}: {where}", _short(first["input"]), first["msg"]) from error


def _short(value: object) -> object:
    return value if isinstance(value, str | int | float) else type(value).__name__


def check_against(path: Path, ours: Templates, reference: Templates) -> None:
    """Same keys, variants and slots as the reference language, else UserError."""
    for kind, words in reference.words.items():
        _check_keys(path, f"words.{kind}", ours.words[kind], words)
    wanted, found = dict(reference.frames()), dict(ours.frames())
    _check_keys(path, "frames", found, wanted)
    for key, frame in wanted.items():
        check_slots(path, key, found[key], slots_of(frame), exact=True)


def _check_keys(path: Path, where: str, ours: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for problem, keys in (("missing", wanted.keys() - ours), ("unknown", ours.keys() - wanted)):
        if keys:
            remedy = "use the keys and the number of variants of the reference file en.yaml"
            raise UserError(f"{path}: {where}", sorted(keys)[0], f"{problem}; {remedy}")


def check_slots(path: Path, key: str, frame: str, known: frozenset[str], *, exact: bool) -> None:
    """UserError unless the slots of a frame are known (exact: the known ones, all of them)."""
    try:
        slots = slots_of(frame)
    except ValueError as error:
        raise UserError(f"{path}: {key}", frame, f"braces: {error}") from error
    if slots - known or (exact and slots != known):
        names = ", ".join(sorted(known)) or "none"
        raise UserError(
            f"{path}: {key}", frame, f"slots must be{'' if exact else ' among'}: {names}"
        )
