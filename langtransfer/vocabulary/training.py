"""Training vocabularies, repeatably: fixed order, no trace of threads or paths in the result."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, pre_tokenizers, trainers

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.corpus.jsonl import read_jsonl
from langtransfer.errors import UserError
from langtransfer.vocabulary.byte_level import (
    SPECIAL_TOKENS,
    add_llama3_tokens,
    new_tokenizer,
    size_of,
)
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


def train_byte_level(lines: Iterable[str], config: TrainTokenizerConfig, name: str) -> Tokenizer:
    """A byte-level BPE trained on lines of text, Llama 3's in all but size.

    name is the tokenizer's, for messages. The same with any number of threads: the trainer breaks
    ties by id. Raises UserError when the text cannot give so many tokens or is not Unicode.
    """
    lines = (line for line in lines if line)
    if (first := next(lines, None)) is None:
        raise _no_text(name)
    tokenizer = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=config.size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    try:
        tokenizer.train_from_iterator(chain([first], lines), trainer)
    except UnicodeEncodeError as error:
        excerpt = error.object[max(error.start - 20, 0) : error.end + 20]
        remedy = "holds half a surrogate pair, which is no character: repair or drop it"
        raise UserError(f"tokenizer {name}: corpus", excerpt, remedy) from error
    add_llama3_tokens(tokenizer)
    if (largest := size_of(tokenizer)) < config.size:
        raise _too_large(config.size, largest, name)
    return tokenizer


def _explain(message: str, size: int, name: str) -> UserError | None:
    """The trainer's failures a user can mend, None for any other."""
    field = f"tokenizer {name}: size"
    if match := TOO_LARGE.search(message):
        return _too_large(size, int(match[1]), name)
    if match := TOO_SMALL.search(message):
        remedy = f"its characters alone need {match[1]}: raise it or lower character_coverage"
        return UserError(field, size, remedy)
    if "sentences_.empty()" in message:
        return _no_text(name)
    return None


def _too_large(size: int, largest: int, name: str) -> UserError:
    remedy = f"the corpus gives at most {largest} pieces: lower it"
    return UserError(f"tokenizer {name}: size", size, remedy)


def _no_text(name: str) -> UserError:
    return UserError(f"tokenizer {name}: corpus", "no text", "give documents to train on")
