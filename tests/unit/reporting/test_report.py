"""The four stages end to end: files, deterministic bytes, a page that needs nothing else."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.evaluation import ReportCell, StudyDescription
from langtransfer.job import Job
from langtransfer.reporting.figure_data import vocabularies_compared
from langtransfer.reporting.formats import p_value, percent, plain, signed
from langtransfer.reporting.report import page as make_page
from langtransfer.reporting.views import inline_svg
from scripts import claims, figures, report, tables
from tests.unit.reporting.made_up import FakeStudy, Point, StudyMaker

COMMON = {
    "title": "A made-up study <of> zh & co", "bootstrap_samples": 200, "permutations": 999,
}  # fmt: skip
COMMANDS = {"tables": "make tables", "figures": "make figures", "claims": "make claims"}
CONTRACT = (
    "index.html", "table1_response_quality.csv", "table2_perplexity.csv", "table3_languages.csv",
    "figure2_knowledge.csv", "figure2_knowledge.svg", "figure4_code_switching.csv",
    "figure4_code_switching.svg", "claims.csv", "english_retained.csv", "by_category.csv",
    "bits_per_byte.svg", "quality.svg", "english_kept.svg", "metrics.json", "evidence.csv",
    "vocabulary.csv", "alignment.csv", "alignment.svg", "knowledge_averages.csv",
)  # fmt: skip
VOID = {"meta", "link", "br", "path", "use", "rect", "img"}


def run_stages(study: FakeStudy, description: StudyDescription, out: Path) -> Path:
    rows = [row.model_dump(mode="json") for row in study.rows]
    told = description.model_dump(mode="json")
    parents: dict[str, Path] = dict(study.parents())
    gates = [row.model_dump(mode="json") for row in study.vocabularies]
    parents |= {f"vocabularies.{cell}": folder for cell, folder in study.gates().items()}
    for stage, run, settings in (
        ("tables", tables.run, {"rows": rows, "vocabularies": gates, "study": told}),
        ("figures", figures.run, {}),
        ("claims", claims.run, {"rows": rows}),
        ("report", report.run, {"study": told, "commands": COMMANDS}),
    ):
        folder = out / stage
        folder.mkdir(parents=True)
        wanted: Mapping[str, Any] = COMMON | settings
        run(Job(stage, f"{stage}/study", "key", wanted, parents, folder, out / "work"))
        parents[stage] = folder
    return out / "report"


@pytest.fixture(scope="module")
def made(
    study: FakeStudy, description: StudyDescription, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return run_stages(study, description, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / "index.html").read_text(encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_the_contract_s_files_are_there(made: Path) -> None:
    assert set(CONTRACT) <= {path.name for path in made.iterdir()}


def test_the_same_results_are_the_same_bytes(
    made: Path, study: FakeStudy, description: StudyDescription, tmp_path: Path
) -> None:
    assert digests(run_stages(study, description, tmp_path)) == digests(made)


def test_rows_in_another_order_are_the_same_bytes(
    made: Path, study: FakeStudy, description: StudyDescription, tmp_path: Path
) -> None:
    turned = FakeStudy(study.root, rows=study.rows[::-1], folders=study.folders)
    assert digests(run_stages(turned, description, tmp_path)) == digests(made)


def test_nothing_is_asked_of_the_network(page: str) -> None:
    assert not re.search(r"<(script|iframe|object|embed|img)\b", page)
    assert not re.search(r"@import|url\((?!#)", page)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert all(not re.match(r"(https?:)?//", address) for address in loaded)


def test_links_lead_to_files_beside_the_page(page: str, made: Path) -> None:
    links = set(re.findall(r'<a href="([^"#]+)"', page))
    assert links - {path.name for path in made.iterdir()} == {"runs.csv", "costs.csv", "costs.html"}


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_ids_are_unique(page: str) -> None:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert anchor in parser.ids


def test_the_first_page_answers_for_every_language(page: str) -> None:
    first = page[: page.index('id="claims"')]
    for name in ("Hindi", "Swahili", "Chinese"):
        assert f"<h3>{name}" in first
    assert first.count("Extend the vocabulary?") == 3
    assert "Mix English in?" in first
    assert "800,000 tokens of further pretraining" in first
    assert "another seed" in first
    assert "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.0" in first


def test_verdicts_judge_and_commands_are_shown(page: str) -> None:
    for verdict in ("supported", "contradicted", "inconclusive", "not tested"):
        assert f'<span class="badge {verdict.replace(" ", "-")}">{verdict}</span>' in page
    assert page.count("reference judge, not GPT-4") + page.count("Reference judge, not GPT-4") >= 3
    assert "controlled world" in page
    assert page.count("make tables") == 7
    assert "<b>exam, both</b>: history, law." in page
    assert page.count("made by <code>make claims</code>") == 2
    assert "1.224" in page
    assert "198.840" in page


def test_judges_are_compared_where_the_study_calibrates(
    made: Path, description: StudyDescription, tmp_path: Path, page: str
) -> None:
    assert "Judges against each other" not in page
    tables_folder = shutil.copytree(made.parent / "tables", tmp_path / "tables")
    (tables_folder / "calibration.csv").write_text(
        "judge,against,aspect,n_models,n_items,spearman,low,high,bias,bias_low,bias_high\n"
        "gpt-4,human,overall,12,453,0.949,0.8,0.99,0.135,0.1,0.2\n"
    )
    config = ReportCell(**COMMON, study=description, commands=COMMANDS)
    shown = make_page(tables_folder, made.parent / "figures", made.parent / "claims", config)
    assert "Judges against each other" in shown
    assert "0.949" in shown
    assert "+0.135" in shown


def test_titles_are_escaped(page: str) -> None:
    assert "<title>A made-up study &lt;of&gt; zh &amp; co</title>" in page


def test_metrics_are_flat_numbers(made: Path) -> None:
    metrics = json.loads((made / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["claims.supported"] + metrics["claims.contradicted"] > 0
    assert metrics["AVG.zh.LLaMA.1k.llm-eval"] == pytest.approx(1.7, abs=0.3)
    assert metrics["retrieval.zh.LLaMA.none.parallel.zh"] == pytest.approx(0.7, abs=0.2)
    assert all(isinstance(value, int | float) for value in metrics.values())


def test_figures_carry_no_date_and_no_host(made: Path) -> None:
    for path in made.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "<dc:date>" not in text
        assert "<text" not in text, "letters are paths"


def test_every_figure_has_its_numbers(made: Path) -> None:
    for path in made.glob("*.svg"):
        with path.with_suffix(".csv").open(encoding="utf-8", newline="") as handle:
            assert list(csv.DictReader(handle)), path.name


def test_the_probe_sets_vocabularies_side_by_side(page: str, made: Path) -> None:
    section = page[page.index('<section id="layers">') : page.index('<section id="method">')]
    assert "is the nearest of all 60" in section
    assert section.count('<tr><th scope="row">') == 3 * 7, "every model at its best layer, once"
    svg = (made / "alignment.svg").read_text(encoding="utf-8")
    assert len(set(re.findall(r'id="(axes_\d+)"', svg))) == 3
    with (made / "alignment.csv").open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["language"] == "zh"]
    shown = {(row["label"]) for row in vocabularies_compared(rows)}
    assert shown == {"LLaMA", "LLaMA+800k", "LLaMA-EXT+800k"}


def test_vocabularies_without_a_budget_in_common_are_shown_at_their_own() -> None:
    known = {"mix": "target-only", "budget_tokens": ""}
    rows = [
        {"vocabulary": "original", "budget": "0", **known},
        {"vocabulary": "original", "budget": "8k-tokens", **known},
        {"vocabulary": "ext", "budget": "4k-tokens", **known},
        {"vocabulary": "ext", "budget": "2k-tokens", **known},
        {"vocabulary": "ext", "budget": "16k-tokens", **known, "mix": "with-english"},
    ]
    assert vocabularies_compared(rows) == rows[:3]


def test_labels_in_any_script(
    make_study: StudyMaker, description: StudyDescription, tmp_path: Path
) -> None:
    points = [
        Point("基础模型 {a} $b$", "target-only", "original", "0"),
        Point("扩展 <x> & co", "target-only", "ext500", "200k-tokens"),
    ]
    made = run_stages(make_study(points=points), description, tmp_path / "out")
    page = (made / "index.html").read_text(encoding="utf-8")
    assert "基础模型 {a} $b$" in page
    assert "扩展 &lt;x&gt; &amp; co" in page
    assert "<text" in (made / "english_kept.svg").read_text(encoding="utf-8")


def test_a_study_of_perplexity_alone_still_has_a_report(
    make_study: StudyMaker, description: StudyDescription, tmp_path: Path
) -> None:
    study = make_study(points=[Point("LLaMA", "target-only", "original", "0")])
    study.rows = [row for row in study.rows if row.stage == "perplexity"]
    made = run_stages(study, description, tmp_path / "out")
    page = (made / "index.html").read_text(encoding="utf-8")
    assert "No tuned model was scored in this language." in page
    assert "No knowledge test in this study." in page
    assert not (made / "quality.svg").exists()
    assert not (made / "alignment.svg").exists()
    assert 'href="#layers"' not in page


def test_figures_of_many_languages_leave_out_those_with_nothing_to_compare(
    make_study: StudyMaker, description: StudyDescription, tmp_path: Path
) -> None:
    study = make_study(languages=("ar", "hi", "id", "sw"), items=12)
    study.add(Point("LLaMA", "target-only", "original", "0"), "vi")
    made = run_stages(study, description, tmp_path / "out")
    svg = (made / "bits_per_byte.svg").read_text(encoding="utf-8")
    panels = set(re.findall(r'id="(axes_\d+)"', svg))
    assert len(panels) == 2 * 4
    page = (made / "index.html").read_text(encoding="utf-8")
    assert page.count('<article class="card"') == 5
    assert "items would settle it" in page


def test_inlined_svg_is_the_page_s_own() -> None:
    svg = (
        '<?xml version="1.0"?><svg width="200pt" height="100pt" viewBox="0 0 1 1">'
        '<metadata><x y="http://example.org"/></metadata><g id="a" clip-path="url(#a)">'
        '<use xlink:href="#a" style="fill: #1f2328"/></g></svg>'
    )
    text = inline_svg(svg, "one")
    assert text.startswith('<svg style="max-width:267px"')
    assert 'id="one-a"' in text
    assert "url(#one-a)" in text
    assert 'href="#one-a"' in text
    assert "example.org" not in text
    assert "currentColor" in text


def test_numbers_as_read() -> None:
    assert plain("-0.004") == "0.00"
    assert plain("-1234.5", 1) == "\N{MINUS SIGN}1,234.5"
    assert plain("") == "\N{EN DASH}"
    assert signed("0.25") == "+0.25"
    assert p_value("1e-09") == "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.001"
    assert percent("0.0333") == "3.3 %"
