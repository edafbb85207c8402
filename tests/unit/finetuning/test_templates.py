"""Prompts as text and as ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from langtransfer.errors import UserError
from langtransfer.finetuning.templates import (
    PROMPTS,
    prompt_ids,
    render_prompt,
    responses_ids,
    texts_ids,
)
from langtransfer.pretraining.models import load_tokenizer

EXPECTED = {
    "bactrian": ("### Input:\nAdd.\n\n1 2\n\n### Output:\n", "### Input:\nAdd.\n\n### Output:\n"),
    "belle": ("Human: \nAdd.\n1 2\n\nAssistant: \n", "Human: \nAdd.\n\nAssistant: \n"),
    "alpaca": (
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n",
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:\n",
    ),
    "chat": (
        "<|im_start|>user\nAdd.\n\n1 2<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nAdd.<|im_end|>\n<|im_start|>assistant\n",
    ),
    "plain": ("Add.\n1 2\n", "Add.\n"),
}  # fmt: skip


def test_every_template_is_expected_here() -> None:
    assert {path.stem for path in PROMPTS.glob("*.jinja")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_rendered(name: str) -> None:
    with_input, without = EXPECTED[name]
    assert render_prompt(name, "Add.", "1 2") == with_input
    assert render_prompt(name, "Add.") == without
    # Texts are data: neither markup nor white space in them is touched.
    assert "{{ 1 }} <b> \n" in render_prompt(name, "{{ 1 }} <b> \n")


def test_unknown_template() -> None:
    with pytest.raises(
        UserError, match=r"'bele': .*use one of alpaca, bactrian, belle, chat, plain"
    ):
        render_prompt("bele", "x")


def test_ids_split_at_the_boundary(vocabulary: Path) -> None:
    tokenizer = load_tokenizer(vocabulary)
    prompt = prompt_ids(tokenizer, "belle", "the cat", "a dog")
    answer = responses_ids(tokenizer, ["sings </s> of 河"])[0]
    assert prompt[0] == tokenizer.bos_token_id
    assert prompt.count(tokenizer.bos_token_id) == 1
    assert answer[-1] == tokenizer.eos_token_id
    assert answer.count(tokenizer.eos_token_id) == 1  # the literal </s> is text
    assert tokenizer.decode(prompt[1:]) == render_prompt("belle", "the cat", "a dog")
    assert tokenizer.decode(answer[:-1]) == "sings </s> of 河"


def test_ids_are_sentencepieces(vocabulary: Path, sentences: list[str]) -> None:
    import sentencepiece as spm

    own = spm.SentencePieceProcessor(model_file=str(vocabulary / "tokenizer.spm"))
    tokenizer = load_tokenizer(vocabulary)
    texts = [*sentences[:20], " two  spaces ", "<s> \n\t河", ""]
    assert texts_ids(tokenizer, texts) == own.encode(texts)
    assert texts_ids(tokenizer, []) == []
