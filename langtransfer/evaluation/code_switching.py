"""Answers that leave the language asked for, by line and by word.

The paper counts responses with "code-switching" but names no detector (FACTS.md section 5), so the
rule is ours. It is stated here; what it finds and misses is measured in docs/code-switching.md.

*Another script.* A run of letters in a script the asked-for language is not written in is a
foreign word, unless it is

* copied: the same run stands in the question or in the reference answer, or most letters of the
  reference are in that script (then the question asked for it, as in translation);
* code, mark-up, mathematics, a URL, an e-mail address, or joined to digits (`COVID-19`, `5 km`);
* quoted or set in brackets as a gloss, up to `QUOTATION` characters, on a line that says more;
* a name, in scripts with upper case: a capitalised, all-capital or mixed-case word (`NASA`,
  `pH`), or one short lower-case particle between two such words (`Fernandez de Kirchner`).

*The same script.* Among Arabic and Urdu; Hindi, Marathi and Nepali; English, Indonesian, Swahili
and Vietnamese, a clause is foreign where character n-gram models say that the text changes over
(`langtransfer.evaluation.character_ngrams`). Names (as above, and up to two lower-case words
between capitalised ones) and words of the question or the reference are no evidence. One word is
never enough: `false_alarms` sets how much is.

*Lines.* A line or sentence of at least `min_line_letters` letters, not copied, is foreign when most
of its letters are foreign by one of these rules, or when py3langid, choosing among all its
languages, places it in another with at least `min_confidence`: so French is seen in English.

Foreign clauses and words within such a line are not counted by word a second time. Code items are
not judged at all. For translation items the same-script rules are off; without a reference they
are not judged, since what they ask for is not known. An answer without letters (nothing, a number,
only code) has no language and is counted apart, as empty.

Not seen: single words and names of another language in the same script; Chinese in Japanese
characters and the like (one script, one of the project's languages), but for whole lines; anything
quoted. A language written in two scripts (`resources/languages.csv`) is at home in both. Intruders
are named by py3langid where it is sure, else by the n-gram models, else by the one language of the
table that uses the script, else by the script.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import regex  # type: ignore[import-untyped]

from langtransfer.config.evaluation import CodeSwitchingConfig
from langtransfer.evaluation.character_ngrams import (
    CharacterModel,
    common_words,
    find_clauses,
    load_model,
    load_tail,
    words_of,
)
from langtransfer.evaluation.language_confusion import VARIETIES
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
# py3langid's probability from which foreign words get its name. FLORES lines 1-506: at most 1.7 %
# of stretches of three words or more then get the name of a language outside the project.
NAMED = 0.7
NO_LANGUAGE = "zxx"  # py3langid's label of text in none

# Lookarounds and alternatives are tried left to right; each match is blanked before runs are read.
EXEMPT = regex.compile(
    rf"""```.*?(?:```|\Z)                                   # fenced code
    |`[^`\n]*`                                              # inline code
    |https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.-]+         # URLs, e-mail addresses
    |</?[A-Za-z][^<>\n]*>                                   # mark-up
    |\$[^$\n]+\$|\\[A-Za-z]+                                # mathematics
    |\p{{LC}}*[-.]?\p{{N}}[\p{{LC}}\p{{N}}]*(?:[-.][\p{{LC}}\p{{N}}]+)*   # joined to digits
      (?:\ ?\p{{LC}}{{1,{UNIT_LETTERS}}}(?!\p{{LC}}))?          # units
    """,
    regex.VERBOSE | regex.DOTALL,
)
QUOTED = regex.compile(
    rf""""[^"\n]{{1,{QUOTATION}}}"|“[^”\n]{{1,{QUOTATION}}}”|‘[^’\n]{{1,{QUOTATION}}}’
    |«[^»\n]{{1,{QUOTATION}}}»|「[^」\n]{{1,{QUOTATION}}}」|『[^』\n]{{1,{QUOTATION}}}』
    |《[^》\n]{{1,{QUOTATION}}}》|\([^()\n]{{1,{QUOTATION}}}\)|（[^（）\n]{{1,{QUOTATION}}}）
    """,
    regex.VERBOSE | regex.DOTALL,
)
WORD = regex.compile(r"[\p{L}\p{M}]+")
SENTENCE = regex.compile(r"[^\n.!?。！？।۔؟]+")


@dataclass(frozen=True)
class Switches:
    """Intruders of one answer: languages, or scripts where none could be told; sorted, unique."""

    words: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def languages(self) -> list[str]:
        """All intruders."""
        return sorted({*self.words, *self.lines})


@dataclass(frozen=True)
class Span:
    """Foreign words or a foreign clause: text[start:end], in this language or script."""

    start: int
    end: int
    name: str


def judged(question: Question) -> bool:
    """Whether the rule says anything about this question's answers."""
    if question.category == "Code":
        return False
    return question.category != "Translation" or bool(question.reference)


def is_empty(answer: str) -> bool:
    """Whether an answer has no letter outside code, mark-up and URLs, so is in no language."""
    return not weigh_scripts(mask(answer))


def find_switches(
    answer: str, question: Question, language: str, config: CodeSwitchingConfig
) -> Switches:
    """What in an answer is not in the language asked for; see the module's rule."""
    text = mask(answer)
    native = frozenset(scripts_of_language(language)) | asked_scripts(question)
    spans = [
        *foreign_words(text, question, language, native, config),
        *foreign_clauses(text, question, language, config),
    ]
    lines, within = [], []
    for start, end in sentences(text, question, config):
        inside = [span for span in spans if span.start < end and span.end > start]
        found = _line_language(text, start, end, inside, native)
        if found is None and question.category != "Translation":
            found = _identified(text[start:end], question, language, config)
        if found is not None:
            lines.append(found)
            within += inside
    words = [span.name for span in spans if span not in within]
    return Switches(tuple(sorted(set(words))), tuple(sorted(set(lines))))


def mask(text: str) -> str:
    """The text as NFC, with what is exempt blanked out.

    Quotations and brackets are kept on a line that has no other letter.
    """
    text = EXEMPT.sub(_blank, unicodedata.normalize("NFC", text))
    return "\n".join(map(_without_quotations, text.split("\n")))


def _blank(match: Any) -> str:
    return " " * len(match[0])


def _without_quotations(line: str) -> str:
    shorter = str(QUOTED.sub(_blank, line))
    return shorter if weigh_scripts(shorter) else line


def asked_scripts(question: Question) -> frozenset[str]:
    """The script most of the reference answer is in, if there is one."""
    counts = weigh_scripts(question.reference)
    return frozenset(s for s, n in counts.items() if 2 * n > counts.total())


def sentences(
    text: str, question: Question, config: CodeSwitchingConfig
) -> Iterator[tuple[int, int]]:
    """Start and end of the lines and sentences that are long enough and not copied."""
    source = f"{question.text}\n{question.reference}"
    for match in SENTENCE.finditer(text):
        letters = weigh_scripts(match[0]).total()
        if letters >= config.min_line_letters and match[0].strip() not in source:
            yield match.start(), match.end()


def foreign_words(
    text: str,
    question: Question,
    language: str,
    native: frozenset[str],
    config: CodeSwitchingConfig,
) -> list[Span]:
    """Runs of masked text that count as words in another script; neighbours make one span."""
    copied = _run_texts(f"{question.text}\n{question.reference}")
    runs = list(script_runs(text))
    foreign = [run for run in runs if run.script not in native]
    counted = {
        run
        for index, run in enumerate(foreign)
        if run.letters >= config.min_run_letters
        and text[run.start : run.end].casefold() not in copied
        and not _is_name(text, foreign, index)
    }
    spans = []
    for stretch in _stretches(runs, native):
        kept = [run for run in stretch if run in counted]
        if kept:
            start, end = kept[0].start, kept[-1].end
            spans.append(Span(start, end, name_language(text[start:end], language)))
    return spans


def _stretches(runs: Iterable[Run], native: frozenset[str]) -> Iterator[list[Run]]:
    """Foreign runs with no native letter between them."""
    stretch: list[Run] = []
    for run in runs:
        if run.script not in native:
            stretch.append(run)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def foreign_clauses(
    text: str, question: Question, language: str, config: CodeSwitchingConfig
) -> list[Span]:
    """Clauses of masked text in another language of the same script, by the n-gram models.

    One that py3langid places in the asked-for language after all is left out.
    """
    if question.category == "Translation":
        return []
    spans = []
    for script, model in models_of(language):
        known = {word.text.casefold() for word in words_of(question.text, script)}
        known |= {word.text.casefold() for word in words_of(question.reference, script)}
        words = [
            replace(word, evidence=False) if word.text.casefold() in known else word
            for word in common_words(text, script)
        ]
        threshold = load_tail(script, language).threshold(len(words), config.false_alarms)
        for clause in find_clauses(words, language, model, threshold):
            start, end = words[clause.first].start, words[clause.last - 1].end
            found = sure_language(text[start:end], NAMED)
            spans.append(Span(start, end, found or clause.language))
    return [span for span in spans if span.name != language]


def models_of(language: str) -> list[tuple[str, CharacterModel]]:
    """Scripts of a language in which it can be told from others, with their models."""
    found = ((script, load_model(script)) for script in scripts_of_language(language))
    return [(script, model) for script, model in found if model and language in model.languages]


def _line_language(
    text: str, start: int, end: int, inside: Sequence[Span], native: frozenset[str]
) -> str | None:
    """What most letters of a sentence are in, when the spans inside show that it is foreign.

    Where a word is in another script, all letters in foreign scripts count, names as well.
    """
    if not inside:
        return None
    weights: Counter[str] = Counter()
    for span in inside:
        part = text[max(start, span.start) : min(end, span.end)]
        weights[span.name] += weigh_scripts(part).total()
    letters = weigh_scripts(text[start:end])
    outside = sum(n for script, n in letters.items() if script not in native)
    name = max(sorted(weights), key=lambda key: weights[key])
    return name if 2 * max(outside, weights.total()) > letters.total() else None


def _identified(
    sentence: str, question: Question, language: str, config: CodeSwitchingConfig
) -> str | None:
    """Another language a sentence in one of the asked-for language's scripts is surely in.

    It must be so without the words of the question and the reference, too.
    """
    script = max(weigh_scripts(sentence).items(), key=lambda item: item[1])[0]
    if script not in scripts_of_language(language):
        return None
    found = sure_language(sentence, config.min_confidence)
    if found is None or found == language:
        return None
    known = {word.casefold() for word in WORD.findall(f"{question.text}\n{question.reference}")}
    rest = WORD.sub(lambda match: "" if match[0].casefold() in known else match[0], sentence)
    if weigh_scripts(rest).total() < config.min_line_letters:
        return None
    return found if sure_language(rest, config.min_confidence) == found else None


def name_language(text: str, asked: str) -> str:
    """The language of foreign words, or their script where it cannot be told or is the asked-for
    language in other letters."""
    script = max(weigh_scripts(text).items(), key=lambda item: item[1])[0]
    found = sure_language(text, NAMED)
    if found is not None:
        return found if found != asked else script
    model = load_model(script)
    if model is not None:
        return model.leader(word.text for word in words_of(text, script)) or script
    users = [row.code for row in known_languages().values() if script in row.scripts]
    return users[0] if len(users) == 1 else script


def sure_language(text: str, min_confidence: float) -> str | None:
    """The language py3langid places a text in with at least this probability.

    Varieties count as their language (`wuu` as `zh`).
    """
    found, probability = load_identifier().classify(text)
    sure = probability >= min_confidence and found != NO_LANGUAGE
    return VARIETIES.get(found, str(found)) if sure else None


@lru_cache(maxsize=1)
def load_identifier() -> Any:
    """py3langid's identifier of all its languages; loading takes half a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _run_texts(text: str) -> set[str]:
    text = unicodedata.normalize("NFC", text)
    return {text[run.start : run.end].casefold() for run in script_runs(text)}


def _is_name(text: str, runs: Sequence[Run], index: int) -> bool:
    """Whether a foreign run is a name by its case, or a particle inside one."""
    if _has_upper(text, runs[index]):
        return True
    if runs[index].letters > PARTICLE_LETTERS or not 0 < index < len(runs) - 1:
        return False
    around = runs[index - 1 : index + 2]
    return (
        _has_upper(text, around[0])
        and _has_upper(text, around[2])
        and all(text[a.end : b.start] == " " for a, b in pairwise(around))
    )


def _has_upper(text: str, run: Run) -> bool:
    return any(character.isupper() for character in text[run.start : run.end])


def summarise(
    rows: Iterable[Mapping[str, Any]],
    language: str,
    exempt: Mapping[str, int],
    empty: Mapping[str, int],
) -> dict[str, Any]:
    """Rate of switched answers with its Wilson interval, overall and by category.

    rows are those of `code_switching.jsonl`: `n` is their number. exempt and empty count answers
    by category that the rule does not judge, or that are in no language; they stand in no other
    figure. matrix: language asked for -> intruder -> answers that hold it. same_script: languages
    from which the asked-for one is told apart within its script.
    """
    rows = list(rows)
    categories: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        categories.setdefault(row["category"], []).append(row)
    intruders = dict(sorted(Counter(name for row in rows for name in row["languages"]).items()))
    told = {other for _, model in models_of(language) for other in model.languages}
    return _rate(rows) | {
        "confidence": CONFIDENCE,
        "by_line": sum(row["by_line"] for row in rows),
        "by_word": sum(row["by_word"] for row in rows),
        "by_category": {name: _rate(group) for name, group in sorted(categories.items())},
        "intruders": intruders,
        "matrix": {language: intruders},
        "same_script": sorted(told - {language}),
        "exempt": dict(sorted(exempt.items())),
        "empty": dict(sorted(empty.items())),
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
