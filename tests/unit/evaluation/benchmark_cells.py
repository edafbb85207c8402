"""A fetch_benchmark cell for tests: settings, and the stage run on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langtransfer.config import RuntimeConfig
from langtransfer.config.corpus import DatasetIdentity
from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.corpus.registry import identity, load_registry
from langtransfer.job import Job
from langtransfer.provenance import sha256_file
from scripts import fetch_benchmark

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = REPOSITORY / "resources" / "datasets.csv"
REAL = REPOSITORY / "tests" / "configs" / "real-datasets.csv"


def cell(kind: str, format: str, language: str = "zh", **more: Any) -> FetchBenchmarkCell:
    source = more.pop("identity", DatasetIdentity(key="test", format=format))
    settings = {"items": None, "subjects": None, "shots": 0, "split": "test", "seed": 1} | more
    return FetchBenchmarkCell(
        kind=kind, format=format, language=language, identity=source, **settings
    )


def fetch(folder: Path, registry: Path, key: str, config: FetchBenchmarkCell) -> Path:
    """Run the stage; its data folder."""
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    source = identity(load_registry(registry).row(key, config.language), sha256_file)
    settings = config.model_dump() | {"identity": source.model_dump()}
    runtime = RuntimeConfig(registry=str(registry))
    fetch_benchmark.run(Job("fetch_benchmark", f"fetch_benchmark/{key}", "k", settings, {},
                            folder / "out", folder / "work", runtime))  # fmt: skip
    return folder / "out"
