"""Unicode scripts: which a text is written in, and which a language uses."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fontTools import unicodedata as unicode_scripts  # type: ignore[import-untyped]

from langtransfer.errors import UserError
from langtransfer.languages import known_languages

# English letters that say what one letter of the script says: FLORES-200 devtest has 2.9 English
# letters for each Chinese character (ar hi sw ta: 0.9 to 1.7, taken as 1).
WEIGHTS = {"Han": 3}
TOKEN = re.compile(r"\S+")
LONGEST_KNOWN = 32  # characters of a token whose runs are remembered
SHARED = frozenset({"Common", "Inherited", "Unknown"})  # Unicode: belong to no one script


@dataclass(frozen=True)
class Run:
    """Consecutive letters (and their marks) of one script: text[start:end]."""

    script: str
    start: int
    end: int
    letters: int


def scripts_of_language(language: str) -> tuple[str, ...]:
    """Unicode scripts a language is written in; UserError for one that is not in the table."""
    row = known_languages().get(language)
    if row is None:
        raise UserError("language", language, "add its row to resources/languages.csv")
    return row.scripts


@lru_cache(maxsize=65_536)
def letter_script(character: str) -> str | None:
    """Script of a letter, "" for a mark or a letter of no one script, None for anything else."""
    category = unicodedata.category(character)
    if category[0] not in "LM":
        return None
    name = str(unicode_scripts.script_name(unicode_scripts.script(character)))
    return "" if name in SHARED or category[0] == "M" else name


def script_runs(text: str) -> Iterator[Run]:
    """Maximal runs of letters of one script, in order; marks belong to the letter before them."""
    for match in TOKEN.finditer(text):
        offset = match.start()
        for run in _runs_of(match[0]):
            yield Run(run.script, offset + run.start, offset + run.end, run.letters)


def _runs_of(token: str) -> tuple[Run, ...]:
    """Runs of text without white space; words come again and again, long unspaced text does not."""
    return _known_runs(token) if len(token) <= LONGEST_KNOWN else tuple(_runs(token))


@lru_cache(maxsize=65_536)
def _known_runs(token: str) -> tuple[Run, ...]:
    return tuple(_runs(token))


def _runs(token: str) -> Iterator[Run]:
    script, start, letters = "", 0, 0
    for index, character in enumerate(token):
        here = letter_script(character)
        if here == "" and letters:
            continue
        if here == script and letters:
            letters += 1
            continue
        if letters:
            yield Run(script, start, index, letters)
        script, start, letters = here or "", index, int(bool(here))
    if letters:
        yield Run(script, start, len(token), letters)


def weigh_scripts(text: str) -> Counter[str]:
    """How much of the text is in each script, in letters; a Chinese character weighs three."""
    weights: Counter[str] = Counter()
    for token in text.split():
        for run in _runs_of(token):
            weights[run.script] += run.letters * WEIGHTS.get(run.script, 1)
    return weights
