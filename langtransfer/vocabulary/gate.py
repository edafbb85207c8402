"""The gate: is a vocabulary exact, and what does it do to a language's text?

Exact means that SentencePiece, the Hugging Face tokenizer and the engine that tokenizes corpora
give the same ids, and that ids decode to the text they came from. Everything is pure; the stage
`check_vocabulary` reads, writes and stops the pipeline.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import regex  # type: ignore[import-untyped]

from langtransfer.corpus.jsonl import require_characters
from langtransfer.vocabulary.contract import read_contract, vocabulary_folder
from langtransfer.vocabulary.conversion import SPACE
from langtransfer.vocabulary.encoding import (
    Encoder,
    Engine,
    load_encoder,
    load_engines,
    reference_engine,
)
from langtransfer.vocabulary.probes import Probe, hard_texts

# A word is a run of letters, marks and digits, but each Chinese character is one: that script
# has no spaces, and a segmenter's choices would be measured with the vocabulary's.
WORD = regex.compile(r"(?V1)\p{Script=Han}|[[\p{L}\p{M}\p{N}]--\p{Script=Han}]+")
# What a vocabulary may rewrite because it has no ids for it. Counted and reported, never silent.
REWRITTEN: Mapping[str, Callable[[str], str]] = {
    "visible-space": lambda text: text.replace(SPACE, " "),  # SentencePiece writes spaces so
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
}
EXAMPLES = 5
BATCH = 1_000


class Example(NamedTuple):
    """A text on which something is wrong, and what."""

    kind: str
    what: str
    text: str


@dataclass
class Identity:
    """Whether all tokenizers agree and nothing is lost, counted by kind of text."""

    texts: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    """Texts whose ids differ between the vocabulary's reference and AutoTokenizer."""
    bad_round_trips: Counter[str] = field(default_factory=Counter)
    rewritten: Counter[str] = field(default_factory=Counter)
    """Texts that come back otherwise because the vocabulary cannot hold them, by what."""
    engines: dict[str, int] = field(default_factory=dict)
    """Engine -> texts on which its ids differ from the reference's."""
    left_out: Mapping[Engine, str] = field(default_factory=dict)
    """Engines that cannot read the vocabulary, and why."""
    examples: list[Example] = field(default_factory=list)

    @property
    def engine(self) -> str:
        """The fastest engine without a difference."""
        return next(name for name, differing in self.engines.items() if not differing)

    @property
    def exact(self) -> bool:
        """Whether the vocabulary may be used at all."""
        return not (self.differing.total() or self.bad_round_trips.total())


class Tokenizers(NamedTuple):
    """Everything that turns text into ids of one vocabulary, or back."""

    reference: Encoder
    hugging_face: Any
    engines: dict[Engine, Encoder]
    """Fastest first, the reference among them."""
    left_out: dict[Engine, str]
    """Engines that cannot read the vocabulary, and why."""


def load_tokenizers(folder: Path) -> Tokenizers:
    """All tokenizers of a vocabulary or checkpoint folder."""
    from transformers import AutoTokenizer

    place = vocabulary_folder(folder)
    engines, left_out = load_engines(place)
    tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
    return Tokenizers(engines[reference_engine(place)], tokenizer, engines, left_out)


def check_identity(tokenizers: Tokenizers, probes: Iterable[Probe]) -> Identity:
    """Compare all tokenizers on all probes; what several of them hold is encoded once."""
    kinds: dict[str, list[str]] = {}
    for probe in probes:
        kinds.setdefault(probe.text, []).append(probe.kind)
    found = Identity(engines=dict.fromkeys(tokenizers.engines, 0), left_out=tokenizers.left_out)
    texts = list(kinds)
    for start in range(0, len(texts), BATCH):
        _check_batch(tokenizers, texts[start : start + BATCH], kinds, found)
    return found


def _check_batch(
    tokenizers: Tokenizers, texts: list[str], kinds: Mapping[str, list[str]], found: Identity
) -> None:
    """Count a batch of different texts, each as often as it is a probe."""
    reference = tokenizers.reference(texts)
    hugging_face = tokenizers.hugging_face(
        texts, add_special_tokens=False, split_special_tokens=True
    )["input_ids"]
    decoded = tokenizers.hugging_face.batch_decode(
        reference, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    for engine, encode in tokenizers.engines.items():
        for text, ours, theirs in zip(texts, reference, encode(texts), strict=True):
            found.engines[engine] += len(kinds[text]) if ours != theirs else 0
    for text, ours, theirs, back in zip(texts, reference, hugging_face, decoded, strict=True):
        found.texts.update(kinds[text])
        if ours != theirs:
            found.differing.update(kinds[text])
            _remember(found, Example(kinds[text][0], "ids differ", text))
        if back == text:
            continue
        what = next((name for name, f in REWRITTEN.items() if back == f(text)), None)
        if what is not None:
            found.rewritten[what] += len(kinds[text])
        else:
            found.bad_round_trips.update(kinds[text])
            _remember(found, Example(kinds[text][0], "does not come back", text))


def _remember(found: Identity, example: Example) -> None:
    if len(found.examples) < EXAMPLES:
        found.examples.append(example)


@dataclass(frozen=True)
class Fertility:
    """How much of a language's text a token covers; counts over the same lines."""

    lines: int
    words: int
    characters: int
    bytes: int
    tokens: int
    base_tokens: int
    """Of the vocabulary this one extends; its own where it extends none."""
    lines_changed: int
    """Lines whose ids are not the base's."""
    new_pieces_used: int
    """New pieces that occur at all."""

    def ratios(self) -> dict[str, float]:
        """Fertility (tokens per word, character, byte) and compression against the base."""
        return {
            "tokens_per_word": self.tokens / max(self.words, 1),
            "tokens_per_character": self.tokens / self.characters,
            "tokens_per_byte": self.tokens / self.bytes,
            "compression": self.base_tokens / self.tokens,
        }


def measure(
    encode: Encoder, base: Encoder | None, new: Collection[int], lines: Sequence[str]
) -> Fertility:
    """Fertility of a vocabulary on lines of one language (not empty, at least one).

    new: ids of the pieces that extending the vocabulary added.
    """
    ids = encode(list(lines))
    old = ids if base is None else base(list(lines))
    used = {i for line in ids for i in line}
    return Fertility(
        lines=len(lines),
        words=sum(len(WORD.findall(line)) for line in lines),
        characters=sum(map(len, lines)),
        bytes=sum(len(line.encode()) for line in lines),
        tokens=sum(map(len, ids)),
        base_tokens=sum(map(len, old)),
        lines_changed=sum(a != b for a, b in zip(ids, old, strict=True)),
        new_pieces_used=len(used.intersection(new)),
    )


@dataclass(frozen=True)
class Parity:
    """Tokens of a language against the source language's on the same content.

    Source: Petrov et al. 2023, "Language model tokenizers introduce unfairness between
    languages": 1 is parity, above 1 the language pays more for the same text.
    """

    documents: int
    tokens: int
    source_tokens: int
    ratio: float
    base_ratio: float
    """The same with the base vocabulary."""


def parity(
    encode: Encoder,
    base: Encoder | None,
    texts: Mapping[str, str],
    source_texts: Mapping[str, str],
) -> Parity | None:
    """Parity over documents, by id, that both languages have; None where there are none."""
    shared = sorted(texts.keys() & source_texts.keys())
    if not shared:
        return None

    def totals(encoder: Encoder) -> tuple[int, int]:
        found = [encoder([side[i] for i in shared]) for side in (texts, source_texts)]
        return sum(map(len, found[0])), sum(map(len, found[1]))

    tokens, source_tokens = totals(encode)
    old = (tokens, source_tokens) if base is None else totals(base)
    return Parity(len(shared), tokens, source_tokens, tokens / source_tokens, old[0] / old[1])


def fastest_engine(folder: Path, documents: Iterable[Mapping[str, str]]) -> Engine:
    """The fastest engine whose ids equal the reference's on the documents and their hard forms.

    Raises UserError for a document holding half a surrogate pair.
    """
    texts = []
    for row in documents:
        require_characters(row["text"], "document", row.get("id"))
        texts.append(row["text"])
    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    special_tokens = read_contract(folder).special_tokens
    texts += [probe.text for probe in hard_texts(lines, special_tokens)]
    expected = load_encoder(folder)(texts)
    engines, _ = load_engines(folder)
    return next(engine for engine, encode in engines.items() if encode(texts) == expected)


def base_size_of(folder: Path, base: Path | None) -> int | None:
    """Ids of the base that come first: as the contract says, or as the files show (adopted)."""
    contract = read_contract(folder)
    if base is None or contract.base_size is not None:
        return contract.base_size
    from transformers import AutoTokenizer

    own, others = (
        AutoTokenizer.from_pretrained(vocabulary_folder(f), local_files_only=True)
        for f in (folder, base)
    )
    size = read_contract(base).size
    ids = list(range(min(size, contract.size)))
    same = own.convert_ids_to_tokens(ids) == others.convert_ids_to_tokens(ids)
    return size if same and contract.size > size else None


def as_json(identity: Identity, fertility: Fertility, equal: Parity | None) -> dict[str, Any]:
    """What `vocabulary_report.json` holds beside the vocabulary's own facts."""
    counts = ("texts", "differing", "bad_round_trips", "rewritten")
    return {
        "exact": identity.exact,
        "engine": identity.engine,
        "engines": identity.engines,
        "left_out": identity.left_out,
        **{name: dict(sorted(getattr(identity, name).items())) for name in counts},
        "examples": [example._asdict() for example in identity.examples],
        "fertility": asdict(fertility) | fertility.ratios(),
        "parity": None if equal is None else asdict(equal),
    }
