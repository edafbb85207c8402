"""A full disk is told from a bug, and what is half-written gives way."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from langtransfer import disk
from langtransfer.disk import full_disk_explained, is_full, is_no_space
from langtransfer.errors import UserError


def test_who_says_that_the_disk_is_full() -> None:
    assert is_no_space(OSError(errno.ENOSPC, "write failed"))
    assert is_no_space(OSError(errno.EDQUOT, "quota"))
    assert is_no_space(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_no_space(OSError(errno.EACCES, "no"))
    assert not is_no_space(RuntimeError("unexpected pos 302656 vs 302544"))


def test_is_full_looks_at_the_nearest_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_full(tmp_path / "not" / "yet" / "there")
    monkeypatch.setattr(disk, "SPARE_BYTES", 1 << 62)
    assert is_full(tmp_path / "not" / "yet" / "there")


def test_an_error_that_names_no_reason_is_explained_by_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RuntimeError), full_disk_explained(tmp_path, out):
        raise RuntimeError("unexpected pos")
    assert out.exists(), "a bug's output stays to be looked at"
    monkeypatch.setattr(disk, "is_full", lambda folder: True)
    with pytest.raises(UserError, match="nothing is lost"), full_disk_explained(tmp_path, out):
        raise RuntimeError("unexpected pos")
    assert not out.exists()


def test_bad_input_stays_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "is_full", lambda folder: True)
    with pytest.raises(UserError, match="rename"), full_disk_explained(tmp_path):
        raise UserError("label", "x", "rename it")
