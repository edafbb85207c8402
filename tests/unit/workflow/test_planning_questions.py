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
        "dataset": "q", "format": "llm-eval", "translate_from": "sw", "switched_tunings": [],
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


def test_switched_prompts_are_made_of_the_questions_and_their_source(tmp_path: Path) -> None:
    content = expanded()
    content["benchmarks"]["llm-eval"]["switched_tunings"] = ["t40"]
    made = Study(parse_config(content), SourceHashes(tmp_path / "hashes.json"))
    found = cells(made)
    for language in ("sw", "zh"):
        mixed = found[f"switch_prompts/llm-eval/{language}"]
        assert dict(mixed.parents) == {
            "questions": found[f"fetch_benchmark/llm-eval/{language}"],
            "source": found["fetch_benchmark/llm-eval/en"],
        }
        plain = found[f"generate/base/t40.{language}.s1/llm-eval/{language}"]
        answers = found[f"generate/base/t40.{language}.s1/llm-eval.switched/{language}"]
        assert dict(answers.parents) == dict(plain.parents) | {"benchmark": mixed}
        judged = found[f"code_switching/base/t40.{language}.s1/llm-eval.switched/{language}"]
        assert dict(judged.parents) == {"answers": answers, "benchmark": mixed}
    assert not [path for path in found if path.startswith("score/") and ".switched/" in path]
    tables, claims = found["tables/study"], found["claims/study"]
    assert [role for role in tables.parents if ".switched/" in role]
    assert not [role for role in claims.parents if ".switched/" in role]
    rows = tables.recipe["config"]["rows"]
    switched = {(row["benchmark"], row["tuning"]) for row in rows if row["prompts"] == "switched"}
    assert switched == {("llm-eval", "t40")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"switched_tunings": ["t41"]}, "unknown tuning; did you mean t40"),
        ({"switched_tunings": ["none"]}, "unknown tuning"),
        ({"switched_tunings": ["t40"], "tunings": ["t40-sequence"]}, "must be among tunings"),
        ({"format": "gaokao-subjective"}, "exams apart"),
        ({"kind": "knowledge"}, "for kind response-quality"),
    ],
)
def test_switched_prompts_that_nobody_would_be_asked(change: dict[str, Any], words: str) -> None:
    content = expanded()
    content["benchmarks"]["llm-eval"] |= change
    with pytest.raises(UserError, match=words):
        parse_config(content)


def test_exams_are_judged_and_stand_apart(tmp_path: Path) -> None:
    exams = "exams,zh,file,HERE,,zh.jsonl,gaokao-subjective"
    entry = {
        "kind": "response-quality", "dataset": "exams", "format": "gaokao-subjective",
        "languages": ["zh"],
    }  # fmt: skip
    found = cells(study(tmp_path, SWAHILI, CHINESE, exams, benchmarks={"exams": entry}))
    asked = {path.split("/")[0] for path in found if "/exams/" in path}
    assert asked == {"fetch_benchmark", "generate", "score"}  # answers may rightly be in English
    assert [role for role in found["tables/study"].parents if "/exams/" in role]
    assert not [role for role in found["claims/study"].parents if "/exams/" in role]


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


def test_an_endpoint_counts_where_the_config_names_it(tmp_path: Path) -> None:
    def keys(**judge: Any) -> dict[str, str]:
        judge = {"kind": "openai", "model": "x"} | judge
        made = study(tmp_path, SWAHILI, CHINESE, score={"judge": judge})
        return {path: cell.key for path, cell in cells(made).items()}

    unnamed = keys()
    assert keys(base_url=None) == unnamed
    one, other = keys(base_url="https://a.org/v1/"), keys(base_url="https://b.org/v1")
    assert keys(base_url="https://a.org/v1") == one
    assert one.keys() == other.keys() == unnamed.keys()
    changed = {
        path.split("/")[0] for path in one if len({unnamed[path], one[path], other[path]}) > 1
    }
    assert changed == {"score", "tables", "figures", "claims", "report"}
    assert all(len({unnamed[p], one[p], other[p]}) == 3 for p in one if p.startswith("score/"))


def test_an_endpoint_that_names_none_is_in_no_recipe(tmp_path: Path) -> None:
    made = cells(study(tmp_path, SWAHILI, translate_benchmark={"model": "x"}))
    assert "base_url" not in made["translate_benchmark/llm-eval/zh"].recipe["config"]["translator"]
    scores = [cell for path, cell in made.items() if path.startswith("score/")]
    assert scores
    assert not any("base_url" in cell.recipe["config"]["judge"] for cell in scores)


@pytest.mark.parametrize("section", ["score.judge", "translate_benchmark"])
@pytest.mark.parametrize("address", ["https://me:hush@a.org/v1", "https://a.org/v1?key=hush"])
def test_no_secret_in_an_endpoint(tmp_path: Path, section: str, address: str) -> None:
    model = {"model": "x", "base_url": address}
    sections: dict[str, Any] = {
        "score.judge": {"score": {"judge": {"kind": "openai"} | model}},
        "translate_benchmark": {"translate_benchmark": model},
    }
    with pytest.raises(UserError, match=r"base_url: '\(not shown\)': .*environment") as caught:
        study(tmp_path, SWAHILI, **sections[section])
    assert caught.value.field == f"{section}.base_url"
    assert "hush" not in str(caught.value)


def test_an_endpoint_needs_somebody_to_ask(tmp_path: Path) -> None:
    for sections, words in (
        ({"score": {"judge": {"kind": "reference", "base_url": "https://a.org"}}}, "for kind op"),
        ({"translate_benchmark": {"base_url": "https://a.org"}}, "name the model"),
        ({"score": {"judge": {"kind": "openai", "model": "x", "base_url": "a.org"}}}, "give http"),
    ):
        with pytest.raises(UserError, match=words):
            study(tmp_path, SWAHILI, **sections)


def test_the_papers_study_translates_and_calibrates() -> None:
    from langtransfer.config.loading import load_config

    config = load_config(ROOT / "config.yaml")
    assert config.benchmarks["llm-eval"].translate_from == "zh"
    assert config.calibrate_judge.dataset == "llmeval-1"
