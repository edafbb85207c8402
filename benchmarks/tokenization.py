"""Speed of tokenizing a corpus: the engine the gate would choose against Hugging Face's tokenizer.

Run: python -m benchmarks.tokenization [tokenizer.model] [text file...]
Without arguments: a vocabulary trained here on the atlas, and fresh atlas text in four languages.
Every engine is printed with its speed and the number of texts whose ids are not SentencePiece's;
one core, the best of three runs, each with a new encoder.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = "1"

RUNS = 3
LANGUAGES = ("en", "hi", "sw", "zh")


def atlas_texts(start: int, count: int) -> list[str]:
    """Documents of the generated world in four languages."""
    from langtransfer.corpus import atlas
    from langtransfer.resources import RESOURCES

    def texts(language: str) -> Iterator[str]:
        templates = atlas.load_templates(RESOURCES / "atlas" / f"{language}.yaml")
        for document in atlas.documents(templates, count, seed=1, start=start):
            yield document["text"]

    return [text for language in LANGUAGES for text in texts(language)]


def trained_here() -> Any:
    """A BPE ModelProto of 6,000 pieces."""
    from langtransfer.config.vocabulary import TrainTokenizerConfig
    from langtransfer.vocabulary.training import train_model

    config = TrainTokenizerConfig(size=6000)
    return train_model(atlas_texts(0, 1500), config, "benchmark")


def main(arguments: list[str]) -> None:
    """Time every engine on the same text."""
    from langtransfer.vocabulary.contract import write_vocabulary
    from langtransfer.vocabulary.conversion import read_proto
    from langtransfer.vocabulary.encoding import load_encoder, usable_engines

    proto = read_proto(Path(arguments[0])) if arguments else trained_here()
    if arguments[1:]:
        texts = [
            t for file in arguments[1:] for t in Path(file).read_text("utf-8").split("\n") if t
        ]
    else:
        texts = atlas_texts(1_000_000, 4000)
    size = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        write_vocabulary(proto, Path(folder))
        expected = load_encoder(Path(folder))(texts)
        speeds = {}
        for engine in usable_engines(Path(folder)):
            best, differing = 0.0, 0
            for _ in range(RUNS):
                encode = load_encoder(Path(folder), engine)
                begun = time.perf_counter()
                found = encode(texts)
                best = max(best, size / (time.perf_counter() - begun))
                differing = sum(a != b for a, b in zip(expected, found, strict=True))
            speeds[engine] = best
            print(f"{engine:14} {best:7.2f} MB/s, {differing} of {len(texts):,} texts differ")
    fastest = max(speeds, key=lambda name: speeds[name])
    print(
        json.dumps(
            {
                "name": "tokenization",
                "ours": round(speeds[fastest], 2),
                "peer": round(speeds["tokenizers"], 2),
                "ratio": round(speeds[fastest] / speeds["tokenizers"], 2),
                "unit": f"MB/s ({fastest} behind the gate, tokenizers), {size:.1f} MB, one core",
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
