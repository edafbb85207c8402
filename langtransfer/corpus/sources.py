"""Documents of one corpus entry, wherever they come from: the atlas or a registered dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from langtransfer.config.corpus import FetchCorpusEntry
from langtransfer.corpus.readers import read_documents, take
from langtransfer.corpus.registry import fetch, load_registry, pinned
from langtransfer.corpus.streaming import stream_documents
from langtransfer.errors import UserError

HELD_OUT_START = 10_000_000
"""First document of the atlas that only benchmarks of kind text read; corpora stay below."""


def entry_documents(
    entry: FetchCorpusEntry, seed: int, registry: Path, work: Path
) -> Iterator[dict[str, str]]:
    """Documents of an entry, ids `<dataset>.<language>.<id in the dataset>`.

    Raises UserError when the dataset has fewer documents than the entry asks for.
    """
    prefix = f"{entry.dataset}.{entry.language}"
    row = load_registry(registry).row(entry.dataset, entry.language)
    if row.kind == "hub-stream":
        streamed = stream_documents(pinned(row, entry.identity))
        documents = take(streamed, entry.start, entry.documents, _field(entry))
    else:
        paths = fetch(registry, entry.identity, entry.language, work)
        documents = _documents(entry, seed, paths)
    for document in documents:
        yield {"id": f"{prefix}.{document['id']}", "text": document["text"]}


def _documents(
    entry: FetchCorpusEntry, seed: int, paths: dict[str, Path]
) -> Iterator[dict[str, str]]:
    field = _field(entry)
    if entry.identity.format != "atlas":
        documents = read_documents(entry.identity.format, paths, entry.identity.field)
        return take(documents, entry.start, entry.documents, field)
    from langtransfer.corpus import atlas

    if entry.documents is None:
        raise UserError(field, None, "the atlas has no end: say how many")
    if entry.start + entry.documents > HELD_OUT_START:
        remedy = f"with start {entry.start} goes beyond {HELD_OUT_START}, where held-out text is"
        raise UserError(field, entry.documents, remedy)
    templates = atlas.load_templates(only_file(paths))
    return atlas.documents(templates, entry.documents, seed=seed, start=entry.start)


def _field(entry: FetchCorpusEntry) -> str:
    return f"fetch_corpus, {entry.language}, {entry.dataset}, documents"


def only_file(paths: dict[str, Path]) -> Path:
    """The one file of a dataset; UserError when there are several."""
    if len(paths) != 1:
        raise UserError("files", ", ".join(paths), "this dataset must be a single file")
    return next(iter(paths.values()))
