"""Held-out text for perplexity: FLORES, the atlas, or any registered dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from langtransfer.config.evaluation import FetchBenchmarkCell
from langtransfer.corpus.jsonl import read_lines
from langtransfer.corpus.readers import read_documents, read_table, text_of
from langtransfer.corpus.sources import HELD_OUT_START, only_file
from langtransfer.errors import UserError

NO_SPACES = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo"})
"""Languages written without spaces between sentences (CLDR exemplar texts)."""


def read_text(config: FetchBenchmarkCell, paths: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Documents `{"id", "text"}`, the first `items` of them.

    Raises UserError when there are fewer, and whatever the readers raise.
    """
    found = 0
    for document in itertools.islice(_documents(config, paths), config.items):
        found += 1
        yield document
    if found < (config.items or 1):
        raise UserError("benchmark, items", config.items, f"there are only {found}: ask for fewer")


def _documents(config: FetchBenchmarkCell, paths: dict[str, Path]) -> Iterable[dict[str, str]]:
    if config.format == "flores":
        return _flores(config.language, paths)
    if config.format == "corpus":
        return read_documents(config.identity.format, paths, config.identity.field)
    from langtransfer.corpus import atlas

    assert config.items is not None  # the config demands it for the atlas
    templates = atlas.load_templates(only_file(paths))
    return atlas.documents(templates, config.items, seed=config.seed, start=HELD_OUT_START)


def _flores(language: str, paths: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Sentences joined into the articles they come from (metadata_*.tsv), else one by one."""
    sentences = {name: path for name, path in paths.items() if not name.endswith(".tsv")}
    lines = [text for _, text in read_lines(only_file(sentences))]
    tables = [path for name, path in paths.items() if name.endswith(".tsv")]
    articles = _articles(tables[0]) if tables else [str(n) for n in range(len(lines))]
    if len(articles) != len(lines):
        remedy = f"has {len(lines)} lines for {len(articles)} in its metadata: fetch both again"
        raise UserError("file", str(only_file(sentences)), remedy)
    joiner = "" if language in NO_SPACES else " "
    pairs = zip(articles, lines, strict=True)
    for number, (_, group) in enumerate(itertools.groupby(pairs, key=lambda pair: pair[0])):
        yield {"id": f"article-{number:04d}", "text": joiner.join(line for _, line in group)}


def _articles(path: Path) -> list[str]:
    return [text_of(row, "URL", f"{path}, line {n}") for n, row in read_table(path, "\t")]
