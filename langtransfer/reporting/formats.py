"""Numbers and names as the report's page shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MINUS = "\N{MINUS SIGN}"


def plain(cell: str, digits: int = 2) -> str:
    """A number of a CSV cell with so many decimals; a dash where the cell is empty."""
    if not cell:
        return "\N{EN DASH}"
    text = f"{float(cell):,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def signed(cell: str, digits: int = 2) -> str:
    """A difference, with its sign."""
    text = plain(cell, digits)
    return f"+{text}" if cell and float(cell) > 0 else text


def whole(cell: str) -> str:
    """A count with thousands separated."""
    return plain(cell, 0)


def interval(row: Mapping[str, str], low: str, high: str, digits: int = 2) -> str:
    """`[low, high]`, or nothing where there is none."""
    if not row[low] or not row[high]:
        return ""
    return f"[{plain(row[low], digits)}, {plain(row[high], digits)}]"


def p_value(cell: str) -> str:
    """`p = 0.031`, `p < 0.001` (never broken over lines), or nothing."""
    if not cell:
        return ""
    text = "p < 0.001" if float(cell) < 0.001 else f"p = {float(cell):.3f}"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def percent(cell: str, digits: int = 1) -> str:
    """A share in percent."""
    return f"{plain(str(100 * float(cell)), digits)} %" if cell else plain(cell)


def budget_name(budget: str) -> str:
    """`0.5B-tokens` as `0.5B tokens`, `0` as `none`."""
    return "none" if budget == "0" else budget.replace("-", " ")


def judge_name(judge: str) -> str:
    """Whose scores these are; the offline judge is never passed off as another."""
    return "reference judge, not GPT-4" if judge == "reference" else f"judge {judge}"


def sentence(text: str) -> str:
    """Text with its first letter large; the rest as it is (`capitalize` would lower GPT-4)."""
    return text[:1].upper() + text[1:]


def sum_of(rows: Iterable[Mapping[str, str]], column: str) -> str:
    """A column's sum as a cell; empty cells count nothing."""
    return str(sum(int(row[column] or 0) for row in rows))


FILTERS = {
    "sum_of": sum_of,
    "sentence": sentence,
    "plain": plain,
    "signed": signed,
    "whole": whole,
    "p_value": p_value,
    "percent": percent,
    "budget_name": budget_name,
    "judge_name": judge_name,
}
