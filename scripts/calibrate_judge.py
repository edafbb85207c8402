"""Agreement of judges with people, on released scores of the same models.

Example: python -m scripts.calibrate_judge --recipe recipes/calibrate_judge/llmeval-1/<key>.json
Reads: the dataset registry and the files it names; a chat model where score.judge.kind is openai
       and calibrate_judge.answers is given
Writes: calibration.csv
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langtransfer.command import main
from langtransfer.job import Job

if TYPE_CHECKING:
    from langtransfer.config.evaluation import CalibrateJudgeCell
    from langtransfer.evaluation.calibration import Board


def run(job: Job) -> dict[str, Any]:
    """Set GPT-4, and the study's own judge, beside people."""
    from langtransfer.config.evaluation import CalibrateJudgeCell
    from langtransfer.corpus.registry import fetch
    from langtransfer.evaluation.calibration import COLUMNS, compare, read_boards
    from langtransfer.reporting.csvfile import write_csv
    from langtransfer.resources import locate

    config = job.config(CalibrateJudgeCell)
    paths = fetch(locate(job.runtime.registry), config.scores, config.language, job.work)
    boards = read_boards(paths)
    pairs = [(boards["gpt-4"], boards["human"])]
    spent: dict[str, Any] = {}
    if config.answers is not None:
        own, spent = own_board(job, config)
        pairs += [(own, boards["human"]), (own, boards["gpt-4"])]
    rows = [
        row
        for judge, against in pairs
        for row in compare(
            judge,
            against,
            confidence=config.confidence,
            samples=config.bootstrap_samples,
            seed=config.seed,
        )
    ]
    write_csv(job.out / "calibration.csv", COLUMNS, rows)
    return {"models": rows[0]["n_models"]} | spent


def own_board(job: Job, config: CalibrateJudgeCell) -> tuple[Board, dict[str, Any]]:
    """The study's judge on the released answers, and what it cost."""
    from langtransfer.corpus.registry import fetch
    from langtransfer.evaluation.calibration import board_of, read_answers
    from langtransfer.resources import locate

    assert config.answers is not None
    assert config.judge is not None, "the planner gives both or neither"
    paths = fetch(locate(job.runtime.registry), config.answers, config.language, job.work)
    answers = read_answers(paths, config.items)
    spent: dict[str, Any] = {}
    if config.judge.kind == "reference":
        from langtransfer.evaluation import reference_judge

        label = reference_judge.JUDGE
        verdicts = [
            reference_judge.judge(a.question, a.text, "eos", config.language) for a in answers
        ]
    else:
        from langtransfer.config.evaluation import JudgeChecks
        from langtransfer.evaluation.chat_client import service_of
        from langtransfer.evaluation.openai_judge import judge_all

        label = f"{config.judge.model}@{config.judge.prompt}"
        verdicts, _, spent = judge_all(
            [(answer.question, answer.text) for answer in answers],
            config.judge.model_copy(update={"checks": JudgeChecks()}),
            config.language,
            service_of(job.runtime),
            f"{job.cell}/{job.key}",
            lambda done, total: job.progress(done, total, "verdicts"),
        )
    return board_of(label, answers, verdicts), spent


if __name__ == "__main__":
    main("calibrate_judge", run, __doc__)
