"""A disk that fills up wherever it may: the last line says so, and room is all that is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workflow.conftest import digests
from tests.workflow.small import last_line, shown, write_study

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a tmpfs"),
    pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount"),
]
STUDY_FILES = ("study.yaml", "registry.csv", "sources")
ROOMY = "256m"


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A tmpfs with room enough."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small study's models, made with room enough.

    On a tmpfs too: what it takes there is what the small disks below are measured by. Elsewhere
    folders take blocks as well, a tenth of so small a study.
    """
    with mounted(tmp_path_factory.mktemp("undisturbed") / "disk") as folder:
        done = shown(folder, write_study(folder), "models", worker=True)
        assert done.returncode == 0, done.stdout[-5000:]
        yield folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk to fill."""
    with mounted(tmp_path / "disk") as folder:
        yield folder


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def used_bytes(folder: Path) -> int:
    """What a folder takes on a disk."""
    done = subprocess.run(["du", "-s", "-B1", str(folder)], capture_output=True, check=True)
    return int(done.stdout.split()[0])


def copy_study(source: Path, target: Path) -> Path:
    for name in STUDY_FILES:
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy
        copy(source / name, target / name)
    return target / "study.yaml"


def stamps(folder: Path) -> dict[str, int]:
    """When the data of each finished cell were written."""
    return {
        path.parent.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in (folder / "results").rglob(".cell.json")
        if (path.parents[1] / "manifest.json").exists()
    }


def fill_then_mend(folder: Path, config: Path, disk: Path, undisturbed: Path) -> str:
    """Run on the full disk, then with room; the last line of the first run."""
    bad = shown(folder, config, "models", worker=True)
    assert bad.returncode != 0, bad.stdout
    finished, made = stamps(folder), digests(folder)
    assert made.items() < digests(undisturbed).items()

    resize(disk, ROOMY)
    good = shown(folder, config, "models", worker=True)
    assert good.returncode == 0, good.stdout
    assert digests(folder) == digests(undisturbed)
    after = stamps(folder)
    assert {cell: after[cell] for cell in finished} == finished, "redone"
    return last_line(bad)


@pytest.mark.parametrize("share", [0.15, 0.45, 0.7, 0.95])
def test_everything_on_a_full_disk(undisturbed: Path, disk: Path, share: float) -> None:
    """Not even the log or Snakemake's own records have room."""
    config = copy_study(undisturbed, disk)
    resize(disk, str(int(used_bytes(undisturbed) * share)))
    line = fill_then_mend(disk, config, disk, undisturbed)
    assert line.startswith(f"error: disk: '{disk}"), line
    assert line.endswith("no space left on device: free some and run again, nothing is lost")


def test_results_and_work_on_a_full_disk(undisturbed: Path, disk: Path, tmp_path: Path) -> None:
    """The big folders on a disk of their own: a training meets its end, and its log says so."""
    folder = tmp_path / "study"
    folder.mkdir()
    config = copy_study(undisturbed, folder)
    for name in ("results", "work"):
        (disk / name).mkdir()
        (folder / name).symlink_to(disk / name)
    (checkpoint,) = undisturbed.glob("results/train_base/base/*")
    before = used_bytes(undisturbed / "results") - 2 * used_bytes(checkpoint)
    # Room for what comes before and for the model itself: a training also keeps its optimizer.
    resize(disk, str(before + used_bytes(checkpoint)))
    line = fill_then_mend(folder, config, disk, undisturbed)
    assert line.startswith(f"error: disk: '{folder}/work/"), line
    assert line.endswith("no space left on device: free some and run again, nothing is lost")
