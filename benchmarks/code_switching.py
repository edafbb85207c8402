"""What the code-switching rule flags that it should not, and finds that it should.

Run: python -m benchmarks.code_switching ../shared/data/text [clauses a pair]
Prints the tables of docs/code-switching.md: monolingual lines flagged per language, and clauses
found that were put into a line of another language. Text: FLORES-200 devtest from line 507 on (the
first half chose the models' form) and the documents of tico-19 that trained nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from langtransfer.config.evaluation import CodeSwitchingCell
from langtransfer.evaluation.code_switching import find_switches, load_identifier, models_of
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.scripts_of_text import scripts_of_language, weigh_scripts
from langtransfer.evaluation.switched_prompts import splice
from scripts.character_ngrams import WITH_TICO, tico_segments, trains

FLORES = {
    "ar": "arb_Arab",
    "bn": "ben_Beng",
    "en": "eng_Latn",
    "gu": "guj_Gujr",
    "hi": "hin_Deva",
    "id": "ind_Latn",
    "ml": "mal_Mlym",
    "mr": "mar_Deva",
    "ne": "npi_Deva",
    "sw": "swh_Latn",
    "ta": "tam_Taml",
    "te": "tel_Telu",
    "ur": "urd_Arab",
    "vi": "vie_Latn",
    "zh": "zho_Hans",
}
TICO = frozenset({"ar", "bn", "en", "hi", "id", "mr", "ne", "sw", "ta", "ur", "zh"})
CHOSEN_ON = 506  # lines of FLORES that the form of the models was chosen on
LENGTHS = (5, 8)
HAN_WORD = 2  # characters of a Chinese "word"
ANSWER = 8  # lines joined to one long answer

Pair = tuple[str, str]
ASKED = Question(id="q", category="Open_questions", instruction="?")


@dataclass(frozen=True)
class Flagged:
    """Lines of one language flagged though monolingual: how many, of how many, seconds taken."""

    found: int
    lines: int
    seconds: float

    @property
    def share(self) -> float:
        """Of the lines; nan without any."""
        return self.found / self.lines if self.lines else float("nan")


@dataclass(frozen=True)
class Found:
    """Clauses put into lines: how many were found and named rightly, of how many."""

    hits: int
    named: int
    clauses: int

    @property
    def recall(self) -> float:
        """Share found."""
        return self.hits / self.clauses


def flores(text: Path, language: str) -> list[str]:
    """Lines of FLORES that nothing was chosen on."""
    name = f"{FLORES[language]}.devtest"
    path = text / "flores" / "flores200_dataset" / "devtest" / name
    return path.read_text(encoding="utf-8").splitlines()[CHOSEN_ON:]


def tico(text: Path, language: str) -> list[str]:
    """Segments of the tico-19 documents that trained nothing in the language (all, but half of
    them for hi, mr and ne); none where it has no translation."""
    if language not in TICO:
        return []
    trained = any(script in WITH_TICO for script in scripts_of_language(language))
    return [
        segment for name, segment in tico_segments(text, language) if not (trained and trains(name))
    ]


def intruders(answer: str, language: str) -> list[str]:
    """What the rule with its default settings finds in an answer."""
    settings = CodeSwitchingCell(language=language)
    return find_switches(answer, ASKED, language, settings).languages


def flagged(lines: Sequence[str], language: str) -> Flagged:
    """What is flagged of monolingual lines."""
    begun = time.perf_counter()
    found = sum(bool(intruders(line, language)) for line in lines)
    return Flagged(found, len(lines), time.perf_counter() - begun)


def joined(lines: Sequence[str], language: str, group: int) -> list[str]:
    """Lines so many at a time, as answers of several sentences."""
    space = "" if language == "zh" else " "
    return [
        space.join(lines[start : start + group])
        for start in range(0, len(lines) - group + 1, group)
    ]


def clauses(lines: Sequence[str], words: int, count: int, seed: str) -> Iterator[str]:
    """Stretches of so many consecutive words from lines drawn by seed, names and all.

    Every word holds a letter. Chinese characters count HAN_WORD to a word.
    """
    made = 0
    for draw in range(100 * count):
        line = unicodedata.normalize("NFC", lines[number(f"{seed} line {draw}") % len(lines)])
        han = weigh_scripts(line)["Han"] > 0
        units = list(line) if han else line.split()
        length = words * HAN_WORD if han else words
        if len(units) < length:
            continue
        start = number(f"{seed} start {draw}") % (len(units) - length + 1)
        taken = units[start : start + length]
        if all(weigh_scripts(unit) for unit in taken):
            yield ("" if han else " ").join(taken)
            made += 1
            if made == count:
                return


def plain(lines: Sequence[str]) -> list[str]:
    """Lines without quotation marks and brackets: what stands in them is exempt by the rule."""
    return [line for line in lines if not set(line) & set('"“”„‘’«»「」『』《》()（）')]


def number(key: str) -> int:
    """A number that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def recall(
    lines: Mapping[str, Sequence[str]],
    asked: str,
    other: str,
    words: int,
    count: int,
    group: int = 1,
) -> Found:
    """Clauses of another language found in lines (in so many at a time) of the asked-for one."""
    seed = f"{asked} {other} {words}"
    hosts = joined(plain(lines[asked]), asked, group)
    hits = named = 0
    for index, clause in enumerate(clauses(plain(lines[other]), words, count, seed)):
        host = hosts[number(f"{seed} host {index}") % len(hosts)]
        found = intruders(splice(host, clause, f"{seed} {index}"), asked)
        hits += bool(found)
        named += other in found
    return Found(hits, named, count)


def pairs(same_script: bool) -> Iterator[tuple[str, str]]:
    """(asked for, other) languages that share a script and models, or share no script."""
    for asked in FLORES:
        told = {o for _, model in models_of(asked) for o in model.languages}
        for other in FLORES:
            shared = set(scripts_of_language(asked)) & set(scripts_of_language(other))
            if other != asked and (other in told if same_script else not shared):
                yield asked, other


def groups(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """Pairs by the script asked for, and all of them."""
    scripts = sorted({scripts_of_language(asked)[0] for asked, _ in pairs})
    for script in scripts:
        yield script, [pair for pair in pairs if scripts_of_language(pair[0])[0] == script]
    yield "all", list(pairs)


def print_monolingual(text: Path, lines: Mapping[str, Sequence[str]]) -> float:
    """The table of lines flagged; lines a second."""
    print("### Monolingual lines flagged, %\n")
    print(f"| language | FLORES | {ANSWER} lines of FLORES | tico-19 |\n|---|---:|---:|---:|")
    total, seconds = 0, 0.0
    for language in FLORES:
        cells = []
        many = joined(lines[language], language, ANSWER)
        for part in (lines[language], many, tico(text, language)):
            result = flagged(part, language)
            cells.append(f"{100 * result.share:.2f} (n = {result.lines:,})" if part else "")
            total, seconds = total + result.lines, seconds + result.seconds
        print(f"| {language} | " + " | ".join(cells) + " |", flush=True)
    return total / seconds


def print_recall(title: str, found: Mapping[int, Mapping[Pair, Found]]) -> None:
    """Mean and worst pair by script, one line a script, and the share that is named rightly."""
    print(f"\n### {title}\n")
    heads = (f"{n} words: mean | worst pair | of those found, named rightly" for n in found)
    print("| asked for in | " + " | ".join(heads) + " |")
    print("|---|" + "---:|---|---:|" * len(found))
    for script, chosen in groups(list(next(iter(found.values())))):
        cells = []
        for by_pair in found.values():
            worst = min(chosen, key=lambda pair: by_pair[pair].recall)
            mean = sum(by_pair[pair].recall for pair in chosen) / len(chosen)
            hits = sum(by_pair[pair].hits for pair in chosen)
            named = sum(by_pair[pair].named for pair in chosen)
            last = f"{by_pair[worst].recall:.3f} ({worst[1]} in {worst[0]})"
            cells += [f"{mean:.3f}", last, f"{named / hits:.3f}"]
        print(f"| {script} | " + " | ".join(cells) + " |", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Print every table, and one line with the speed."""
    text, count = Path(arguments[0]), int(arguments[1]) if arguments[1:] else 200
    load_identifier()
    lines = {language: flores(text, language) for language in FLORES}
    speed = print_monolingual(text, lines)
    for title, same, group in (
        ("same script", True, 1),
        (f"same script, in {ANSWER} lines", True, ANSWER),
        ("other script", False, 1),
    ):
        found = {
            words: {pair: recall(lines, *pair, words, count, group) for pair in pairs(same)}
            for words in LENGTHS
        }
        print_recall(f"Clauses found, {title}, {count} a pair", found)
    result = {"name": "code_switching", "ours": round(speed), "unit": "lines/s, one core"}
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
