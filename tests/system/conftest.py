"""A published study for the tests of sharing: made once, copied for every test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.labs import Lab, clone, make_lab


@dataclass(frozen=True)
class World:
    """A git server, a DVC remote, and the lab that published to both; `clone` adds labs."""

    root: Path

    @property
    def server(self) -> Path:
        return self.root / "server.git"

    @property
    def remote(self) -> Path:
        return self.root / "remote"

    @property
    def first(self) -> Lab:
        return Lab(self.root / "first")

    def clone(self, name: str) -> Lab:
        """A lab that has git's part and no data."""
        lab = clone(self.server, self.root / name)
        self.settle(lab)
        return lab

    def settle(self, lab: Lab) -> None:
        """Point a lab at this world's server and remote."""
        lab.git("remote", "set-url", "origin", str(self.server))
        lab.dvc("remote", "modify", "--local", "lab", "url", str(self.remote))


@pytest.fixture(scope="session")
def published(finished_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny study, published by its first lab; never changed."""
    world = World(tmp_path_factory.mktemp("published"))
    make_lab(world.root / "first", finished_tiny, world.server, str(world.remote))
    world.first.share("publish")
    return world


@pytest.fixture
def world(published: World, tmp_path: Path) -> World:
    """A world of the test's own. Its first lab's data are copies, linked to no cache."""
    copy = World(tmp_path / "world")
    shutil.copytree(published.root, copy.root, symlinks=True)
    copy.settle(copy.first)
    return copy
