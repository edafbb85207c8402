"""Folders put in place, on one file system and across two."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from langtransfer import folders
from langtransfer.folders import put_in_place


@pytest.fixture(params=["same", "other"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder to move, on the file system of the target or on another one."""
    shm = Path("/dev/shm")
    if request.param == "other" and (
        not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev
    ):
        pytest.skip("needs a second file system at /dev/shm")
    where = str(shm) if request.param == "other" else str(tmp_path)
    with tempfile.TemporaryDirectory(dir=where) as folder:
        out = Path(folder) / "out"
        (out / "model").mkdir(parents=True)
        (out / "model" / "weights").write_bytes(b"weights")
        (out / ".cell.json").write_text("{}")
        yield out


def test_a_new_place_and_a_taken_one(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "results" / "cell" / "data"
    target.mkdir(parents=True)
    (target / "old").write_text("broken")
    put_in_place(source, target)
    assert (target / "model" / "weights").read_bytes() == b"weights"
    assert sorted(p.name for p in target.iterdir()) == [".cell.json", "model"]
    assert [p.name for p in target.parent.iterdir()] == ["data"]
    assert not source.exists()


def test_a_link_gives_way_and_what_it_points_to_stays(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "older"
    other.mkdir()
    target = tmp_path / "data"
    target.symlink_to(other)
    put_in_place(source, target)
    assert other.is_dir()
    assert not target.is_symlink()


def test_cut_off_before_the_rename(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "data"
    with monkeypatch.context() as patched:
        patched.setattr(folders.os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            put_in_place(source, target)
    assert not target.exists()
    put_in_place(source, target)
    assert (target / "model" / "weights").read_bytes() == b"weights"
    assert os.listdir(tmp_path).count(".data.arriving") == 0
