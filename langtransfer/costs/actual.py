"""Planned against actual: what finished cells took beside what a plan says of them.

Read from manifests' volatile facts, as `runs.csv` is, and in no key.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from langtransfer.costs.hardware import hardware_of
from langtransfer.costs.plan import Plan, Row, by_stage
from langtransfer.costs.resources import COSTS
from langtransfer.costs.table import hours as hours_text
from langtransfer.costs.table import money, scaled, size
from langtransfer.reporting.paper import TEMPLATES

# Stages whose manifests count the tokens a plan counts: not answers without their prompts.
COUNTED = ("pack_tokens", "train_base", "pretrain", "finetune")
TRAINED = ("train_base", "pretrain", "finetune")


@dataclass(frozen=True)
class Actual:
    """What a finished cell took, beside its row of the plan; None where nothing tells."""

    row: Row
    device: str
    units: int
    """GPUs, or cores, that took part."""
    hours: float
    """Of all of them together."""
    tokens: int | None
    tokens_per_second: float | None
    mfu: float | None
    """Share of the peak of the device it ran on."""
    disk: int
    calls: int | None
    dollars: float | None


def actuals(plan: Plan) -> list[Actual]:
    """Every finished cell of a plan, in its order."""
    return [actual(row) for row in plan.rows if row.finished]


def actual(row: Row) -> Actual:
    """What one finished cell took."""
    manifest = json.loads(row.cell.manifest.read_text(encoding="utf-8"))
    facts: Mapping[str, Any] = manifest["volatile"]
    device = str(facts.get("device", ""))
    # Each process has a GPU; without one its threads share the work.
    threads = int(facts.get("threads", 1)) if device == "cpu" else 1
    units = max(int(facts.get("processes", 1)) * threads, 1)
    seconds = float(facts.get("seconds", 0.0))
    tokens = facts.get("tokens") if row.cell.stage in COUNTED else None
    return Actual(
        row, device, units, seconds * units / 3600, tokens,
        facts.get("tokens_per_second"), utilisation(row, facts, device, units),
        sum(file["bytes"] for file in manifest["outputs"]["files"].values()),
        facts.get("requests"), facts.get("cost"),
    )  # fmt: skip


def utilisation(row: Row, facts: Mapping[str, Any], device: str, units: int) -> float | None:
    """MFU of a training cell: operations a token, times tokens a second, by the device's peak."""
    hardware, speed = hardware_of(device) if device else None, facts.get("tokens_per_second")
    if hardware is None or speed is None or not row.work.tokens:
        return None
    each = row.work.flops / row.work.tokens
    return each * float(speed) / (hardware.peak[row.work.precision] * units)


COLUMNS = (
    "cell", "key", "stage", "device", "units", "planned_hardware", "planned_hours", "hours",
    "planned_tokens", "tokens", "planned_flops", "tokens_per_second", "mfu", "planned_bytes",
    "bytes", "planned_calls", "calls", "planned_dollars", "dollars",
)  # fmt: skip


def costs_csv(plan: Plan, found: Iterable[Actual]) -> str:
    """One row a finished cell, sorted; columns are in docs/tables.md."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for a in sorted(found, key=lambda a: a.row.cell.path):
        cell, work = a.row.cell, a.row.work
        writer.writerow(
            "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
            for value in (
                cell.path, cell.key, cell.stage, a.device, a.units, plan.hardware.key,
                a.row.hours, a.hours, work.tokens, a.tokens, work.flops, a.tokens_per_second,
                a.mfu, work.disk, a.disk, work.calls, a.calls, a.row.dollars, a.dollars,
            )
        )  # fmt: skip
    return buffer.getvalue()


def page_rows(found: Iterable[Actual]) -> list[dict[str, str]]:
    """What the page shows: a line a stage that holds a device, keeps data or asks a model."""
    found = list(found)
    stages = by_stage(a.row for a in found)
    lines = []
    for stage in stages:
        some = [a for a in found if a.row.cell.stage == stage]
        if any(a.row.work.on_device or a.row.work.disk or a.row.work.calls for a in some):
            lines.append(line(f"{stage} ({len(some)})", some))
    return lines


def line(name: str, some: list[Actual]) -> dict[str, str]:
    """Cells added up, as text."""
    held = [a for a in some if a.row.work.on_device]
    planned, took = sum(a.row.hours for a in held), sum(a.hours for a in held)
    counted = [a for a in some if a.tokens is not None]
    speeds = [a for a in some if a.mfu is not None and a.row.cell.stage in TRAINED]
    mean = sum(a.mfu or 0.0 for a in speeds) / len(speeds) if speeds else None
    tokens = sum(a.tokens or 0 for a in counted)
    rates = [a.tokens_per_second for a in some if a.tokens_per_second is not None]
    asked = any(a.row.work.calls for a in some)
    return {
        "name": name,
        "planned_hours": hours_text(planned),
        "hours": hours_text(took),
        "ratio": f"{took / planned:.2f}" if planned else "",
        "planned_tokens": scaled(sum(a.row.work.tokens for a in counted or some)),
        "tokens": scaled(tokens) if counted else "",
        "speed": scaled(sum(rates) / len(rates)) if rates else "",
        "mfu": f"{mean:.0%}" if mean is not None else "",
        "planned_disk": size(sum(a.row.work.disk for a in some)),
        "disk": size(sum(a.disk for a in some)),
        "planned_calls": f"{sum(a.row.work.calls for a in some):,}" if asked else "",
        "calls": f"{sum(a.calls or 0 for a in some):,}" if asked else "",
        "planned_dollars": money(sum(a.row.dollars or 0.0 for a in some)),
        "dollars": money(sum(a.dollars or 0.0 for a in some)),
    }


def costs_page(plan: Plan, found: list[Actual], title: str) -> str:
    """A page of its own: the report's must not change with how long something took."""
    loader = FileSystemLoader(COSTS, encoding="utf-8")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    trained = [a for a in found if a.row.cell.stage in TRAINED]
    return environment.get_template("costs.html.jinja").render(
        title=title, hardware=plan.hardware, finished=len(found), cells=len(plan.rows),
        stages=page_rows(found), total=line("total", found) if found else None,
        trained=[line(a.row.cell.path, [a]) for a in trained],
        asked=any(a.row.work.calls for a in found),
        devices=sorted({a.device for a in found if a.device}),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
    )  # fmt: skip
