"""Agreement of judges with people: the released scores of 12 models, and the study's own judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from langtransfer.config import RuntimeConfig
from langtransfer.config.evaluation import CalibrateJudgeCell, CalibrateJudgeConfig
from langtransfer.corpus.registry import identity, load_registry
from langtransfer.errors import UserError
from langtransfer.evaluation.calibration import (
    COLUMNS,
    Board,
    board_of,
    compare,
    read_answers,
    read_boards,
    spearman,
)
from langtransfer.evaluation.judging import ASPECTS, Verdict
from langtransfer.job import Job
from langtransfer.provenance import sha256_file
from langtransfer.reporting.csvfile import read_csv
from langtransfer.resources import ROOT
from scripts import calibrate_judge
from tests.chat_server import ChatServer, serving

REAL = ROOT / "tests" / "configs" / "real-datasets.csv"
# FACTS.md section 4: Spearman between GPT-4 and people over 12 models; mean bias of GPT-4.
SPEARMAN = {
    "overall": 0.949, "accuracy": 0.967, "informativeness": 0.923, "logicality": 0.923,
    "fluency": 0.795, "harmlessness": 0.599,
}  # fmt: skip
BIAS = {"overall": 0.135, "fluency": 0.325}
HOW: dict[str, Any] = {"confidence": 0.95, "samples": 2000, "seed": 1}


def run(folder: Path, registry: Path, **settings: Any) -> list[dict[str, str]]:
    """The stage on datasets of a registry; the rows it wrote."""
    rows = load_registry(registry)
    found = {
        name: identity(rows.row(settings[name], "zh"), sha256_file).model_dump()
        for name in ("scores", "answers")
        if settings.get(name)
    }
    cell = {
        "answers": None, "items": 20, "language": "zh", "judge": None, "confidence": 0.95,
        "bootstrap_samples": 500, "seed": 1,
    }  # fmt: skip
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    runtime = RuntimeConfig(registry=str(registry), judge_cache=str(folder / "cache"))
    config = CalibrateJudgeCell.model_validate(cell | settings | found)
    calibrate_judge.run(
        Job("calibrate_judge", "calibrate_judge/x", "k", config.model_dump(), {},
            folder / "out", folder / "work", runtime)
    )  # fmt: skip
    return read_csv(folder / "out" / "calibration.csv")


def test_gpt4_and_people_on_the_released_scores(shared_data: Path, tmp_path: Path) -> None:
    rows = run(tmp_path, REAL, scores="llmeval-1")
    assert list(rows[0]) == list(COLUMNS)
    assert {(row["judge"], row["against"], row["n_models"]) for row in rows} == {
        ("gpt-4", "human", "12")
    }
    assert {row["aspect"]: round(float(row["spearman"]), 3) for row in rows} == SPEARMAN
    bias = {row["aspect"]: round(float(row["bias"]), 3) for row in rows}
    assert {aspect: bias[aspect] for aspect in BIAS} == BIAS
    for row in rows:
        assert float(row["low"]) < float(row["spearman"]) <= float(row["high"]) <= 1
        assert 0 < float(row["bias_low"]) < float(row["bias"]) < float(row["bias_high"])
    again = tmp_path / "again"
    run(again, REAL, scores="llmeval-1")
    written = [(f / "out" / "calibration.csv").read_bytes() for f in (tmp_path, again)]
    assert written[0] == written[1]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=4, max_size=12))
def test_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    one, other = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    found = spearman(one[None], other[None])[0]
    if min(len(set(one)), len(set(other))) == 1:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)


def board(name: str, levels: list[float]) -> Board:
    scores = {f"m{i}": dict.fromkeys(("overall", *ASPECTS), v) for i, v in enumerate(levels)}
    return Board(name, scores, items=3)


def test_constant_scores_have_no_correlation_but_a_bias() -> None:
    row = compare(board("a", [3, 3, 3, 3]), board("b", [1, 2, 3, 2]), **HOW)[0]
    assert np.isnan(row["spearman"])
    assert (row["low"], row["high"]) == (None, None)
    assert row["bias"] == 1


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(8)
    held = 0
    for seed in range(300):
        people = rng.normal(size=30)
        judged = people + 0.25 + rng.normal(scale=0.5, size=30)
        row = compare(
            board("a", judged.tolist()), board("b", people.tolist()),
            confidence=0.95, samples=200, seed=seed,
        )[0]  # fmt: skip
        held += row["bias_low"] <= 0.25 <= row["bias_high"]
    # 95 % less what the percentile bootstrap falls short with 30 models: about 277, sd 4.6.
    assert 258 <= held <= 296


def write_dialogues(path: Path, boards: dict[str, Board], questions: int) -> None:
    """Answers in upstream's layout by the models of the boards; each says how good it is."""
    models = {
        "Baichuan-7B-Align" if m == "Chat-Baichuan-7B" else m: m for m in boards["human"].scores
    }
    rows = [
        {
            "question_uuid": f"Reasoning_{i}",
            "dialog_uuid": f"{name}_Reasoning_{i}",
            "llm_name": name,
            "dialog": [
                {"role": "user", "content": f"问题{i}"},
                {
                    "role": "llm",
                    "content": f"答{i} {boards['human'].scores[model]['overall']} {name}",
                },
                {"role": "user", "content": "继续"},
                {"role": "llm", "content": "不算"},
            ],
            "hint": "参考答案",
        }
        for name, model in models.items()
        for i in range(questions)
    ]
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def test_the_studys_own_judge_stands_beside_gpt4(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared_data / "benchmarks" / "llmeval-1" / "results"
    boards = read_boards({path.name: path for path in folder.iterdir()})
    write_dialogues(tmp_path / "dialogs.json", boards, questions=9)
    header = REAL.read_text(encoding="utf-8").splitlines()
    scores = next(line for line in header if line.startswith("llmeval-1,"))
    registry = tmp_path / "registry.csv"
    answers = f"answers,zh,file,{tmp_path},,dialogs.json,llm-eval,,,,"
    registry.write_text("\n".join([header[0], scores, answers]) + "\n", encoding="utf-8")

    def sees_quality(message: str) -> str:
        said = message.split("<answer>\n")[1].split("\n</answer>")[0]
        assert "不算" not in said
        level = sum(float(said.split()[1]) > limit for limit in (2.4, 2.55, 2.7))
        return json.dumps(dict.fromkeys(ASPECTS, level))

    with serving(ChatServer(sees_quality)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.address)
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        # Checks of the judge against itself are for the answers of the study: none is asked here.
        judge = {"kind": "openai", "model": "judge-x", "checks": {"items": 5, "repeat": 2}}
        rows = run(
            tmp_path / "api", registry, scores="llmeval-1", answers="answers", items=4, judge=judge
        )
        assert server.paid.total() == 12 * 4
    overall = {(r["judge"], r["against"]): r for r in rows if r["aspect"] == "overall"}
    assert set(overall) == {
        ("gpt-4", "human"),
        ("judge-x@llm-eval-0-3", "human"),
        ("judge-x@llm-eval-0-3", "gpt-4"),
    }
    own = overall["judge-x@llm-eval-0-3", "human"]
    assert (own["n_models"], own["n_items"]) == ("12", "4")
    assert float(own["spearman"]) > 0.9
    offline = run(
        tmp_path / "reference", registry,
        scores="llmeval-1", answers="answers", items=2, judge={"kind": "reference"},
    )  # fmt: skip
    assert {row["judge"] for row in offline} == {"gpt-4", "reference-2"}
    harmless = [r for r in offline if r["aspect"] == "harmlessness" and r["judge"] != "gpt-4"]
    assert [row["spearman"] for row in harmless] == ["", ""]  # it calls everything harmless


def test_released_answers_are_read_as_they_are(shared_data: Path) -> None:
    paths = {p.name: p for p in (shared_data / "benchmarks/llmeval-2/data").glob("*.json")}
    answers = read_answers(paths, items=5)
    assert len(answers) == 5 * 20
    assert len({answer.model for answer in answers}) == 20
    assert {answer.question.category for answer in answers} <= {"Law", "Mathematics"}
    assert all(answer.question.reference for answer in answers)
    more = {answer.question.id for answer in read_answers(paths, items=9)}
    assert {answer.question.id for answer in answers} < more
    verdict = Verdict.model_validate(dict.fromkeys(ASPECTS, 2))
    made = board_of("x", answers, [verdict] * len(answers))
    assert made.items == 5
    assert made.scores["GPT4"]["overall"] == 2


def test_bad_boards_and_answers_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"calibrate_judge\.dataset: .*gpt4\.csv is not among"):
        read_boards({"x.csv": tmp_path / "x.csv"})
    good = "llm_name,overall," + ",".join(ASPECTS) + "\n"
    (tmp_path / "分项测评_gpt4.csv").write_text(good + "m,1,2,3,1,2,three\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"gpt4\.csv, line 2: .*three.*need a number"):
        read_boards({p.name: p for p in tmp_path.glob("*.csv")})
    with pytest.raises(UserError, match=r"calibrate_judge\.answers: .*share 2: need 4"):
        compare(board("a", [1, 2]), board("b", [1, 2, 3]), **HOW)
    row = {"question_uuid": "A_1", "llm_name": "m", "dialog": [{"role": "user", "content": "?"}]}
    (tmp_path / "d.json").write_text(json.dumps([row]))
    with pytest.raises(UserError, match=r"item 1, dialog: \['user'\]: needs a turn"):
        read_answers({"d.json": tmp_path / "d.json"}, 1)
    with pytest.raises(ValueError, match="answers need the dataset"):
        CalibrateJudgeConfig(answers="x")
