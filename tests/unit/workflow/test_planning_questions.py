"""Where a study's questions come from, and what the calibration of its judge is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.loading import parse_config
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.errors import UserError
from langtransfer.provenance import SourceHashes
from langtransfer.resources import ROOT
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.study import Study
from tests.workflow.conftest import expanded

HEADER = "key,language,kind,location,revision,files,format"
ATLAS = "atlas,*,atlas,resources/atlas,,{language}.yaml,atlas"


def study(folder: Path, *rows: str, **sections: Any) -> Study:
    """The tiny study, its answers asked from a question set published in Swahili."""
    for language in ("sw", "zh"):
        path = folder / f"{language}.jsonl"
        write_jsonl(path, [{"question_uuid": "A_1", "question": language, "hint": "x"}])
    (folder / "boards.csv").write_text("llm_name\n")
    named = [row.replace("HERE", str(folder)) for row in rows]
    registry = folder / "registry.csv"
    registry.write_text("\n".join([HEADER, ATLAS, *named]) + "\n", encoding="utf-8")
    content = expanded()
    content["runtime"]["registry"] = str(registry)
    content["benchmarks"]["llm-eval"] |= {
        "dataset": "q", "format": "llm-eval", "translate_from": "sw",
    }  # fmt: skip
    for name, change in sections.items():
        content[name] |= change
    return Study(parse_config(content), SourceHashes(folder / "hashes.json"))


SWAHILI = "q,sw,file,HERE,,sw.jsonl,llm-eval"
CHINESE = "q,zh,file,HERE,,zh.jsonl,llm-eval"
SCORES = "boards,zh,file,HERE,,boards.csv,llmeval-scores"


def cells(made: Study) -> dict[str, Cell]:
    return {cell.path: cell for cell in made.cells}


def test_questions_are_fetched_where_published_and_translated_elsewhere(tmp_path: Path) -> None:
    found = cells(study(tmp_path, SWAHILI, translate_benchmark={"model": "gpt-x"}))
    published = found["fetch_benchmark/llm-eval/sw"]
    translated = found["translate_benchmark/llm-eval/zh"]
    assert "fetch_benchmark/llm-eval/zh" not in found
    assert dict(translated.parents) == {"source": published}
    assert {name.split("#")[0] for name in translated.sources} == {
        "resources/languages.csv",
        "resources/prompts/translate/llm-eval.jinja",
    }
    config = translated.recipe["config"]
    assert config["translator"]["model"] == "gpt-x"
    assert (config["source"], config["language"], config["ready"]) == ("sw", "zh", None)
    for path, cell in found.items():
        if path.startswith(("generate/", "score/", "code_switching/")):
            expected = translated if path.endswith("/zh") else published
            assert cell.parents["benchmark"] is expected


def test_a_row_of_the_language_is_a_translation_that_is_ready(tmp_path: Path) -> None:
    found = cells(study(tmp_path, SWAHILI, CHINESE))  # no model is needed
    config = found["translate_benchmark/llm-eval/zh"].recipe["config"]
    assert config["translator"] is None
    assert list(config["ready"]["files"]) == ["zh.jsonl"]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({}, r"translate_benchmark\.model: '': name the model .* or add a row q,zh"),
        ({"translate_benchmark": {"model": "x", "prompt": "nope"}}, r"\.prompt: 'nope': no such"),
        ({"score": {"judge": {"kind": "openai", "model": "x", "prompt": "nope"}},
          "translate_benchmark": {"model": "x"}}, r"score\.judge\.prompt: 'nope'"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_before_anything_runs(
    tmp_path: Path, sections: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        _ = study(tmp_path, SWAHILI, **sections).cells


def test_translations_are_for_questions(tmp_path: Path) -> None:
    content = expanded()
    for change, words in (
        ({"parallel": {"kind": "text", "dataset": "atlas", "items": 2, "translate_from": "sw"}},
         "translate_from is for kind response-quality"),
        ({"llm-eval": {"kind": "response-quality", "dataset": "atlas", "items": 2,
                       "translate_from": "sw"}}, "the atlas is made in every language"),
        ({"q": {"kind": "response-quality", "dataset": "q", "format": "llm-eval",
                "translate_from": "zz"}}, "translate_from: 'zz': unknown language"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            parse_config(content | {"benchmarks": content["benchmarks"] | change})


def test_calibration_is_a_cell_of_the_report_when_asked_for(tmp_path: Path) -> None:
    rows = (SWAHILI, CHINESE, SCORES)
    assert not [path for path in cells(study(tmp_path, *rows)) if path.startswith("calibrate")]
    made = study(tmp_path, *rows, calibrate_judge={"dataset": "boards"})
    found = cells(made)
    cell = found["calibrate_judge/boards"]
    assert found["tables/study"].parents["calibration"] is cell
    assert cell.recipe["config"]["judge"] is None  # the study's judge decides nothing of it
    changed = study(
        tmp_path, *rows, calibrate_judge={"dataset": "boards"},
        score={"judge": {"kind": "openai", "model": "x"}},
    )  # fmt: skip
    assert cells(changed)["calibrate_judge/boards"].key == cell.key
    with pytest.raises(UserError, match="'q': has format llm-eval; calibrate_judge needs llmeval"):
        _ = study(tmp_path, *rows, calibrate_judge={"dataset": "q"}).cells
    own = study(tmp_path, *rows, calibrate_judge={"dataset": "boards", "answers": "q"})
    config = cells(own)["calibrate_judge/boards"].recipe["config"]
    assert config["judge"]["kind"] == "reference"
    assert list(config["answers"]["files"]) == ["zh.jsonl"]


def test_where_and_how_fast_decides_nothing(tmp_path: Path) -> None:
    rows = (SWAHILI, CHINESE)
    keys = {path: cell.key for path, cell in cells(study(tmp_path, *rows)).items()}
    runtime = {
        "judge_mode": "batch", "judge_cache": "elsewhere", "judge_timeout_seconds": 3.0,
        "judge_prices": {"x": {"prompt": 1.0, "completion": 2.0}}, "judge_budget_dollars": 1.0,
        "judge_budget_tokens": 5,
    }  # fmt: skip
    assert {p: c.key for p, c in cells(study(tmp_path, *rows, runtime=runtime)).items()} == keys


def test_the_papers_study_translates_and_calibrates() -> None:
    from langtransfer.config.loading import load_config

    config = load_config(ROOT / "config.yaml")
    assert config.benchmarks["llm-eval"].translate_from == "zh"
    assert config.calibrate_judge.dataset == "llmeval-1"
