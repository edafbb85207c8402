"""Byte-level BPE vocabularies (`tokenizer.json` of Llama 3, GPT-2, Qwen): read, check, write.

Tokens are byte strings. The file spells each byte as one visible character (GPT-2's alphabet), so
its merges are pairs of such words and no text is ever unknown. Reading takes any of these
families; what cannot be extended exactly is refused, never approximated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from langtransfer.errors import UserError
from langtransfer.vocabulary.contract import TOKENIZER
from langtransfer.vocabulary.conversion import save_fast
from langtransfer.vocabulary.special import PAD, add_to_tokenizer_json

# upstream: GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for
# U+0100 onwards.
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHERS = (byte for byte in range(256) if byte not in _PRINTABLE)
CHARACTER_OF = {b: chr(b) for b in _PRINTABLE} | {b: chr(256 + i) for i, b in enumerate(_OTHERS)}
BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}

# upstream: Llama-3 tokenizer.json: contractions, a letter run with one character before it, up to
# three digits, signs, line ends, white space.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# upstream: Llama-3.1 tokenizer.json. The vocabulary has no unk to pad with, and padding with eos
# would hide real ends of text from a collator that masks by id, hence a token of its own.
SPECIAL_TOKENS: Mapping[str, str] = {
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|end_of_text|>",
    "pad_token": "<|finetune_right_pad_id|>",
}


class Vocabulary(NamedTuple):
    """What a byte-level vocabulary folder holds."""

    tokenizer: Tokenizer
    names: Mapping[str, Any]
    """Hugging Face's name (`bos_token`) -> special token; additional_special_tokens: a list."""
    chat_template: Any = None


def token_bytes(token: str) -> bytes:
    """The bytes a token of the file stands for; KeyError for a special token's own spelling."""
    return bytes(BYTE_OF[character] for character in token)


def spell(data: bytes) -> str:
    """Bytes as the file spells them."""
    return "".join(CHARACTER_OF[byte] for byte in data)


def new_tokenizer() -> Tokenizer:
    """A Llama-3-style tokenizer without a vocabulary; no normalizer: text comes back as it was."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def add_llama3_tokens(tokenizer: Tokenizer) -> None:
    """Give a trained tokenizer Llama 3's special tokens, after all others, and its bos."""
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    bos = SPECIAL_TOKENS["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )


def size_of(tokenizer: Tokenizer) -> int:
    """Ids in use, holes included: one more than the highest."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def contents(tokenizer: Tokenizer) -> dict[str, Any]:
    """What the tokenizer's file would hold."""
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Merges by rank, as the file spells them."""
    return [(left, right) for left, right in contents(tokenizer)["model"]["merges"]]


def read_byte_level(path: Path) -> Tokenizer:
    """A tokenizer.json as a tokenizer; UserError when it is not an exactly extensible one."""
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises nothing narrower for a file it cannot read
        remedy = f"cannot be read ({error}): fetch it again"
        raise UserError(TOKENIZER, str(path), remedy) from error
    if (problem := _unlike_byte_level(tokenizer)) is not None:
        remedy = f"{problem}: only SentencePiece and byte-level BPE vocabularies can be extended"
        raise UserError(TOKENIZER, str(path), remedy)
    return tokenizer


def read_vocabulary(folder: Path) -> Vocabulary:
    """The byte-level vocabulary of a folder; UserError where there is no exactly extensible one.

    Ids come from tokenizer.json; bos and eos are put around texts as AutoTokenizer does.
    """
    from transformers import AutoTokenizer

    tokenizer = read_byte_level(folder / TOKENIZER)
    wrapped = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if wrapped.get_vocab() != tokenizer.get_vocab(with_added_tokens=True):
        remedy = (
            "AutoTokenizer gives other ids than tokenizer.json alone: load it, save it with "
            "save_pretrained, and use those files"
        )
        raise UserError("vocabulary", str(folder), remedy)
    tokenizer.post_processor = wrapped.backend_tokenizer.post_processor
    names: dict[str, Any] = dict(wrapped.special_tokens_map)
    if others := [str(token) for token in wrapped.extra_special_tokens]:
        names["additional_special_tokens"] = others
    return Vocabulary(tokenizer, names, wrapped.chat_template)


def with_content(content: Mapping[str, Any], added: Iterable[str] = ()) -> Tokenizer:
    """A tokenizer of a file's content with tokens appended, no id of an old one moved.

    `tokenizers` gives added tokens that are not in the model's own vocabulary the ids after its
    last one, whatever the file says: one token appended to Llama 3 as it stands would move all
    its special tokens. So these go into the model's vocabulary too, as GPT-2's do. No merge makes
    them; UserError where `ignore_merges` could still let a text become one.
    """
    model, special = content["model"], content["added_tokens"]
    vocab = model["vocab"] | {token["content"]: token["id"] for token in special}
    first = max(vocab.values()) + 1
    vocab |= {token: first + i for i, token in enumerate(added)}
    tokenizer = Tokenizer.from_str(json.dumps({**content, "model": {**model, "vocab": vocab}}))
    if moved := {t for t, i in vocab.items() if tokenizer.token_to_id(t) != i}:
        raise AssertionError(f"tokenizers moved the ids of {sorted(moved)[:5]}")
    if model.get("ignore_merges"):
        _require_unlike_words(tokenizer, (t["content"] for t in special), model["vocab"])
    return tokenizer


def add_special(vocabulary: Vocabulary, tokens: Sequence[str], field: str) -> Vocabulary:
    """The vocabulary with special tokens after its last id; field is the config's.

    Raises UserError as `special.add_special_tokens`.
    """
    tokenizer, names = vocabulary.tokenizer, {**vocabulary.names}
    pad = names.get("pad_token")
    if pad in (names.get("eos_token"), names.get("unk_token")):
        pad = None  # borrowed, so `<pad>` may take its place
    content = add_to_tokenizer_json(contents(tokenizer), tokens, pad, field)
    if PAD in tokens:
        names["pad_token"] = PAD
    others = [*names.get("additional_special_tokens", ()), *(t for t in tokens if t != PAD)]
    if others:
        names["additional_special_tokens"] = others
    return vocabulary._replace(tokenizer=with_content(content), names=names)


def save_byte_level(vocabulary: Vocabulary, folder: Path) -> None:
    """Write the files AutoTokenizer loads to the same ids."""
    tokenizer, names, template = vocabulary
    save_fast(tokenizer, names, folder, chat_template=template)


def _unlike_byte_level(tokenizer: Tokenizer) -> str | None:
    """The first feature that a byte-level BPE does not have, None where there is none."""
    content = contents(tokenizer)
    model, vocab = content["model"], tokenizer.get_vocab(with_added_tokens=True)
    if model["type"] != "BPE":
        return f"holds a {model['type']} model"
    missing = [byte for byte, character in CHARACTER_OF.items() if character not in vocab]
    problems = {
        "is no byte-level BPE (byte fallback)": model["byte_fallback"],
        "marks the middle or end of words": model["continuing_subword_prefix"]
        or model["end_of_word_suffix"],
        "segments by chance (dropout)": model["dropout"],
        "is no byte-level BPE (no ByteLevel pre-tokenizer)": _types(
            content["pre_tokenizer"], "pretokenizers"
        ).count("ByteLevel")
        != 1,
        "puts a space before each text (add_prefix_space), which decoding does not take away": (
            '"add_prefix_space": true' in json.dumps(content["pre_tokenizer"])
        ),
        "is no byte-level BPE (no ByteLevel decoder)": "ByteLevel"
        not in _types(content["decoder"], "decoders"),
        f"has no token for {len(missing)} of the 256 bytes": missing,
        "gives two tokens the same id": len(set(vocab.values())) != len(vocab),
    }
    return next((problem for problem, holds in problems.items() if holds), None)


def _types(part: Mapping[str, Any] | None, members: str) -> list[str]:
    """Types of a component of the file, those of a sequence one by one."""
    if part is None:
        return []
    steps = part[members] if part["type"] == "Sequence" else [part]
    return [step["type"] for step in steps]


def _require_unlike_words(
    tokenizer: Tokenizer, special: Iterable[str], already: Mapping[str, int]
) -> None:
    """UserError where a special token, put into the vocabulary, reads like one whole word."""
    for token in special:
        if token in already or not set(token) <= BYTE_OF.keys():
            continue
        text = token_bytes(token).decode("utf-8", "replace")
        if [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)] == [token]:
            remedy = "would be read for that word: set ignore_merges to false in tokenizer.json"
            raise UserError(f"{TOKENIZER}: special token", token, remedy)
