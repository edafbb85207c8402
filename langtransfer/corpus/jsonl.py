"""JSON Lines, plain or compressed by suffix: strict reading, byte-for-byte repeatable writing."""

from __future__ import annotations

import bz2
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import zstandard

from langtransfer.errors import UserError
from langtransfer.job import atomic_path, write_atomically

CHUNK_BYTES = 1 << 20
PACKED_BYTES = 1 << 14
"""A zstd piece: at its largest ratio, 32,768, it unpacks to 512 MiB, which memory can hold."""
FREE_BYTES = 1 << 30
"""our choice: what any file may unpack to, however small it is."""
LARGEST_RATIO = 200
"""our choice: beyond that, so many times its own size; text packs 3 to 20 times smaller."""
LONGEST_LINE_BYTES = 1 << 29
"""our choice: above any JSON array on one line (Alpaca: 22 MB), below what exhausts memory."""
ZSTD_LEVEL = 3  # our choice: zstd's own default; part of the bytes, so never change it lightly
GZIP_LEVEL = 6  # our choice: gzip's own default, for the same reason


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line of a UTF-8 file, decompressed by suffix.

    Raises UserError for a missing, truncated or corrupt file, for bytes that are not UTF-8, and
    for what unpacks to more than any text does.
    """
    for number, line in enumerate(_split_lines(_chunks(path), path), start=1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}",
                line.decode("utf-8", "replace")[:40],
                f"not UTF-8 ({error.reason}): re-encode it",
            ) from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON Lines file (`.gz`, `.bz2`, `.zst` unpacked); blank lines are skipped.

    Raises UserError naming file and line for a line that is not a JSON object, and as
    `read_lines` does.
    """
    for _, row in read_numbered(path):
        yield row


def read_numbered(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read_jsonl`, each object with its line number for error messages."""
    for number, line in read_lines(path):
        if line.strip():
            yield number, _parse(line, f"{path}, line {number}")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write objects one a line, compressed by suffix; the count. Same rows, same bytes."""
    with JsonlWriter(path) as writer:
        for row in rows:
            writer.write(row)
    return writer.count


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one object as indented JSON with sorted keys."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1)
    write_atomically(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """One object from a file; UserError as `read_jsonl`."""
    text = "\n".join(line for _, line in read_lines(path))
    return _parse(text, str(path))


class JsonlWriter:
    """Writes objects one by one; the file appears, whole, when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._stack = ExitStack()
        self._file: IO[bytes]

    def __enter__(self) -> JsonlWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            raw = stack.enter_context(temporary.open("wb"))
            self._file = stack.enter_context(_compressor(raw, self.path.suffix))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one object, keys in the order given; UserError as `require_characters`."""
        text = json.dumps(dict(row), ensure_ascii=False, separators=(",", ":"))
        require_characters(text, f"{self.path.name}, row {self.count + 1}", row.get("id"))
        self._file.write(text.encode("utf-8") + b"\n")
        self.count += 1


def require_characters(text: str, place: str, name: object) -> None:
    """UserError for text holding half a surrogate pair: JSON can spell it, no tokenizer reads it.

    place and name say where the text stands, for the message.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        remedy = "holds half a surrogate pair, which is no character: repair or drop it"
        raise UserError(place, name, remedy) from error


def parse_error(place: str, text: str, error: Exception) -> UserError:
    """The one line for text that is not JSON."""
    reason = getattr(error, "msg", "unreadable")
    return UserError(place, text[:80], f"not JSON ({reason}): repair or remove it")


def _parse(line: str, place: str) -> dict[str, Any]:
    """One line as an object; UserError naming the place otherwise."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise parse_error(place, line, error) from error
    if not isinstance(row, dict):
        raise UserError(place, line[:80], "not a JSON object: each line must be {...}")
    return row


def _compressor(raw: IO[bytes], suffix: str) -> IO[bytes]:
    """A writer over raw whose bytes depend on what is written alone (no time, no threads)."""
    if suffix == ".gz":
        return gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0)  # type: ignore[return-value]
    if suffix == ".zst":
        packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        return packer.stream_writer(raw, closefd=False)
    return _Plain(raw)  # type: ignore[return-value]


class _Plain:
    """No compression, with a compressor's interface."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.write = raw.write

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to flush: the raw file is closed by whoever opened it."""


def refuse_bomb(path: Path, packed: int, unpacked: int) -> None:
    """UserError where a file unpacks to more bytes than text of its size can."""
    if unpacked > max(FREE_BYTES, LARGEST_RATIO * packed):
        remedy = f"unpacks to {unpacked:,} bytes and more, as no text does: fetch another copy"
        raise UserError("file", str(path), remedy)


def _chunks(path: Path) -> Iterator[bytes]:
    """Decompressed bytes of a file in pieces; UserError when missing, truncated or corrupt."""
    unpack = UNPACKERS.get(path.suffix)
    try:
        with path.open("rb") as raw:
            if unpack is None:
                yield from _plain_chunks(raw)
                return
            total = 0
            for chunk in unpack(raw):
                total += len(chunk)
                refuse_bomb(path, raw.tell(), total)
                yield chunk
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError("file", str(path), "no such file: check the path") from error
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, _Corrupt) as error:
        remedy = f"truncated or corrupt ({error}): fetch or compress it again"
        raise UserError("file", str(path), remedy) from error


class _Corrupt(Exception):
    """Not what its suffix says."""


def _plain_chunks(raw: IO[bytes]) -> Iterator[bytes]:
    while chunk := raw.read(CHUNK_BYTES):
        yield chunk


def _gzip_chunks(raw: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
        while chunk := unpacked.read(CHUNK_BYTES):
            yield chunk


def _bzip2_chunks(raw: IO[bytes]) -> Iterator[bytes]:
    with bz2.BZ2File(raw, "rb") as unpacked:
        while chunk := _read(unpacked):
            yield chunk


def _read(unpacked: bz2.BZ2File) -> bytes:
    """The next bytes; bz2 says OSError, as a broken disk does, for a broken stream."""
    try:
        return unpacked.read(CHUNK_BYTES)
    except OSError as error:
        if error.errno is not None:
            raise
        raise _Corrupt(error) from error


def _zstd_chunks(raw: IO[bytes]) -> Iterator[bytes]:
    """All frames; zstandard's own stream reader takes a truncated frame for the end."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    fresh = True
    while data := raw.read(PACKED_BYTES):
        while data:
            if frame.eof:
                frame, fresh = zstandard.ZstdDecompressor().decompressobj(), True
            yield frame.decompress(data)
            fresh = False
            data = frame.unused_data
    if not fresh and not frame.eof:
        raise EOFError("the last zstd frame is incomplete")


UNPACKERS: dict[str, Callable[[IO[bytes]], Iterator[bytes]]] = {
    ".gz": _gzip_chunks,
    ".bz2": _bzip2_chunks,
    ".zst": _zstd_chunks,
}


def _split_lines(chunks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """Lines without their end (LF or CR LF), from pieces cut anywhere."""
    rest: list[bytes] = []
    waiting = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest.append(first)
        waiting += len(first)
        if waiting > LONGEST_LINE_BYTES:
            remedy = f"has a line of more than {LONGEST_LINE_BYTES:,} bytes: split it or mend it"
            raise UserError("file", str(path), remedy)
        for line in others:
            yield b"".join(rest).removesuffix(b"\r")
            rest, waiting = [line], len(line)
    if last := b"".join(rest):
        yield last.removesuffix(b"\r")
