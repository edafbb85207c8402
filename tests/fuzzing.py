"""Damaged input for every reader: what a file may be, what is done to it, and what reads it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import pickle
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import zstandard
from hypothesis import strategies as st
from safetensors.torch import save

from langtransfer.config.loading import load_config
from langtransfer.config.training import PrepareInstructionsCell
from langtransfer.corpus.archives import unpack
from langtransfer.corpus.jsonl import read_json, read_lines, read_numbered
from langtransfer.corpus.readers import READERS, read_documents
from langtransfer.corpus.registry import identity, load_registry
from langtransfer.finetuning.instructions import RECORDS, read_pairs
from langtransfer.pretraining.adopted_tokenizer import check_kind
from langtransfer.pretraining.llama2c import read_model, read_tokenizer
from langtransfer.pretraining.published_weights import open_tensors, read_settings
from langtransfer.provenance import sha256_file
from langtransfer.resources import ROOT
from langtransfer.vocabulary.conversion import read_proto
from tests.unit.corpus.test_upstream_layouts import INSTRUCTIONS, TEXTS

Read = Callable[[Path, Path], object]
"""Reads a file; may write below a folder."""
MOST = 2_000
"""Documents read of one input."""

NASTY = [
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b'"', b'"""', b"'",
    b"\\",
    b"\\ud83d", b"{", b"}", b"[", b"]", b"[" * 3_000, b"{" * 3_000, b"<", b">", b"&", b"<!--",
    b"<![CDATA[", b"]]>", b"</doc>", b"<doc >", b"&#0;", b"&#55296;", b'<!ENTITY x "y">', b",",
    b";",
    b"\t", b"=", b"!", b"*", b"../", b"/", b"-1", b"NaN", b"Infinity", b"1e999", b"9" * 5_000,
    b"null",
    b"true", b"no", b"~", b"&a ", b"*a", b"<<: ", b"!!python/object:os.system", b"!!binary ",
    b"2024-99-99", b"? ", b"- ", b": ", b"#", b"%", b"\xed\xa0\x80", "\u2028".encode(),
    "\U0010ffff".encode(), b'encoding="utf-16"', b'encoding="x"', b"PK\x03\x04", b"PK\x05\x06",
    b"\x1f\x8b", b"BZh9", b"\x28\xb5\x2f\xfd", b"PAR1", b"ustar", b"\x80\x02", b"\xff" * 8,
    b"\x00" * 600,
]  # fmt: skip


def damaged(seeds: Iterable[bytes]) -> st.SearchStrategy[bytes]:
    """One of the seeds after some blows: cut, bytes changed, pieces put in, doubled or moved."""
    place = st.integers(0, 1 << 16)
    blow = st.one_of(
        st.tuples(st.just("cut"), place, place, st.just(b"")),
        st.tuples(st.just("flip"), place, st.integers(1, 255), st.just(b"")),
        st.tuples(st.just("put"), place, st.just(0), st.sampled_from(NASTY)),
        st.tuples(st.just("put"), place, st.just(0), st.binary(max_size=40)),
        st.tuples(st.just("put"), place, st.just(0), st.text(max_size=20).map(str.encode)),
        st.tuples(st.just("over"), place, st.just(0), st.sampled_from(NASTY)),
        st.tuples(st.just("double"), place, place, st.just(b"")),
        st.tuples(st.just("drop"), place, place, st.just(b"")),
    )
    return st.builds(_struck, st.sampled_from(list(seeds)), st.lists(blow, max_size=6))


def _struck(data: bytes, blows: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, at, other, piece in blows:
        at, other = at % (len(data) + 1), other % (len(data) + 1)
        first, last = min(at, other), max(at, other)
        if kind == "cut":
            data = data[:at]
        elif kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (other or 1) & 255]) + data[at + 1 :]
        elif kind == "put":
            data = data[:at] + piece + data[at:]
        elif kind == "over":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "double":
            data = data[:last] + data[first:]
        elif kind == "drop":
            data = data[:first] + data[last:]
    return data


# -- what is read ---------------------------------------------------------------------------------


def _drain(rows: Iterable[object]) -> None:
    for _ in islice(rows, MOST):
        pass


def _documents(format: str, field: str) -> Read:
    return lambda path, out: _drain(read_documents(format, {path.name: path}, field))


def _instructions(format: str) -> Read:
    cell = PrepareInstructionsCell.model_validate({
        "language": "zh", "source": {"dataset": "a"}, "identity": {"key": "a", "format": format},
        "max_characters": 100_000, "seed": 1,
    })  # fmt: skip
    return lambda path, out: _drain(read_pairs(cell, {path.name: path}))


def _unpack(path: Path, out: Path) -> None:
    found = unpack({path.name: path}, out)
    assert all(out in file.parents for file in found.values())


def _tensors(path: Path, out: Path) -> None:
    for read in open_tensors({path.name: path}).values():
        read()


def _registry(path: Path, out: Path) -> None:
    registry = load_registry(path)
    for key, language in registry.rows:
        row = registry.row(key, "en" if language == "*" else language)
        if row.kind in ("hub", "https"):  # local files are not hashed: a row may name any
            identity(row, sha256_file)


def _packed(data: bytes) -> dict[str, bytes]:
    return {
        ".gz": gzip.compress(data, mtime=0), ".bz2": bz2.compress(data),
        ".zst": zstandard.ZstdCompressor().compress(data),
    }  # fmt: skip


def _archives() -> dict[str, list[bytes]]:
    """Whole ones, and ones made to do harm, by suffix."""
    members: list[tuple[str, bytes, bytes]] = [
        ("a/b.txt", tarfile.REGTYPE, b"text\n"), ("../outside", tarfile.REGTYPE, b"x"),
        ("a/../../outside", tarfile.REGTYPE, b"x"), ("link", tarfile.SYMTYPE, b".."),
        ("link/outside", tarfile.REGTYPE, b"x"), ("hard", tarfile.LNKTYPE, b"../outside"),
        ("a", tarfile.REGTYPE, b"x"), ("a/b.txt", tarfile.REGTYPE, b"twice"),
        ("d", tarfile.DIRTYPE, b""), ("f", tarfile.FIFOTYPE, b""),
        ("zero", tarfile.REGTYPE, b"0" * 10_000),
    ]  # fmt: skip
    tars, zips = [], []
    for chosen in (members[:1], *([members[0], bad] for bad in members[1:]), members):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, kind, data in chosen:
                info = tarfile.TarInfo(name)
                info.type, info.size = kind, len(data) if kind == tarfile.REGTYPE else 0
                info.linkname = data.decode() if kind != tarfile.REGTYPE else ""
                archive.addfile(info, io.BytesIO(data))
        tars.append(out.getvalue())
        out = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as packed:
            warnings.simplefilter("ignore")  # of names given twice
            for number, (name, kind, data) in enumerate(chosen):
                entry = zipfile.ZipInfo(name)
                entry.compress_type = (0, 8, 12, 14)[number % 4]
                entry.external_attr = (stat.S_IFLNK if kind == tarfile.SYMTYPE else 0) << 16
                packed.writestr(entry, data)
        zips.append(out.getvalue())
    return {".tar": tars, ".zip": zips} | {
        f".tar{suffix}": [_packed(data)[suffix] for data in tars]
        for suffix in (".gz", ".bz2", ".zst")
    }


def _weights() -> dict[str, list[bytes]]:
    table = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.int32)}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(table, new)
    torch.save(table, old, _use_new_zipfile_serialization=False)
    evil = pickle.dumps({"a": Path("/"), "b": print})
    return {".bin": [new.getvalue(), old.getvalue(), evil], ".safetensors": [save(table)]}


def _parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    rows = [{"text": f"text {n}", "n": n} for n in range(20)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def targets() -> dict[str, list[tuple[str, list[bytes], Read]]]:
    """What is fuzzed: name -> (file name, seeds, reader) of each kind of file."""
    texts = [(file, [content.encode()], _documents(format, field))
             for file, content, format, field, _ in TEXTS.values()]  # fmt: skip
    everything = [content.encode() for _, content, *_ in TEXTS.values()]
    wrong = [("a.txt", everything, _documents(format, "text")) for format in sorted(READERS)
             if format != "parquet"]  # fmt: skip
    asked = [(file, [content.encode()], _instructions(format))
             for file, content, format, _ in INSTRUCTIONS.values()]  # fmt: skip
    asked += [("a.json", [c.encode() for _, c, *_ in INSTRUCTIONS.values()], _instructions(format))
              for format in sorted(RECORDS)]  # fmt: skip
    lines = json.dumps({"id": "1", "text": "文 a"}).encode() + b"\n"
    jsonl: list[tuple[str, list[bytes], Read]] = [
        (f"a.jsonl{suffix}", [data, _packed(lines * 500)[suffix]], read)
        for suffix, data in _packed(lines).items()
        for read in (_lines, _numbered)
    ]
    jsonl += [("a.jsonl", [lines], _numbered), ("a.json", [lines], _json)]
    configs = [
        p.read_bytes() for p in [ROOT / "config.yaml", *(ROOT / "tests/configs").glob("*.yaml")]
    ]
    shipped = (ROOT / "resources" / "datasets.csv").read_bytes().splitlines(keepends=True)
    rows = [b"".join([shipped[0], row]) for row in shipped[1:]] + [b"".join(shipped[:12])]
    model = ROOT.parent / "shared" / "data" / "checkpoints" / "stories260K" / "tokenizer.bin"
    checkpoints: list[tuple[str, list[bytes], Read]] = [
        (f"a{suffix}", seeds, _tensors) for suffix, seeds in _weights().items()
    ]
    checkpoints += [
        ("config.json", [b'{"vocab_size": 3, "model_type": "llama"}'], _settings),
        ("tokenizer.json", [b'{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}'], _kind),
        ("checkpoint.bin", [_legacy()], lambda path, out: read_model(path)),
        ("tokenizer.model", [_spm()], lambda path, out: read_proto(path)),
    ]  # fmt: skip
    if model.is_file():
        checkpoints.append(
            ("t.bin", [model.read_bytes()], lambda path, out: read_tokenizer(path, 512))
        )
    return {
        "documents": [*texts, *wrong],
        "parquet": [("a.parquet", [_parquet()], _documents("parquet", "text"))],
        "instructions": asked,
        "jsonl": jsonl,
        "archives": [(f"a{suffix}", seeds, _unpack) for suffix, seeds in _archives().items()],
        "config": [("study.yaml", configs, lambda path, out: load_config(path))],
        "registry": [("datasets.csv", rows, _registry)],
        "checkpoints": checkpoints,
    }


def _lines(path: Path, out: Path) -> None:
    _drain(read_lines(path))


def _numbered(path: Path, out: Path) -> None:
    _drain(read_numbered(path))


def _json(path: Path, out: Path) -> None:
    read_json(path)


def _settings(path: Path, out: Path) -> None:
    read_settings(path)


def _kind(path: Path, out: Path) -> None:
    check_kind(path)


def _legacy() -> bytes:
    import struct

    from langtransfer.pretraining.llama2c import Header

    header = Header(4, 4, 1, 1, 1, 3, 4)
    floats = sum(_product(shape) for shape in header.shapes().values())
    return struct.pack("<7i", *header) + bytes(4 * floats)


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _spm() -> bytes:
    import sentencepiece as spm

    out = io.BytesIO()
    texts: Any = iter(["the cat sees a dog in a house"] * 20)
    spm.SentencePieceTrainer.train(
        sentence_iterator=texts, model_writer=out, vocab_size=24, model_type="bpe",
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return out.getvalue()
