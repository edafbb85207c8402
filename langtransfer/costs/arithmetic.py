"""Arithmetic of a LLaMA, in floating-point operations (a product and its sum are two).

The formula is PaLM's (arXiv 2204.02311, appendix B), which model FLOPs utilisation is defined by:
6 operations a parameter and token, forward and backward, a third of them forward. Parameters are
those tokens are multiplied with: every layer's matrices and lm_head; looking up a row of
embed_tokens is no arithmetic. Of attention, PaLM's 12 x layers x hidden x context, the causal half
that is not masked counts, since kernels skip the other. Recomputed activations are not counted.
"""

from __future__ import annotations

from langtransfer.costs.shapes import FLOAT32, Shape, Trained


def attention(shape: Shape, context: int) -> float:
    """Forward operations of scores and sums: a token sees half of its sequence, in the mean."""
    return 2.0 * shape.layers * shape.hidden * context


def forward(shape: Shape, context: int) -> float:
    """Operations a token takes to be read, or written, in a sequence of so many tokens."""
    return 2.0 * shape.multiplied + attention(shape, context)


def training(shape: Shape, context: int, trained: Trained) -> float:
    """Operations a token takes to be learnt from.

    Gradients pass through every matrix; only those that are trained cost another 2 a parameter.
    """
    own = 4.0 * shape.multiplied + 2.0 * trained.multiplied
    return own + 6.0 * trained.adapters + 3.0 * attention(shape, context)


def decoding_traffic(shape: Shape, sequences: int, batch: int, prompt: int, new: int) -> float:
    """Bytes read to write `new` tokens for each of some sequences, in float32.

    Each step reads every weight once a batch, and each sequence's keys and values so far.
    """
    batches = -(-sequences // batch)
    weights = float(shape.multiplied) * FLOAT32 * batches * new
    kept = 2.0 * shape.layers * shape.key_value_size * FLOAT32
    return weights + sequences * new * kept * (prompt + new / 2)
