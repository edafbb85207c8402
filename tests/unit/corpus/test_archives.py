"""Archives: every kind, wanted members alone, and those that are out to do harm."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from langtransfer.corpus import jsonl
from langtransfer.corpus.archives import unpack
from langtransfer.corpus.jsonl import read_lines
from langtransfer.corpus.registry import fetch, identity, load_registry
from langtransfer.errors import UserError
from langtransfer.provenance import sha256_file

FILES = {"flores/devtest/a.txt": b"one\n", "flores/devtest/b.txt": b"two\n", "flores/README": b"x"}
Pack = Callable[[bytes], bytes]
PACKED: dict[str, Pack] = {
    "a.tar": lambda data: data,
    "a.tar.gz": gzip.compress,
    "a.tgz": gzip.compress,
    "a.tar.bz2": bz2.compress,
    "a.tar.zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def tar(files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in others:
            archive.addfile(info)
    return out.getvalue()


def zipped(files: dict[str, bytes], *links: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def unpacked(folder: Path, name: str, data: bytes, *patterns: str) -> dict[str, bytes]:
    (folder / name).write_bytes(data)
    found = unpack({name: folder / name}, folder / "out", {name: patterns} if patterns else None)
    assert all((folder / "out").resolve() in path.resolve().parents for path in found.values())
    return {member: path.read_bytes() for member, path in found.items()}


def refused(folder: Path, name: str, data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        unpacked(folder, name, data)
    assert "\n" not in str(caught.value)
    outside = [p for p in folder.rglob("*") if p.is_file() and folder / "out" not in p.parents]
    assert outside == [folder / name]
    return str(caught.value)


@pytest.mark.parametrize("name", [*PACKED, "a.zip"])
def test_every_kind_gives_the_same_files(tmp_path: Path, name: str) -> None:
    data = zipped(FILES) if name == "a.zip" else PACKED[name](tar(FILES))
    found = unpacked(tmp_path, name, data)
    assert found == {f"{name}/{member}": text for member, text in FILES.items()}


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_only_what_is_wanted_is_written(tmp_path: Path, name: str) -> None:
    dotted = {f"./{member}": text for member, text in FILES.items()}  # as `tar .` writes them
    data = zipped(FILES) if name == "a.zip" else gzip.compress(tar(dotted))
    found = unpacked(tmp_path, name, data, "flores/devtest/b*", "flores/README")
    assert sorted(found) == [f"{name}/flores/README", f"{name}/flores/devtest/b.txt"]
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 2
    with pytest.raises(UserError, match=r"'\*\.md': no such file in the archive"):
        unpacked(tmp_path, name, data, "*.md")


@pytest.mark.parametrize("member", ["../x", "/tmp/x", "a/../../x", "c:\\x", "a\\..\\x", ".", "//x"])
def test_names_that_lead_elsewhere(tmp_path: Path, member: str) -> None:
    assert "leads out of the archive's folder" in refused(tmp_path, "a.zip", zipped({member: b""}))
    (tmp_path / "a.zip").unlink()
    assert "leads out of the archive's folder" in refused(tmp_path, "a.tar", tar({member: b""}))


@pytest.mark.parametrize("member", ["x" * 300, "a/" * 500 + "x", "a\nb"])
def test_names_no_file_can_have(tmp_path: Path, member: str) -> None:
    assert "is no name for a file" in refused(tmp_path, "a.tar", tar({member: b""}))


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
    others = []
    for number, kind in enumerate(kinds):
        others.append(info := tarfile.TarInfo(f"other{number}"))
        info.type, info.linkname = kind, "/etc/passwd"
    found = unpacked(tmp_path, "a.tar", tar(FILES, *others))
    assert set(found) == {f"a.tar/{name}" for name in FILES}
    found = unpacked(tmp_path, "a.zip", zipped(FILES, "link", "link/below"))
    assert set(found) == {f"a.zip/{name}" for name in FILES}


def test_a_file_and_a_folder_of_one_name(tmp_path: Path) -> None:
    data = tar({"a": b"x", "a/b": b"y"})
    assert "a file and a folder of one name" in refused(tmp_path, "a.tar", data)


def test_what_an_earlier_run_left_is_written_over(tmp_path: Path) -> None:
    unpacked(tmp_path, "a.tar", tar({"a": b"longer"}))
    assert unpacked(tmp_path, "a.tar", tar({"a": b"x"})) == {"a.tar/a": b"x"}


@pytest.mark.parametrize("name", [*PACKED, "a.zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_cut_archives(tmp_path: Path, name: str, share: float) -> None:
    files = {"a.bin": os.urandom(50_000), "b.bin": os.urandom(50_000)}
    data = zipped(files) if name == "a.zip" else PACKED[name](tar(files))
    assert "not a whole, plain archive" in refused(tmp_path, name, data[: int(len(data) * share)])


# -- bombs ----------------------------------------------------------------------------------------


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "FREE_BYTES", 1 << 20)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2", "a.tar.zst", "a.zip"])
def test_archives_that_unpack_to_too_much(tmp_path: Path, name: str) -> None:
    files = {"a": bytes(64 << 20)}
    data = zipped(files) if name == "a.zip" else PACKED[name](tar(files))
    assert "67,108,864 bytes and more, as no text does" in refused(tmp_path, name, data)
    assert not (tmp_path / "out").exists(), "refused by what it says, before a byte is written"


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * (2 << 20)}
    data = gzip.compress(tar({}, info))
    assert "a header of 2097" in refused(tmp_path, "a.tar.gz", data)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar({"one.txt": b"one", "nested.zip": zipped({"inner.txt": b"inner"})}))
    found = unpack({"a.tar": path}, tmp_path / "out")
    assert set(found) == {"a.tar/one.txt", "a.tar/nested.zip"}


@pytest.mark.usefixtures("small_limits")
def test_many_files_that_are_too_much_together(tmp_path: Path) -> None:
    files = {f"{n}": bytes(1 << 19) for n in range(100)}
    assert "as no text does" in refused(tmp_path, "a.tar.bz2", bz2.compress(tar(files)))
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 1 << 20


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_single_files_that_unpack_to_too_much(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes({".gz": gzip.compress, ".bz2": bz2.compress,
                      ".zst": PACKED["a.tar.zst"]}[suffix](b"\n" * (64 << 20)))  # fmt: skip
    with pytest.raises(UserError, match="bytes and more, as no text does"):
        list(read_lines(path))


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LONGEST_LINE_BYTES", 1 << 22)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"0" * (64 << 20)))
    with pytest.raises(UserError, match="has a line of more than 4,194,304 bytes"):
        list(read_lines(tmp_path / "a.gz"))


@pytest.mark.usefixtures("small_limits")
def test_the_same_text_over_and_over_is_no_bomb(tmp_path: Path) -> None:
    texts = b"".join(b"document %d\n" % n for n in range(100_000))
    (tmp_path / "a.zst").write_bytes(PACKED["a.tar.zst"](texts * 20))
    assert sum(1 for _ in read_lines(tmp_path / "a.zst")) == 2_000_000


def test_small_things_may_pack_well(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"ha\n" * 1_000_000))
    assert sum(1 for _ in read_lines(tmp_path / "a.gz")) == 1_000_000
    assert len(unpacked(tmp_path, "a.tar.gz", gzip.compress(tar({"a": bytes(50 << 20)})))) == 1


# -- through the registry -------------------------------------------------------------------------


def registered(folder: Path, files: str) -> dict[str, Path]:
    path = folder / "datasets.csv"
    path.write_text(
        f"key,language,kind,location,revision,files,format\na,zh,file,{folder},,{files};,txt\n"
    )
    source = identity(load_registry(path).row("a", "zh"), sha256_file)
    return fetch(path, source, "zh", folder / "work")


def test_members_by_name_and_checksum(tmp_path: Path) -> None:
    data = gzip.compress(tar(FILES))
    (tmp_path / "a.tar.gz").write_bytes(data)
    right = hashlib.sha256(b"one\n").hexdigest()
    found = registered(tmp_path, f"a.tar.gz;a.tar.gz!flores/devtest/a.txt={right}")
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "a.tar.gz/flores/devtest/a.txt": b"one\n"
    }
    assert len(registered(tmp_path, "a.tar.gz!flores/devtest/*")) == 2
    assert len(registered(tmp_path, "a.tar.gz")) == 3
    with pytest.raises(UserError, match=f"has sha256 {right}, not {'0' * 64}"):
        registered(tmp_path, f"a.tar.gz!flores/devtest/a.txt={'0' * 64}")
    with pytest.raises(UserError, match=r"no such file in the archive"):
        registered(tmp_path, "a.tar.gz!*.md")
    with pytest.raises(UserError, match=r"'a\.txt!x' names a file in an archive, and that is none"):
        registered(tmp_path, "a.txt!x")
    with pytest.raises(UserError, match="stands for several files: no sha256 is that of all"):
        registered(tmp_path, f"a.tar.gz!flores/*={right}")
    with pytest.raises(UserError, match="files must be names below the location"):
        registered(tmp_path, "a.tar.gz!../x")
