"""From an instruction to the prompt a model is tuned and asked with, and to token ids.

Prompt and response are tokenized apart and joined as ids, so the boundary a model was tuned with
is exactly the one it meets when it generates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from langtransfer.errors import UserError
from langtransfer.resources import RESOURCES

PROMPTS = RESOURCES / "prompts"


@cache
def load_template(name: str) -> Template:
    """The template `resources/prompts/<name>.jinja`; UserError naming those there are."""
    file = PROMPTS / f"{name}.jinja"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in PROMPTS.glob("*.jinja")))
        raise UserError("template", name, f"no such file in resources/prompts: use one of {known}")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(file.read_text(encoding="utf-8"))


def render_prompt(template: str, instruction: str, input: str = "") -> str:
    """The prompt as text, up to where the response begins; white space of the texts is kept."""
    return load_template(template).render(instruction=instruction, input=input)


def prompt_ids(tokenizer: Any, template: str, instruction: str, input: str = "") -> list[int]:
    """The prompt as ids, begun with bos where the vocabulary has one."""
    return prompts_ids(tokenizer, [render_prompt(template, instruction, input)])[0]


def prompts_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Rendered prompts as ids, each begun with bos where the vocabulary has one."""
    bos = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    return [bos + ids for ids in texts_ids(tokenizer, prompts)]


def responses_ids(tokenizer: Any, responses: Sequence[str]) -> list[list[int]]:
    """Responses as ids, each ended with eos; UserError when the vocabulary has no eos."""
    if tokenizer.eos_token_id is None:
        raise UserError("vocabulary", "eos", "has no end-of-sequence token: tuning needs one")
    return [[*ids, int(tokenizer.eos_token_id)] for ids in texts_ids(tokenizer, responses)]


def texts_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of plain texts: a literal `</s>` in one is text, not the control token."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
    ids: list[list[int]] = encoded["input_ids"]
    return ids
