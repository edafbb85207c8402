"""What the page shows, section by section, from the CSV files of tables and claims."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from langtransfer.config.evaluation import ReportCell
from langtransfer.reporting.contrasts import METRICS
from langtransfer.reporting.csvfile import read_csv
from langtransfer.reporting.drawing import GRID, INK
from langtransfer.reporting.figure_data import Row, grouped, language_name
from langtransfer.reporting.formats import budget_name, interval, p_value, plain, signed, whole

VERDICTS = ("supported", "contradicted", "inconclusive", "not tested")
QUESTION_TEXT = {
    "vocabulary": "Extend the vocabulary?",
    "mix": "Mix {} in?",
    "pretraining": "How much pretraining?",
    "tuning": "How many instructions?",
    "together": "Tune on several languages at once?",
}
# More than so many times the items at hand is no advice.
MANY = 50
METRIC_TEXT = {"AVG": "answer quality", "bits_per_byte": "bits per byte"}
FIGURE_TEXT = {
    "bits_per_byte": "Bits per byte against further pretraining: the target language above, the "
    "source language after the same training below. Lower is better.",
    "quality": "Answer quality against further pretraining, by instruction set.",
    "english_kept": "What each model forgot of the source language: change in bits per byte "
    "against the base model, paired over the same documents.",
    "figure2_knowledge": "Knowledge (the paper's Figure 2, whose values are not printed).",
    "figure4_code_switching": "Answers that leave the language asked for (the paper's Figure 4, "
    "of which only the range of 2 to 5 % is told).",
    "alignment": "Documents whose translation is the nearest of all, by layer of the model: the "
    "base, and each vocabulary after the same further pretraining on the target alone.",
}


@dataclass(frozen=True)
class Question:
    """One question of a language's card, with the evidence under the answer."""

    text: str
    choice: str
    answer: str
    shown: bool
    budget: bool
    """Whether the choice is a budget."""
    evidence: list[str]


@dataclass(frozen=True)
class Card:
    """What one target language's reader is told."""

    code: str
    name: str
    recipe: Row | None
    questions: list[Question]


@dataclass(frozen=True)
class Figure:
    """A figure ready to stand in the page."""

    name: str
    text: str
    svg: str


def cards(claims: Path, config: ReportCell) -> list[Card]:
    """One card a language."""
    evidence = read_csv(claims / "evidence.csv")
    recipes = {row["language"]: row for row in read_csv(claims / "recipes.csv")}
    answers = grouped(read_csv(claims / "answers.csv"), lambda row: row["language"])
    return [
        Card(
            code,
            language_name(code),
            recipes.get(code),
            [_question(row, evidence, config) for row in rows],
        )
        for code, rows in answers.items()
    ]


def _question(answer: Row, evidence: Sequence[Row], config: ReportCell) -> Question:
    lines = [
        evidence_text(row, config)
        for row in evidence
        if row["language"] == answer["language"] and row["question"] == answer["question"]
    ]
    text = QUESTION_TEXT[answer["question"]].format(language_name(config.study.source_language))
    return Question(
        text,
        answer["choice"],
        answer["answer"],
        answer["shown"] == "true",
        answer["question"] == "pretraining",
        lines,
    )


def evidence_text(row: Row, config: ReportCell) -> str:
    """One comparison in a line: what, how much, how sure, what it would take to know."""
    what = METRIC_TEXT[row["metric"]]
    if row["evaluated"] == "source":
        what = f"{language_name(config.study.source_language)} {what}"
    digits = 3 if row["metric"] == "bits_per_byte" else 2
    names = [row["option"], row["against"]]
    if row["question"] == "pretraining":
        names = [budget_name(name) for name in names]
    text = (
        f"{what} {signed(row['estimate'], digits)} {interval(row, 'low', 'high', digits)}, "
        f"{p_value(row['p_holm'])}, n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{whole(row['n'])} "
        f"({names[0]} against {names[1]})"
    )
    return text if row["better"] != "neither" else f"{text}; {_unsettled(row, config, digits)}"


def _unsettled(row: Row, config: ReportCell, digits: int) -> str:
    """What is known where no difference is shown, and what is still needed to know."""
    margin = METRICS[row["metric"]].margin(config)
    if max(abs(float(row["low"])), abs(float(row["high"]))) < margin:
        return f"equal within {margin:g}"
    least = f"could see no less than {plain(row['mde'], digits)}"
    if not row["items_needed"] or int(row["items_needed"]) > MANY * int(row["n"]):
        return least
    return f"{least}; about {whole(row['items_needed'])} items would settle it"


def claim_rows(claims: Path) -> list[dict[str, str]]:
    """Rows of claims.csv with the unit of the estimate."""
    metric = {row["claim"]: row["metric"] for row in read_csv(claims / "claims_parts.csv")[::-1]}
    return [
        row | {"unit": METRICS[metric[row["claim"]]].unit if row["claim"] in metric else ""}
        for row in read_csv(claims / "claims.csv")
    ]


def verdict_counts(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How many claims have each verdict."""
    return {name: sum(row["verdict"] == name for row in rows) for name in VERDICTS}


def perplexity_rows(tables: Path) -> list[dict[str, Row]]:
    """Table 2 as the paper has it: target and source of one model in one row."""
    groups = grouped(
        read_csv(tables / "table2_perplexity.csv"),
        lambda row: f"{row['language']}\0{row['label']}\0{row['tuning']}\0{row['seed']}",
    )
    return [
        {("target" if row["evaluated"] == row["language"] else "source"): row for row in rows}
        | {"model": rows[0]}
        for rows in groups.values()
    ]


def alignment_rows(tables: Path) -> list[dict[str, str]]:
    """Each model's best layer, with what its embeddings alone retrieve beside."""
    rows = read_csv(tables / "alignment.csv")
    models = grouped(rows, lambda row: f"{row['language']}\0{row['label']}\0{row['seed']}")
    return [
        {**row, "embeddings": own[0]["retrieval"]}
        for own in models.values()
        for row in own
        if row["best"] == "true"
    ]


def calibration_rows(tables: Path) -> list[Row]:
    """How far judges agree; none in a study that calibrates no judge."""
    path = tables / "calibration.csv"
    return list(read_csv(path)) if path.exists() else []


def best(rows: Sequence[Row], column: str) -> set[int]:
    """Indices of the highest value of a column within each language and tuning."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault((row["language"], row["tuning"]), []).append(index)
    return {max(found, key=lambda i: float(rows[i][column])) for found in groups.values()}


def figures(folder: Path) -> list[Figure]:
    """The figures that were drawn, in the order of the page."""
    return [
        Figure(name, text, inline_svg((folder / f"{name}.svg").read_text("utf-8"), name))
        for name, text in FIGURE_TEXT.items()
        if (folder / f"{name}.svg").exists()
    ]


def inline_svg(svg: str, name: str) -> str:
    """An SVG file made part of a page: ids of its own, the page's ink and grid colours.

    Prolog and metadata (which names outside addresses) go; width and height give way to the
    page's layout.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    width = re.search(r'width="([\d.]+)pt"', body)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = body.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    points = float(width[1]) if width else 600.0
    return body.replace("<svg", f'<svg style="max-width:{points * 4 / 3:.0f}px"', 1)
