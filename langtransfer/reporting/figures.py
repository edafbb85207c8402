"""The report's figures, from the tables' CSV files: each an SVG with the numbers it shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langtransfer.reporting.csvfile import read_csv, write_csv
from langtransfer.reporting.drawing import (
    GRID,
    INK,
    LINES,
    MARKERS,
    PALETTE,
    PANELS_A_ROW,
    Series,
    Sheet,
    draw_dots,
    draw_lines,
    same_scale,
)
from langtransfer.reporting.figure_data import (
    Row,
    budget_ladder,
    compared_languages,
    family,
    grid_rows,
    grouped,
    instruction_sets,
    language_name,
    panel_title,
    pretraining,
    short,
    target_languages,
    two_rows,
    unit,
    vocabularies_compared,
)
from langtransfer.reporting.formats import budget_name
from langtransfer.reporting.results import PLAIN_MIX
from langtransfer.reporting.tables import PAPER_SWITCHING

FIGURES = (
    "bits_per_byte", "quality", "english_kept", "figure2_knowledge", "figure4_code_switching",
    "alignment",
)  # fmt: skip


def make_figures(tables: Path, out: Path) -> list[str]:
    """Draw what the tables have rows for; the names drawn, each `<name>.svg` and `<name>.csv`."""
    makers: dict[str, Callable[[Path, Path], bool]] = {
        "bits_per_byte": _bits_per_byte, "quality": _quality, "english_kept": _english_kept,
        "figure2_knowledge": _knowledge, "figure4_code_switching": _code_switching,
        "alignment": _alignment,
    }  # fmt: skip
    return [name for name in FIGURES if makers[name](tables, out)]


def _keep(rows: Sequence[Row], out: Path, name: str) -> bool:
    """Write the rows a figure shows; False where there are none and nothing to draw."""
    if rows:
        write_csv(out / f"{name}.csv", list(rows[0]), rows)
    return bool(rows)


def _budget_axis(axes: Any, budgets: Sequence[str]) -> None:
    axes.set_xticks(range(len(budgets)), [short(budget) for budget in budgets])
    axes.set_xlim(-0.4, len(budgets) - 0.6)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(f"further pretraining ({unit(budgets)}, not to scale)")


def _style(names: Sequence[str], name: str, line: int = 0) -> dict[str, Any]:
    """A series looks the same in every panel of a figure."""
    index = names.index(name)
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[line % len(LINES)],
    }


def _curve(
    name: str, rows: Sequence[Row], budgets: Sequence[str], columns: Sequence[str]
) -> Series:
    """One line; a mix without a run of its own at budget 0 starts where it was first trained."""
    ordered = sorted(rows, key=pretraining)
    value, low, high = ([float(row[column]) for row in ordered] for column in columns)
    return Series(name, [budgets.index(row["budget"]) for row in ordered], value, low, high)


def _bits_per_byte(tables: Path, out: Path) -> bool:
    rows = grid_rows(read_csv(tables / "table2_perplexity.csv"))
    if not _keep(rows, out, "bits_per_byte"):
        return False
    languages, families = compared_languages(rows), list(grouped(rows, family))
    places = two_rows(languages, PANELS_A_ROW)
    columns = min(PANELS_A_ROW, len(languages))
    panels = 2 * columns * -(-len(languages) // columns)
    with Sheet(panels, 2.3, columns=columns) as sheet:
        for (language, source), place in places.items():
            chosen = [
                row
                for row in rows
                if row["language"] == language and (row["evaluated"] != language) == source
            ]
            axes = sheet.axes[place]
            _budget_panel(axes, chosen, families, ("bits_per_byte", "bpb_low", "bpb_high"))
            axes.set_title(panel_title(chosen[0]) if chosen else "", loc="left")
            axes.set_ylabel("bits per byte")
        for source in (False, True):
            same_scale([sheet.axes[places[language, source]] for language in languages], "y")
        sheet.save(out / "bits_per_byte.svg", families)
    return True


def _budget_panel(
    axes: Any, rows: Sequence[Row], families: Sequence[str], columns: Sequence[str],
    tunings: Sequence[str] = (),
) -> None:  # fmt: skip
    """Lines against the budget: colour by vocabulary and mix, stroke by instruction set."""
    budgets, drawn, styles = budget_ladder(rows), [], []
    for tuning in tunings or ("",):
        chosen = [row for row in rows if not tuning or row["tuning"] == tuning]
        for line, found in grouped(chosen, family).items():
            name = f"{line}, {tuning} instructions" if tuning else line
            drawn.append(_curve(name, found, budgets, columns))
            styles.append(_style(families, line, tunings.index(tuning) if tuning else 0))
    draw_lines(axes, drawn, styles)
    _budget_axis(axes, budgets)


def _quality(tables: Path, out: Path) -> bool:
    rows = grid_rows(read_csv(tables / "table1_response_quality.csv"))
    if not _keep(rows, out, "quality"):
        return False
    languages, families = compared_languages(rows), list(grouped(rows, family))
    with Sheet(len(languages), 2.7) as sheet:
        for axes, language in zip(sheet.axes, languages, strict=False):
            chosen = [row for row in rows if row["language"] == language]
            _budget_panel(axes, chosen, families, ("AVG", "low", "high"), instruction_sets(rows))
            axes.set_title(language_name(language), loc="left")
            axes.set_ylabel("answer quality, 0 to 3")
        same_scale(sheet.axes[: len(languages)], "y")
        sheet.save(out / "quality.svg", families)
    return True


def _english_kept(tables: Path, out: Path) -> bool:
    rows = [
        row for row in grid_rows(read_csv(tables / "english_retained.csv"))
        if row["metric"] == "bits_per_byte" and row["change"]
    ]  # fmt: skip
    if not _keep(rows, out, "english_kept"):
        return False
    mixes = sorted({row["mix"] for row in rows}, key=lambda mix: (mix != PLAIN_MIX, mix))
    languages, labels = target_languages(rows), _labels(rows)
    with Sheet(len(languages), 0.9 + 0.24 * len(labels)) as sheet:
        for axes, language in zip(sheet.axes, languages, strict=False):
            chosen = [row for row in rows if row["language"] == language]
            _dot_panel(axes, chosen, mixes, "mix", ("change", "change_low", "change_high"), labels)
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_title(f"after {language_name(language)}", loc="left")
            axes.set_xlabel("change in source bits per byte\n(right: forgotten)")
        same_scale(sheet.axes[: len(languages)], "x")
        sheet.save(out / "english_kept.svg", labels)
    return True


def _dot_panel(
    axes: Any, rows: Sequence[Row], names: Sequence[str], column: str, values: Sequence[str],
    labels: Sequence[str],
) -> None:  # fmt: skip
    """One row a model label, colour by a column, from the top."""
    groups = grouped(rows, lambda row: row[column])
    drawn = []
    for name, found in groups.items():
        value, low, high = ([float(row[key]) for row in found] for key in values)
        shown = {"none": "not tuned"}.get(name, name)
        drawn.append(Series(shown, [labels.index(r["label"]) for r in found], value, low, high))
    draw_dots(axes, drawn, [_style(names, name) | {"linestyle": "none"} for name in groups])
    first_column = axes.get_subplotspec().is_first_col()
    axes.set_yticks(range(len(labels)), labels if first_column else [""] * len(labels))
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _knowledge(tables: Path, out: Path) -> bool:
    source = tables / "figure2_knowledge.csv"
    rows = read_csv(source)
    shutil.copyfile(source, out / source.name)
    if not rows:
        return False
    panels = grouped(
        sorted(rows, key=lambda r: (r["benchmark"], r["language"] != r["evaluated"])),
        lambda r: f"{r['benchmark']} {r['language']} {r['evaluated']}",
    )
    labels = _labels(rows)
    with Sheet(len(panels), 0.9 + 0.24 * len(labels)) as sheet:
        for axes, found in zip(sheet.axes, panels.values(), strict=False):
            _knowledge_panel(axes, found, instruction_sets(rows), labels)
        same_scale(sheet.axes[: len(panels)], "x")
        sheet.save(out / "figure2_knowledge.svg", labels)
    return True


def _labels(rows: Sequence[Row]) -> list[str]:
    """Model labels in the order of the table: the same rows in every panel of a figure."""
    return list(grouped(rows, lambda row: row["label"]))


def _knowledge_panel(
    axes: Any, rows: Sequence[Row], tunings: Sequence[str], labels: Sequence[str]
) -> None:
    _dot_panel(axes, rows, tunings, "tuning", ("accuracy", "low", "high"), labels)
    if rows[0]["chance"]:
        axes.axvline(float(rows[0]["chance"]), color=INK, linewidth=0.8, linestyle=":")
    axes.set_title(panel_title(rows[0]), loc="left")
    axes.set_xlabel(f"{rows[0]['benchmark']}\naccuracy (dotted: chance)")


def _code_switching(tables: Path, out: Path) -> bool:
    source = tables / "figure4_code_switching.csv"
    shutil.copyfile(source, out / source.name)
    rows = [
        row
        for row in grid_rows(read_csv(source))
        if row["rate"] and row["vocabulary"] == "original" and not pretraining(row)
    ]
    if not rows:
        return False
    languages = target_languages(rows)
    with Sheet(1, 0.9 + 0.42 * len(languages)) as sheet:
        axes = sheet.axes[0]
        band = {"color": GRID, "alpha": 0.6, "linewidth": 0, "label": "the paper: 2 to 5 %"}
        axes.axvspan(*PAPER_SWITCHING, **band)
        _switching_dots(axes, rows, languages)
        axes.set_yticks(range(len(languages)), [language_name(code) for code in languages])
        axes.set_ylim(len(languages) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("answers that leave the language asked for (base model)")
        sheet.save(out / "figure4_code_switching.svg")
    return True


def _switching_dots(axes: Any, rows: Sequence[Row], languages: Sequence[str]) -> None:
    """One mark a language and instruction set, instruction sets one under the other."""
    tunings = instruction_sets(rows)[::-1]
    for index, tuning in enumerate(tunings):
        found = [row for row in rows if row["tuning"] == tuning]
        shift = 0.18 * (index - (len(tunings) - 1) / 2)
        rows_at = [languages.index(row["language"]) + shift for row in found]
        value, low, high = ([float(r[c]) for r in found] for c in ("rate", "low", "high"))
        one = Series(f"{tuning} instructions", rows_at, value, low, high)
        draw_dots(axes, [one], [_style(tunings, tuning) | {"linestyle": "none"}])


def _alignment(tables: Path, out: Path) -> bool:
    source = tables / "alignment.csv"
    shutil.copyfile(source, out / source.name)
    rows = grid_rows(read_csv(source))
    if not rows:
        return False
    languages = target_languages(rows)
    vocabularies = list(grouped(rows, lambda row: row["vocabulary"]))
    with Sheet(len(languages), 2.5) as sheet:
        for axes, language in zip(sheet.axes, languages, strict=False):
            own = [row for row in rows if row["language"] == language]
            _layer_panel(axes, vocabularies_compared(own), vocabularies)
            axes.set_title(language_name(language), loc="left")
        same_scale(sheet.axes[: len(languages)], "y")
        sheet.save(out / "alignment.svg", vocabularies)
    return True


def _layer_panel(axes: Any, rows: Sequence[Row], vocabularies: Sequence[str]) -> None:
    """Lines over layers: colour by vocabulary, stroke by further pretraining (none dashed)."""
    drawn, styles = [], []
    for name, found in grouped(rows, lambda row: f"{row['vocabulary']}, {_training(row)}").items():
        value, low, high = ([float(r[c]) for r in found] for c in ("retrieval", "low", "high"))
        drawn.append(Series(name, [int(row["layer"]) for row in found], value, low, high))
        stroke = LINES.index("-" if pretraining(found[0]) else "--")
        styles.append(_style(vocabularies, found[0]["vocabulary"], stroke))
    draw_lines(axes, drawn, styles)
    axes.axhline(float(rows[0]["chance"]), color=INK, linewidth=0.8, linestyle=":")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.set_xlabel("layer (0: embeddings; dotted: chance)")
    axes.set_ylabel("translation is nearest")


def _training(row: Row) -> str:
    budget = budget_name(row["budget"])
    return f"{budget} of further pretraining" if pretraining(row) else "no further pretraining"
