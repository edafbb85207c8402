"""Plans of small studies: tokens, hours, disk, calls and savings by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langtransfer.config import RuntimeConfig
from langtransfer.config.evaluation import Prices
from langtransfer.costs.chat import VERDICT_TOKENS
from langtransfer.costs.hardware import hardware_named, hardware_of, known_hardware
from langtransfer.costs.plan import (
    Plan,
    Row,
    by_stage,
    check_cap,
    make_plan,
    named_hardware,
    with_mfu,
)
from langtransfer.costs.table import hours, money, notes, scaled, size
from langtransfer.costs.texts import text_row
from langtransfer.errors import UserError
from langtransfer.evaluation import openai_judge
from langtransfer.resources import ROOT
from tests.workflow.conftest import edited, expanded, plan

LONG = "zh.target-only.original.16k-tokens.s1"
SHORT = "zh.target-only.original.8k-tokens.s1"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)  # nothing is finished here
    return expanded()


def planned(content: dict[str, Any], hardware: str = "cpu") -> Plan:
    study = plan(content, Path("cache.json"))
    return make_plan(study.cells, study.config.runtime, hardware_named(hardware))


def row(plan: Plan, cell: str) -> Row:
    (found,) = [row for row in plan.rows if row.cell.path == cell]
    return found


def test_a_base_from_scratch(tiny: dict[str, Any]) -> None:
    work = row(planned(tiny), "train_base/base").work
    assert work.tokens == 46 * 1024, "48,000 tokens in whole steps of 1,024"
    body = 2 * (4 * 32 * 32 + 3 * 32 * 88)
    each = 6 * (body + 600 * 32) + 6 * 2 * 32 * 128
    assert work.flops == pytest.approx(work.tokens * each, rel=0.01)
    parameters = body + 2 * 600 * 32 + 5 * 32
    assert work.disk == 4 * parameters
    assert work.scratch == 12 * parameters, "weights and AdamW's two moments"


def test_a_chained_budget_does_what_the_smaller_has_not_done(tiny: dict[str, Any]) -> None:
    chained = planned(tiny)
    long, short = (row(chained, f"pretrain/{name}").work for name in (LONG, SHORT))
    assert (short.tokens, long.tokens) == (7 * 1024, 8 * 1024)
    assert long.reused == pytest.approx(short.flops)
    assert chained.reused_hours > 0
    assert chained.independent == 0
    tiny["pretrain"]["budgets"] = "independent"
    alone = planned(tiny)
    assert row(alone, f"pretrain/{LONG}").work.tokens == 15 * 1024
    assert row(alone, f"pretrain/{LONG}").work.disk * 3 == long.disk, "no optimizer is kept"
    assert alone.reused_hours == 0
    stream = {
        name: row(alone, f"pretrain/{name}").hours for name in (SHORT, SHORT.replace("zh", "sw"))
    }
    assert alone.independent == pytest.approx(sum(stream.values()))


def test_an_extension_has_more_rows_and_an_adapter_is_small(tiny: dict[str, Any]) -> None:
    found = planned(tiny)
    base, extended = (
        row(found, f"perplexity/{name}/none/zh").work for name in ("base", "zh.ext100.0")
    )
    assert extended.flops - base.flops == pytest.approx(base.tokens * 2 * 1304 * 32, rel=0.01)
    adapter = row(found, "finetune/base/t40.zh.s1").work
    modules = 4 * (32 + 32) + 3 * (32 + 88)
    assert adapter.disk == 4 * 2 * 4 * modules


def test_what_is_finished_costs_nothing(tiny: dict[str, Any]) -> None:
    before = planned(tiny)
    manifest = row(before, "train_base/base").cell.manifest
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"volatile": {}}')
    after = planned(tiny)
    base = row(before, "train_base/base").hours
    assert len(after.to_run) == len(before.to_run) - 1
    assert after.total.hours == pytest.approx(before.total.hours - base)
    assert after.kept_hours == pytest.approx(base)
    assert any("by cells that are finished" in note for note in notes(after))


def test_hours_are_of_the_slower_of_arithmetic_and_memory() -> None:
    hardware = with_mfu(hardware_named("h100"), 0.5)
    start = hardware.start_seconds / 3600
    assert hardware.hours(989e12 * 1800, 0.0, "bf16") == pytest.approx(1 + start)
    assert hardware.hours(67e12 * 1800, 0.0, "fp32") == pytest.approx(1 + start)
    assert hardware.hours(1.0, 3350e9 * 1800, "bf16") == pytest.approx(1 + start)


def test_every_device_is_found_by_the_name_pytorch_gives_it() -> None:
    names = {
        "NVIDIA H100 80GB HBM3": "h100", "NVIDIA H200": "h200", "NVIDIA A100-SXM4-80GB": "a100",
        "NVIDIA GeForce RTX 4090": "rtx4090", "Tesla V100-SXM2-32GB": "v100", "cpu": "cpu",
    }  # fmt: skip
    found = {name: hardware_of(name) for name in names}
    assert {name: row.key for name, row in found.items() if row} == names
    assert hardware_of("Quantum Abacus") is None
    assert set(names.values()) == set(known_hardware())


def test_calls_and_dollars(tiny: dict[str, Any]) -> None:
    tiny["score"]["judge"] |= {"kind": "openai", "model": "m", "checks": {"items": 5, "repeat": 2}}
    unpriced = planned(tiny)
    assert unpriced.total.dollars is None
    assert any("No price of m" in note for note in notes(unpriced))
    tiny["runtime"]["judge_prices"] = {
        "m": Prices(prompt=10, completion=20, batch=0.5).model_dump()
    }
    priced = planned(tiny)
    score = row(priced, "score/base/t40.zh.s1/llm-eval/zh")
    assert score.work.calls == 17 + 5 * (2 + 1), "17 questions, 5 of them thrice more"
    assert score.work.asked.completion == score.work.calls * VERDICT_TOKENS
    asked = score.work.asked
    assert score.dollars == pytest.approx((asked.prompt * 10 + asked.completion * 20) / 1e6)
    tiny["runtime"]["judge_mode"] = "batch"
    assert planned(tiny).total.dollars == pytest.approx((priced.total.dollars or 0) / 2)


def test_a_verdict_is_as_long_as_the_judge_says() -> None:
    assert VERDICT_TOKENS == openai_judge.VERDICT_TOKENS


def test_the_cap(tiny: dict[str, Any]) -> None:
    found = planned(tiny)
    check_cap(found, None, "cap")
    check_cap(found, found.total.hours * 1.01, "cap")
    with pytest.raises(UserError, match=r"cap: 1e-05: .* hours on one CPU core are planned"):
        check_cap(found, 1e-5, "cap")


def test_stages_come_in_the_order_of_the_pipeline(tiny: dict[str, Any]) -> None:
    stages = list(by_stage(planned(tiny).rows))
    assert stages[0] == "fetch_corpus"
    assert stages[-1] == "report"
    assert stages.index("pretrain") < stages.index("finetune") < stages.index("generate")


def test_bad_hardware_and_unknown_models(tiny: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"--hardware: 'h10': did you mean h100\?"):
        named_hardware(RuntimeConfig(), "h10")
    with pytest.raises(UserError, match=r"runtime.hardware: 'abacus'"):
        named_hardware(RuntimeConfig(hardware="abacus"))
    with pytest.raises(UserError, match="--mfu"):
        with_mfu(hardware_named("cpu"), 1.5)
    with pytest.raises(UserError, match=r"texts.csv: 'nosuch'"):
        text_row("benchmark", "nosuch")
    registry = Path("registry.csv")
    lines = (ROOT / "resources" / "datasets.csv").read_text(encoding="utf-8")
    registry.write_text(lines + "our-base,*,hub,us/ours,main,config.json,huggingface,,,,,,\n")
    tiny["runtime"]["registry"] = str(registry)
    own = edited(tiny, "base", {"train": None, "adopt": {"model": "our-base"}})
    own["tokenizers"] = {}
    with pytest.raises(UserError, match=r"models.csv: 'our-base': its shape is not known"):
        planned(own)


def test_figures_as_text() -> None:
    assert [scaled(n) for n in (0, 7, 999.6, 1234, 5.2e9)] == ["", "7", "1k", "1.23k", "5.2B"]
    assert [size(n) for n in (0, 13.5e9, 1.22e12)] == ["", "13.5GB", "1.22TB"]
    assert [hours(n) for n in (0, 0.0421, 1234.56)] == ["", "0.042", "1,234.6"]
    assert [money(n) for n in (None, 0.0, 1039.157)] == ["?", "", "1,039.16"]
