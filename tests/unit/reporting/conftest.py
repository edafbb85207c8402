"""The made-up study as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from langtransfer.config.evaluation import ReportingConfig, StudyDescription
from tests.unit.reporting.made_up import Effects, FakeStudy, Point, StudyMaker, grid


@pytest.fixture(scope="session")
def settings() -> ReportingConfig:
    """Few draws: the effects are large."""
    return ReportingConfig(title="A made-up study", bootstrap_samples=200, permutations=999)


@pytest.fixture(scope="session")
def description() -> StudyDescription:
    """Of the made-up study."""
    return StudyDescription(
        languages=("hi", "sw", "zh"), base="trained from scratch, 1.9 M parameters",
        judge="reference", training_tokens=6_400_000, atlas=True,
    )  # fmt: skip


@pytest.fixture
def make_study(tmp_path: Path) -> StudyMaker:
    """Builds studies with other effects, languages or points."""
    made = 0

    def make(
        languages: tuple[str, ...] = ("zh",), points: list[Point] | None = None, items: int = 60,
        **effects: float,
    ) -> FakeStudy:  # fmt: skip
        nonlocal made
        made += 1
        study = FakeStudy(tmp_path / f"study{made}", Effects(**effects), items)
        for language in languages:
            for point in points or grid():
                study.add(point, language)
        return study

    return make


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> FakeStudy:
    """Three languages, two vocabularies, three budgets, two tunings and a mix with English."""
    built = FakeStudy(tmp_path_factory.mktemp("study"))
    for language in ("hi", "sw", "zh"):
        for point in grid():
            built.add(point, language)
    return built
