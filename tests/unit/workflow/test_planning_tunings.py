"""Instruction-tuning sets: every mix that pretraining takes becomes a cell of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langtransfer.workflow.study import Study
from tests.workflow.conftest import expanded, plan

MODEL = "sw+zh.joint.original.16k-tokens.s1"


def planned(folder: Path, **mix: Any) -> Study:
    """The tiny study with another mix in its second tuning."""
    content = expanded()
    entry = {"examples": 40, "languages": ["zh"], **mix}
    content["tunings"]["t40-sequence"] = entry
    return plan(content, folder / "cache.json")


@pytest.mark.parametrize(
    ("mix", "languages", "filled"),
    [
        ({}, "zh", {"shares": {"zh": 1.0}, "order": None}),
        (
            {"shares": {"target": 3.0, "en": 1.0}},
            "en+zh",
            {"shares": {"en": 1.0, "zh": 3.0}, "order": None},
        ),
        (
            {"shares": {"sw": 1.0, "zh": 1.0}},
            "sw+zh",
            {"shares": {"sw": 1.0, "zh": 1.0}, "order": None},
        ),
        ({"order": ["target", "sw"]}, "sw+zh", {"shares": None, "order": ["zh", "sw"]}),
    ],
)
def test_mixes(tmp_path: Path, mix: dict[str, Any], languages: str, filled: dict[str, Any]) -> None:
    cells = {cell.path: cell for cell in planned(tmp_path, **mix).cells}
    cell = cells[f"finetune/{MODEL}/t40-sequence.{languages}.s1"]
    assert cell.settings.model_dump(mode="json")["mix"] == filled
    parents = {f"instructions.{language}" for language in languages.split("+")}
    assert set(cell.parents) == {"checkpoint", *parents}


def test_the_order_is_part_of_the_key(tmp_path: Path) -> None:
    one, other = (
        {cell.path: cell.key for cell in planned(tmp_path, order=order).cells}
        for order in (["zh", "sw"], ["sw", "zh"])
    )
    tuned = f"finetune/{MODEL}/t40-sequence.sw+zh.s1"
    assert {cell for cell in one if one[cell] != other[cell]} >= {tuned}
    assert one["prepare_instructions/sw"] == other["prepare_instructions/sw"]
