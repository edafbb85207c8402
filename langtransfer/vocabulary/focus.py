"""FOCUS: new embedding rows as sparse convex combinations of the base's.

Dobler and de Melo, EMNLP 2023, through their library `deepfocus`. An auxiliary fastText model of
the target's text, cut into pieces, says which pieces of the base a new piece is used like.

Which pieces are the same in both vocabularies is known for an appended one: those with the same id.
`deepfocus` would compare decoded text instead, which here is wrong: 27 of LLaMA's 32,000 pieces
(runs of white space) get another one's row, and of 2,635 pieces appended to a byte-level BPE 257
(parts of a character, all decoded to U+FFFD) count as known and copy one and the same row. So it is
shown tokenizers whose tokens decode to their ids. Its `extend_tokenizer` stays unset: it would take
auxiliary vectors and overlap from the target's own tokenizer, while a model reads text as the
extended vocabulary cuts it. Anchors, which rows are combined from, are then the pieces of the base
that the target's text really holds; control tokens, which text never becomes, are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer
from torch import Tensor

from langtransfer.config.vocabulary import FocusConfig
from langtransfer.errors import UserError
from langtransfer.job import atomic_path, write_atomically
from langtransfer.vocabulary.contract import TOKENIZER, VocabularyContract, vocabulary_folder
from langtransfer.vocabulary.encoding import load_encoder

LINES = 1_000  # encoded at a time
# fastText cuts its text at these bytes: a piece that holds one cannot be a word of it.
SEPARATOR = re.compile("[ \n\r\t\v\f\0]")
# upstream: deepfocus.fasttext_embs.train_fasttext, but for the thread: with several, the order of
# updates and so the bytes differ each time. The seed is fastText's own, 0.
TRAINING: Mapping[str, Any] = {"model": "cbow", "neg": 10, "thread": 1, "verbose": 0}
FIELD = "extend_embeddings.focus"


class Auxiliary(NamedTuple):
    """Which tokens of an extended vocabulary have an auxiliary vector, and where it is."""

    tokens: dict[str, int]
    """Token -> id, control tokens left out."""
    anchors: tuple[int, ...]
    """Ids of the base with a vector: their rows are combined."""
    covered: tuple[int, ...]
    """New ids with a vector: they get a row."""
    model: Path
    """The fastText model: 0.8 GB with 100 dimensions, for fastText's 2,000,000 n-grams."""


def train_auxiliary(
    lines: Iterable[str],
    vocabulary: Path,
    contract: VocabularyContract,
    base_size: int,
    config: FocusConfig,
    work: Path,
) -> Auxiliary:
    """fastText vectors of a vocabulary's tokens, from lines of text; files go to `work`.

    A finished model found in `work` is used again. Raises UserError when the text is empty, or
    when no token of the base, or no new one, is in it often enough.
    """
    file = vocabulary_folder(vocabulary) / TOKENIZER
    ids = Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True)
    special = set(contract.special_tokens.values())
    tokens = {token: i for token, i in ids.items() if i not in special}
    words, model = work / "focus-words.json", work / "focus.bin"
    if not words.is_file():  # written last
        _write_text(lines, vocabulary, tokens, work / "focus.txt")
        write_atomically(words, json.dumps(_train(work / "focus.txt", model, config)))
    # fastText knows the end of a line by the word </s>, which is no text in most vocabularies.
    found = {tokens[w] for w in json.loads(words.read_text(encoding="utf-8")) if w in tokens}
    anchors = tuple(sorted(i for i in found if i < base_size))
    covered = tuple(sorted(found - set(anchors)))
    for name, some in (("piece of the base", anchors), ("new piece", covered)):
        if not some:
            remedy = f"no {name} is so frequent in the training text: lower it or give more text"
            raise UserError(f"{FIELD}.min_count", config.min_count, remedy)
    return Auxiliary(tokens, anchors, covered, model)


def focus_rows(old: Tensor, size: int, auxiliary: Auxiliary, log: Path) -> Tensor:
    """Rows of the covered ids, (covered, columns), by deepfocus, whose output goes to a file.

    old holds the base's rows, (base size, columns), float32: matrices side by side are combined
    alike, as one by one. One thread: the bits of a product may depend on how many there are.
    """
    import scipy.linalg  # noqa: F401  # the BLAS that numba uses: loaded now, it is limited too
    from deepfocus import FOCUS

    source = {token: i for token, i in auxiliary.tokens.items() if i < len(old)}
    # Progress bars and fastText's greeting go to the file; errors are raised all the same.
    with log.open("w", encoding="utf-8") as handle, redirect_stderr(handle), threadpool_limits(1):
        rows: Tensor = FOCUS(
            target_tokenizer=_Tokens(auxiliary.tokens, size),
            source_tokenizer=_Tokens(source, len(old)),
            source_embeddings=old,
            fasttext_model_path=str(auxiliary.model),
            verbosity="silent",
        )
    return rows[list(auxiliary.covered)]


class _Tokens:
    """What deepfocus asks of a tokenizer; a token decodes to its id, the same in both."""

    def __init__(self, ids: Mapping[str, int], size: int) -> None:
        self._ids = dict(ids)
        self._names = {i: token for token, i in ids.items()}
        self._size = size

    def __len__(self) -> int:
        return self._size

    def get_vocab(self) -> dict[str, int]:
        return self._ids

    def convert_ids_to_tokens(self, token: int) -> str:
        return self._names[token]

    def decode(self, token: int) -> str:
        return str(token)


def _write_text(
    lines: Iterable[str], vocabulary: Path, tokens: Mapping[str, int], path: Path
) -> None:
    """The text as tokens between spaces, a line a line; UserError where there is none."""
    encode, remaining = load_encoder(vocabulary), iter(lines)
    names = {i: token for token, i in tokens.items() if not SEPARATOR.search(token)}
    with path.open("w", encoding="utf-8", newline="\n") as out:
        while batch := list(islice(remaining, LINES)):
            for ids in encode(batch):
                if found := [names[i] for i in ids if i in names]:
                    out.write(f"{' '.join(found)}\n")
    if not path.stat().st_size:
        raise UserError(f"{FIELD}: corpus", "no text", "give documents in the target language")


def _train(text: Path, model: Path, config: FocusConfig) -> list[str]:
    """Train and save; the words that are frequent enough."""
    import fasttext

    try:
        trained = fasttext.train_unsupervised(
            str(text), epoch=config.epochs, dim=config.dim, minCount=config.min_count, **TRAINING
        )
    except ValueError as error:
        if "Empty vocabulary" not in str(error):
            raise
        return []
    with atomic_path(model) as temporary:
        trained.save_model(str(temporary))
    return list(trained.get_words())
