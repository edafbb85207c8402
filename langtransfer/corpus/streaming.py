"""Documents of a hub data set read over the network, without keeping its files.

For the first documents of files larger than the disk; `datasets` reads on where a connection was
cut. The commit pins the bytes: nothing else can, since no file is ever whole here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from langtransfer.corpus.download import hub_api, hub_errors, matching
from langtransfer.corpus.readers import paragraphs_of, whole_characters
from langtransfer.corpus.registry import DatasetRow
from langtransfer.errors import UserError

BUILDERS = {"jsonl": "json", "parquet": "parquet"}
"""Format -> builder of `datasets`."""


def stream_documents(row: DatasetRow) -> Iterator[dict[str, str]]:
    """Texts as `read_documents` gives them for the same files fetched whole, numbered by row.

    Raises UserError for another format, for what the hub refuses, and for a missing field.
    """
    if row.format not in BUILDERS:
        remedy = f"cannot be streamed, only {' and '.join(sorted(BUILDERS))}: make the kind hub"
        raise UserError(row.place(), row.format, remedy)
    api, kind, repo = hub_api(row.location)
    with hub_errors(row.location, row.place()):
        names = sorted(matching(api, repo, kind, row.revision, row.files))
        for name in names:
            yield from _documents_of(row, name)


def _documents_of(row: DatasetRow, name: str) -> Iterator[dict[str, str]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    url = f"hf://{row.location}@{row.revision}/{name}"
    place = f"{row.location}/{name}"
    try:
        rows = load_dataset(
            BUILDERS[row.format], data_files=url, split="train", streaming=True,
            token=os.environ.get("HF_TOKEN") or False,
        )  # fmt: skip
        for number, found in enumerate(rows, start=1):
            text = paragraphs_of(found, row.field, f"{place}, row {number}")
            yield {"id": f"{name}:{number}", "text": whole_characters(text)}
    except (ValueError, DatasetGenerationError) as error:  # pyarrow.ArrowInvalid is the first
        remedy = f"not {row.format} ({error}): make the kind hub and fetch the file"
        raise UserError("file", place, remedy) from error
