"""Points of the grid: names, mixes, chains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langtransfer.config import Config
from langtransfer.config.loading import parse_config
from langtransfer.config.training import MixConfig
from langtransfer.errors import UserError
from langtransfer.workflow.points import fill_mix, fill_shares, smaller_budget, study_models
from tests.workflow.conftest import expanded, plan


@pytest.fixture
def content() -> dict[str, Any]:
    return expanded()


def models(content: dict[str, Any]) -> dict[tuple[str, str], Any]:
    config: Config = parse_config(content)
    return {(m.label, m.language): m for m in study_models(config)}


def test_names(content: dict[str, Any]) -> None:
    found = {where: m.point.id for where, m in models(content).items()}
    assert found["LLaMA", "zh"] == found["LLaMA", "sw"] == "base"
    assert found["LLaMA+8k", "zh"] == "zh.target-only.original.8k-tokens.s1"
    assert found["LLaMA-EXT", "sw"] == "sw.ext100.0"
    assert found["LLaMA+16k joint", "sw"] == found["LLaMA+16k joint", "zh"]
    assert found["LLaMA+16k joint", "zh"] == "sw+zh.joint.original.16k-tokens.s1"
    assert ("LLaMA+16k with English", "sw") not in found


def test_several_seeds_are_several_rows(content: dict[str, Any]) -> None:
    content["models"][2]["seeds"] = [1, 2]
    found = models(content)
    assert found["LLaMA+16k (seed 2)", "zh"].point.id.endswith(".s2")
    assert found["LLaMA+16k (seed 1)", "zh"].point.id.endswith(".s1")


def test_tunings_of_some_languages(content: dict[str, Any]) -> None:
    content["tunings"]["t40"]["languages"] = ["zh"]
    found = models(content)
    assert found["LLaMA", "zh"].tunings == ("none", "t40")
    assert found["LLaMA", "sw"].tunings == ("none",)


def test_chain(content: dict[str, Any]) -> None:
    config = parse_config(content)
    chain = {m.label: smaller_budget(config, m.point) for m in study_models(config)}
    assert str(chain["LLaMA+16k"]) == "8k-tokens"
    assert chain["LLaMA+8k"] is None
    assert chain["LLaMA-EXT+8k"] is None, "another vocabulary is another chain"


def test_shares_of_one_language_add_up() -> None:
    assert fill_shares({"target": 0.5, "zh": 0.25, "en": 0.25}, "zh") == {"en": 0.25, "zh": 0.75}
    assert fill_mix(MixConfig(order=("en", "target")), "sw").order == ("en", "sw")


def test_a_language_twice_in_an_order() -> None:
    order = MixConfig(order=("zh", "target"))
    assert fill_mix(order, "sw").order == ("zh", "sw")
    with pytest.raises(UserError, match=r"order: .*twice where the target is zh"):
        fill_mix(order, "zh")


def test_one_name_for_two_streams_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["mixes"]["lean"] = {"shares": {"target": 0.6, "sw": 0.2, "zh": 0.2}}
    lean = {"label": "lean", "mix": "lean", "budget": "8k-tokens", "tunings": ["none"]}
    content["models"].append(lean)
    with pytest.raises(UserError, match="two rows of the study mean different cells"):
        _ = plan(content, tmp_path / "cache.json").cells


def test_budgets_of_two_units_are_refused(content: dict[str, Any]) -> None:
    content["models"].append({"label": "s", "budget": "10-samples"})
    with pytest.raises(UserError, match="one study has one unit"):
        parse_config(content)
