"""Sides by role, and how rows are put against each other."""

from __future__ import annotations

from dataclasses import replace

from langtransfer.reporting.selection import Matching, Side, evaluated_on, select, strata
from tests.unit.reporting.made_up import FakeStudy, Point, StudyMaker


def labels(study: FakeStudy, side: Side, stage: str = "score") -> set[tuple[str, str]]:
    rows = select(evaluated_on(study.results(), stage, "target"), side)
    return {(o.row.label, o.row.tuning) for o in rows}


def test_budget_levels_are_among_positive_budgets(study: FakeStudy) -> None:
    side = {"vocabulary": "original", "mixes": ("target-only",), "tuning": "largest"}
    for level, label in (
        ("zero", "LLaMA"), ("smallest", "LLaMA+200k"), ("largest", "LLaMA+800k"),
    ):  # fmt: skip
        assert labels(study, Side(budget=level, **side)) == {(label, "1k")}


def test_a_model_without_pretraining_has_no_mix(study: FakeStudy) -> None:
    found = labels(study, Side(mixes=("with-english",), vocabulary="original", tuning="largest"))
    assert found == {("LLaMA", "1k"), ("LLaMA+800k+en", "1k")}


def test_tuning_ranks_are_the_study_s_not_the_side_s(study: FakeStudy) -> None:
    assert labels(study, Side(labels=("LLaMA",), tuning="small")) == {("LLaMA", "200")}
    only_small = [o for o in study.results() if o.row.tuning != "1k" or o.row.label != "LLaMA"]
    rows = evaluated_on(only_small, "score", "target")
    assert select(rows, Side(labels=("LLaMA",), tuning="largest")) == []


def test_instruction_sets_of_other_mixes_are_apart(study: FakeStudy) -> None:
    results = study.results()
    joint = [
        replace(o, row=o.row.model_copy(update={"tuning": "j", "tuning_mix": "joint"}))
        for o in results
        if o.row.tuning == "1k"
    ]
    assert joint
    side = Side(tuning="tuned")
    assert select([*results, *joint], side) == select(results, side)
    assert select([*results, *joint], Side(tuning="tuned", tuning_mixes=("joint",))) == joint


def test_adopted_checkpoints_are_chosen_by_label_only(make_study: StudyMaker) -> None:
    study = make_study(
        points=[
            Point("LLaMA", "target-only", "original", "0"),
            Point("Chinese LLaMA", "target-only", "original", "200k-tokens", adopted=True),
        ]
    )
    assert labels(study, Side(tuning="largest")) == {("LLaMA", "1k")}
    named = Side(labels=("Chinese LLaMA",), tuning="largest")
    assert labels(study, named) == {("Chinese LLaMA", "1k")}


def test_strata_match_cell_by_cell_at_the_largest_budget(study: FakeStudy) -> None:
    rows = evaluated_on(study.results(), "score", "target")
    a = select(rows, Side(vocabulary="original", budget="positive", tuning="tuned"))
    b = select(rows, Side(vocabulary="extended", budget="positive", tuning="tuned"))
    every = strata(a, b, Matching(match=("language", "mix", "budget", "tuning")))
    assert len(every) == 3 * 2 * 2
    assert all(
        (s.a[0].row.language, s.a[0].row.budget, s.a[0].row.tuning)
        == (s.b[0].row.language, s.b[0].row.budget, s.b[0].row.tuning)
        for s in every
    )
    largest = Matching(match=("language", "mix", "budget", "tuning"), keep_budget="largest")
    assert {s.a[0].row.budget for s in strata(a, b, largest)} == {"800k-tokens"}


def test_a_row_is_never_compared_with_itself(study: FakeStudy) -> None:
    rows = select(evaluated_on(study.results(), "score", "target"), Side(budget="zero"))
    base = [o for o in rows if o.row.vocabulary == "original"]
    assert strata(base, base, Matching()) == []


def test_target_and_source_are_kept_apart(study: FakeStudy) -> None:
    found = evaluated_on(study.results(), "perplexity", "source")
    assert {o.row.evaluated for o in found} == {"en"}
