"""Training SentencePiece models, repeatably: one thread, fixed order, no path in the result."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceTrainer

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.corpus.jsonl import read_jsonl
from langtransfer.errors import UserError
from langtransfer.vocabulary.conversion import ModelProto

# upstream: LLaMA's tokenizer.model: identity normalisation, all white space kept, digits single,
# unk 0, bos 1, eos 2, no pad piece.
LLAMA_STYLE: Mapping[str, Any] = {
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": True,
    "allow_whitespace_only_pieces": True,
    "split_digits": True,
    "unk_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "pad_id": -1,
}
# One thread and the given order: the same text gives the same bytes. No line is too long: the
# trainer's own limit of 4,192 bytes would drop Chinese paragraphs silently.
REPEATABLE: Mapping[str, Any] = {
    "num_threads": 1,
    "input_sentence_size": 0,
    "shuffle_input_sentence": False,
    "max_sentence_length": 1 << 30,
    "minloglevel": 2,
}
TOO_LARGE = re.compile(r"Vocabulary size too high \(\d+\)\. Please set it to a value <= (\d+)")
TOO_SMALL = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")


def corpus_lines(corpora: Mapping[str, Path], max_documents: int) -> Iterator[str]:
    """Lines of the first documents of each corpus (a split_corpus folder), languages sorted."""
    for language in sorted(corpora):
        for row in islice(read_jsonl(corpora[language] / "train.jsonl.zst"), max_documents):
            yield from row["text"].split("\n")


def train_model(lines: Iterable[str], config: TrainTokenizerConfig, name: str) -> Any:
    """A ModelProto trained on lines of text; name is the tokenizer's, for messages.

    Raises UserError when the text cannot give, or its characters do not fit, so many pieces.
    """
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=config.type,
            vocab_size=config.size,
            character_coverage=config.character_coverage,
            byte_fallback=config.byte_fallback,
            **LLAMA_STYLE,
            **REPEATABLE,
        )
    except RuntimeError as error:
        if (mendable := _explain(str(error), config.size, name)) is None:
            raise
        raise mendable from error
    return ModelProto.FromString(model.getvalue())


def _explain(message: str, size: int, name: str) -> UserError | None:
    """The trainer's failures a user can mend, None for any other."""
    field = f"tokenizer {name}: size"
    if match := TOO_LARGE.search(message):
        return UserError(field, size, f"the corpus gives at most {match[1]} pieces: lower it")
    if match := TOO_SMALL.search(message):
        remedy = f"its characters alone need {match[1]}: raise it or lower character_coverage"
        return UserError(field, size, remedy)
    if "sentences_.empty()" in message:
        return UserError(f"tokenizer {name}: corpus", "no text", "give documents to train on")
    return None
