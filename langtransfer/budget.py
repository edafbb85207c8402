"""How much further pretraining, with its unit: `0`, `10k-samples`, `0.5B-tokens`."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import total_ordering
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

Unit = Literal["samples", "tokens"]
PATTERN = re.compile(
    r"(?P<number>[1-9]\d*|\d+\.\d*[1-9])(?P<scale>[kMB]?)-(?P<unit>samples|tokens)"
)
SCALES = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


@total_ordering
class Budget:
    """An amount of text. Canonical: one amount has one spelling, so it can stand in a path."""

    __slots__ = ("amount", "unit")

    def __init__(self, amount: int, unit: Unit | None) -> None:
        self.amount = amount
        self.unit = unit

    @classmethod
    def parse(cls, text: object) -> Budget:
        """Read a budget; `500k-tokens` is `0.5M-tokens`. ValueError says how to write one."""
        if text in (0, "0") and not isinstance(text, bool):
            return cls(0, None)
        match = PATTERN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError("write 0, or an amount with its unit such as 10k-samples, 0.5B-tokens")
        amount = Decimal(match["number"]) * SCALES[match["scale"]]
        if amount != int(amount) or amount == 0:
            raise ValueError("a budget is a whole number of samples or tokens")
        return cls(int(amount), "samples" if match["unit"] == "samples" else "tokens")

    def __str__(self) -> str:
        if self.unit is None:
            return "0"
        # The largest scale that leaves at most one decimal: 0.5B rather than 500M, as the paper.
        for scale, size in reversed(SCALES.items()):
            if self.amount * 2 >= size and self.amount % max(size // 10, 1) == 0:
                number = f"{Decimal(self.amount) / size:f}"
                return f"{number}{scale}-{self.unit}"
        raise AssertionError("the empty scale fits every whole number")

    def __repr__(self) -> str:
        return f"Budget({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Budget) and (self.amount, self.unit) == (other.amount, other.unit)

    def __lt__(self, other: Budget) -> bool:
        if self.unit and other.unit and self.unit != other.unit:
            raise ValueError(f"{self} and {other} cannot be ordered: their units differ")
        return self.amount < other.amount

    def __hash__(self) -> int:
        return hash((self.amount, self.unit))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(value),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"const": 0}, {"type": "string", "pattern": f"^(0|{PATTERN.pattern})$"}]}
