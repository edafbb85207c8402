"""Which of the languages that share a script a word is in, and where a text changes over.

A language model of characters for every script that several languages of the project use: the
probability of each character of a word after up to three before it, in each language. Counts are
smoothed twice at every length of context, towards the language's own shorter context and towards
the mean of the languages, so that what was seen too rarely to tell anything apart tells nothing.

A text that leaves language a for language b gains log p_b(word) - log p_a(word) with every word of
b and loses with every word of a. `find_clauses` looks for the stretches that gain most (the maximum
of a cumulative sum with restarts, Page's CUSUM) and keeps those above a threshold that grows with
the length of the text, so that long texts raise no more false alarms than short ones.

Counts and the tails of the gains of monolingual text are files of resources/identification, made by
scripts/character_ngrams.py from texts named there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]

from langtransfer.corpus.jsonl import read_lines
from langtransfer.resources import RESOURCES

FOLDER = RESOURCES / "identification"

# Chosen on FLORES lines 1-506 for recall of 5-word clauses among hi, mr and ne where 1 % of lines
# are flagged: about .94. Orders 4 and 5, priors of 20 to 160, CLIP 6 and 8, COST 0 and .25 lie
# within .02 of it.
ORDER = 4  # characters of an n-gram
OWN_PRIOR = 20.0  # pseudo-counts of a language's own shorter context
SHARED_PRIOR = 20.0  # pseudo-counts of the languages' mean; without them about .92
CLIP = 8.0  # nats one word may gain or lose
COST = 0.25  # nats every word of another language must gain to count
# A word of more letters has more chances to be unlike what was seen: its score has a standard
# deviation that grows with the root of its length, and is divided by that. Without: about .92.
TYPICAL_LETTERS = 6
MOST_WEIGHT = 1.5
# Nats by which a language must lead the next to be named (odds of 20 to 1). FLORES lines 1-506,
# single Latin words: .74 (sw) to .90 (vi) named, at most .02 of them wrongly.
LEAD = 3.0
TITLE_WORDS = 2  # lower-case words inside a name: Gone with the Wind
WINDOW = 25  # words of the passages the tails were measured on: a FLORES line has 21 to 25
TAIL_SHARE = 0.1  # share of monolingual passages that reach a tail's start

START, END = "^", "$"
IGNORED = regex.compile(r"[\u200c\u200d\u0640\u064b-\u0652\u0670]")  # joiners, tatweel, harakat

Scores = tuple[float, ...]


@dataclass(frozen=True)
class Word:
    """A word at text[start:end]; one that is no evidence may only speak for the asked-for one."""

    text: str
    start: int
    end: int
    evidence: bool = True


@dataclass(frozen=True)
class Clause:
    """Words first to last (exclusive) that are in another language, and the nats gained."""

    language: str
    first: int
    last: int
    gain: float


@dataclass(frozen=True)
class Tail:
    """Gains of monolingual passages of WINDOW words: TAIL_SHARE of them reach `start`, and those
    that do exceed it by an exponential amount of mean `scale` (nats)."""

    start: float
    scale: float

    def threshold(self, words: int, false_alarms: float) -> float:
        """Gain that a share `false_alarms` of monolingual texts of so many words reaches.

        A text of n words has n / WINDOW times the chances of a passage. Never below CLIP: one
        word alone is not a clause.
        """
        passages = max(words, WINDOW) / WINDOW
        return max(CLIP, self.start + self.scale * math.log(TAIL_SHARE * passages / false_alarms))


@cache
def word_pattern(script: str) -> Any:
    """Words of a script: letters and marks, with joiners inside."""
    return regex.compile(
        rf"[\p{{Script={script}}}&&\p{{L}}][[\p{{Script={script}}}&&\p{{L}}]\p{{M}}\u200c\u200d]*",
        regex.V1,
    )


def words_of(text: str, script: str) -> list[Word]:
    """All words of a script, in order."""
    return [Word(m[0], m.start(), m.end()) for m in word_pattern(script).finditer(text)]


def common_words(text: str, script: str) -> list[Word]:
    """The words of a script that are no names: not those with a capital letter anywhere, nor up
    to TITLE_WORDS words between two such."""
    found = words_of(text, script)
    capital = [index for index, word in enumerate(found) if word.text != word.text.lower()]
    names = set(capital)
    for before, after in pairwise(capital):
        if after - before <= TITLE_WORDS + 1 and _together(text, found[before : after + 1]):
            names.update(range(before, after))
    return [word for index, word in enumerate(found) if index not in names]


def _together(text: str, words: Sequence[Word]) -> bool:
    return all(text[a.end : b.start] == " " for a, b in pairwise(words))


def normalise(word: str) -> str:
    """Lower case, without joiners and optional vowel signs."""
    return str(IGNORED.sub("", word.lower()))


def ngrams(word: str) -> Iterator[tuple[str, str]]:
    """Each character of a normalised word (and its end) after the longest context counted."""
    marked = f"{START}{word}{END}"
    for index in range(1, len(marked)):
        yield marked[max(0, index + 1 - ORDER) : index], marked[index]


class CharacterModel:
    """Character n-gram models of the languages of one script.

    counts: n-gram (context of at most ORDER - 1 characters and the character after it, as
    `ngrams` gives them) -> how often it was seen in each language.
    """

    def __init__(self, languages: Sequence[str], counts: Mapping[str, Sequence[int]]) -> None:
        self.languages = tuple(languages)
        self._counts: dict[str, list[int]] = {}
        self._totals: dict[str, list[int]] = {}
        for gram, found in counts.items():
            for start in range(len(gram)):
                _add(self._counts, gram[start:], found)
                _add(self._totals, gram[start:-1], found)
        self._characters = sum(len(gram) == 1 for gram in self._counts)
        self._probabilities = lru_cache(maxsize=1 << 17)(self._compute)
        self.scores = lru_cache(maxsize=1 << 16)(self._scores)

    def _scores(self, word: str) -> Scores:
        """Log-probability (nats) of a word in each language."""
        total = [0.0] * len(self.languages)
        for context, character in ngrams(normalise(word)):
            if character in self._counts:  # one no language has says nothing
                for index, p in enumerate(self._probabilities(context, character)):
                    total[index] += math.log(p)
        return tuple(total)

    def _compute(self, context: str, character: str) -> Scores:
        if context:
            shorter = self._probabilities(context[1:], character)
        else:
            shorter = (1 / self._characters,) * len(self.languages)
        totals = self._totals.get(context)
        if totals is None:
            return shorter
        found = self._counts.get(context + character, [0] * len(totals))
        own = [
            (n + OWN_PRIOR * p) / (total + OWN_PRIOR)
            for n, p, total in zip(found, shorter, totals, strict=True)
        ]
        mean = sum(own) / len(own)
        return tuple(
            (n + OWN_PRIOR * p + SHARED_PRIOR * mean) / (total + OWN_PRIOR + SHARED_PRIOR)
            for n, p, total in zip(found, shorter, totals, strict=True)
        )

    def leader(self, words: Iterable[str]) -> str | None:
        """The language the words are in, None when two are too close to tell."""
        totals = [sum(column) for column in zip(*map(self.scores, words), strict=True)]
        ranked = sorted(zip(totals, self.languages, strict=True), reverse=True)
        return ranked[0][1] if ranked and ranked[0][0] - ranked[1][0] >= LEAD else None


def _add(table: dict[str, list[int]], key: str, values: Sequence[int]) -> None:
    known = table.get(key)
    if known is None:
        table[key] = list(values)
        return
    for index, value in enumerate(values):
        known[index] += value


def find_clauses(
    words: Sequence[Word], language: str, model: CharacterModel, threshold: float
) -> list[Clause]:
    """Stretches of words in another of the model's languages, in order, none overlapping.

    Each gains at least `threshold` nats; of overlapping ones the best is kept. A word that comes
    again is no further evidence. ValueError when the model does not know the language.
    """
    here = model.languages.index(language)
    seen: set[str] = set()
    gains = []
    for word in words:
        gains.append(_gains(word, here, model, new=word.text not in seen))
        seen.add(word.text)
    columns = {
        other: [gain[index] for gain in gains]
        for index, other in enumerate(model.languages)
        if index != here
    }
    return sorted(_best(columns, 0, len(words), threshold), key=lambda clause: clause.first)


def largest_gain(words: Sequence[Word], language: str, model: CharacterModel) -> float:
    """Nats of the best stretch in another language, 0 where none gains anything."""
    return max((c.gain for c in find_clauses(words, language, model, 0.0)), default=0.0)


def _gains(word: Word, here: int, model: CharacterModel, new: bool) -> Scores:
    """What a word adds to a stretch in each language."""
    scores = model.scores(word.text)
    weight = min(MOST_WEIGHT, math.sqrt(TYPICAL_LETTERS / len(word.text)))
    most = CLIP - COST if word.evidence and new else 0.0
    return tuple(max(-CLIP, min(most, weight * (score - scores[here]) - COST)) for score in scores)


def _best(
    columns: Mapping[str, Sequence[float]], first: int, last: int, threshold: float
) -> list[Clause]:
    """The best stretch between two words, and those left and right of it."""
    found = [_stretch(name, gains, first, last) for name, gains in columns.items()]
    top = max(found, key=lambda clause: clause.gain, default=None)
    if top is None or top.gain <= 0 or top.gain < threshold:
        return []
    return [
        *_best(columns, first, top.first, threshold),
        top,
        *_best(columns, top.last, last, threshold),
    ]


def _stretch(language: str, gains: Sequence[float], first: int, last: int) -> Clause:
    """Consecutive words with the largest sum: a cumulative sum that restarts below zero."""
    best = Clause(language, first, first, 0.0)
    total, start = 0.0, first
    for index in range(first, last):
        if total <= 0:
            total, start = 0.0, index
        total += gains[index]
        if total > best.gain:
            best = Clause(language, start, index + 1, total)
    return best


def profile(script: str) -> Path:
    """File of a script's counts: a header of languages, then an n-gram and its counts a line."""
    return FOLDER / f"{script}.tsv.zst"


def calibration() -> Path:
    """File of the tails: script -> language asked for -> start and scale."""
    return FOLDER / "calibration.json"


@cache
def load_model(script: str) -> CharacterModel | None:
    """The models of a script's languages; None where resources have none."""
    path = profile(script)
    if not path.exists():
        return None
    rows = (line.split("\t") for _, line in read_lines(path))
    languages = next(rows)[1:]
    return CharacterModel(languages, {gram: [int(n or 0) for n in found] for gram, *found in rows})


@cache
def load_tail(script: str, language: str) -> Tail:
    """How monolingual text of a language is distributed; KeyError where resources have none."""
    values = json.loads(calibration().read_text(encoding="utf-8"))[script][language]
    return Tail(values["start"], values["scale"])
