"""The report: one self-contained page, the files it is made of, and flat metrics for DVC."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from langtransfer.config.evaluation import ReportCell
from langtransfer.job import write_atomically
from langtransfer.reporting import views
from langtransfer.reporting.csvfile import read_csv
from langtransfer.reporting.figure_data import Row, language_name
from langtransfer.reporting.formats import FILTERS, interval
from langtransfer.reporting.paper import PAPER, TEMPLATES


def make_report(tables: Path, figures: Path, claims: Path, config: ReportCell, out: Path) -> None:
    """Write index.html and metrics.json, and copy every table and figure beside them."""
    for folder in (tables, figures, claims):
        for path in sorted(folder.iterdir()):
            if path.suffix in (".csv", ".svg"):
                shutil.copyfile(path, out / path.name)
    write_atomically(out / "index.html", page(tables, figures, claims, config))
    metrics = flat_metrics(tables, claims)
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=1, sort_keys=True) + "\n")


def page(tables: Path, figures: Path, claims: Path, config: ReportCell) -> str:
    """The whole page as text; everything it shows is inside it."""
    claim_rows = views.claim_rows(claims)
    quality = read_csv(tables / "table1_response_quality.csv")
    languages = read_csv(tables / "table3_languages.csv")
    # A column of the paper's averages only where some row of ours has its label and tuning.
    beside = {
        "quality": any(row["paper_AVG"] for row in quality),
        "languages": any(row["paper_AVG"] for row in languages),
    }
    return _environment().get_template("index.html.jinja").render(
        config=config, study=config.study, style=Markup(_resource("style.css")),
        cards=views.cards(claims, config), claims=claim_rows,
        counts=views.verdict_counts(claim_rows),
        quality=quality, best=views.best(quality, "AVG"),
        perplexity=views.perplexity_rows(tables),
        languages=languages, beside=beside,
        knowledge=read_csv(tables / "figure2_knowledge.csv"),
        averages=read_csv(tables / "knowledge_averages.csv"),
        exams=read_csv(tables / "written_exams.csv"),
        switched_prompts=read_csv(tables / "switched_prompts.csv"),
        switching=read_csv(tables / "figure4_code_switching.csv"),
        alignment=views.alignment_rows(tables),
        retained=read_csv(tables / "english_retained.csv"),
        vocabularies=read_csv(tables / "vocabulary.csv"),
        intruders=read_csv(tables / "switching_matrix.csv"),
        switched_quality=read_csv(tables / "switching_quality.csv"),
        crossover=read_csv(claims / "crossover.csv"),
        calibration=views.calibration_rows(tables),
        paper={path.stem: read_csv(path) for path in sorted(PAPER.glob("*.csv"))},
        figures={figure.name: figure for figure in views.figures(figures)},
        files=sorted({path.name for f in (tables, figures, claims) for path in f.glob("*.csv")}),
    )  # fmt: skip


def _resource(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(FILTERS, language_name=language_name, svg=Markup)
    environment.globals.update(interval=interval)
    return environment


def flat_metrics(tables: Path, claims: Path) -> dict[str, float]:
    """The study in flat numbers: one a model, language and metric, and verdicts counted."""
    metrics: dict[str, float] = {
        f"claims.{name}": count
        for name, count in views.verdict_counts(read_csv(claims / "claims.csv")).items()
    }
    for file, column in (
        ("table1_response_quality", "AVG"), ("table2_perplexity", "bits_per_byte"),
        ("figure2_knowledge", "accuracy"), ("figure4_code_switching", "rate"),
    ):  # fmt: skip
        metrics |= _metrics(read_csv(tables / f"{file}.csv"), column)
    return metrics | _metrics(views.alignment_rows(tables), "retrieval")


def _metrics(rows: Sequence[Row], column: str) -> dict[str, float]:
    return {
        ".".join(
            part for part in (
                column, row["language"], row["label"], row["tuning"],
                row.get("benchmark", ""), row.get("evaluated", ""),
            ) if part
        ): float(row[column])
        for row in rows
        if row[column]
    }  # fmt: skip
