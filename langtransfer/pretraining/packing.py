"""Documents as one file of token ids: `tokens.bin`, `offsets.npy`, `meta.json`.

Each document is [bos] ids [eos]. Their order is that of a hash of (seed, id): a corpus that grows
keeps the order of the documents it had.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langtransfer.corpus.jsonl import read_jsonl, require_characters
from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import SPM, VocabularyContract
from langtransfer.vocabulary.conversion import SPACE, write_json
from langtransfer.vocabulary.encoding import Encoder

BATCH_CHARACTERS = 1 << 20  # text held at once
GATHER_TOKENS = 1 << 22  # ids held at once while ordering


@dataclass(frozen=True)
class PackedTokens:
    """A packed folder, opened for reading; ids are memory-mapped."""

    folder: Path
    meta: dict[str, Any]

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each document begins, in tokens; one more than documents."""
        found: NDArray[np.int64] = np.load(self.folder / "offsets.npy")
        return found

    @cached_property
    def tokens(self) -> NDArray[Any]:
        """All ids, one document after another."""
        return np.memmap(self.folder / "tokens.bin", dtype=self.meta["dtype"], mode="r")

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled memory map would carry the whole corpus into every data-loader worker.
        return PackedTokens, (self.folder, self.meta)


def open_packed(folder: Path) -> PackedTokens:
    """Open a pack_tokens data folder; UserError when files are missing or of another size."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        packed = PackedTokens(folder, meta)
        found = (folder / "tokens.bin").stat().st_size, int(packed.offsets[-1])
    except (OSError, ValueError) as error:
        raise UserError(
            "packed tokens", str(folder), f"unreadable ({error}): pack again"
        ) from error
    if found != (meta["tokens"] * np.dtype(meta["dtype"]).itemsize, meta["tokens"]):
        raise UserError("packed tokens", str(folder), "truncated or mixed up: pack them again")
    return packed


def pack(
    corpus: Path,
    out: Path,
    work: Path,
    encode: Encoder,
    contract: VocabularyContract,
    seed: int,
    progress: Callable[[int], None] = lambda documents: None,
) -> dict[str, Any]:
    """Pack a `.jsonl.zst` of {"id","text"}; the content of meta.json.

    documents_with_visible_space counts those whose U+2581 SentencePiece reads as a space.
    Two passes: ids in file order into `work`, then into hash order; memory holds one batch of
    text and 24 bytes a document. Raises UserError for no documents and for text that is not
    Unicode (a lone surrogate).
    """
    dtype = np.dtype("<u2" if contract.size <= 1 << 16 else "<u4")
    keys, lengths, size, rewritten = array("Q"), array("q"), 0, 0
    visible = SPACE if SPM in contract.sha256 else None
    spool = work / "tokens.spool"
    work.mkdir(parents=True, exist_ok=True)
    with spool.open("wb") as handle:
        for batch in _batches(read_jsonl(corpus)):
            documents = [_frame(ids, contract) for ids in _encode(encode, batch, corpus)]
            keys.extend(order_key(seed, row["id"]) for row in batch)
            lengths.extend(map(len, documents))
            size += sum(len(row["text"].encode()) for row in batch)
            rewritten += sum(visible is not None and visible in row["text"] for row in batch)
            handle.write(_flatten(documents, dtype).tobytes())
            progress(len(keys))
    if not keys:
        raise UserError("corpus", str(corpus), "holds no document: loosen the filters or add text")
    offsets = _reorder(spool, out / "tokens.bin", dtype, keys, lengths)
    np.save(out / "offsets.npy", offsets)
    spool.unlink()
    meta = {
        "dtype": dtype.str,
        "tokens": int(offsets[-1]),
        "documents": len(keys),
        "bytes": size,
        "documents_with_visible_space": rewritten,
        "vocabulary_sha256": contract.identity,
    }
    write_json(out / "meta.json", meta)
    return meta


def order_key(seed: int, document: str) -> int:
    """Place of a document in the global order: 64 bits of a hash of seed and id."""
    return int.from_bytes(blake2b(f"{seed}:{document}".encode(), digest_size=8).digest(), "big")


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in groups of about BATCH_CHARACTERS."""
    batch: list[dict[str, Any]] = []
    held = 0
    for row in rows:
        batch.append(row)
        held += len(row["text"])
        if held >= BATCH_CHARACTERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _encode(encode: Encoder, batch: list[dict[str, Any]], corpus: Path) -> list[list[int]]:
    """Ids of the batch's texts; UserError naming the document that is not Unicode text."""
    for row in batch:
        require_characters(row["text"], f"{corpus}: document", row["id"])
    return encode([row["text"] for row in batch])


def _frame(ids: list[int], contract: VocabularyContract) -> list[int]:
    """[bos] ids [eos], as far as the vocabulary has them."""
    before = [] if contract.bos is None else [contract.bos]
    return before + ids + ([] if contract.eos is None else [contract.eos])


def _flatten(documents: list[list[int]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.fromiter(chain.from_iterable(documents), dtype, sum(map(len, documents)))


def _reorder(
    spool: Path, target: Path, dtype: np.dtype[Any], keys: array[int], lengths: array[int]
) -> NDArray[np.int64]:
    """Write the spooled documents in the order of their keys; their new offsets."""
    order = np.argsort(np.frombuffer(keys, np.uint64), kind="stable")
    sizes = np.frombuffer(lengths, np.int64)
    before, after = _offsets(sizes), _offsets(sizes[order])
    tokens = np.memmap(spool, dtype=dtype, mode="r") if before[-1] else np.empty(0, dtype)
    first = 0
    with target.open("wb") as handle:
        while first < len(order):
            reach = int(np.searchsorted(after, after[first] + GATHER_TOKENS, side="right")) - 1
            last = max(first + 1, min(reach, len(order)))
            parts = [tokens[before[i] : before[i + 1]] for i in order[first:last]]
            handle.write(np.concatenate(parts).tobytes())
            first = last
    return after


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sum of lengths from 0."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
