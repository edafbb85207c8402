"""Greedy answers to response-quality questions, batched by prompt length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import torch
from transformers import GenerationConfig

from langtransfer.evaluation.batching import batched

Finish = Literal["eos", "length", "context"]


@dataclass(frozen=True)
class Prompt:
    """A question as the model sees it: text and token ids, template applied."""

    id: str
    category: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Prompts generated for together, and how many tokens each may get."""

    prompts: tuple[Prompt, ...]
    new_tokens: int


def plan_batches(
    prompts: Sequence[Prompt], positions: int, max_new_tokens: int, size: int
) -> list[Batch]:
    """Batches of at most `size` prompts of neighbouring lengths, in a fixed order.

    Prompt and answer share the model's `positions`, so a long prompt leaves room for fewer than
    max_new_tokens; the prompts of a batch all have the same room, whatever else is in it. Those
    that fill the context by themselves are in no batch.
    """

    def room(prompt: Prompt) -> int:
        return min(max_new_tokens, positions - len(prompt.ids))

    ordered = sorted(prompts, key=lambda prompt: len(prompt.ids))  # stable: file order within
    return [
        Batch(members, new_tokens)
        for new_tokens, group in groupby(ordered, key=room)
        if new_tokens > 0
        for members in batched(group, size)
    ]


def greedy_config(max_new_tokens: int, eos: int | None, pad: int) -> GenerationConfig:
    """Greedy search and nothing else, whatever the checkpoint's own generation config says."""
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        eos_token_id=eos,
        pad_token_id=pad,
    )


def generate_ids(model: Any, batch: Batch, eos: int | None, pad: int) -> list[list[int]]:
    """Generated token ids of each prompt, in batch order, padding after the first eos included.

    Prompts are padded on the left and masked; the model counts positions from the mask.
    """
    width = max(len(prompt.ids) for prompt in batch.prompts)
    ids = torch.tensor([[pad] * (width - len(p.ids)) + list(p.ids) for p in batch.prompts])
    mask = torch.tensor([[0] * (width - len(p.ids)) + [1] * len(p.ids) for p in batch.prompts])
    config = greedy_config(batch.new_tokens, eos, pad)
    model.generation_config = config  # else generate() fills in the checkpoint's penalties
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
        )
    rows: list[list[int]] = output[:, width:].tolist()
    return rows


def answer_batch(
    model: Any, tokenizer: Any, batch: Batch, max_new_tokens: int
) -> list[dict[str, Any]]:
    """Rows of `answers.jsonl` for the prompts of a batch."""
    eos = tokenizer.eos_token_id
    pad = next(i for i in (tokenizer.pad_token_id, eos, 0) if i is not None)
    rows = []
    for prompt, ids in zip(batch.prompts, generate_ids(model, batch, eos, pad), strict=True):
        finish: Finish = "length" if batch.new_tokens == max_new_tokens else "context"
        if eos in ids:
            ids, finish = ids[: ids.index(eos)], "eos"
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        rows.append(answer_row(prompt, text.strip(), len(ids), finish))
    return rows


def answer_row(prompt: Prompt, answer: str, tokens: int, finish: Finish) -> dict[str, Any]:
    """One row of `answers.jsonl`; tokens counts what was generated before the end of sequence.

    finish: eos, the model ended its answer; length, it was cut at max_new_tokens; context, it
    was cut where the model's positions end (an empty answer: the prompt alone reaches there).
    """
    return {
        "id": prompt.id,
        "category": prompt.category,
        "prompt": prompt.text,
        "answer": answer,
        "tokens": tokens,
        "finish": finish,
    }


def count_finishes(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Facts for the manifest: answers by how they ended, tokens, prompts that were too long."""
    ends = Counter(row["finish"] for row in rows)
    return {
        "answers": len(rows),
        "tokens": sum(row["tokens"] for row in rows),
        "ended_by_eos": ends["eos"],
        "cut_at_length": ends["length"],
        "cut_at_context": ends["context"],
        "prompts_too_long": sum(r["finish"] == "context" and not r["tokens"] for r in rows),
    }
