"""A made-up study on disk: evaluation folders with known effects, and the rows that name them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from langtransfer.config.evaluation import ReportRow, VocabularyRow
from langtransfer.evaluation.retrieval import halves
from langtransfer.reporting.results import Observations, load_results, sort_key
from langtransfer.vocabulary.gate import Fertility, Identity, Parity, as_json

ASPECTS = ("accuracy", "fluency", "informativeness", "logicality")
CATEGORIES = ("Factual_questions", "Translation", "Summary", "Math_Solving")
BUDGETS = {"0": 0, "200k-tokens": 200_000, "800k-tokens": 800_000}
MIXES: dict[str, tuple[str, ...]] = {
    "target-only": (), "with-english": ("en",), "joint": ("hi", "sw", "zh"),
}  # fmt: skip
TUNINGS = {"200": 200, "1k": 1_000}


@dataclass(frozen=True)
class Effects:
    """What the made-up models are like; every number is a true effect the reports must find."""

    quality: float = 0.9
    extended: float = 0.25
    per_budget: float = 0.3
    per_tuning: float = 0.5
    mixed: float = 0.0
    bits: float = 3.0
    bits_per_budget: float = -0.5
    bits_extended: float = -0.3
    bits_extended_per_budget: float = 0.0
    source_bits: float = 2.0
    source_rise: float = 0.4
    source_rise_mixed: float = 0.02
    knowledge: float = 0.45
    switching: float = 0.03
    alignment: float = 0.7
    alignment_extended: float = -0.4
    alignment_floor: float = 0.2


@dataclass(frozen=True)
class Point:
    """One model of the made-up grid."""

    label: str
    mix: str
    vocabulary: str
    budget: str
    seed: int = 1
    adopted: bool = False

    @property
    def step(self) -> int:
        """0, 1, 2: how far along the budgets."""
        return list(BUDGETS).index(self.budget)

    def model(self, language: str) -> str:
        """The {model} wildcard."""
        if self.vocabulary == "original" and not self.step:
            return "base"
        return f"{language}.{self.mix}.{self.vocabulary}.{self.budget}.s{self.seed}"


def grid() -> list[Point]:
    """Two vocabularies by three budgets, and the largest budget with English mixed in."""
    names = {"0": "", "200k-tokens": "+200k", "800k-tokens": "+800k"}
    points = [
        Point(f"{start}{names[budget]}", "target-only", vocabulary, budget)
        for start, vocabulary in (("LLaMA", "original"), ("LLaMA-EXT", "ext500"))
        for budget in BUDGETS
    ]
    return [*points, Point("LLaMA+800k+en", "with-english", "original", "800k-tokens")]


@dataclass
class FakeStudy:
    """Writes the cells and collects their rows."""

    root: Path
    effects: Effects = field(default_factory=Effects)
    items: int = 60
    rows: list[ReportRow] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)

    def add(self, point: Point, language: str, *, knowledge: bool = True) -> None:
        """All evaluations of one model seen from one language."""
        self.perplexity(point, language, language)
        self.perplexity(point, language, "en")
        self.alignment(point, language)
        for tuning in TUNINGS:
            self.score(point, language, language, tuning)
            self.score(point, language, "en", tuning)
            self.switching(point, language, tuning)
        if knowledge:
            for evaluated in (language, "en"):
                self.knowledge(point, language, evaluated)

    def perplexity(self, point: Point, language: str, evaluated: str) -> None:
        """Documents with bits per byte around the model's."""
        e, step = self.effects, point.step
        if evaluated == "en":
            rise = e.source_rise_mixed if point.mix == "with-english" else e.source_rise
            bits = e.source_bits + rise * step
        else:
            bits = e.bits + e.bits_per_budget * step
            extended = e.bits_extended + e.bits_extended_per_budget * step
            bits += extended * (point.vocabulary != "original")
        documents = []
        for index in range(self.items):
            shared, own = self.noise(evaluated, index), self.noise(point.label, language, index)
            size = 300 + index * 7
            nats = (bits + 0.2 * shared + 0.02 * own) * size * np.log(2)
            documents.append(
                {
                    "id": f"d{index:03}",
                    "nats": nats,
                    "tokens": size // 3,
                    "bytes": size,
                    "characters": size // 2,
                }
            )
        self._cell("perplexity", point, language, evaluated, "none", "", "documents", documents)

    def score(self, point: Point, language: str, evaluated: str, tuning: str) -> None:
        """Five aspects of 0-3 around the model's quality."""
        e = self.effects
        level = e.quality + e.per_budget * point.step
        level += e.extended * (point.vocabulary != "original")
        level += e.per_tuning * list(TUNINGS).index(tuning)
        level += e.mixed * (point.mix == "with-english")
        rows = []
        for index in range(self.items):
            shared = self.noise("question", index)
            own = self.noise(point.label, language, tuning, index)
            value = float(np.clip(level + 0.4 * shared + 0.2 * own, 0, 3))
            rows.append(
                {"id": f"q{index:03}", "category": CATEGORIES[index % len(CATEGORIES)]}
                | dict.fromkeys(ASPECTS, value)
                | {"harmlessness": 3}
            )
        self._cell("score", point, language, evaluated, tuning, "llm-eval", "scores", rows)

    def knowledge(self, point: Point, language: str, evaluated: str) -> None:
        """Right or wrong, the same questions for every model."""
        rows = []
        for index in range(self.items * 2):
            luck = self.noise("knowledge", evaluated, index)
            own = self.noise(point.label, language, evaluated, index)
            right = bool(luck + 0.3 * own < 2 * self.effects.knowledge - 1)
            rows.append(
                {
                    "id": f"k{index:03}",
                    "subject": ("history", "law")[index % 2],
                    "answer": "ABCD"[index % 4],
                    "prediction": "ABCD"[(index + (not right)) % 4],
                    "correct": right,
                    "loglikelihoods": [-1.0, -2.0, -3.0, -4.0],
                }
            )
        self._cell("knowledge", point, language, evaluated, "none", "exam", "predictions", rows)
        summary = {"averages": {"both": {"accuracy": 0.0, "subjects": ["history", "law"]}}}
        folder = self.folders[self.rows[-1].cell]
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    def switching(self, point: Point, language: str, tuning: str) -> None:
        """A fixed share of answers switched, by word."""
        rows = [
            {
                "id": f"q{index:03}", "category": CATEGORIES[index % len(CATEGORIES)],
                "by_line": False, "by_word": index < self.effects.switching * self.items,
                "languages": ["Latn"] if index < self.effects.switching * self.items else [],
            }
            for index in range(self.items)
        ]  # fmt: skip
        self._cell(
            "code_switching", point, language, language, tuning, "llm-eval", "code_switching", rows
        )
        summary = {
            "empty": {"Summary": 2},
            "language_confusion": {"lpr": 0.9, "wpr": None, "identifier": "py3langid"},
        }
        folder = self.folders[self.rows[-1].cell]
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    def alignment(self, point: Point, language: str) -> None:
        """The embeddings, which retrieve the same in any vocabulary, and two layers."""
        level = self.effects.alignment
        level += self.effects.alignment_extended * (point.vocabulary != "original")
        floor = self.effects.alignment_floor
        ids = [f"d{index:03}" for index in range(self.items)]
        half = halves(ids)
        rows = []
        for name in ids:
            luck = 0.5 + 0.4 * self.noise("alignment", name)
            luck += 0.1 * self.noise(point.label, language, name)
            hits = [float(luck < share) for share in (floor, level - 0.2, level)]
            rows.append({"id": name, "half": half[name], "layers": hits})
        self._cell("alignment", point, language, language, "none", "parallel", "alignment", rows)

    @staticmethod
    def noise(*key: object) -> float:
        """A number in -1..1 that depends on the key alone."""
        digest = hashlib.sha256(repr(key).encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**31 - 1

    def _cell(
        self, stage: str, point: Point, language: str, evaluated: str, tuning: str,
        benchmark: str, name: str, records: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        parts = [stage, point.model(language), tuning, benchmark, evaluated]
        cell = "/".join(part for part in parts if part)
        folder = self.root / cell
        if not folder.exists():
            folder.mkdir(parents=True)
            lines = (json.dumps(record, sort_keys=True) + "\n" for record in records)
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        self.folders[cell] = folder
        self.rows.append(
            ReportRow(
                cell=cell, stage=stage, label=point.label, model=point.model(language),
                language=language, evaluated=evaluated, mix=point.mix,
                mix_languages=tuple(sorted({language, *MIXES[point.mix]})),
                vocabulary=point.vocabulary, budget=point.budget,
                budget_tokens=BUDGETS[point.budget], seed=point.seed, tuning=tuning,
                tuning_examples=TUNINGS.get(tuning, 0),
                tuning_mix="target" if TUNINGS.get(tuning, 0) else "",
                benchmark=benchmark, format="atlas",
                adopted=point.adopted,
            )
        )  # fmt: skip

    def results(self) -> list[Observations]:
        """The rows, loaded, in the order of the tables."""
        return load_results(sorted(self.rows, key=sort_key), self.folders)

    @property
    def vocabularies(self) -> list[VocabularyRow]:
        """The original vocabulary and an extension, each in the target's language and English."""
        return [
            VocabularyRow(
                cell=f"check_vocabulary/{language}/{name}", vocabulary=name, language=language
            )
            for name in ("original", "zh.ext") for language in ("en", "zh")
        ]  # fmt: skip

    def gates(self) -> dict[str, Path]:
        """Reports of the gates: the extension halves Chinese and changes one line of two."""
        found = {}
        for row in self.vocabularies:
            new = 100 if row.vocabulary != "original" else 0
            identity = Identity(engines={"gigatoken": 1, "sentencepiece": 0})
            identity.texts.update({"plain": 20, "emoji": 10})
            identity.rewritten.update({"visible-space": 2})
            tokens = 500 if new and row.language == "zh" else 1000
            fertility = Fertility(20, 400, 2000, 4000, tokens, 1000, 10 if new else 0, new // 2)
            equal = Parity(5, tokens, 800, tokens / 800, 1.25) if row.language == "zh" else None
            report = {
                "language": row.language, "vocabulary_sha256": row.vocabulary, "size": 2000 + new,
                "base_size": 2000 if new else None, "new_pieces": new,
                **as_json(identity, fertility, equal),
            }  # fmt: skip
            folder = self.root / row.cell
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "vocabulary_report.json").write_text(json.dumps(report), encoding="utf-8")
            found[row.cell] = folder
        return found

    def parents(self) -> dict[str, Path]:
        """Folders by role, as a job is given them."""
        return {f"results.{cell}": folder for cell, folder in self.folders.items()}


StudyMaker = Callable[..., FakeStudy]
