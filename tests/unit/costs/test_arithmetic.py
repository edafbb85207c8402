"""Operations, against hand counts and against what PyTorch counts while it runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu
from langtransfer.config.training import LoraConfig
from langtransfer.costs import arithmetic
from langtransfer.costs.shapes import trained_by
from langtransfer.pretraining.adapters import peft_config
from tests.unit.costs.test_shapes import TINY, model, shape_of

CONTEXT = 64
# Eager attention multiplies the masked half as well.
MASKED = arithmetic.attention(TINY, CONTEXT)


def counted(network: Any, backward: bool) -> int:
    """Operations PyTorch counts for one sequence."""
    ids = torch.arange(CONTEXT)[None]
    counter = FlopCounterMode(display=False)
    with counter:
        loss = network(input_ids=ids, labels=ids, use_cache=False).loss
        if backward:
            loss.backward()
    return int(counter.get_total_flops())


def test_6n_is_near_for_a_long_model_and_a_short_context() -> None:
    shape = shape_of("llama-7b")
    whole = trained_by(shape, None)
    six = 6 * shape.parameters
    assert arithmetic.training(shape, 512, whole) == pytest.approx(six, rel=0.015)
    # 6 x 32 x 4096 x 2048 more for attention, less 6 x 32000 x 4096 for rows looked up.
    by_hand = 6 * (32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096) + 6 * 32 * 4096 * 2048
    assert arithmetic.training(shape, 2048, whole) == pytest.approx(by_hand, rel=1e-4)


def test_the_benchmark_counts_the_same() -> None:
    shape = shape_of("llama-7b")
    counted = gpu.flops_per_token("7b", vocabulary=32_000, length=2048)
    assert arithmetic.training(shape, 2048, trained_by(shape, None)) == pytest.approx(counted, 1e-4)


def test_forward_is_what_pytorch_counts() -> None:
    assert counted(model(TINY), backward=False) == CONTEXT * (
        arithmetic.forward(TINY, CONTEXT) + MASKED
    )


def test_training_is_what_pytorch_counts() -> None:
    each = arithmetic.training(TINY, CONTEXT, trained_by(TINY, None)) + 3 * MASKED
    expected = CONTEXT * each
    assert counted(model(TINY), backward=True) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("saved", [(), ("embed_tokens", "lm_head")])
def test_lora_is_what_pytorch_counts(saved: tuple[str, ...]) -> None:
    lora = LoraConfig(rank=4, alpha=8, modules_to_save=saved)
    network = model(TINY)
    adapted = get_peft_model(network, peft_config(lora, None, network))  # type: ignore[arg-type]
    expected = CONTEXT * (arithmetic.training(TINY, CONTEXT, trained_by(TINY, lora)) + 3 * MASKED)
    # The first layer's inputs need no gradient where the embedding is frozen: a two-layer model
    # shows that, thirty-two layers do not.
    assert counted(adapted, backward=True) == pytest.approx(expected, rel=0.12)


def test_decoding_reads_weights_a_batch_and_cache_a_sequence() -> None:
    shape = shape_of("llama-7b")
    weights = 4 * (32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096)
    cache = 2 * 32 * 4096 * 4
    found = arithmetic.decoding_traffic(shape, sequences=33, batch=32, prompt=100, new=10)
    assert found == 2 * 10 * weights + 33 * 10 * cache * 105
