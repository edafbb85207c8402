"""How every figure looks: one style, one palette, SVG that is the same bytes every time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with every common colour blindness, on white and on black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
# The report replaces these two by the page's colours, which follow light and dark.
INK = "#1f2328"
GRID = "#d0d7de"

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "langtransfer", "svg.fonttype": "path", "font.family": "DejaVu Sans",
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.edgecolor": GRID,
    "axes.labelcolor": INK, "axes.titlecolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "xtick.major.size": 0, "ytick.major.size": 0, "legend.frameon": False,
    "lines.linewidth": 1.6, "lines.markersize": 5, "savefig.transparent": True,
    "text.parse_math": False,  # a label may hold a dollar sign
}  # fmt: skip

PANEL_WIDTH = 3.1  # inches; three stand beside each other on a page of 960 px
PANELS_A_ROW = 3


@dataclass(frozen=True)
class Series:
    """Points of one model family: where, how much, and the interval."""

    name: str
    positions: Sequence[float]
    values: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


class Sheet:
    """A grid of panels with one legend under it. Style holds inside `with`."""

    def __init__(self, panels: int, height: float = 2.5, columns: int = PANELS_A_ROW) -> None:
        self._context = rc_context(STYLE)
        self._columns = min(columns, panels)
        self._rows = -(-panels // self._columns)
        self._height = height
        self._drawn: set[str] = set()
        self.figure: Any = None
        self.axes: list[Any] = []

    def __enter__(self) -> Sheet:
        self._context.__enter__()
        # At least two panels wide: a single one would be blown up to the page's width.
        size = (max(self._columns, 2) * PANEL_WIDTH, self._rows * self._height + 0.4)
        self.figure = Figure(figsize=size, layout="constrained")
        grid = self.figure.subplots(self._rows, self._columns, squeeze=False)
        self.axes = list(grid.ravel())
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def save(self, path: Path, labels: Sequence[str] = ()) -> None:
        """Draw the legend and write the SVG; unused panels go."""
        for axes in self.axes:
            if not axes.has_data():
                axes.remove()
        handles: dict[str, Any] = {}
        for axes in self.figure.axes:
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(name, handle)
        if len(handles) > 1:
            # A letter is about 0.075 inches wide, the mark and the gap half an inch.
            widest = 0.075 * max(map(len, handles)) + 0.6
            columns = min(len(handles), max(1, int(self.figure.get_figwidth() / widest)))
            self.figure.legend(
                list(handles.values()), list(handles), loc="outside lower center", ncols=columns
            )
        # Letters DejaVu lacks (a label in Chinese) are left to the reader's browser.
        letters = "path" if drawable((*handles, *labels)) else "none"
        with rc_context({"svg.fonttype": letters}), warnings.catch_warnings():
            if letters == "none":
                warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def same_scale(panels: Sequence[Any], axis: str) -> None:
    """Give panels the same limits on an axis, x or y, so that they can be read across."""
    limits = [getattr(axes, f"get_{axis}lim")() for axes in panels if axes.has_data()]
    for axes in panels if limits else ():
        getattr(axes, f"set_{axis}lim")(min(map(min, limits)), max(map(max, limits)))


def drawable(texts: Sequence[str]) -> bool:
    """Whether the bundled font has every letter."""
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    known = font.get_charmap()
    return all(ord(letter) in known for text in texts for letter in text)


def draw_lines(axes: Any, series: Sequence[Series], styles: Sequence[dict[str, Any]]) -> None:
    """Lines with intervals, moved apart a little so that intervals do not hide each other."""
    for index, (one, style) in enumerate(zip(series, styles, strict=True)):
        shift = 0.05 * (index - (len(series) - 1) / 2)
        _errors(axes, one, [p + shift for p in one.positions], style, vertical=True)


def draw_dots(axes: Any, series: Sequence[Series], styles: Sequence[dict[str, Any]]) -> None:
    """Horizontal dots with intervals; positions are rows from the top."""
    for one, style in zip(series, styles, strict=True):
        _errors(axes, one, one.positions, {"linestyle": "none"} | style, vertical=False)


def _errors(
    axes: Any, one: Series, where: Sequence[float], style: dict[str, Any], vertical: bool
) -> None:
    # Percentile intervals need not hold the estimate: matplotlib wants distances >= 0.
    spread = [
        [max(0.0, v - low) for v, low in zip(one.values, one.lows, strict=True)],
        [max(0.0, high - v) for v, high in zip(one.values, one.highs, strict=True)],
    ]
    x, y = (where, one.values) if vertical else (one.values, where)
    axes.errorbar(
        x, y, label=one.name, elinewidth=1.0, capsize=2,
        **{"yerr" if vertical else "xerr": spread}, **style,
    )  # fmt: skip
