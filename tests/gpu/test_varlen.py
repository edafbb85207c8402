"""Documents of a packed block do not see each other in the GPU's attention."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langtransfer.pretraining.varlen import document_bounds, keep_documents_apart

gpu = pytest.mark.gpu
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def model(heads: int, key_value_heads: int) -> LlamaForCausalLM:
    """A small LLaMA in bf16 on the GPU."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128, hidden_size=64 * heads, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=heads, num_key_value_heads=key_value_heads, use_cache=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).to("cuda", torch.bfloat16)


def test_bounds_are_where_positions_begin() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]])
    bounds, longest = document_bounds(positions)
    assert bounds.tolist() == [0, 3, 5, 6, 10]
    assert bounds.dtype == torch.int32
    assert longest == 4


@gpu
@no_gpu
@pytest.mark.parametrize(("heads", "key_value_heads"), [(4, 4), (4, 2)])
def test_packed_logits_are_those_of_separate_documents(heads: int, key_value_heads: int) -> None:
    lengths = [[37, 90, 1], [128]]
    ids = torch.randint(0, 128, (2, 128), device="cuda")
    positions = torch.stack(
        [torch.cat([torch.arange(n) for n in row]) for row in lengths]
    ).cuda()  # fmt: skip
    plain = model(heads, key_value_heads)
    separate = []
    for row, parts in zip(ids, lengths, strict=True):
        for part in row.split(parts):
            separate.append(plain(part[None]).logits[0].float())
    wanted = torch.cat(separate)
    packed = model(heads, key_value_heads)
    keep_documents_apart(packed)
    found = packed(input_ids=ids, position_ids=positions).logits.flatten(0, 1).float()
    assert (found - wanted).norm() / wanted.norm() < 1e-2
    # What leaks changes the first token after a boundary; change the document before it.
    changed = ids.clone()
    changed[0, :37] = (changed[0, :37] + 1) % 128
    again = packed(input_ids=changed, position_ids=positions).logits.flatten(0, 1).float()
    assert torch.equal(again[37:], found[37:])
    assert not torch.equal(again[:37], found[:37])


@gpu
@no_gpu
def test_gradients_are_those_of_a_dense_mask() -> None:
    ids = torch.randint(0, 128, (2, 128), device="cuda")
    positions = torch.cat([torch.arange(50), torch.arange(78)]).expand(2, -1).cuda()
    gradients = []
    for varlen in (False, True):
        network = model(4, 4)
        if varlen:
            keep_documents_apart(network)
        network(input_ids=ids, position_ids=positions, labels=ids).loss.backward()
        gradients.append(network.model.embed_tokens.weight.grad.float())
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 2e-2
