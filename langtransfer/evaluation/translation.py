"""Questions of a benchmark in another language, by a chat model or from a file that is ready.

What must not change (code, formulas, addresses, placeholders, lines in a foreign script) is taken
out and replaced by marks before a model sees the text, and put back afterwards; a translation that
loses or doubles a mark is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langtransfer.config.evaluation import TranslateBenchmarkConfig
from langtransfer.errors import UserError
from langtransfer.evaluation.chat_client import (
    Chat,
    Form,
    MalformedError,
    Request,
    parse_object,
)
from langtransfer.evaluation.judge_cost import ASCII_PER_TOKEN, OVERHEAD_TOKENS
from langtransfer.evaluation.openai_judge import render
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.resources import prompt_file
from langtransfer.evaluation.scripts_of_text import scripts_of_language, weigh_scripts
from langtransfer.languages import known_languages

FIELDS = ("instruction", "input", "reference")
MARK = re.compile(r"⟦\d+⟧")
PROTECTED = re.compile(
    r"""
    ```.*?```                                               # a block of code
    | `[^`\n]+`                                             # code in a line
    | \$\$.+?\$\$ | \\\[.+?\\\] | \\\(.+?\\\)               # formulas
    | (?<![\\$\w])\$(?=[^\s$])[^$\n]*(?<=[^\s\\$])\$(?![\d$])  # not: between two prices
    | https?://[!-~]+ | www\.[!-~]+                         # addresses
    | [A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+
    | \{\{.*?\}\} | \$?\{[^{}\n]*\} | \[[A-Z][A-Z0-9_\ ]+\]  # placeholders
    | %\([A-Za-z_]\w*\)[sdf] | %[sdf]\b
    | </?[A-Za-z][^<>\n]*>                                  # tags
    | ⟦\d+⟧
    """,
    re.VERBOSE | re.DOTALL,
)
# Share of an instruction's letters that must be in the target's scripts, our choice: low, because
# the text that a question is about may stay as it is.
MIN_TARGET_SHARE = 0.1


@dataclass(frozen=True)
class Masked:
    """A text with marks in place of what must not change."""

    text: str
    spans: Mapping[str, str]
    """What each mark stands for."""


def protect(text: str, scripts: Sequence[str]) -> Masked:
    """Mask a text written in some scripts.

    Lines without a letter of these scripts are kept whole, unless the scripts hold Latin: in a
    Chinese question they are code, or the foreign text it is about.
    """
    spans: dict[str, str] = {}

    def keep(span: str) -> str:
        mark = f"⟦{len(spans) + 1}⟧"
        spans[mark] = span
        return mark

    masked = PROTECTED.sub(lambda match: keep(match[0]), text)
    if "Latin" not in scripts:
        lines = masked.split("\n")
        masked = "\n".join(
            keep(_unmask(line, spans)) if _is_foreign(line, scripts) else line for line in lines
        )
    return Masked(masked, {mark: spans[mark] for mark in MARK.findall(masked)})


def _is_foreign(line: str, scripts: Sequence[str]) -> bool:
    found = set(weigh_scripts(MARK.sub("", line)))
    return bool(found) and not found & set(scripts)


def _unmask(text: str, spans: Mapping[str, str]) -> str:
    return MARK.sub(lambda match: spans[match[0]], text)


def restore(text: str, masked: Masked) -> str:
    """The text with its marks replaced; MalformedError unless each is there exactly once."""
    found, wanted = Counter(MARK.findall(text)), Counter(MARK.findall(masked.text))
    if found != wanted:
        wrong = sorted((found - wanted) + (wanted - found))
        raise MalformedError(f"the mark {wrong[0]} is lost, new or twice")
    return _unmask(text, masked.spans)


def to_translate(question: Question, source: str) -> dict[str, Masked]:
    """Fields of a question with letters of its language; the others stay as they are."""
    scripts = scripts_of_language(source)
    masked = {name: protect(getattr(question, name), scripts) for name in FIELDS}
    return {
        name: field
        for name, field in masked.items()
        if set(weigh_scripts(MARK.sub("", field.text))) & set(scripts)
    }


SHORT = 12
"""Characters and words up to which a field may be the same in both languages: a name, a number."""


def read_translation(content: str, fields: Mapping[str, Masked], target: str) -> dict[str, str]:
    """Translated fields in a model's text; MalformedError for anything else."""
    found = parse_object(content)
    if set(found) != set(fields):
        raise MalformedError(f"the keys are {sorted(found)}, not {sorted(fields)}")
    for name, text in found.items():
        if not isinstance(text, str) or not MARK.sub("", text).strip():
            raise MalformedError(f"{name} is empty")
        if text.strip() == fields[name].text.strip() and len(text.split()) + len(text) > SHORT:
            raise MalformedError(f"{name} {text[:40]!r} is not translated")
    if "instruction" in fields:
        _require_target(found["instruction"], fields["instruction"].text, target)
    return {name: restore(text, fields[name]) for name, text in found.items()}


def _require_target(text: str, source: str, target: str) -> None:
    """MalformedError for an instruction that was left as it is, or put into another script."""
    if text.strip() == source.strip():
        raise MalformedError(f"{text[:40]!r} is not translated")
    letters = weigh_scripts(MARK.sub("", text))
    native = sum(letters[script] for script in scripts_of_language(target))
    if native < MIN_TARGET_SHARE * letters.total():
        raise MalformedError(f"{text[:40]!r} is hardly in the script of {target}")


def chat_of(config: TranslateBenchmarkConfig) -> Chat:
    """The model that translates."""
    return Chat(config.model, config.temperature, "translate_benchmark.model", config.base_url)


def build_request(
    config: TranslateBenchmarkConfig,
    prompt: str,
    source: str,
    target: str,
    fields: Mapping[str, Masked],
) -> Request:
    """The message for one question's fields."""
    texts = {name: field.text for name, field in fields.items()}
    message = render(
        prompt,
        source=known_languages()[source].english_name,
        target=known_languages()[target].english_name,
        fields=json.dumps(texts, ensure_ascii=False, indent=1),
    )
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    form = Form("translation", schema, partial(read_translation, fields=fields, target=target))
    length = sum(_tokens(text, target) for text in texts.values()) + OVERHEAD_TOKENS
    return Request(chat_of(config).key(prompt, message), message, form, length)


def _tokens(text: str, target: str) -> int:
    """About how many tokens a text has once translated, by the rule of `estimate_tokens`."""
    letters = weigh_scripts(text).total()  # in English letters
    latin = scripts_of_language(target) == ("Latin",)
    return math.ceil(letters / ASCII_PER_TOKEN if latin else letters)


Asker = Callable[[Sequence[Request], Chat], list[dict[str, str]]]


def translate(
    rows: Sequence[Mapping[str, Any]],
    config: TranslateBenchmarkConfig,
    source: str,
    target: str,
    ask: Asker,
) -> list[dict[str, Any]]:
    """Rows of `questions.jsonl` with their texts translated; ids and categories stay.

    Keys and wrong strings are left out: they are words of the source language. ask gets answers to
    requests. Raises UserError as it does.
    """
    file = prompt_file("translate", config.prompt, "translate_benchmark.prompt")
    prompt = file.read_text(encoding="utf-8")
    fields = [to_translate(Question.model_validate(row), source) for row in rows]
    asked = [found for found in fields if found]
    requests = [build_request(config, prompt, source, target, found) for found in asked]
    answers = iter(ask(requests, chat_of(config)))
    return [
        _replaced(row, next(answers) if found else {})
        for row, found in zip(rows, fields, strict=True)
    ]


def _replaced(row: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    return {**row, "keys": [], "wrong": [], **texts}


def adopt(
    rows: Sequence[Mapping[str, Any]], ready: Sequence[Mapping[str, Any]], place: str
) -> list[dict[str, Any]]:
    """Rows of `questions.jsonl` with the texts of a translation that is there already.

    Raises UserError for a question that it does not have, or has without text.
    """
    by_id = {str(row["id"]): row for row in ready}
    adopted = []
    for row in rows:
        found = by_id.get(row["id"])
        if found is None:
            raise UserError(place, row["id"], "this question is not in the file: add it")
        texts = {name: str(found[name]) for name in FIELDS}
        for name in ("instruction", "reference"):  # an input may have become part of the question
            if row[name].strip() and not texts[name].strip():
                where = f"{place}, {row['id']}, {name}"
                raise UserError(where, texts[name], "is empty: translate it")
        adopted.append(_replaced(row, texts))
    return adopted


def changed_spans(
    rows: Sequence[Mapping[str, Any]], translated: Sequence[Mapping[str, Any]], source: str
) -> list[str]:
    """Ids of questions whose code, formulas or placeholders are not in the translation."""
    scripts = scripts_of_language(source)
    return [
        row["id"]
        for row, other in zip(rows, translated, strict=True)
        if any(
            span not in there
            for text, there in zip(_texts(row), _texts(other), strict=True)
            for span in protect(text, scripts).spans.values()
        )
    ]


def _texts(row: Mapping[str, Any]) -> tuple[str, str]:
    return Question.model_validate(row).text, row["reference"]
