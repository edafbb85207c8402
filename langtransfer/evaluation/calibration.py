"""How far judges agree with people: released scores of the same models, set side by side.

A *board* is one judge's mean scores of several models. Two boards are compared over the models they
share: Spearman's rank correlation, and how much higher the first scores on average. Models are few
(12 in LLM-Eval), so intervals are wide; they are percentile bootstrap intervals over models.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

from langtransfer.corpus.readers import read_objects, read_table, text_of
from langtransfer.errors import UserError
from langtransfer.evaluation.judging import ASPECTS, Verdict
from langtransfer.evaluation.questions import Question
from langtransfer.statistics.intervals import Floats

COLUMNS = (
    "judge", "against", "aspect", "n_models", "n_items", "spearman", "low", "high",
    "bias", "bias_low", "bias_high",
)  # fmt: skip
FEWEST_MODELS = 4  # our choice: three ranks agree by chance once in six
# upstream: llmeval/llmeval-1; the answers' file and the boards name one model differently
SAME_MODEL = {"Baichuan-7B-Align": "Chat-Baichuan-7B"}
BOARDS = {"gpt-4": "分项测评_gpt4.csv", "human": "分项测评_manual_denoised.csv"}
"""upstream: llmeval/llmeval-1, results/: means by model, by GPT-4 and by people (denoised)."""


@dataclass(frozen=True)
class Board:
    """Mean scores of models by one judge; scores[model][aspect], with `overall`."""

    judge: str
    scores: Mapping[str, Mapping[str, float]]
    items: int
    """Questions each model was scored on."""


@dataclass(frozen=True)
class Answer:
    """A model's released answer to a question."""

    model: str
    question: Question
    text: str


def read_boards(paths: Mapping[str, Path]) -> dict[str, Board]:
    """GPT-4's and people's boards; UserError where a file, a column or a number is missing."""
    boards = {}
    for judge, name in BOARDS.items():
        found = [path for key, path in sorted(paths.items()) if Path(key).name == name]
        if not found:
            remedy = f"{name} is not among the files: mend the registry's row"
            raise UserError("calibrate_judge.dataset", ", ".join(paths), remedy)
        boards[judge] = _read_board(found[0], judge)
    return boards


def _read_board(path: Path, judge: str) -> Board:
    scores = {}
    for line, row in read_table(path, ","):
        place = f"{path}, line {line}"
        try:
            scores[text_of(row, "llm_name", place)] = {
                aspect: float(row[aspect]) for aspect in ("overall", *ASPECTS)
            }
        except (KeyError, ValueError) as error:
            raise UserError(place, str(error), "need a number for every aspect") from error
    return Board(judge, scores, items=453)


def read_answers(paths: Mapping[str, Path], items: int) -> list[Answer]:
    """Released answers of every model to the first `items` questions by a hash of their ids.

    upstream: the dialogue files of llmeval/llmeval-1 and llmeval/llmeval-2; of several turns the
    first is taken. Raises UserError for records that are none.
    """
    rows = [
        (f"{path}, item {number}", row)
        for _, path in sorted(paths.items())
        for number, row in read_objects(path)
    ]
    ids = {text_of(row, "question_uuid", place) for place, row in rows}
    chosen = set(sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:items])
    return [_answer(row, place) for place, row in rows if row["question_uuid"] in chosen]


def _answer(row: Mapping[str, Any], place: str) -> Answer:
    said: dict[str, str] = {}
    for turn in row.get("dialog") or ():
        said.setdefault(str(turn.get("role")), text_of(turn, "content", place))
    if not {"user", "llm"} <= set(said):
        raise UserError(
            f"{place}, dialog", sorted(said), "needs a turn of role user and one of llm"
        )
    uuid, model = row["question_uuid"], text_of(row, "llm_name", place)
    question = Question(
        id=uuid,
        category=uuid.rpartition("_")[0],
        instruction=said["user"],
        reference="" if row.get("hint") is None else str(row["hint"]),
    )
    return Answer(SAME_MODEL.get(model, model), question, said["llm"])


def board_of(judge: str, answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> Board:
    """The board a judge's verdicts make; overall is the mean of the five aspects."""
    by_model: dict[str, list[Verdict]] = defaultdict(list)
    for answer, verdict in zip(answers, verdicts, strict=True):
        by_model[answer.model].append(verdict)
    scores = {}
    for model, given in sorted(by_model.items()):
        means = {aspect: fmean(getattr(v, aspect) for v in given) for aspect in ASPECTS}
        scores[model] = means | {"overall": fmean(means.values())}
    return Board(judge, scores, items=len({answer.question.id for answer in answers}))


def compare(
    judge: Board, against: Board, *, confidence: float, samples: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of `calibration.csv`: each aspect over the models both boards have.

    Spearman's correlation is not defined, and left empty, where a board scores all models alike.
    Raises UserError for too few models.
    """
    models = sorted(set(judge.scores) & set(against.scores))
    if len(models) < FEWEST_MODELS:
        remedy = f"{judge.judge} and {against.judge} share {len(models)}: need {FEWEST_MODELS}"
        raise UserError("calibrate_judge.answers", sorted(judge.scores), remedy)
    rows = []
    for aspect in ("overall", *ASPECTS):
        pairs = np.array([[b.scores[m][aspect] for m in models] for b in (judge, against)])
        drawn = np.random.default_rng(seed).integers(0, len(models), size=(samples, len(models)))
        resampled = pairs[:, drawn]
        tail = (1 - confidence) / 2
        correlations = spearman(*resampled)
        low, high = _quantiles(correlations[np.isfinite(correlations)], tail)
        biases = (resampled[0] - resampled[1]).mean(axis=1)
        bias_low, bias_high = _quantiles(biases, tail)
        rows.append(
            {
                "judge": judge.judge,
                "against": against.judge,
                "aspect": aspect,
                "n_models": len(models),
                "n_items": judge.items,
                "spearman": float(spearman(*pairs[:, None])[0]),
                "low": low,
                "high": high,
                "bias": float((pairs[0] - pairs[1]).mean()),
                "bias_low": bias_low,
                "bias_high": bias_high,
            }
        )
    return rows


def _quantiles(values: Floats, tail: float) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def spearman(one: Floats, other: Floats) -> Floats:
    """Rank correlation of each row of one (n, models) with the same row of other; ties share ranks.

    NaN where a row is constant.
    """
    a, b = (stats.rankdata(values, axis=1) for values in (one, other))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    with np.errstate(invalid="ignore"):
        found: Floats = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return found
