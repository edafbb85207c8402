"""Make the character n-gram models of resources/identification from text with open licences.

Example: python -m scripts.character_ngrams ../shared/data/text
Reads: tatoeba/, udhr/, storybooks/, storybooks-source/, tico-19/, english/ under the folder given
Writes: resources/identification/{<script>.tsv.zst,calibration.json,english-words.txt.zst}

Which text, and why, stands in resources/identification/README.md. The same texts give the same
counts, calibration and words; the compressed bytes also depend on the version of zstd.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import statistics
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import zstandard

from langtransfer.corpus.readers import READERS
from langtransfer.evaluation.character_ngrams import (
    TAIL_SHARE,
    WINDOW,
    CharacterModel,
    Tail,
    Word,
    calibration,
    common_words,
    largest_gain,
    ngrams,
    normalise,
    profile,
    words_of,
)
from langtransfer.evaluation.language_confusion import ENGLISH_WORDS, MIN_WORD_LETTERS
from langtransfer.evaluation.summaries import write_json
from langtransfer.job import atomic_path

SCRIPTS = {
    "Arabic": ("ar", "ur"),
    "Devanagari": ("hi", "mr", "ne"),
    "Latin": ("en", "id", "sw", "vi"),
}
# Without tico-19 only 12,000 characters of Nepali are left, and recall of 5-word clauses between
# Hindi and Nepali falls from .93 to below .5 (FLORES lines 1-506).
WITH_TICO = frozenset({"Devanagari"})

# A source gives a language at most so many characters: English has 40 times what Nepali has.
SOURCE_CHARACTERS = 150_000
ZSTD_LEVEL = 19

TATOEBA = {
    "ar": "ara",
    "hi": "hin",
    "id": "ind",
    "mr": "mar",
    "sw": "swh",
    "ur": "urd",
    "vi": "vie",
}
UDHR = {
    "ar": "arb",
    "en": "eng",
    "hi": "hin",
    "id": "ind",
    "mr": "mar",
    "ne": "nep",
    "sw": "swh",
    "ur": "urd",
    "vi": "vie",
}
SOURCE_STORIES = frozenset({"en", "sw"})  # African Storybook; the others are translations of it

Sources = Mapping[str, Sequence[str]]


def sources(text: Path, language: str, tico: bool) -> dict[str, list[str]]:
    """Texts of a language by source, NFC; a source it is not in is left out."""
    found = {
        "tatoeba": list(tatoeba(text, language)),
        "udhr": [t for _, t in READERS["udhr"](_udhr_file(text, language), "")],
        "storybooks": list(storybooks(text, language)),
    }
    if tico:
        segments = [segment for name, segment in tico_segments(text, language) if trains(name)]
        middle = len(segments) // 2  # the same segments in every language
        found |= {"tico-19 first": segments[:middle], "tico-19 last": segments[middle:]}
    return {name: [unicodedata.normalize("NFC", t) for t in texts] for name, texts in found.items()}


def _udhr_file(text: Path, language: str) -> Path:
    return text / "udhr" / "data" / "udhr" / f"udhr_{UDHR[language]}.xml"


def tatoeba(text: Path, language: str) -> Iterator[str]:
    """Sentences; for English the other side of every pair of languages, each once."""
    folder = text / "tatoeba" / "data" / "tatoeba" / "v1"
    if language == "en":
        files = sorted(folder.glob("tatoeba.*-eng.eng"))
    else:
        files = sorted(folder.glob(f"tatoeba.{TATOEBA.get(language)}-eng.{TATOEBA.get(language)}"))
    lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
    yield from dict.fromkeys(lines)


def storybooks(text: Path, language: str) -> Iterator[str]:
    """Stories under CC BY; those under NC or SA terms are left out."""
    folder = text / ("storybooks-source" if language in SOURCE_STORIES else "storybooks") / language
    for file in sorted(folder.glob("[0-9]*.md")):
        if "* License: [CC-BY]\n" in file.read_text(encoding="utf-8"):
            yield from (story for _, story in READERS["storybook"](file, ""))


def tico_segments(text: Path, language: str) -> Iterator[tuple[str, str]]:
    """(document, segment) of tico-19 in file order; English is the source side."""
    other = "hi" if language == "en" else language
    path = text / "tico-19" / "data" / "TM" / f"all.en-{other}.tmx.zip"
    with zipfile.ZipFile(path) as archive:
        root = ElementTree.fromstring(archive.read(f"all.en-{other}.tmx"))
    for unit in root.iter("tu"):
        sides = [segment.text or "" for segment in unit.iter("seg")]
        segment = " ".join(sides[0 if language == "en" else 1].split())
        yield unit.get("tuid", "").split(":")[0], segment


def trains(document: str) -> bool:
    """Whether a document of tico-19 is of the half that trains; the others are for tests."""
    return hashlib.sha256(document.encode()).digest()[0] % 2 == 1


def capped(texts: Sequence[str]) -> list[str]:
    """The first texts up to SOURCE_CHARACTERS."""
    taken, size = [], 0
    for text in texts:
        if size >= SOURCE_CHARACTERS:
            break
        taken.append(text)
        size += len(text)
    return taken


def texts_of(text: Path, script: str) -> dict[str, Sources]:
    """Training texts of a script's languages, by source, none too long; tico-19 is parallel, so of
    one length in all."""
    return {
        language: {
            name: texts if name.startswith("tico") else capped(texts)
            for name, texts in sources(text, language, script in WITH_TICO).items()
        }
        for language in SCRIPTS[script]
    }


def merged(found: Mapping[str, Sources], without: str = "") -> dict[str, list[str]]:
    """Texts by language of all sources but one."""
    return {
        language: [t for name, texts in by.items() if name != without for t in texts]
        for language, by in found.items()
    }


def count(script: str, texts: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Counts of the longest n-grams of all words: n-gram -> one count a language, in order."""
    counts: dict[str, list[int]] = {}
    for index, language in enumerate(texts):
        words = Counter(
            normalise(word.text) for t in texts[language] for word in words_of(t, script)
        )
        for word, times in words.items():
            for context, character in ngrams(word):
                row = counts.setdefault(context + character, [0] * len(texts))
                row[index] += times
    return dict(sorted(counts.items()))


def profile_lines(counts: Mapping[str, Sequence[int]]) -> list[str]:
    """An n-gram and its counts a line, apart by tabs; 0 is left empty."""
    return ["\t".join([gram, *(str(n or "") for n in row)]) for gram, row in counts.items()]


def cross_fit(script: str, found: Mapping[str, Sources]) -> dict[str, list[float]]:
    """Gains of every language's passages under models that have not seen their source.

    found: language -> source -> texts. Each source is left out once, in all languages.
    """
    gains: dict[str, list[float]] = {language: [] for language in found}
    for held in sorted(set().union(*found.values())):
        model = CharacterModel(tuple(found), count(script, merged(found, without=held)))
        for language, by in found.items():
            for passage in passages(script, by.get(held, ())):
                gains[language].append(largest_gain(passage, language, model))
    return gains


def passages(script: str, texts: Sequence[str]) -> Iterator[list[Word]]:
    """Consecutive words of texts, WINDOW at a time."""
    words = [word for text in texts for word in common_words(text, script)]
    for start in range(0, len(words) - WINDOW + 1, WINDOW):
        yield words[start : start + WINDOW]


def fit_tail(gains: Sequence[float]) -> Tail:
    """Where the upper tail of a language's gains starts, and how fast it falls.

    The scale is the median excess over ln 2 (an exponential's mean): a few passages that really
    are in another language do not move it.
    """
    tail = sorted(gains, reverse=True)[: round(TAIL_SHARE * len(gains))]
    return Tail(tail[-1], (statistics.median(tail) - tail[-1]) / math.log(2))


def tails(script: str, found: Mapping[str, Sources]) -> dict[str, dict[str, float]]:
    """The tails of a script's languages in nats, rounded as they are kept."""
    fitted = {name: fit_tail(gains) for name, gains in cross_fit(script, found).items()}
    return {
        name: {"start": round(tail.start, 3), "scale": round(tail.scale, 3)}
        for name, tail in fitted.items()
    }


def english_words(texts: Iterable[str]) -> list[str]:
    """Lower-case words of more than three letters, for the word pass rate."""
    words = {word.text for text in texts for word in words_of(text, "Latin")}
    return sorted(word for word in words if word.islower() and len(word) >= MIN_WORD_LETTERS)


def english(text: Path) -> Iterator[str]:
    """English text for the list of words; nothing of it is a test of the pass rates."""
    for texts in sources(text, "en", tico=False).values():
        yield from texts
    yield from (segment for _, segment in tico_segments(text, "en"))
    yield from (row for _, row in READERS["jsonl"](text / "english" / "c4_demo.jsonl", "text"))


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Lines as zstd."""
    data = "".join(f"{line}\n" for line in lines).encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every file; print the sizes and the tails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("text", type=Path, help="folder of tatoeba/, udhr/, storybooks/, ...")
    text = parser.parse_args(arguments).text
    kept = {}
    for script, languages in SCRIPTS.items():
        found = texts_of(text, script)
        counts = count(script, merged(found))
        write_lines(profile(script), ["\t".join(["ngram", *languages]), *profile_lines(counts)])
        kept[script] = tails(script, found)
        print(f"{script}: {len(counts):,} n-grams, tails {kept[script]}")
    write_json(calibration(), kept)
    words = english_words(english(text))
    write_lines(ENGLISH_WORDS, words)
    print(f"{len(words):,} English words")


if __name__ == "__main__":
    main()
