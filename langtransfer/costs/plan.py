"""A study's plan: every cell with what it takes on a device, totals, and what is saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from langtransfer.config import RuntimeConfig
from langtransfer.config.training import PretrainCell
from langtransfer.costs.estimates import work_of
from langtransfer.costs.hardware import Hardware, hardware_named
from langtransfer.costs.work import Given, Work
from langtransfer.errors import UserError
from langtransfer.evaluation.judge_cost import dollars
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.stages import STAGES


@dataclass(frozen=True)
class Row:
    """One cell of the plan."""

    cell: Cell
    finished: bool
    work: Work
    hours: float
    """On one device; 0 for what holds none."""
    dollars: float | None
    """For the chat model; None where its price is not known."""


@dataclass(frozen=True)
class Total:
    """Cells added up."""

    cells: int = 0
    finished: int = 0
    tokens: int = 0
    flops: float = 0.0
    hours: float = 0.0
    disk: int = 0
    calls: int = 0
    dollars: float | None = 0.0


@dataclass(frozen=True)
class Plan:
    """Rows in the study's order, on one kind of device."""

    rows: tuple[Row, ...]
    hardware: Hardware
    independent: float
    """Hours that independent budgets take for what chained ones would have done before."""

    @property
    def to_run(self) -> tuple[Row, ...]:
        """Cells that are not finished."""
        return tuple(row for row in self.rows if not row.finished)

    @property
    def total(self) -> Total:
        """Of the cells to run."""
        return total(self.to_run)

    @property
    def kept_hours(self) -> float:
        """Hours of finished cells, which are not spent again."""
        return sum(row.hours for row in self.rows if row.finished)

    @property
    def reused_hours(self) -> float:
        """Hours that chained budgets save among the cells to run."""
        return sum(
            self.hardware.hours(row.work.reused, 0.0, row.work.precision)
            for row in self.to_run
            if row.work.reused
        )

    @property
    def scratch(self) -> int:
        """Bytes of the largest running cell's newest checkpoint in `work/`."""
        return max((row.work.scratch for row in self.to_run), default=0)


def make_plan(cells: Iterable[Cell], runtime: RuntimeConfig, hardware: Hardware) -> Plan:
    """What cells take on a device. UserError where a model or a text is not known."""
    given = Given(runtime)
    rows = tuple(plan_row(given, cell, hardware) for cell in cells)
    return Plan(rows, hardware, independent_hours(rows, hardware))


def plan_row(given: Given, cell: Cell, hardware: Hardware) -> Row:
    """One cell's row."""
    work = work_of(given, cell)
    hours = hardware.hours(work.flops, work.traffic, work.precision) if work.on_device else 0.0
    return Row(cell, cell.finished(), work, hours, price(work, given.runtime))


def price(work: Work, runtime: RuntimeConfig) -> float | None:
    """Dollars for what is asked; None where `runtime.judge_prices` lacks the model."""
    if not work.calls:
        return 0.0
    prices = runtime.judge_prices.get(work.model)
    if prices is None:
        return None
    return dollars(work.asked, prices, batch=runtime.judge_mode == "batch")


def total(rows: Iterable[Row]) -> Total:
    """Rows added up; dollars are None where one's are not known."""
    rows = tuple(rows)
    known = [row.dollars for row in rows if row.dollars is not None]
    return Total(
        len(rows), sum(row.finished for row in rows), sum(row.work.tokens for row in rows),
        sum(row.work.flops for row in rows), sum(row.hours for row in rows),
        sum(row.work.disk for row in rows), sum(row.work.calls for row in rows),
        sum(known) if len(known) == len(rows) else None,
    )  # fmt: skip


def by_stage(rows: Iterable[Row]) -> Mapping[str, tuple[Row, ...]]:
    """Rows by stage, in the order of the pipeline; stages without a row are left out."""
    stages: dict[str, list[Row]] = {stage: [] for stage in STAGES}
    for row in rows:
        stages[row.cell.stage].append(row)
    return {stage: tuple(found) for stage, found in stages.items() if found}


def independent_hours(rows: Iterable[Row], hardware: Hardware) -> float:
    """Hours of all but the largest independent budget of each stream, of cells to run."""
    streams: dict[str, list[Row]] = {}
    for row in rows:
        settings = row.cell.settings
        if isinstance(settings, PretrainCell) and settings.budgets == "independent":
            stream = row.cell.point[0].replace(f".{settings.budget}.", ".")
            streams.setdefault(stream, []).append(row)
    hours = 0.0
    for found in streams.values():
        *smaller, _ = sorted(found, key=lambda row: row.work.flops)
        hours += sum(row.hours for row in smaller if not row.finished)
    return hours


def named_hardware(runtime: RuntimeConfig, key: str | None = None) -> Hardware:
    """The device a plan is for: the one asked for, else `runtime.hardware`."""
    if key is not None:
        return hardware_named(key, "--hardware")
    return hardware_named(runtime.hardware)


def with_mfu(hardware: Hardware, mfu: float | None) -> Hardware:
    """The device with a measured share of its peak. UserError for one that is none."""
    if mfu is None:
        return hardware
    if not 0 < mfu <= 1:
        raise UserError("--mfu", mfu, "a share of the peak is above 0 and at most 1, such as 0.45")
    return replace(hardware, mfu=mfu)


def check_cap(plan: Plan, cap: float | None, field: str) -> None:
    """UserError where the cells to run take more hours than a cap."""
    hours = plan.total.hours
    if cap is not None and hours > cap:
        found = f"{hours:,.1f} hours on {plan.hardware.name} are planned: raise it, or ask for less"
        raise UserError(field, cap, f"{found} (make plan shows where they go)")
