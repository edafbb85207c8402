"""The rows figures are drawn from: which, in what order, under what name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from langtransfer.budget import Budget
from langtransfer.languages import known_languages
from langtransfer.reporting.results import PLAIN_MIX

Row = Mapping[str, str]


def language_name(code: str) -> str:
    """English name of a language, its code where it has none."""
    known = known_languages().get(code)
    return known.english_name if known else code


def target_languages(rows: Sequence[Row]) -> list[str]:
    """Languages the rows are for, sorted."""
    return sorted({row["language"] for row in rows})


def compared_languages(rows: Sequence[Row]) -> list[str]:
    """Languages with more than one model to compare; all where there are none such."""
    models = grouped(rows, lambda row: row["language"])
    several = [code for code, own in models.items() if len({row["label"] for row in own}) > 1]
    return sorted(several) or target_languages(rows)


def budget_ladder(rows: Sequence[Row]) -> list[str]:
    """Budgets from little to much; they stand at equal distances."""
    amounts = {row["budget"]: pretraining(row) for row in rows}
    return sorted(amounts, key=lambda budget: amounts[budget])


def pretraining(row: Row) -> int:
    """Tokens of further pretraining, samples where tokens are not known."""
    return int(row["budget_tokens"] or Budget.parse(row["budget"]).amount)


def short(budget: str) -> str:
    """A budget as an axis has room for it."""
    return budget.replace("-tokens", "").replace("-samples", "\nsamples")


def unit(budgets: Sequence[str]) -> str:
    """What the budgets of an axis count."""
    return "tokens" if any(b.endswith("-tokens") for b in budgets) else "samples"


def family(row: Row) -> str:
    """Vocabulary and mix: what a line of a budget plot stands for."""
    mix = "" if row["mix"] in (PLAIN_MIX, "") else f", {row['mix']}"
    return f"{row['vocabulary']}{mix}"


def grouped(rows: Sequence[Row], name: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by a name, in order of first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return groups


def grid_rows(rows: Sequence[Row]) -> list[Row]:
    """Points of the grid at their first seed: one point, one mark."""
    grid = [row for row in rows if row["adopted"] == "false"]
    first: dict[tuple[str, ...], str] = {}
    for row in grid:
        first.setdefault(_point(row), row["seed"])
    return [row for row in grid if first[_point(row)] == row["seed"]]


def _point(row: Row) -> tuple[str, ...]:
    return tuple(row[c] for c in ("language", "mix", "vocabulary", "budget", "tuning"))


def vocabularies_compared(rows: Sequence[Row]) -> list[Row]:
    """Rows of one language that set its vocabularies side by side, on the target alone.

    The base, and each vocabulary at the largest budget they all have (its own where they share
    none).
    """
    plain = [row for row in rows if row["mix"] == PLAIN_MIX or not pretraining(row)]
    groups = grouped(plain, lambda row: row["vocabulary"])
    shared = set.intersection(*({pretraining(row) for row in own} for own in groups.values()))
    chosen = {
        name: max(shared or {pretraining(row) for row in own}) for name, own in groups.items()
    }
    return [
        row
        for row in plain
        if pretraining(row) == chosen[row["vocabulary"]]
        or (row["vocabulary"] == "original" and not pretraining(row))
    ]


def two_rows(languages: Sequence[str], a_row: int) -> dict[tuple[str, bool], int]:
    """(language, on the source language) -> panel: the target above, the source below it."""
    columns = min(a_row, len(languages))
    return {
        (language, source): 2 * columns * (index // columns) + index % columns + columns * source
        for index, language in enumerate(languages)
        for source in (False, True)
    }


def panel_title(row: Row) -> str:
    """What a panel was evaluated in, and after which target where that is another language."""
    name = language_name(row["evaluated"])
    same = row["evaluated"] == row["language"]
    return name if same else f"{name} after {language_name(row['language'])}"


def instruction_sets(rows: Sequence[Row]) -> list[str]:
    """Instruction sets from the largest to the smallest."""
    sizes = {(int(row["tuning_examples"]), row["tuning"]) for row in rows}
    return [tuning for _, tuning in sorted(sizes, reverse=True)]
