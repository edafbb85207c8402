"""A verdict for each claim of the paper, from items both sides share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting.claim_data import Alternative, Claim
from langtransfer.reporting.contrasts import METRICS, Stratum, at_floor, compare
from langtransfer.reporting.csvfile import Record, written
from langtransfer.reporting.parts import Outcome, Part, has_rows, parts, seed_deviation, together
from langtransfer.reporting.results import Observations, amount
from langtransfer.statistics.corrections import holm

COLUMNS = (
    "claim", "text", "verdict", "estimate", "low", "high", "p", "p_holm", "n", "mde", "paper",
    "note",
)  # fmt: skip
PART_COLUMNS = (
    "claim", "part", "role", "metric", "estimate", "low", "high", "p_for", "p_against", "n",
    "mde",
)  # fmt: skip
# An answer without a letter is in no language: it is counted apart, not as one that stays.
EMPTY = "The models are there, but no answers with text in them that could be judged or paired"


@dataclass(frozen=True)
class Tested:
    """A claim with the way it was tested and what came of it."""

    claim: Claim
    alternative: Alternative
    parts: tuple[Part, ...]
    outcome: Outcome


def judge(
    claims: Sequence[Claim], results: Sequence[Observations], settings: ReportingConfig
) -> tuple[list[Record], list[Record]]:
    """Rows of claims.csv and of claims_parts.csv; p is Holm-corrected over the tested claims."""
    tested = [found for claim in claims if (found := run_test(claim, results, settings))]
    adjusted = dict(
        zip(
            (found.claim.id for found in tested),
            holm([found.outcome.p for found in tested]),
            strict=True,
        )
    )
    rows = {
        found.claim.id: tested_row(found, adjusted[found.claim.id], settings) for found in tested
    }
    return (
        [rows.get(claim.id) or untested_row(claim, results) for claim in claims],
        [row for found in tested for row in part_rows(found, settings)],
    )


def run_test(
    claim: Claim, results: Sequence[Observations], settings: ReportingConfig
) -> Tested | None:
    """Test a claim by the first alternative that has rows for all of its contrasts."""
    for alternative in claim.alternatives:
        found = [parts(contrast, results, settings) for contrast in alternative.contrasts]
        if all(found):
            every = tuple(part for group in found for part in group)
            return Tested(claim, alternative, every, together(every))
    return None


def verdict(tested: Tested, p_holm: float, settings: ReportingConfig) -> str:
    """supported, contradicted or inconclusive."""
    if p_holm >= 1 - settings.confidence or part_at_floor(tested.outcome.part, settings):
        return "inconclusive"
    if not tested.outcome.for_claim:
        return "contradicted"
    return "inconclusive" if _out_of_reach(tested) else "supported"


def _out_of_reach(tested: Tested) -> bool:
    """Whether the claim reaches to budgets this study does not have."""
    needed = tested.alternative.support_needs_tokens
    return needed is not None and largest_budget(tested.parts) < needed


def largest_budget(found: Sequence[Part]) -> int:
    """Most further pretraining, in tokens, of any row compared; 0 for budgets in samples."""
    rows = [o.row for part in found for s in part.strata for side in (s.a, s.b) for o in side]
    return max((amount(row) for row in rows if row.budget_tokens is not None), default=0)


def _reach(tested: Tested) -> str:
    reached = largest_budget(tested.parts)
    here = f"this study {reached:,}" if reached else "this study's budgets are in samples"
    needed = tested.alternative.support_needs_tokens
    return f"The claim reaches {needed:,} tokens, {here}: agreement is not yet support"


def part_at_floor(part: Part, settings: ReportingConfig) -> bool:
    """Whether a part compares models that know nothing: equal whatever the claim says."""
    return at_floor(part.strata, part.metric, settings)


def untested_row(claim: Claim, results: Sequence[Observations]) -> Record:
    """The row of a claim the study has no cells for, or only empty answers."""
    return _row(claim) | {"verdict": "not tested", "note": _missing(claim, results)}


def _missing(claim: Claim, results: Sequence[Observations]) -> str:
    """Why a claim is not tested."""
    for alternative in claim.alternatives:
        if all(has_rows(contrast, results) for contrast in alternative.contrasts):
            return f"{EMPTY} ({alternative.how[:1].lower()}{alternative.how[1:]})."
    return claim.otherwise


def _row(claim: Claim) -> Record:
    known: Record = {"claim": claim.id, "text": claim.text, "paper": claim.paper}
    return {column: known.get(column) for column in COLUMNS}


def tested_row(tested: Tested, p_holm: float, settings: ReportingConfig) -> Record:
    """The row of a tested claim."""
    part = tested.outcome.part
    return _row(tested.claim) | {
        "verdict": verdict(tested, p_holm, settings),
        "estimate": part.value, "low": part.low, "high": part.high, "p": written(tested.outcome.p),
        "p_holm": written(p_holm), "n": part.n, "mde": part.mde, "note": note(tested, settings),
    }  # fmt: skip


def note(tested: Tested, settings: ReportingConfig) -> str:
    """How the claim was tested, which part is shown and what the interval leaves out."""
    part = tested.outcome.part
    sentences = [tested.alternative.how, _shown(tested), _pooled(part)]
    if part_at_floor(part, settings):
        scored = METRICS[part.metric].stage == "score"
        above = "right in any answer" if scored else "above chance"
        sentences.append(f"No side is {above}, so the comparison says nothing")
    if _out_of_reach(tested):
        sentences.append(_reach(tested))
    sentences.append(_seeds(part, settings))
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def _shown(tested: Tested) -> str:
    count = len(tested.parts)
    if count == 1:
        return ""
    holding = sum(part.p_for < part.p_against for part in tested.parts)
    which = "the weakest" if tested.outcome.for_claim else "the strongest against"
    named = tested.outcome.part.name or tested.outcome.part.metric
    return f"{holding} of {count} parts lean the claimed way; shown is {which}: {named}"


def _pooled(part: Part) -> str:
    languages = sorted({o.row.language for s in part.strata for o in s.a})
    return f"Pooled over {', '.join(languages)}" if len(languages) > 1 else ""


def _seeds(part: Part, settings: ReportingConfig) -> str:
    seeds, deviation = seed_deviation(part, settings)
    if deviation is None:
        return "One training seed: variance between trainings is not covered"
    return (
        f"{seeds} training seeds, between which the estimate deviates by {deviation:.3g}; "
        "the interval covers items only"
    )


def part_rows(tested: Tested, settings: ReportingConfig) -> list[Record]:
    """Rows of claims_parts.csv: what decides, then the same within each language."""
    rows = []
    for part in tested.parts:
        rows.append(_part_row(tested.claim.id, part, "decides"))
        by_language = sorted({o.row.language for s in part.strata for o in s.a})
        if len(by_language) > 1 and all(_one_language(s) for s in part.strata):
            rows += [_language_row(tested.claim.id, part, x, settings) for x in by_language]
    return rows


def _one_language(stratum: Stratum) -> bool:
    return len({o.row.language for o in (*stratum.a, *stratum.b)}) == 1


def _part_row(claim: int, part: Part, role: str) -> Record:
    return {
        "claim": claim, "part": part.name, "role": role, "metric": part.metric,
        "estimate": part.value, "low": part.low, "high": part.high, "p_for": written(part.p_for),
        "p_against": written(part.p_against), "n": part.n, "mde": part.mde,
    }  # fmt: skip


def _language_row(claim: int, part: Part, language: str, settings: ReportingConfig) -> Record:
    within = [s for s in part.strata if s.a[0].row.language == language]
    name = f"{part.name}, {language}".removeprefix(", ")
    result = compare(within, part.metric, settings, f"{claim} {name}")
    return _part_row(claim, part, "language") | {
        "part": name, "estimate": result.value, "low": result.low, "high": result.high,
        "p_for": None, "p_against": None, "n": result.n, "mde": None,
    }  # fmt: skip
