"""profiles/demo13 asks of every language what the paper's Table 3 and Figure 4 tell, and more."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from langtransfer.config.loading import load_config
from langtransfer.provenance import SourceHashes
from langtransfer.resources import ROOT
from langtransfer.workflow.study import Study

PATH = ROOT / "profiles" / "demo13" / "study.yaml"
FEW, MANY = "t40", "t1500"


def test_every_language_of_the_paper_is_measured_at_both_sizes(tmp_path: Path) -> None:
    config = load_config(PATH)
    paper = load_config(ROOT / "config.yaml")
    assert config.languages == paper.languages
    rows = [row for row, _ in Study(config, SourceHashes(tmp_path / "hashes"))._evaluations()]
    found = {(row.stage, row.language, row.evaluated, row.tuning) for row in rows}
    for language in paper.languages:
        for tuning in (FEW, MANY):
            assert ("score", language, language, tuning) in found
            assert ("code_switching", language, language, tuning) in found
        for tuning in ("none", FEW, MANY):
            assert ("knowledge", language, language, tuning) in found
            assert ("knowledge", language, "en", tuning) in found
        assert ("perplexity", language, "en", "none") in found
    assert {row.label for row in rows} == {"LLaMA"}
    assert {row.budget for row in rows} == {"0"}


def test_the_base_has_read_a_trace_of_every_language_and_no_held_out_text() -> None:
    config = load_config(PATH)
    english, *traces = config.fetch_corpus.per_language["en"]
    assert [trace.language for trace in traces] == list(config.languages)
    # A document is decided by its number: beyond the English ones, and beyond the targets' own.
    starts = [trace.start for trace in traces]
    assert english.documents is not None
    assert config.fetch_corpus.default[0].documents is not None
    assert min(starts) > max(english.documents, config.fetch_corpus.default[0].documents)
    assert all(later - sooner >= 300 for sooner, later in pairwise(starts))


def test_the_sizes_are_far_apart() -> None:
    config = load_config(PATH)
    few, many = config.tunings[FEW].examples, config.tunings[MANY].examples
    assert many >= 30 * few
    assert config.prepare_instructions.default.examples == many
