"""llama2.c's legacy checkpoint and tokenizer files as Hugging Face model and SentencePiece model.

Source: karpathy/llama2.c, export.py (legacy_export) and tokenizer.py (export).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from langtransfer.errors import UserError
from langtransfer.vocabulary.conversion import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    ModelProto,
)

MAGIC_V1 = 0x616B3432  # "ak42": the versioned export, another layout
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
UNK, BOS, EOS = 0, 1, 2  # fixed in llama2.c
Floats = NDArray[np.float32]


class Header(NamedTuple):
    """The seven little-endian int32 a legacy file begins with."""

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int
    """Negative when the output head is not tied to the embedding."""
    max_seq_len: int

    @property
    def rows(self) -> int:
        """Rows of the embedding."""
        return abs(self.vocab_size)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensors of the file by name, in their order; each kind holds all layers."""
        n, d, h = self.layers, self.dim, self.hidden_dim
        head = d // self.heads
        kv = head * self.kv_heads
        shapes: dict[str, tuple[int, ...]] = {
            "embedding": (self.rows, d), "rms_att": (n, d), "wq": (n, d, d), "wk": (n, kv, d),
            "wv": (n, kv, d), "wo": (n, d, d), "rms_ffn": (n, d), "w1": (n, h, d),
            "w2": (n, d, h), "w3": (n, h, d), "rms_final": (d,),
            "cosines": (self.max_seq_len, head // 2), "sines": (self.max_seq_len, head // 2),
        }  # fmt: skip
        return shapes if self.vocab_size > 0 else shapes | {"head": (self.rows, d)}


def read_header(path: Path) -> Header:
    """The header of a legacy checkpoint; UserError when it is not one or sizes do not fit."""
    data = path.read_bytes()[:28]
    if len(data) < 28:
        raise UserError("checkpoint", str(path), "truncated: shorter than its header")
    header = Header(*struct.unpack("<7i", data))
    if header.dim == MAGIC_V1:
        remedy = "is llama2.c's versioned export: give the legacy one (export.py --version 0)"
        raise UserError("checkpoint", str(path), remedy)
    sane = all(number > 0 for number in (*header[:5], header.max_seq_len)) and header.vocab_size
    if not sane or header.dim % (2 * header.heads) or header.heads % header.kv_heads:
        raise UserError("checkpoint", str(path), f"no llama2.c header: it reads {tuple(header)}")
    expected = 28 + 4 * sum(int(np.prod(shape)) for shape in header.shapes().values())
    if path.stat().st_size != expected:
        remedy = f"has {path.stat().st_size} bytes, its header asks for {expected}: fetch it again"
        raise UserError("checkpoint", str(path), remedy)
    return header


def read_tensors(path: Path, header: Header) -> dict[str, Floats]:
    """Tensors of a legacy checkpoint by name, memory-mapped."""
    floats = np.memmap(path, dtype="<f4", mode="r", offset=28)
    tensors, at = {}, 0
    for name, shape in header.shapes().items():
        size = int(np.prod(shape))
        tensors[name] = floats[at : at + size].reshape(shape)
        at += size
    return tensors


def read_model(path: Path) -> Any:
    """A LlamaForCausalLM in float32 from a legacy checkpoint; UserError as `read_header`."""
    header = read_header(path)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=header.rows, hidden_size=header.dim, intermediate_size=header.hidden_dim,
            num_hidden_layers=header.layers, num_attention_heads=header.heads,
            num_key_value_heads=header.kv_heads, max_position_embeddings=header.max_seq_len,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}, rms_norm_eps=1e-5,
            tie_word_embeddings=header.vocab_size > 0, bos_token_id=BOS, eos_token_id=EOS,
            pad_token_id=None,
        )
    )  # fmt: skip
    weights = dict(hugging_face_names(read_tensors(path, header), header))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = {"lm_head.weight"} if header.vocab_size > 0 else set()
    assert set(missing) <= tied, missing
    assert not unexpected, unexpected
    model.tie_weights()
    return model


def hugging_face_names(
    tensors: dict[str, Floats], header: Header
) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights under Hugging Face's names and in its order of rotary pairs."""
    kinds = {
        "rms_att": "input_layernorm", "wq": "self_attn.q_proj", "wk": "self_attn.k_proj",
        "wv": "self_attn.v_proj", "wo": "self_attn.o_proj", "rms_ffn": "post_attention_layernorm",
        "w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj",
    }  # fmt: skip
    heads = {"wq": header.heads, "wk": header.kv_heads}
    for kind, name in kinds.items():
        for layer, matrix in enumerate(tensors[kind]):
            rows = halve_pairs(matrix, heads[kind]) if kind in heads else matrix
            yield f"model.layers.{layer}.{name}.weight", torch.from_numpy(rows.copy())
    yield "model.embed_tokens.weight", torch.from_numpy(tensors["embedding"].copy())
    yield "model.norm.weight", torch.from_numpy(tensors["rms_final"].copy())
    if "head" in tensors:
        yield "lm_head.weight", torch.from_numpy(tensors["head"].copy())


def halve_pairs(matrix: Floats, heads: int) -> Floats:
    """Rows of a query or key projection from Meta's rotary order to Hugging Face's.

    Meta rotates neighbouring rows (2i, 2i + 1) of a head, Hugging Face rows (i, i + half).
    """
    rows, columns = matrix.shape
    pairs = matrix.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.transpose(0, 2, 1, 3).reshape(rows, columns)


def read_tokenizer(path: Path, size: int) -> Any:
    """The SentencePiece BPE ModelProto a `tokenizer.bin` of so many pieces was written from.

    Raises UserError when the file is truncated or holds another number of pieces.
    """
    pieces = list(_pieces(path))
    if len(pieces) != size:
        remedy = f"holds {len(pieces)} pieces, the checkpoint has {size} rows: use its own file"
        raise UserError("tokenizer", str(path), remedy)
    proto = ModelProto()
    for number, (text, score) in enumerate(pieces):
        proto.pieces.add(piece=_original(number, text), score=score, type=_kind(number, text))
    spec = proto.trainer_spec
    spec.model_type, spec.vocab_size, spec.byte_fallback = BPE, size, True
    spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id = UNK, BOS, EOS, -1
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.escape_whitespaces = True
    return proto


def _pieces(path: Path) -> Iterator[tuple[str, float]]:
    """Text and score of each piece: int32 longest, then float32 score, int32 length, bytes."""
    data = path.read_bytes()
    at = 4
    while at < len(data):
        try:
            score, length = struct.unpack_from("<fi", data, at)
            text = struct.unpack_from(f"<{length}s", data, at + 8)[0].decode("utf-8")
        except (struct.error, UnicodeDecodeError) as error:
            remedy = f"truncated or not llama2.c's ({error}): fetch it again"
            raise UserError("tokenizer", str(path), remedy) from error
        yield text, score
        at += 8 + length


def _original(number: int, text: str) -> str:
    """A piece as SentencePiece had it; llama2.c wrote spaces out and put bos on a line."""
    return text.strip("\n") if number in (BOS, EOS) else text.replace(" ", SPACE)


def _kind(number: int, text: str) -> int:
    if number == UNK:
        return int(UNKNOWN)
    if number in (BOS, EOS):
        return int(CONTROL)
    return int(BYTE if BYTE_PIECE.fullmatch(text) else NORMAL)
