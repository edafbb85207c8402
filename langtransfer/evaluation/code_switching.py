"""Answers that leave the language asked for: by word (Unicode script) and by line (identifier).

The paper counts responses with "code-switching" but names no detector (FACTS.md section 5), so
the rule is ours and stated here.

*By word*: a run of letters in a script the asked-for language is not written in, unless it is

* copied: the same run stands in the question or in the reference answer, or most letters of the
  reference are in that script (then the question asked for it, as in translation);
* code, mark-up, mathematics, a URL, an e-mail address, or joined to digits (`COVID-19`, `5 km`);
* quoted or set in brackets as a gloss, up to `QUOTATION` characters;
* a name, in scripts with upper case: a capitalised, all-capital or mixed-case word (`NASA`,
  `pH`), or one short lower-case particle between two such words (`Fernandez de Kirchner`).

*By line*: a line or sentence of at least `min_line_letters` letters, not copied, most of whose
letters are in a foreign script (with at least one foreign word as above), or which py3langid,
choosing among the languages of `resources/languages.csv` that share a script with the asked-for
one, places in another language with at least `min_confidence`. Single words and clauses of another
language in the *same* script are not seen.

Code items are not judged at all. For translation items the same-script identification is off;
without a reference they are not judged, since what they ask for is not known.

Measured with these rules and their default settings:

* Flagged though monolingual, FLORES-200 devtest, 1,012 lines a language: by word 1.3 % in te, 0.4 %
  in zh, at most 0.3 % in the other thirteen; by line at most 0.1 %. Cut at 12 letters, where the
  identifier has least to go on, it errs at a confidence of 0.8 in at most 0.4 % of lines.
* Found: of command-r's 200 English answers in the Language Confusion Benchmark, held against each
  of the other 14 languages, at least 199 (the one left is a list of names). Of the atlas' 225
  English answers (often four words) held against sw, 86 %; sentences below 12 letters are lost.
* command-r's monolingual answers there: zh 17 of 200, ar 7 of 300, hi 2 of 100 flagged; reading
  them shows mostly real English words.
"""

from __future__ import annotations

import copy
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex  # type: ignore[import-untyped]

from langtransfer.config.evaluation import CodeSwitchingConfig
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.scripts_of_text import (
    Run,
    script_runs,
    scripts_of_language,
    weigh_scripts,
)
from langtransfer.languages import known_languages
from langtransfer.statistics.intervals import wilson

CONFIDENCE = 0.95
QUOTATION = 100  # characters; our choice: a title or a phrase, never a paragraph
UNIT_LETTERS = 3  # our choice: km, mph, GHz
PARTICLE_LETTERS = 3  # our choice: de, of, and, van

# Lookarounds and alternatives are tried left to right; each match is blanked before runs are read.
EXEMPT = regex.compile(
    rf"""```.*?(?:```|\Z)                                   # fenced code
    |`[^`\n]*`                                              # inline code
    |https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.-]+         # URLs, e-mail addresses
    |</?[A-Za-z][^<>\n]*>                                   # mark-up
    |\$[^$\n]+\$|\\[A-Za-z]+                                # mathematics
    |\p{{LC}}*[-.]?\p{{N}}[\p{{LC}}\p{{N}}]*(?:[-.][\p{{LC}}\p{{N}}]+)*   # joined to digits
      (?:\ ?\p{{LC}}{{1,{UNIT_LETTERS}}}(?!\p{{LC}}))?          # units
    |"[^"\n]{{1,{QUOTATION}}}"|“[^”\n]{{1,{QUOTATION}}}”|‘[^’\n]{{1,{QUOTATION}}}’
    |«[^»\n]{{1,{QUOTATION}}}»|「[^」\n]{{1,{QUOTATION}}}」|『[^』\n]{{1,{QUOTATION}}}』
    |《[^》\n]{{1,{QUOTATION}}}》|\([^()\n]{{1,{QUOTATION}}}\)|（[^（）\n]{{1,{QUOTATION}}}）
    """,
    regex.VERBOSE | regex.DOTALL,
)
SENTENCE = regex.compile(r"[^\n.!?。！？।۔؟]+")

Identify = Callable[[str, tuple[str, ...]], tuple[str, float]]


@dataclass(frozen=True)
class Switches:
    """Intruders of one answer: foreign scripts or languages, sorted and unique."""

    words: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def languages(self) -> list[str]:
        """All intruders."""
        return sorted({*self.words, *self.lines})


def judged(question: Question) -> bool:
    """Whether the rule says anything about this question's answers."""
    if question.category == "Code":
        return False
    return question.category != "Translation" or bool(question.reference)


def find_switches(
    answer: str, question: Question, language: str, config: CodeSwitchingConfig
) -> Switches:
    """What in an answer is not in the language asked for; see the module's rule."""
    answer = unicodedata.normalize("NFC", answer)
    native = frozenset(scripts_of_language(language)) | asked_scripts(question)
    words = foreign_words(answer, question, native, config.min_run_letters)
    lines = foreign_lines(answer, question, language, native, config)
    return Switches(tuple(sorted(set(words))), tuple(sorted(set(lines))))


def asked_scripts(question: Question) -> frozenset[str]:
    """The script most of the reference answer is in, if there is one."""
    counts = weigh_scripts(question.reference)
    return frozenset(s for s, n in counts.items() if 2 * n > counts.total())


def foreign_words(
    answer: str, question: Question, native: frozenset[str], min_letters: int
) -> list[str]:
    """Scripts of the runs that count as words of another language, in order."""
    text = EXEMPT.sub(lambda match: " " * len(match[0]), answer)
    copied = _run_texts(f"{question.text}\n{question.reference}")
    runs = [run for run in script_runs(text) if run.script not in native]
    return [
        run.script
        for index, run in enumerate(runs)
        if run.letters >= min_letters
        and text[run.start : run.end].casefold() not in copied
        and not _is_name(text, runs, index)
    ]


def foreign_lines(
    answer: str,
    question: Question,
    language: str,
    native: frozenset[str],
    config: CodeSwitchingConfig,
) -> list[str]:
    """Scripts or languages of the lines and sentences that are in another language."""
    text = EXEMPT.sub(lambda match: " " * len(match[0]), answer)
    source = f"{question.text}\n{question.reference}"
    identify = identify_language if question.category != "Translation" else None
    found = []
    for match in SENTENCE.finditer(text):
        sentence = match[0].strip()
        counts = weigh_scripts(sentence)
        if counts.total() < config.min_line_letters or sentence in source:
            continue
        script, letters = counts.most_common(1)[0]
        if script not in native and 2 * letters > counts.total():
            found += foreign_words(sentence, question, native, config.min_run_letters)[:1]
        elif identify and (other := _other_language(sentence, language, identify, config)):
            found.append(other)
    return found


def _other_language(
    sentence: str, language: str, identify: Identify, config: CodeSwitchingConfig
) -> str | None:
    """The language a sentence is in, when that is surely not the one asked for."""
    candidates = languages_sharing_script(language)
    if len(candidates) < 2:
        return None
    found, confidence = identify(sentence, candidates)
    return found if found != language and confidence >= config.min_confidence else None


@lru_cache(maxsize=64)
def languages_sharing_script(language: str) -> tuple[str, ...]:
    """The language and those of the table written in one of its scripts; empty if unknown to
    the identifier."""
    own = set(scripts_of_language(language))
    shared = {row.code for row in known_languages().values() if own & set(row.scripts)}
    shared &= set(load_identifier().labels)
    return tuple(sorted(shared)) if language in shared else ()


def identify_language(text: str, candidates: tuple[str, ...]) -> tuple[str, float]:
    """Most probable of the candidates and its probability, by py3langid."""
    found, confidence = _identifier(candidates).classify(text)
    return str(found), float(confidence)


@lru_cache(maxsize=1)
def load_identifier() -> Any:
    """py3langid's identifier of all its languages; loading takes half a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=64)
def _identifier(candidates: tuple[str, ...]) -> Any:
    """One object for each set of candidates: restricting changes it, but not what it shares."""
    identifier = copy.copy(load_identifier())
    identifier.set_languages(list(candidates))
    return identifier


def _run_texts(text: str) -> set[str]:
    text = unicodedata.normalize("NFC", text)
    return {text[run.start : run.end].casefold() for run in script_runs(text)}


def _is_name(text: str, runs: Sequence[Run], index: int) -> bool:
    """Whether a foreign run is a name by its case, or a particle inside one."""
    if _has_upper(text, runs[index]):
        return True
    if runs[index].letters > PARTICLE_LETTERS or not 0 < index < len(runs) - 1:
        return False
    before, run, after = runs[index - 1 : index + 2]
    return (
        _has_upper(text, before)
        and _has_upper(text, after)
        and text[before.end : run.start] == " " == text[run.end : after.start]
    )


def _has_upper(text: str, run: Run) -> bool:
    return any(character.isupper() for character in text[run.start : run.end])


def summarise(rows: Iterable[Mapping[str, Any]], exempt: Mapping[str, int]) -> dict[str, Any]:
    """Rate of switched answers with its Wilson interval, overall and by category.

    rows are those of `code_switching.jsonl`; exempt counts answers by category that the rule
    does not judge and that stand in no figure.
    """
    rows = list(rows)
    categories: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        categories.setdefault(row["category"], []).append(row)
    intruders = Counter(name for row in rows for name in row["languages"])
    return _rate(rows) | {
        "confidence": CONFIDENCE,
        "by_line": sum(row["by_line"] for row in rows),
        "by_word": sum(row["by_word"] for row in rows),
        "by_category": {name: _rate(group) for name, group in sorted(categories.items())},
        "intruders": dict(sorted(intruders.items())),
        "exempt": dict(sorted(exempt.items())),
    }


def _rate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    n = len(rows)
    switched = sum(row["by_line"] or row["by_word"] for row in rows)
    if not n:
        return {"n": 0, "switched": 0, "rate": None, "low": None, "high": None}
    interval = wilson(switched, n, CONFIDENCE)
    return {
        "n": n,
        "switched": switched,
        "rate": switched / n,
        "low": interval.low,
        "high": interval.high,
    }
