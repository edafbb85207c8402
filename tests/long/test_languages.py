"""Chinese and the 13 low-resource languages: an extension each, through Snakemake to the report.

The study is tests/configs/languages.yaml; its figures stand in docs/vocabulary.md.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from langtransfer.config.loading import load_config
from langtransfer.resources import ROOT
from tests.workflow.conftest import snakemake

pytestmark = pytest.mark.long
CONFIG = ROOT / "tests" / "configs" / "languages.yaml"
LATIN = {"id", "sw", "vi"}
"""Extended by all their pieces, since English's script is theirs; these may cut English anew."""
Row = dict[str, str]


@pytest.fixture(scope="module")
def report(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the study, run from nothing."""
    folder = tmp_path_factory.mktemp("languages")
    snakemake(folder, CONFIG, "all")
    return folder / "results" / "report"


@pytest.fixture(scope="module")
def gates(report: Path) -> dict[tuple[str, str], Row]:
    """(extended language or `original`, language of the text) -> row of vocabulary.csv."""
    with (report / "vocabulary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["vocabulary"].split(".")[0], row["language"]): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def targets() -> set[str]:
    return set(load_config(CONFIG).languages)


def test_every_vocabulary_is_exact_in_every_language(
    gates: dict[tuple[str, str], Row], targets: set[str]
) -> None:
    assert len(targets) == 14
    vocabularies, languages = {"original"} | targets, {"en"} | targets
    assert set(gates) == {(v, language) for v in vocabularies for language in languages}
    for where, row in gates.items():
        assert (row["differing"], row["bad_round_trips"]) == ("0", "0"), where
        # 281 articles of FLORES, as lines and as documents, and their harder forms.
        assert (row["lines"], row["parity_documents"]) == ("281", "" if where[1] == "en" else "281")
        assert int(row["texts"]) > 1_000


def test_text_gets_shorter_in_its_own_language(
    gates: dict[tuple[str, str], Row], targets: set[str]
) -> None:
    for language in sorted(targets):
        base, own = gates["original", language], gates[language, language]
        assert int(own["new_pieces"]) > 1_000, language
        assert float(own["compression"]) > 1.1, language
        assert float(own["tokens_per_word"]) < float(base["tokens_per_word"]), language
        assert float(own["parity"]) < float(own["base_parity"]), language


def test_english_is_left_alone(gates: dict[tuple[str, str], Row], targets: set[str]) -> None:
    changed = {language: int(gates[language, "en"]["lines_changed"]) for language in targets}
    assert {language for language, lines in changed.items() if lines} <= LATIN
    assert max(changed.values()) < 0.1 * 281


def test_the_report_shows_them(report: Path, targets: set[str]) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    for language in targets:
        assert f"{language}.ext" in page
