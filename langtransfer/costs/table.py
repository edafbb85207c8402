"""The plan as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from langtransfer.costs.plan import Plan, Row, Total, by_stage, total

COLUMNS = ("tokens", "FLOPs", "hours", "disk", "calls", "dollars")
SCALES = ("", "k", "M", "B", "T")


def stage_table(plan: Plan) -> Table:
    """A line a stage, and the total of what is to run."""
    table = _table(("stage", "to run", "finished"), plan)
    for stage, rows in by_stage(plan.rows).items():
        open_rows = [row for row in rows if not row.finished]
        counts = (f"{len(open_rows):,}", f"{len(rows) - len(open_rows):,}")
        table.add_row(stage, *counts, *_figures(total(open_rows)))
    table.add_section()
    open_cells, done = len(plan.to_run), len(plan.rows) - len(plan.to_run)
    table.add_row("total", f"{open_cells:,}", f"{done:,}", *_figures(plan.total), style="bold")
    return table


def cell_table(plan: Plan) -> Table:
    """A line a cell to run, stage by stage."""
    table = _table(("cell",), plan)
    for rows in by_stage(plan.to_run).values():
        for row in rows:
            table.add_row(row.cell.path, *_figures(total([row])))
        table.add_section()
    table.add_row("total", *_figures(plan.total), style="bold")
    return table


def _table(names: Sequence[str], plan: Plan) -> Table:
    title = f"{len(plan.to_run):,} of {len(plan.rows):,} cells to run"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in (*names, *COLUMNS):
        text = name in ("stage", "cell")
        table.add_column(name, justify="left" if text else "right", overflow="fold")
    return table


def _figures(of: Total) -> tuple[str, ...]:
    return (
        scaled(of.tokens), f"{of.flops:.1e}" if of.flops else "", hours(of.hours),
        size(of.disk), f"{of.calls:,}" if of.calls else "", money(of.dollars),
    )  # fmt: skip


def notes(plan: Plan) -> Iterator[str]:
    """What the figures rest on, and what is saved."""
    hardware = plan.hardware
    yield (
        f"Hours of one {hardware.name} at {hardware.mfu:.0%} of its peak"
        f" ({hardware.peak['bf16'] / 1e12:g} TFLOP/s in bf16, {hardware.peak['fp32'] / 1e12:g} in"
        " fp32, in which models are evaluated); n GPUs take an n-th of the time."
        if hardware.key != "cpu"
        else f"Hours of {hardware.name} at {hardware.mfu:.0%} of its peak"
        f" ({hardware.peak['fp32'] / 1e12:g} TFLOP/s in fp32)."
    )
    if plan.kept_hours:
        yield f"Saved: {hours(plan.kept_hours)} hours, by cells that are finished."
    if plan.reused_hours:
        yield f"Saved: {hours(plan.reused_hours)} hours, as budgets go on from smaller ones."
    if plan.independent:
        yield (
            f"Budgets are runs of their own: as prefixes of one (pretrain.budgets: chained, which"
            f" takes a constant schedule) they would save {hours(plan.independent)} hours."
        )
    if plan.scratch:
        yield f"A running cell's newest checkpoint takes up to {size(plan.scratch)} more in work/."
    if plan.total.dollars is None:
        models = sorted({row.work.model for row in plan.to_run if row.dollars is None})
        yield f"No price of {', '.join(models)} in runtime.judge_prices: calls are counted alone."
    if _answers(plan.to_run):
        yield "Answers are taken as long as they may get; verdicts kept from before cost nothing."


def _answers(rows: Sequence[Row]) -> bool:
    return any(row.cell.stage == "generate" for row in rows)


def scaled(number: float) -> str:
    """`1.2B`; nothing for 0."""
    if not number:
        return ""
    place = 0
    while number >= 999.5 and place < len(SCALES) - 1:
        number, place = number / 1000, place + 1
    return f"{number:.3g}{SCALES[place]}"


def size(number: float) -> str:
    """`13.5GB`, of 1000 MB; nothing for 0."""
    return f"{scaled(number).replace('B', 'G')}B" if number else ""


def hours(number: float) -> str:
    """`1,234.5`, more digits below one; nothing for 0."""
    if not number:
        return ""
    return f"{number:,.1f}" if number >= 1 else f"{number:.2g}"


def money(number: float | None) -> str:
    """`12.34`; `?` where not known, nothing for 0."""
    if number is None:
        return "?"
    return f"{number:,.2f}" if number else ""
