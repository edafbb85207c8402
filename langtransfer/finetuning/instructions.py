"""Instruction pairs from the atlas and from upstream files, filtered and put in a lasting order."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langtransfer.config.references import nearest
from langtransfer.config.training import PrepareInstructionsCell
from langtransfer.corpus.readers import read_objects, text_of, whole_characters
from langtransfer.corpus.sources import only_file
from langtransfer.errors import UserError
from langtransfer.finetuning.quality import fault, fingerprint

Pair = dict[str, str]


def read_pairs(config: PrepareInstructionsCell, paths: dict[str, Path]) -> Iterator[Pair]:
    """Pairs `{"id","category","instruction","input","output"}` as the source has them.

    Raises UserError for an unknown format and a record without the fields it needs.
    """
    if config.identity.format == "atlas":
        return _atlas(config, paths)
    if config.identity.format not in RECORDS:
        remedy = (
            f"no reader of instructions has this name; {nearest(config.identity.format, RECORDS)}"
        )
        raise UserError("format", config.identity.format, remedy)
    return _files(RECORDS[config.identity.format], paths)


class Filter:
    """Drops empty, long and repeated pairs and counts them.

    Pairs with the same instruction and input count as repeated, white space aside: the first
    one stays. With judged, what breaks a rule of quality.py is dropped as well, and pairs that
    differ in nothing but width, case, white space and punctuation count as repeated. Memory:
    about 100 bytes a pair.
    """

    def __init__(self, max_characters: int, judged: bool = False) -> None:
        self.max_characters = max_characters
        self.judged = judged
        self.dropped: Counter[str] = Counter()
        self.read = 0
        self._seen: set[bytes] = set()

    def keep(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """The pairs worth training on."""
        for pair in pairs:
            self.read += 1
            if reason := self._reason(pair):
                self.dropped[reason] += 1
            else:
                yield pair

    def _reason(self, pair: Pair) -> str | None:
        if not pair["instruction"].strip() or not pair["output"].strip():
            return "empty"
        if (
            sum(len(pair[name]) for name in ("instruction", "input", "output"))
            > self.max_characters
        ):
            return "long"
        if self.judged and (rule := fault(pair)) is not None:
            return rule
        plain = fingerprint if self.judged else _one_spaced
        asked = "\n".join(plain(pair[name]) for name in ("instruction", "input"))
        digest = hashlib.blake2b(asked.encode(), digest_size=16).digest()
        if digest in self._seen:
            return "duplicate"
        self._seen.add(digest)
        return None


def _one_spaced(text: str) -> str:
    return " ".join(text.split())


def in_stable_order(pairs: Iterable[Pair], seed: int) -> Iterator[Pair]:
    """Pairs sorted by the hash of seed and id: any number of them is a prefix of any larger one.

    A pair's place depends on nothing but its own id, so sources may grow. Memory: the text once.
    """
    keyed = [(_place(pair["id"], seed), json.dumps(pair).encode()) for pair in pairs]
    keyed.sort()
    for _, data in keyed:
        yield json.loads(data)


def first_pairs(pairs: Iterable[Pair], examples: int | None, dataset: str) -> Iterator[Pair]:
    """The first `examples` pairs, or all; UserError when there are fewer."""
    found = 0
    for pair in itertools.islice(pairs, examples):
        found += 1
        yield pair
    if found < (examples or 1):
        remedy = f"{dataset} has only {found} usable pairs: ask for fewer"
        raise UserError("prepare_instructions, examples", examples, remedy)


def _place(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()


def _atlas(config: PrepareInstructionsCell, paths: dict[str, Path]) -> Iterator[Pair]:
    from langtransfer.corpus import atlas

    if config.source.examples is None:
        raise UserError(
            "prepare_instructions, examples", None, "the atlas has no end: say how many"
        )
    templates = atlas.load_templates(only_file(paths))
    # Some come up twice (5 % of 6,000): draw more than asked for; whoever reads stops at enough.
    drawn = 4 * config.source.examples + 1_000
    return atlas.instructions(templates, drawn, seed=config.seed)


Record = Callable[[Mapping[str, Any], str], Pair]


def _files(record: Record, paths: dict[str, Path]) -> Iterator[Pair]:
    for name in sorted(paths):
        for number, row in read_objects(paths[name]):
            pair = record(row, f"{paths[name]}, item {number}")
            pair = {key: whole_characters(text) for key, text in pair.items()}
            yield {"id": f"{name}:{number}", **pair}


def _alpaca(row: Mapping[str, Any], place: str) -> Pair:
    """`{"instruction", "input", "output"}`; a missing or null input is an empty one."""
    return {
        "category": "",
        "instruction": text_of(row, "instruction", place),
        "input": "" if row.get("input") is None else text_of(row, "input", place),
        "output": text_of(row, "output", place),
    }


def _belle(row: Mapping[str, Any], place: str) -> Pair:
    """As Alpaca; the older 0.5M file says `{"input", "target"}` (belle/data/1.5M/README.md)."""
    if "target" not in row:
        return _alpaca(row, place)
    asked, answer = text_of(row, "input", place), text_of(row, "target", place)
    return {"category": "", "instruction": asked, "input": "", "output": answer}


def _bactrian(row: Mapping[str, Any], place: str) -> Pair:
    """As Alpaca, with an id that names the same English source in every language."""
    return {"id": text_of(row, "id", place), **_alpaca(row, place)}


def _prompt_response(row: Mapping[str, Any], place: str) -> Pair:
    """`{"prompt", "response"}`, as GPT4-generated sets in Vietnamese have it."""
    asked, answer = text_of(row, "prompt", place), text_of(row, "response", place)
    return {"category": "", "instruction": asked, "input": "", "output": answer}


def _firefly(row: Mapping[str, Any], place: str) -> Pair:
    """`{"conversation": [{"human", "assistant"}], "category"}`: the first turn stands alone."""
    turns = row.get("conversation")
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], dict):
        raise UserError(place, turns, "conversation must be a list of {human, assistant}: mend it")
    asked, answer = (text_of(turns[0], name, place) for name in ("human", "assistant"))
    category = row.get("category")
    return {
        "category": category if isinstance(category, str) else "",
        "instruction": asked, "input": "", "output": answer,
    }  # fmt: skip


def _seed_task(row: Mapping[str, Any], place: str) -> Pair:
    """Self-Instruct's seed tasks: `{"id", "instruction", "instances": [{"input", "output"}]}`."""
    instances = row.get("instances")
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
        raise UserError(place, instances, "instances must be a list of {input, output}: mend it")
    first = {**instances[0], "instruction": text_of(row, "instruction", place)}
    return {"id": text_of(row, "id", place), **_alpaca(first, place)}


RECORDS: dict[str, Record] = {
    "alpaca": _alpaca,
    "belle": _belle,
    "belle-filtered": _belle,
    "bactrian-x": _bactrian,
    "prompt-response": _prompt_response,
    "firefly": _firefly,
    "seed-tasks": _seed_task,
}
