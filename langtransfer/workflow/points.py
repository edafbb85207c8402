"""Points of the grid: which models, in which languages, with which tunings the study has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from langtransfer.budget import Budget
from langtransfer.config.root import AdoptConfig, Config, ModelEntry
from langtransfer.config.training import Mix, MixConfig
from langtransfer.errors import UserError

BASE = "base"


@dataclass(frozen=True)
class Point:
    """A model: (targets, mix, vocabulary, budget, seed), or an adopted checkpoint."""

    targets: tuple[str, ...]
    mix: str
    vocabulary: str
    budget: Budget
    seed: int
    adopt: AdoptConfig | None = None
    filled: Mix = field(default=Mix(), compare=False)
    """The mix with its placeholder filled in."""

    @property
    def is_base(self) -> bool:
        """The English model as it is."""
        return self.adopt is None and self.vocabulary == "original" and not self.budget.amount

    @property
    def vocabulary_id(self) -> str:
        """`original`, `<targets>.<vocabulary>`, or the key of an adopted model."""
        if self.adopt is not None:
            return self.adopt.model
        return "original" if self.vocabulary == "original" else f"{self.stream}.{self.vocabulary}"

    @property
    def stream(self) -> str:
        """Targets joined by +."""
        return "+".join(self.targets)

    @property
    def id(self) -> str:
        """The `{model}` wildcard."""
        if self.adopt is not None:
            return self.adopt.model
        if self.is_base:
            return BASE
        if not self.budget.amount:
            return f"{self.vocabulary_id}.0"
        return f"{self.stream}.{self.mix}.{self.vocabulary}.{self.budget}.s{self.seed}"


@dataclass(frozen=True)
class StudyModel:
    """A row of the study: a labelled point seen from one target language."""

    label: str
    language: str
    point: Point
    tunings: tuple[str, ...]


def fill_shares(shares: Mapping[str, float], target: str) -> dict[str, float]:
    """Shares with `target` replaced by a language, added up where it is there already."""
    filled: dict[str, float] = {}
    for part, share in sorted(shares.items()):
        language = target if part == "target" else part
        filled[language] = filled.get(language, 0.0) + share
    return dict(sorted(filled.items()))


def fill_mix(mix: MixConfig, target: str) -> Mix:
    """A mix with `target` replaced by a language. UserError for an order that has one twice."""
    if mix.shares is not None:
        return Mix(shares=fill_shares(mix.shares, target))
    filled = Mix(order=tuple(target if part == "target" else part for part in mix.order or ()))
    if len(filled.languages()) < len(filled.order or ()):
        remedy = f"names a language twice where the target is {target}: keep one"
        raise UserError("order", list(mix.order or ()), remedy)
    return filled


def study_models(config: Config) -> Iterator[StudyModel]:
    """Every labelled model in every language it stands for, in the order of the config."""
    for entry in config.models:
        for language in sorted(entry.languages or config.languages):
            for seed in entry.seeds:
                point = _point(config, entry, language, seed)
                if point is not None:
                    label = entry.label if len(entry.seeds) == 1 else f"{entry.label} (seed {seed})"
                    yield StudyModel(label, language, point, _tunings(config, entry, language))


def _point(config: Config, entry: ModelEntry, language: str, seed: int) -> Point | None:
    """The entry's point for a language; None where its mix leaves the language out."""
    mix = fill_mix(config.mixes[entry.mix], language)
    targets = tuple(sorted(set(mix.languages()) - {config.source_language}))
    if language not in targets:
        return None
    return Point(targets, entry.mix, entry.vocabulary, entry.budget, seed, entry.adopt, mix)


def _tunings(config: Config, entry: ModelEntry, language: str) -> tuple[str, ...]:
    """Tunings of an entry that exist for a language, `none` first when it is among them."""
    named = entry.tunings if entry.tunings is not None else ("none", *config.tunings)
    absent = {
        name
        for name, tuning in config.tunings.items()
        if tuning.languages is not None and language not in tuning.languages
    }
    return tuple(name for name in named if name not in absent)


def smaller_budget(config: Config, point: Point) -> Budget | None:
    """The next smaller budget of the same chain, or None when the point is its first."""
    budgets = {
        m.point.budget
        for m in study_models(config)
        if m.point.budget.amount
        and m.point.adopt is None
        and (m.point.stream, m.point.mix, m.point.vocabulary, m.point.seed)
        == (point.stream, point.mix, point.vocabulary, point.seed)
    }
    smaller = sorted(budget for budget in budgets if budget < point.budget)
    return smaller[-1] if smaller else None
