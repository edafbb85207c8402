"""A planned cell: its settings, its parents, and from them its recipe, key and folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from langtransfer.config.base import Model
from langtransfer.provenance import key_of, make_recipe, recipe_path, result_folder
from langtransfer.workflow.stages import STAGES


@dataclass(frozen=True, eq=False)
class Cell:
    """One stage at one point of the grid. sources: user-given or resource files -> sha256."""

    stage: str
    point: tuple[str, ...]
    settings: Model
    parents: Mapping[str, Cell] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None
    after: tuple[Cell, ...] = ()
    """Gates: they must have ended well before this cell starts, but decide nothing of it."""

    @property
    def path(self) -> str:
        """`<stage>/<wildcards...>`"""
        return "/".join((self.stage, *self.point))

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything that decides the cell."""
        return make_recipe(
            self.stage,
            STAGES[self.stage][0],
            self.path,
            self.settings.model_dump(mode="json"),
            {role: parent.folder.as_posix() for role, parent in self.parents.items()},
            self.sources,
            self.environment,
        )

    @cached_property
    def key(self) -> str:
        """Hash of the recipe."""
        return key_of(self.recipe)

    @property
    def folder(self) -> Path:
        """`results/<cell>/<key>`"""
        return result_folder(self.path, self.key)

    @property
    def manifest(self) -> Path:
        """The one declared output of the cell's rule."""
        return self.folder / "manifest.json"

    @property
    def recipe_file(self) -> Path:
        """Where the recipe stands."""
        return recipe_path(self.path, self.key)

    def finished(self) -> bool:
        """Whether the manifest is there."""
        return self.manifest.exists()


def ancestry(cell: Cell) -> Iterator[Cell]:
    """The cell and everything that comes before it, parents first, each once."""
    seen: set[str] = set()

    def visit(current: Cell) -> Iterator[Cell]:
        if current.path not in seen:
            seen.add(current.path)
            for earlier in (*current.parents.values(), *current.after):
                yield from visit(earlier)
            yield current

    yield from visit(cell)
