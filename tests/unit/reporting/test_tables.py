"""Tables: every row, every documented column, numbers that can be checked by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from langtransfer.config.evaluation import ReportingConfig
from langtransfer.reporting import advice, answers, claims, crossover
from langtransfer.reporting.csvfile import Record
from langtransfer.reporting.knowledge_averages import average_rows
from langtransfer.reporting.results import Observations
from langtransfer.reporting.tables import COLUMNS, make_tables
from langtransfer.reporting.vocabularies import vocabulary_records
from langtransfer.resources import ROOT
from langtransfer.statistics.intervals import wilson
from tests.unit.reporting.made_up import BUDGETS, FakeStudy, Point, StudyMaker

Tables = dict[str, list[Record]]


@pytest.fixture(scope="module")
def tables(study: FakeStudy, settings: ReportingConfig) -> Tables:
    gates = vocabulary_records(study.vocabularies, study.gates())
    return make_tables(study.results(), gates, "reference", settings)


def row(tables: Tables, name: str, **wanted: object) -> Record:
    (found,) = (r for r in tables[name] if wanted.items() <= r.items())
    return found


def test_every_record_has_its_columns_and_no_other(tables: Tables) -> None:
    assert set(tables) == set(COLUMNS)
    for name, records in tables.items():
        # The same answers are switched for all made-up models: none has a clean one beside it.
        # Switched prompts and exams have tests of their own.
        assert records or name in ("switching_quality", "switched_prompts", "written_exams")
        assert all(set(record) == set(COLUMNS[name]) for record in records), name


def test_every_column_is_documented() -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    others = {
        "claims": claims.COLUMNS, "claims_parts": claims.PART_COLUMNS,
        "evidence": answers.EVIDENCE_COLUMNS, "answers": advice.ANSWER_COLUMNS,
        "recipes": advice.RECIPE_COLUMNS, "crossover": crossover.COLUMNS,
    }  # fmt: skip
    shared = text[text.index("## Columns in common") : text.index("## `table1")]
    for name, columns in (COLUMNS | others).items():
        section = re.search(rf"## `{name}.csv`\n(.*?)(?=\n## |\Z)", text, re.DOTALL)
        assert section, name
        documented = set(re.findall(r"`([A-Za-z0-9_]+)`", section[1] + shared))
        assert set(columns) <= documented, (name, set(columns) - documented)


def test_perplexity_in_both_languages_at_every_budget_and_mix(tables: Tables) -> None:
    found = {
        (r["language"], r["evaluated"], r["vocabulary"], r["mix"], r["budget"])
        for r in tables["table2_perplexity"]
    }
    for language in ("hi", "sw", "zh"):
        for evaluated in (language, "en"):
            for vocabulary in ("original", "ext500"):
                for budget in BUDGETS:
                    key = (language, evaluated, vocabulary, "target-only", budget)
                    assert key in found
            assert (language, evaluated, "original", "with-english", "800k-tokens") in found
    for r in tables["table2_perplexity"]:
        assert r["ppl_low"] < r["perplexity"] < r["ppl_high"]
        assert r["bpb_low"] < r["bits_per_byte"] < r["bpb_high"]


def test_perplexity_and_bits_are_of_sums(study: FakeStudy, tables: Tables) -> None:
    found = row(tables, "table2_perplexity", label="LLaMA", language="zh", evaluated="zh")
    values = next(
        o.values for o in study.results()
        if (o.row.label, o.row.stage, o.row.evaluated) == ("LLaMA", "perplexity", "zh")
    )  # fmt: skip
    nats = values["nats"].sum()
    assert found["perplexity"] == pytest.approx(np.exp(nats / values["tokens"].sum()))
    assert found["bits_per_character"] == pytest.approx(
        nats / np.log(2) / values["characters"].sum()
    )
    assert found["paper_perplexity"] == 10.151


def test_the_paper_stands_beside_equal_labels_and_tunings_only(tables: Tables) -> None:
    same = row(tables, "table1_response_quality", label="LLaMA", language="zh", tuning="1k")
    assert (same["paper_label"], same["paper_AVG"]) == ("LLaMA", 1.224)
    others = [
        r for r in tables["table1_response_quality"]
        if (r["label"], r["language"], r["tuning"]) != ("LLaMA", "zh", "1k")
    ]  # fmt: skip
    assert all(r["paper_label"] is None and r["paper_AVG"] is None for r in others)
    assert row(tables, "table3_languages", language="sw", tuning="1k")["paper_AVG"] == 0.794
    assert row(tables, "table3_languages", language="zh", tuning="1k")["paper_AVG"] is None


def test_vocabularies_beside_the_base(tables: Tables) -> None:
    found = row(tables, "vocabulary", vocabulary="zh.ext", language="zh")
    assert (found["compression"], found["tokens_per_word"]) == (2.0, 1.25)
    assert (found["lines_changed_share"], found["new_pieces_used_share"]) == (0.5, 0.5)
    assert (found["parity"], found["base_parity"], found["parity_documents"]) == (0.625, 1.25, 5)
    assert (found["engine"], found["texts"], found["rewritten"]) == ("sentencepiece", 30, 2)
    original = row(tables, "vocabulary", vocabulary="original", language="en")
    assert original["new_pieces_used_share"] is None
    assert original["parity"] is None


def test_quality_says_who_judged(tables: Tables) -> None:
    assert {r["judge"] for r in tables["table1_response_quality"]} == {"reference"}
    found = row(tables, "table1_response_quality", label="LLaMA", language="hi", tuning="200")
    aspects = [found[name] for name in ("ACC", "F", "INFO", "LC", "H")]
    assert found["AVG"] == pytest.approx(np.mean(aspects))
    assert found["AVG_without_H"] == pytest.approx(np.mean(aspects[:4]))
    assert found["low"] < found["AVG"] < found["high"]


def test_knowledge_has_wilson_intervals_and_chance(tables: Tables) -> None:
    found = row(tables, "figure2_knowledge", label="LLaMA", language="zh", evaluated="zh")
    hits = round(found["accuracy"] * found["n"])
    assert (found["low"], found["high"]) == wilson(hits, 120)
    assert found["chance"] == 0.25


def test_averages_weigh_files_alike_and_points_by_their_worth(
    study: FakeStudy, settings: ReportingConfig, tables: Tables
) -> None:
    found = row(tables, "knowledge_averages", label="LLaMA", language="zh", evaluated="zh")
    assert (found["average"], found["names"], found["n"]) == ("both", "history, law", 120)
    # Ten questions of law beside all of history: half of the average all the same.
    made = next(
        o for o in study.results() if o.row.stage == "knowledge" and o.row.evaluated == "zh"
    )
    subjects = np.array(made.subjects)
    kept = np.flatnonzero((subjects == "history") | (np.cumsum(subjects == "law") <= 10))
    correct = np.arange(len(kept)) % 3 == 0
    values = {
        "correct": correct.astype(np.float64), "chance": np.full(len(kept), 0.25),
        "points": np.where(correct, 6.0, 2.0),
    }  # fmt: skip
    few = replace(
        made, ids=tuple(made.ids[i] for i in kept), subjects=tuple(subjects[kept]), values=values
    )
    by_files, by_points = average_rows(few, settings)
    history = subjects[kept] == "history"
    assert (history.sum(), (~history).sum()) == (60, 10)
    halves = correct[history].mean(), correct[~history].mean()
    assert by_files["value"] == pytest.approx(np.mean(halves))
    assert by_files["low"] < by_files["value"] < by_files["high"]
    assert (by_files["parts"], by_files["points"], by_files["chance"]) == (2, None, 0.25)
    earned, full = 6 * correct.sum(), 6 * correct.sum() + 2 * (~correct).sum()
    assert by_points["average"] == "scoring rate"
    assert by_points["value"] == pytest.approx(earned / full)
    assert (by_points["points"], by_points["chance"]) == (full, 0.25)
    unknown = replace(few, values=values | {"chance": np.full(len(kept), np.nan)})
    assert [record["chance"] for record in average_rows(unknown, settings)] == [None, None]


def test_switching_counts_intruders(tables: Tables) -> None:
    found = row(tables, "figure4_code_switching", label="LLaMA", language="zh", tuning="200")
    assert found["rate"] == pytest.approx(2 / 60)
    assert found["intruders"] == "Latn:2"
    assert (found["by_line"], found["by_word"]) == (0.0, pytest.approx(2 / 60))


def only(study: FakeStudy, stage: str, **wanted: object) -> Observations:
    """One row's results."""
    (found,) = (
        o for o in study.results()
        if o.row.stage == stage and wanted.items() <= o.row.model_dump().items()
    )  # fmt: skip
    return found


def test_answers_to_switched_prompts_stand_beside_plain_ones_and_nowhere_else(
    study: FakeStudy, settings: ReportingConfig, tables: Tables
) -> None:
    plain = only(study, "code_switching", label="LLaMA", language="zh", tuning="200")
    row_of = plain.row.model_copy(update={"prompts": "switched", "cell": "switched"})
    hits = np.zeros(plain.n)
    hits[:30] = 1  # the two that switch anyway, and 28 more
    more = replace(plain, row=row_of, values=dict(plain.values) | {"any": hits})
    few = replace(
        more, ids=more.ids[:40], categories=more.categories[:40], intruders=more.intruders[:40],
        values={name: values[:40] for name, values in more.values.items()},
    )  # fmt: skip
    made = make_tables([*study.results(), more], [], "reference", settings)
    assert {n: r for n, r in made.items() if n not in ("switched_prompts", "vocabulary")} == {
        n: r for n, r in tables.items() if n not in ("switched_prompts", "vocabulary")
    }
    (found,) = made["switched_prompts"]
    assert (found["label"], found["tuning"], found["benchmark"]) == ("LLaMA", "200", "llm-eval")
    assert (found["plain_rate"], found["rate"]) == (pytest.approx(2 / 60), 0.5)
    assert (found["plain_low"], found["plain_high"]) == wilson(2, 60)
    assert (found["low"], found["high"]) == wilson(30, 60)
    assert found["change"] == pytest.approx(28 / 60)
    assert found["change_low"] < found["change"] < found["change_high"]
    assert (found["pairs"], found["p"]) == (60, pytest.approx(2 / 2**28))
    (found,) = make_tables([*study.results(), few], [], "reference", settings)["switched_prompts"]
    assert (found["n"], found["plain_n"], found["pairs"]) == (40, 60, 40)
    nothing = replace(
        few, ids=(), categories=(), intruders=(),
        values={name: values[:0] for name, values in few.values.items()},
    )  # fmt: skip
    (found,) = make_tables([*study.results(), nothing], [], "reference", settings)[
        "switched_prompts"
    ]
    assert (found["rate"], found["change"], found["p"], found["pairs"]) == (None, None, None, 0)


def test_written_exams_stand_beside_nothing_of_the_papers(
    study: FakeStudy, settings: ReportingConfig, tables: Tables
) -> None:
    answers = only(study, "score", label="LLaMA", language="zh", evaluated="zh", tuning="1k")
    changed = {"benchmark": "exams", "format": "gaokao-subjective", "cell": "exams"}
    exam = replace(answers, row=answers.row.model_copy(update=changed))
    made = make_tables([*study.results(), exam], [], "reference", settings)
    (found,) = made["written_exams"]
    same = row(tables, "table1_response_quality", label="LLaMA", language="zh", tuning="1k")
    assert same["paper_AVG"] == 1.224
    assert found["AVG"] == same["AVG"]
    assert not any(name.startswith("paper") for name in found)
    assert made["table1_response_quality"] == tables["table1_response_quality"]
    assert len(made["by_category"]) == len(tables["by_category"]) + len(set(exam.categories))


def test_layers_are_reported_on_documents_that_did_not_choose(
    study: FakeStudy, tables: Tables
) -> None:
    found = [r for r in tables["alignment"] if (r["label"], r["language"]) == ("LLaMA", "zh")]
    assert [(r["layer"], r["layers"], r["best"]) for r in found] == [
        (0, 2, False), (1, 2, False), (2, 2, True),
    ]  # fmt: skip
    assert {(r["n"], r["chance"]) for r in found} == {(30, 1 / 60)}
    path = study.folders["alignment/base/none/parallel/zh"] / "alignment.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    report = [r["layers"] for r in rows if r["half"] == "report"]
    assert [r["retrieval"] for r in found] == pytest.approx(np.mean(report, axis=0))
    assert all(r["low"] <= r["retrieval"] <= r["high"] for r in found)


def test_retained_is_paired_with_the_base(tables: Tables) -> None:
    wanted = {"language": "zh", "metric": "bits_per_byte"}
    target = row(tables, "english_retained", label="LLaMA+800k", **wanted)
    mixed = row(tables, "english_retained", label="LLaMA+800k+en", **wanted)
    assert target["change"] == pytest.approx(0.8, abs=0.02)
    assert mixed["change"] == pytest.approx(0.04, abs=0.02)
    assert target["change"] == pytest.approx(target["value"] - target["base_value"])
    # Paired: much narrower than the models' own intervals.
    assert target["change_high"] - target["change_low"] < (target["high"] - target["low"]) / 3
    base = row(tables, "english_retained", label="LLaMA", **wanted)
    assert base["change"] is None
    assert {r["metric"] for r in tables["english_retained"]} == {
        "bits_per_byte", "accuracy", "AVG",
    }  # fmt: skip


def test_categories_add_up(tables: Tables) -> None:
    found = [
        r for r in tables["by_category"]
        if (r["label"], r["language"], r["tuning"], r["metric"], r["evaluated"])
        == ("LLaMA", "zh", "1k", "AVG", "zh")
    ]  # fmt: skip
    whole = row(tables, "table1_response_quality", label="LLaMA", language="zh", tuning="1k")
    assert sum(r["n"] for r in found) == whole["n"]
    assert np.average([r["value"] for r in found], weights=[r["n"] for r in found]) == (
        pytest.approx(whole["AVG"])
    )


def test_without_judged_answers_the_rate_is_empty(
    make_study: StudyMaker, settings: ReportingConfig
) -> None:
    study = make_study(points=[Point("LLaMA", "target-only", "original", "0")])
    for cell, folder in study.folders.items():
        if cell.startswith("code_switching"):
            (folder / "code_switching.jsonl").write_text("")
    (first, *_) = make_tables(study.results(), [], "reference", settings)["figure4_code_switching"]
    assert (first["rate"], first["n"]) == (None, 0)
