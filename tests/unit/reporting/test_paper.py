"""The paper's numbers are the printed ones, and marked where they do not add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from langtransfer.reporting.csvfile import number, read_csv, text, write_csv
from langtransfer.reporting.paper import ASPECTS, PAPER, load_paper, reporting_resources


def test_the_copies_agree_with_the_fact_sheet(shared_data: Path) -> None:
    facts = shared_data.parent / "paper"
    ours = {(r["label"], r["tuning"]): r for r in read_csv(PAPER / "table1_response_quality.csv")}
    for row in read_csv(facts / "table1_response_quality.csv"):
        mine = ours[row["model"], row["sft"]]
        assert [mine[a] for a in ASPECTS] == [row[a] for a in ASPECTS]
        assert mine["AVG"] == row["AVG_printed"]
        assert bool(mine["flag"]) == bool(row["flag"])
    table3 = load_paper().languages
    for row in read_csv(facts / "table3_languages.csv"):
        for size in ("1k", "65k"):
            assert table3[row["iso"], size]["AVG"] == row[f"AVG_{size}"]
    printed = sorted(load_paper().perplexity.values())
    facts2 = read_csv(facts / "table2_perplexity.csv")
    assert printed == sorted(float(v) for r in facts2 for k, v in r.items() if k != "lang")


def test_only_the_marked_rows_do_not_add_up() -> None:
    rows = read_csv(PAPER / "table1_response_quality.csv")
    assert len(rows) == 19
    for row in rows:
        mean = sum(float(row[aspect]) for aspect in ASPECTS) / 5
        assert float(row["AVG_recomputed"]) == pytest.approx(mean, abs=6e-4)
        assert (abs(float(row["AVG"]) - mean) > 2e-3) == bool(row["flag"])
    assert {row["tuning"] for row in rows if row["flag"]} == {"5k"}


def test_the_resources_exist_and_hold_what_decides_the_report() -> None:
    names = {path.name for path in reporting_resources()}
    assert all(path.is_file() for path in reporting_resources())
    assert {"claims.yaml", "table1_response_quality.csv", "index.html.jinja"} <= names


def test_csv_numbers_are_short_and_stable(tmp_path: Path) -> None:
    assert text(0.1 + 0.2) == "0.3"
    assert text(-1e-17) == "0"
    assert text(1e-9) == "1e-09"
    assert text(float("nan")) == text(None) == ""
    assert text(True) == "true"
    assert text(6_400_000) == "6400000"
    path = tmp_path / "x.csv"
    write_csv(path, ("a", "b"), [{"a": "zh, 中文", "b": 1.5}])
    assert path.read_bytes() == 'a,b\n"zh, 中文",1.5\n'.encode()
    assert number(read_csv(path)[0]["b"]) == 1.5
    with pytest.raises(ValueError, match="c"):
        write_csv(path, ("a", "b"), [{"a": 1, "c": 2}])
