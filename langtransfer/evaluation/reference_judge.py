"""The offline judge: scores an answer against what the question's writer knows.

It stands in where no chat model can be reached and every result of it says so (`JUDGE`). It
reads strings, not meaning: a correct answer in other words scores low, and *harmlessness is
constant* because there is no offline detector of harm; it carries no information.

Levels (our choice; the paper's rubric is not found, FACTS.md section 4):

* accuracy: share of key groups found x share of the found strings that are keys, not wrong ones:
  all 3, more than half 2, anything 1, nothing 0. Without keys: chrF with the reference.
* informativeness: share of key groups found (all 3, more than half 2, some 1); at most 2 below
  half and at most 1 below a quarter of the reference's length; at least 1 for an answer on the
  subject (chrF with the reference >= `ON_SUBJECT`).
* fluency: repetition (of words, and inside one), share of letters in the script asked for (or
  copied), damaged characters, an answer cut off, sentences identified as another language.
* logicality: keys and wrong strings together contradict each other, loops go nowhere, an answer
  off the subject follows from nothing (0 where it is unreadable too), one cut off is unfinished.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import regex  # type: ignore[import-untyped]
from sacrebleu.metrics.chrf import CHRF

from langtransfer.config.evaluation import CodeSwitchingCell
from langtransfer.errors import UserError
from langtransfer.evaluation.code_switching import asked_scripts, find_switches
from langtransfer.evaluation.judging import Level, Verdict
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.scripts_of_text import scripts_of_language, weigh_scripts

JUDGE = "reference-2"  # raise the number when any rule below changes
UNINFORMATIVE = ("harmlessness",)

# Our choices. chrF runs from 0 to 100; unrelated FLORES sentences get 2 (zh) to 20 (sw, ta) in the
# median and 30 at most in 99 of 100 pairs, in any of en zh hi sw ta.
CHRF_LEVELS = (20.0, 40.0, 60.0)
ON_SUBJECT = 30.0
# Share of repeated word trigrams, or of characters in loops, from which fluency and logicality
# lose a level.
REPETITION_LEVELS = (0.15, 0.35, 0.60)
# Share of letters in the asked-for script below which fluency loses a level.
SCRIPT_LEVELS = (0.95, 0.80, 0.50)

# Scripts without spaces between words: a key counts wherever it stands.
UNSPACED = r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}"
WORD = regex.compile(rf"[{UNSPACED}]|[\p{{L}}\p{{M}}\p{{N}}--[{UNSPACED}]]+", regex.V1)
# A loop inside a word, our choice: up to 16 characters four times in a row ("hahahaha"); four times
# is more than any language's reduplication. Numbers repeat digits: only long ones are loops.
LOOP = regex.compile(r"([\p{L}\p{M}\p{N}]{1,16}?)\1{3,}")
LONGEST_NUMBER = 24  # digits
UNSPACED_CHARACTER = regex.compile(rf"[{UNSPACED}]")


@dataclass(frozen=True)
class Evidence:
    """What an answer holds of its question's keys and wrong strings."""

    groups: int
    found: int
    wrong: int

    @property
    def coverage(self) -> float:
        """Share of key groups found; 0 without keys."""
        return self.found / self.groups if self.groups else 0.0

    @property
    def precision(self) -> float:
        """Share of what was found that is right; 1 when nothing was."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else 1.0


def judge(question: Question, answer: str, finish: str, language: str) -> Verdict:
    """Verdict on one answer.

    Raises UserError for a question with neither keys nor a reference: this judge cannot know.
    """
    if not question.keys and not question.reference:
        remedy = "no keys and no reference: use score.judge.kind: openai for this benchmark"
        raise UserError("questions.jsonl", question.id, remedy)
    if not answer.strip():
        return Verdict(accuracy=0, fluency=0, informativeness=0, logicality=0, harmlessness=3)
    evidence = find_evidence(question, answer)
    similarity = chrf(answer, question.reference)
    said = words(answer)
    repetition = max(repeated_share(said), looped_share(said))
    form = fluency(question, answer, finish, language, repetition)
    return Verdict(
        accuracy=accuracy(evidence, similarity),
        fluency=form,
        informativeness=informativeness(question, answer, evidence, similarity),
        logicality=logicality(evidence, similarity, finish, repetition, form),
        harmlessness=3,
    )


def accuracy(evidence: Evidence, similarity: float) -> Level:
    """How much of the answer is right."""
    if not evidence.groups:
        return as_level(sum(similarity >= limit for limit in CHRF_LEVELS))
    return share_level(evidence.coverage * evidence.precision)


def informativeness(
    question: Question, answer: str, evidence: Evidence, similarity: float
) -> Level:
    """How much of what was asked for is there."""
    if not evidence.groups:
        level = int(as_level(sum(similarity >= limit for limit in CHRF_LEVELS)))
    else:
        level = share_level(evidence.coverage)
    length = len(words(answer)) / max(1, len(words(question.reference)))
    if question.reference:
        level = min(level, 1 if length < 0.25 else 2 if length < 0.5 else 3)
    return as_level(max(level, int(similarity >= ON_SUBJECT)))


def fluency(
    question: Question, answer: str, finish: str, language: str, repetition: float
) -> Level:
    """How well-formed the answer is in the language asked for."""
    native = frozenset(scripts_of_language(language)) | asked_scripts(question)
    share = native_share(answer, question, native)
    level = 3 - sum(repetition > limit for limit in REPETITION_LEVELS)
    level = min(level, 3 - sum(share < limit for limit in SCRIPT_LEVELS))
    if finish != "eos":
        level = min(level, 2)
    limits = CodeSwitchingCell(language=language)
    if "\ufffd" in answer or find_switches(answer, question, language, limits).lines:
        level = min(level, 1)
    return as_level(level)


def logicality(
    evidence: Evidence, similarity: float, finish: str, repetition: float, form: Level
) -> Level:
    """Whether the answer agrees with itself and with its question."""
    level = 3 - sum(repetition > limit for limit in REPETITION_LEVELS)
    if finish != "eos":
        level = min(level, 2)
    contradicts = evidence.found and evidence.wrong
    off_subject = not evidence.found and similarity < ON_SUBJECT
    if contradicts or off_subject:
        level = min(level, 1 if form else 0)
    return as_level(level)


def share_level(share: float) -> Level:
    """All 3, more than half 2, some 1, none 0."""
    return 3 if share >= 1 else 2 if share > 0.5 else 1 if share > 0 else 0


def as_level(value: int) -> Level:
    """A whole number as a level, held between 0 and 3."""
    levels: tuple[Level, ...] = (0, 1, 2, 3)
    return levels[min(3, max(0, value))]


def find_evidence(question: Question, answer: str) -> Evidence:
    """Key groups and wrong strings of a question that stand in an answer.

    A match inside a longer match of the other kind does not count: the wrong "Guinea" in the
    right "Papua New Guinea".
    """
    text = normalise(answer)
    groups = [spans(text, group) for group in question.keys]
    wrong = [spans(text, [string]) for string in question.wrong]
    keys = [span for group in groups for span in group]
    mistakes = [span for group in wrong for span in group]
    return Evidence(
        groups=len(groups),
        found=sum(any(not _inside(span, mistakes) for span in group) for group in groups),
        wrong=sum(any(not _inside(span, keys) for span in group) for group in wrong),
    )


def _inside(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    """Whether a span lies in a longer or equal one of the others; equal ones are keys' own."""
    start, end = span
    return any(a <= start and end <= b and b - a > end - start for a, b in others)


def spans(text: str, spellings: Sequence[str]) -> list[tuple[int, int]]:
    """Where any spelling stands in normalised text as a whole word or number."""
    return [
        match.span()
        for spelling in spellings
        if (wanted := normalise(spelling))
        for match in regex.finditer(whole_word(wanted), text)
    ]


def whole_word(wanted: str) -> str:
    """Pattern of a string that must not be cut out of a longer word or number."""
    first, last = wanted[0], wanted[-1]
    before = _boundary(first, r"(?<!\d)(?<!\d[.,])", r"(?<![\p{L}\p{M}])")
    after = _boundary(last, r"(?!\d)(?![.,]\d)", r"(?![\p{L}\p{M}])")
    return f"{before}{regex.escape(wanted, special_only=True)}{after}"


def _boundary(edge: str, digit: str, letter: str) -> str:
    if edge.isdigit():
        return digit
    spaced = unicodedata.category(edge)[0] in "LM" and not UNSPACED_CHARACTER.match(edge)
    return letter if spaced else ""


def normalise(text: str) -> str:
    """Compatibility form, case folded, white space single, decimal digits as 0-9."""
    text = unicodedata.normalize("NFKC", text).casefold()
    digits = (str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c for c in text)
    return " ".join("".join(digits).split())


def words(text: str) -> list[str]:
    """Words of a text; single characters in scripts that do not space them."""
    return [str(word) for word in WORD.findall(normalise(text))]


def repeated_share(tokens: Sequence[str]) -> float:
    """Share of word trigrams that occurred before; 0 for fewer than two trigrams."""
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    if len(trigrams) < 2:
        return 0.0
    return 1 - len(set(trigrams)) / len(trigrams)


def looped_share(tokens: Sequence[str]) -> float:
    """Share of the words' characters that only say again what stands right before, in the word."""
    characters = sum(map(len, tokens))
    loops = [loop for token in tokens for loop in LOOP.finditer(token)]
    repeated = sum(
        len(loop[0]) - len(loop[1])
        for loop in loops
        if len(loop[0]) > LONGEST_NUMBER or not loop[0].isdigit()
    )
    return repeated / characters if characters else 0.0


def native_share(answer: str, question: Question, native: frozenset[str]) -> float:
    """Share of an answer's letters in the asked-for scripts; words copied from the question
    count as such, and an answer without letters is whole."""
    copied = set(words(question.text)) | set(words(question.reference))
    counts: Counter[str] = Counter()
    for word in words(answer):
        for script, letters in weigh_scripts(word).items():
            counts["native" if script in native or word in copied else "foreign"] += letters
    return counts["native"] / counts.total() if counts.total() else 1.0


def chrf(answer: str, reference: str) -> float:
    """Character n-gram F-score (sacrebleu's chrF2), 0 to 100; 0 without a reference."""
    if not reference:
        return 0.0
    result: Any = CHRF().sentence_score(normalise(answer), [normalise(reference)])
    return float(result.score)
