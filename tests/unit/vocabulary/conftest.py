"""Small text, tokenizers trained on it, and jobs, for the vocabulary's tests."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.job import Job
from langtransfer.vocabulary.training import train_model

WORDS = {
    "en": """the capital of country is city river money spoken there people about number month
        year language currency population 1234 north, south. east; west! Twenty-one""",
    "zh": """首都 货币 人口 语言 是 的 国家 城市 河流 在 和 ， 。 美元 法国 巴黎 日本 东京 中国
        北京 一千""",
    "hi": "राजधानी भाषा मुद्रा देश का है शहर नदी और जनसंख्या । भारत दिल्ली पेरिस",
}


def make_sentences(language: str, count: int = 400, seed: int = 0) -> list[str]:
    """Made-up lines of a language's words, the same each time."""
    chance = random.Random(f"{language}{seed}")
    space = "" if language == "zh" else " "
    return [
        space.join(chance.choices(WORDS[language].split(), k=chance.randint(3, 12)))
        for _ in range(count)
    ]


@pytest.fixture(scope="session")
def sentences() -> Callable[..., list[str]]:
    """`make_sentences`."""
    return make_sentences


@pytest.fixture(scope="session")
def folder_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder by relative name."""
    return read_folder


@pytest.fixture(scope="session")
def english() -> Any:
    """BPE ModelProto, 320 pieces of English."""
    config = TrainTokenizerConfig(size=320, character_coverage=1.0)
    return train_model(make_sentences("en"), config, "base")


@pytest.fixture(scope="session")
def chinese() -> Any:
    """BPE ModelProto of Chinese with some English in it."""
    config = TrainTokenizerConfig(size=360, character_coverage=1.0)
    return train_model(make_sentences("zh") + make_sentences("en", 50), config, "ext")


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """A Job writing under tmp_path: make_job(stage, cell, settings, parents)."""

    def make(stage: str, cell: str, settings: dict[str, Any], parents: dict[str, Path]) -> Job:
        folder = tmp_path / f"{stage}-{len(list(tmp_path.iterdir()))}"
        (folder / "out").mkdir(parents=True)
        (folder / "work").mkdir()
        return Job(
            stage,
            f"{stage}/{cell}",
            folder.name,
            settings,
            parents,
            folder / "out",
            folder / "work",
        )

    return make


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """A split_corpus data folder with the given texts."""

    def write(language: str, texts: list[str]) -> Path:
        rows = [{"id": f"{language}-{i}", "text": text} for i, text in enumerate(texts)]
        folder = tmp_path / f"split-{language}"
        write_jsonl(folder / "train.jsonl.zst", rows)
        return folder

    return write


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by relative name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
