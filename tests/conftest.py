"""Fixtures every test may use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.studies import TINY, snakemake

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real upstream files beside the checkout; tests that need them skip where there are none."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data, which is not part of the repository")
    return folder


@pytest.fixture(scope="session")
def finished_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study has been run from scratch; copy it before changing it."""
    folder = tmp_path_factory.mktemp("tiny")
    snakemake(folder, TINY)
    return folder


@pytest.fixture
def tiny_copy(finished_tiny: Path, tmp_path: Path) -> Path:
    """A copy of the finished tiny study to do anything with."""
    return Path(shutil.copytree(finished_tiny, tmp_path / "copy", symlinks=True))
