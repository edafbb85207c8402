"""Text to ids for whole corpora, by the fastest engine whose ids are the vocabulary's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import SPM, TOKENIZER, read_contract, vocabulary_folder

Encoder = Callable[[list[str]], list[list[int]]]
"""Texts to ids, without bos and eos; special tokens spelt out in a text are text."""

Engine = Literal["gigatoken", "sentencepiece", "tokenizers"]
# Fastest first, by benchmarks/tokenization.py. kitoken is left out: 13 of 16,196 FLORES lines
# differ on LLaMA with 17,953 new pieces, and SentencePiece is faster there (34 MB/s, not 24).
ENGINES: tuple[Engine, ...] = ("gigatoken", "sentencepiece", "tokenizers")


def reference_engine(folder: Path) -> Engine:
    """The engine that defines a vocabulary's ids: SentencePiece where it is a SentencePiece."""
    return "sentencepiece" if (vocabulary_folder(folder) / SPM).is_file() else "tokenizers"


def load_engines(folder: Path) -> tuple[dict[Engine, Encoder], dict[Engine, str]]:
    """Encoders of a vocabulary by engine, fastest first, and why the others are not among them.

    gigatoken knows some pre-tokenizers, normalizers and models only, and says so by an exception.
    """
    found: dict[Engine, Encoder] = {}
    left_out: dict[Engine, str] = {}
    for engine in ENGINES:
        if engine == "sentencepiece" != reference_engine(folder):
            left_out[engine] = "no SentencePiece model"
            continue
        try:
            found[engine] = load_encoder(folder, engine)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            if engine != "gigatoken":
                raise
            left_out[engine] = " ".join(str(error).split())[:200]
    return found, left_out


def load_encoder(folder: Path, engine: Engine | None = None) -> Encoder:
    """The encoder of a vocabulary or checkpoint folder, by its reference engine unless named.

    Another engine is right only where the gate (`check_vocabulary`) proved its ids equal. Threads
    change the speed only.
    """
    place = vocabulary_folder(folder)
    engine = engine or reference_engine(folder)
    if engine == "gigatoken":
        return _gigatoken(place)
    return _sentencepiece(place) if engine == "sentencepiece" else _tokenizers(place)


def guarded(fast: Encoder, reference: Encoder, every: int = 500) -> Encoder:
    """An encoder that compares every so-manieth text with the reference and stops at a difference.

    The gate proves engines on held-out text; this watches the text that is trained on.
    Raises UserError for a difference.
    """

    def encode(texts: list[str]) -> list[list[int]]:
        ids = fast(texts)
        for text, ours, expected in zip(
            texts[::every], ids[::every], reference(texts[::every]), strict=True
        ):
            if ours != expected:
                remedy = "the engine differs here: set runtime.tokenization: reference"
                raise UserError("tokenization engine: text", repr(text[:80]), remedy)
        return ids

    return encode


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", "1"))  # what the job was given


def _sentencepiece(folder: Path) -> Encoder:
    processor = SentencePieceProcessor(model_file=str(folder / SPM))
    return lambda texts: list(processor.encode(texts, num_threads=_threads()))


def _tokenizers(folder: Path) -> Encoder:
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()  # as AutoTokenizer: what a file says of one batch is not its ids
    tokenizer.no_padding()

    def encode(texts: list[str]) -> list[list[int]]:
        found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in found]

    return encode


def _gigatoken(folder: Path) -> Encoder:
    """gigatoken; texts that spell out a special token, which it takes for one, go elsewhere."""
    from gigatoken import Tokenizer as Gigatoken

    fast = Gigatoken(folder / TOKENIZER)
    exact = load_encoder(folder)
    spelt_out = re.compile("|".join(map(re.escape, read_contract(folder).special_tokens)) or r"\Z.")

    def encode(texts: list[str]) -> list[list[int]]:
        special = [i for i, text in enumerate(texts) if spelt_out.search(text)]
        ids = fast.encode_batch_list(texts, parallel=_threads() > 1)
        for i, found in zip(special, exact([texts[i] for i in special]), strict=True):
            ids[i] = found
        return ids

    return encode
