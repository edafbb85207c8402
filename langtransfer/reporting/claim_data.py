"""The paper's claims as data: `resources/claims.yaml`, typed and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from langtransfer.config.base import Model
from langtransfer.errors import UserError
from langtransfer.reporting.contrasts import METRICS
from langtransfer.reporting.selection import Key, Matching, Side, Where

Kind = Literal["difference", "equivalence", "not-above", "monotone", "rate-in-range"]


class Contrast(Matching):
    """One comparison, repeated for each value of `each`; all of the repetitions must hold."""

    kind: Kind
    """difference: a - b has the claimed direction; equivalence: within +-margin; not-above: a
    exceeds b by less than the margin; monotone: every step of `a` from one budget to the next
    has the direction; rate-in-range: the rate of `a` lies between low and high."""
    metric: str
    evaluated: Where = "target"
    a: Side
    b: Side = Side()
    each: tuple[Key, ...] = ()
    """One part per value of these in `each_side`."""
    each_side: Literal["a", "b"] = "b"
    name: str = ""
    """Told before the part's own name, where a claim has several contrasts."""
    direction: Literal["greater", "less"] = "greater"
    margin: float | None = Field(default=None, gt=0)
    """In the metric's unit; the config's margin for the metric when absent."""
    low: float = 0.0
    high: float = 1.0
    min_budget_ratio: float = Field(default=1.0, ge=1)
    """Skip unless one side had at least so many times the further pretraining of the other."""

    @model_validator(mode="after")
    def _metric(self) -> Contrast:
        if self.metric not in METRICS:
            raise ValueError(f"metric {self.metric} is none of {', '.join(METRICS)}")
        return self


class Alternative(Model):
    """One way to test a claim: all of its contrasts, in words and as data."""

    how: str
    """What is compared, for the reader; stands in the note."""
    contrasts: tuple[Contrast, ...] = Field(min_length=1)
    support_needs_tokens: int | None = None
    """The claim reaches to this budget: below it, agreement is not yet support."""


class Claim(Model):
    """One claim of the paper."""

    id: int
    text: str
    paper: str
    """The paper's evidence, with its numbers."""
    alternatives: tuple[Alternative, ...] = ()
    """Ways to test it, the closest to the paper first; the first one with rows is used."""
    otherwise: str
    """Why the claim is not tested when no alternative has rows."""


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Claims in file order. Raises UserError naming the entry for a file that does not parse."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        claims = tuple(Claim.model_validate(entry) for entry in entries)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path.name}: {place}", first["input"], first["msg"]) from error
    except (yaml.YAMLError, TypeError) as error:
        raise UserError(str(path), "claims", f"is not a YAML list of claims: {error}") from error
    if len({claim.id for claim in claims}) < len(claims):
        raise UserError(str(path), "id", "two claims have the same id; number them apart")
    return claims
