"""Hard text: what ordinary held-out text seldom holds and tokenizers most often get wrong.

Every probe is an ordinary line changed in one way, so that the hard part stands in real context.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from langtransfer.vocabulary.conversion import SPACE

ALL_KINDS = 20
"""So many first lines are changed in every way, the others in one way each, in turn."""
EMOJI = (  # plain, a joined family, a flag, a variation selector, a skin tone
    "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e8\U0001f1f3",
    "\u2615\ufe0f",
    "\U0001f44d\U0001f3fd",
)
# Right-to-left and left-to-right marks, an isolate, joiners, a word joiner, a byte order mark.
INVISIBLE = ("\u200f", "\u200e", "\u2067", "\u200d", "\u200c", "\u2060", "\ufeff")
# "Water" in the scripts of the study and some beyond.
WATER = (
    "water",
    "maji",
    "nước",
    "水",
    "ماء",
    "پانی",
    "पानी",
    "জল",
    "પાણી",
    "വെള്ളം",
    "தண்ணீர்",
    "నీరు",
    "вода",
    "みず",
    "물",
    "น้ำ",
)
BREAKS = ("\t", "\n", "\r\n", "\n\n\n", "\t\t  \t", "\u00a0", "\u3000", "\u2028")


class Probe(NamedTuple):
    """A text and the way it is hard; `plain` for a line as it was found."""

    kind: str
    text: str


def hard_texts(lines: Sequence[str], special_tokens: Iterable[str]) -> Iterator[Probe]:
    """Probes made of the lines, the same ones each time.

    special_tokens are spelt out in some: as text they must stay text.
    """
    literals = [*special_tokens, "<0x41>", "<|endoftext|>", "[PAD]"]
    for number, line in enumerate(lines):
        chance = random.Random(number)
        changes = _changes(chance, literals)
        kinds = list(changes) if number < ALL_KINDS else [list(changes)[number % len(changes)]]
        for kind in kinds:
            yield Probe(kind, changes[kind](line))
    yield from _spelt_out(lines, literals)


def _spelt_out(lines: Sequence[str], literals: Sequence[str]) -> Iterator[Probe]:
    """Every literal once, however few lines there are."""
    for number, literal in enumerate(literals if lines else ()):
        line = lines[number % len(lines)]
        at = random.Random(number).randint(0, len(line))
        yield Probe("special-tokens", line[:at] + literal + line[at:])


def _changes(chance: random.Random, literals: Sequence[str]) -> Mapping[str, Callable[[str], str]]:
    """Ways to change a line, by name."""

    def insert(line: str, text: str) -> str:
        at = chance.randint(0, len(line))
        return line[:at] + text + line[at:]

    return {
        "leading-spaces": lambda line: " " * chance.randint(1, 9) + line,
        "trailing-spaces": lambda line: line + " " * chance.randint(1, 9),
        "space-runs": lambda line: line.replace(" ", " " * chance.randint(2, 20)) + "  .",
        "breaks": lambda line: insert(line, chance.choice(BREAKS)),
        "emoji": lambda line: insert(line, chance.choice(EMOJI)),
        "mixed-scripts": lambda line: insert(line, chance.choice(WATER)),
        "special-tokens": lambda line: insert(line, chance.choice(literals)),
        "combining": lambda line: insert(unicodedata.normalize("NFD", line), "\u0301\u0323"),
        "invisible": lambda line: insert(line, chance.choice(INVISIBLE)),
        "nul": lambda line: insert(line, "\x00"),
        "visible-space": lambda line: insert(line, SPACE),
        "rare": lambda line: insert(line, chr(chance.choice((0xE000, 0x1F9FF, 0x20000, 0x10FFFD)))),
    }
