"""The reference judge's rules, verdicts, and the score stage with it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from langtransfer.config.evaluation import JudgeConfig
from langtransfer.corpus import atlas
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.judging import ASPECTS, Verdict, agreement
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.reference_judge import find_evidence, judge, looped_share, words
from langtransfer.resources import RESOURCES
from scripts import score

# -- the reference judge ---------------------------------------------------------------------


def question(**fields: Any) -> Question:
    return Question.model_validate(
        {"id": "q", "category": "Factual_questions", "instruction": "?"} | fields
    )


CAPITAL = question(
    instruction="What is the capital of Papua New Guinea, and on which continent is it?",
    reference="The capital of Papua New Guinea is Port Moresby, and it is in Oceania.",
    keys=[["Port Moresby"], ["Oceania", "Australasia"]],
    wrong=["Moresby Town", "Africa", "Asia"],
)
SEVEN = question(instruction="3+4?", reference="7", keys=[["7", "seven"]], wrong=["8"])


@pytest.mark.parametrize(
    ("answer", "accuracy"),
    [
        (CAPITAL.reference, 3),
        ("It is port moresby, in AUSTRALASIA.", 3),
        ("It is Port Moresby.", 1),  # half of the groups is not most
        ("It is Port Moresby in Oceania, not in Africa.", 2),
        ("It is Port Moresby or Moresby Town in Africa or Asia.", 1),
        ("It is Moresby Town in Africa.", 0),
        ("I do not know.", 0),
        ("", 0),
    ],
)
def test_accuracy_counts_keys_and_wrong_strings(answer: str, accuracy: int) -> None:
    assert judge(CAPITAL, answer, "eos", "en").accuracy == accuracy


@pytest.mark.parametrize(
    ("keys", "wrong", "answer", "expected"),
    [
        ([["7"]], ["17"], "It is 17.", (0, 1)),  # 7 lies inside the wrong 17
        ([["7"]], [], "7.5 or 1,7 or 70 or 2007", (0, 0)),
        ([["7"]], [], "७", (1, 0)),  # Devanagari digit
        ([["7"]], [], "2007年7月", (1, 0)),
        ([["Papua New Guinea"]], ["Guinea"], "papua new guinea", (1, 0)),
        ([["Guinea"]], ["Papua New Guinea"], "Papua New Guinea", (0, 1)),
        ([["Guinea"]], ["Papua New Guinea"], "Guinea, not Papua New Guinea", (1, 1)),
        ([["Ana"]], [], "Diana", (0, 0)),
        ([["北京"]], ["南京"], "中国的首都是北京。", (1, 0)),
        ([["सोमवार"]], [], "आज सोमवार है", (1, 0)),
        ([["सोम"]], [], "आज सोमवार है", (0, 0)),
        ([["की"]], [], "कीमत", (0, 0)),  # ends with a vowel sign, goes on with a letter
        ([["a+b"]], [], "A+B", (1, 0)),
        ([["ﬁve", "5"], ["x"]], [], "five", (1, 0)),  # compatibility form
    ],
)
def test_matching_whole_words_and_numbers(
    keys: list[list[str]], wrong: list[str], answer: str, expected: tuple[int, int]
) -> None:
    evidence = find_evidence(question(keys=keys, wrong=wrong), answer)
    assert (evidence.found, evidence.wrong) == expected


def test_reference_answer_gets_full_marks_in_each_language() -> None:
    for language, text in {
        "en": CAPITAL.reference,
        "zh": "肯尼亚的首都是内罗毕，它位于非洲东部。",
        "hi": "केन्या की राजधानी नैरोबी है और यह अफ़्रीका में है।",
        "sw": "Mji mkuu wa Kenya ni Nairobi, nayo iko Afrika ya mashariki.",
    }.items():
        asked = question(instruction="?", reference=text, keys=[[text.split()[0].rstrip("。")]])
        verdict = judge(asked, text, "eos", language)
        assert set(verdict.model_dump().values()) == {3}, (language, verdict)


def test_fluency_sees_loops_scripts_damage_and_cuts() -> None:
    def fluency(answer: str, language: str = "en", finish: str = "eos") -> int:
        return judge(CAPITAL, answer, finish, language).fluency

    good = "It is Port Moresby, which lies in Oceania on the southern coast."
    assert fluency(good) == 3
    assert fluency(good, finish="length") == 2
    assert fluency(good + " \ufffd") == 1
    assert fluency("it is in it is in it is in it is in it is in it is in") == 0
    assert fluency("它位于大洋洲的南部海岸线上，是一座美丽的城市。") == 0
    assert fluency("Mji mkuu wa nchi hiyo uko kwenye pwani ya kusini mwa kisiwa.") == 1
    assert fluency("") == 0
    assert fluency("hahahahahahahahahahahaha") == 0  # a loop inside one word
    assert fluency("It is Port Moresbyyyyyyyyyyyyyyyyyyyyyyyyy, in Oceania.") == 1


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("hahahaha", True),
        ("ननननननन", True),
        ("MoresbyMoresbyMoresbyMoresby", True),
        ("1" * 40, True),
        ("polepole, kimyakimya, banana", False),
        ("1000000000000 and 12.12.1212", False),
        ("Mississippi aaah www.example.com", False),
        ("", False),
    ],
)
def test_loops_inside_words(text: str, loops: bool) -> None:
    assert (looped_share(words(text)) > 0.5) == loops


def test_natural_text_hardly_loops(shared_data: Path) -> None:
    files = sorted((shared_data / "text/flores/flores200_dataset/devtest").glob("*.devtest"))
    looped = {
        line
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if looped_share(words(line)) > 0.15
    }
    assert len(files) == 15
    assert not looped


def test_logicality_sees_contradiction_and_digression() -> None:
    def logicality(answer: str, finish: str = "eos") -> int:
        return judge(CAPITAL, answer, finish, "en").logicality

    assert logicality("Port Moresby, in Oceania.") == 3
    assert logicality("Port Moresby, in Oceania.", finish="length") == 2
    assert logicality("It is in Oceania, that is in Africa.") == 1
    assert logicality("My cat likes fish.") == 1
    assert logicality("它位于大洋洲的南部海岸线上。") == 0
    assert logicality("in Oceania in Oceania in Oceania in Oceania in Oceania in Oceania") == 0


def test_informativeness_sees_coverage_and_length() -> None:
    def informativeness(answer: str, asked: Question = CAPITAL) -> int:
        return judge(asked, answer, "eos", "en").informativeness

    assert informativeness(CAPITAL.reference) == 3
    assert informativeness("Port Moresby, Oceania.") == 1  # a fifth of the reference's words
    assert informativeness("It is called Port Moresby, and it is in Oceania.") == 3
    assert informativeness("The capital of Papua New Guinea is Madang, and it is in Asia.") == 1
    assert informativeness("My cat likes fish.") == 0
    assert informativeness("7", SEVEN) == 3


def test_questions_without_keys_are_held_against_the_reference() -> None:
    poem = question(reference="The sun goes down, the moon comes up, the night is long.", keys=[])
    levels = [
        judge(poem, text, "eos", "en").accuracy
        for text in (
            poem.reference,
            "The sun goes down and the moon comes up while the day is short.",
            "Quick brown foxes jump.",
        )
    ]
    assert levels[0] == 3
    assert levels[0] > levels[1] > levels[2] == 0
    with pytest.raises(UserError, match=r"questions.jsonl: 'q': no keys and no reference"):
        judge(question(), "anything", "eos", "en")


@pytest.mark.parametrize("language", ["en", "zh", "sw", "hi"])
def test_the_atlas_references_get_full_marks_and_others_do_not(language: str) -> None:
    templates = atlas.load_templates(RESOURCES / "atlas" / f"{language}.yaml")
    made = [Question.model_validate(q.model_dump()) for q in atlas.questions(templates, 3, seed=1)]
    for asked in made:
        verdict = judge(asked, asked.reference, "eos", language)
        assert set(verdict.model_dump().values()) == {3}, (asked, verdict)
    pairs = [(a, b) for a, b in pairwise(made) if a.category == b.category]
    levels = [judge(a, b.reference, "eos", language).accuracy for a, b in pairs]
    assert len(levels) == 34
    assert sum(level == 0 for level in levels) >= 30  # some questions share their answer


def answers_for(folder: Path, questions: list[dict[str, Any]]) -> Path:
    rows = [
        {
            "id": q["id"],
            "category": q["category"],
            "prompt": "",
            "answer": f"answer {q['id']}",
            "tokens": 3,
            "finish": "eos",
        }
        for q in questions
    ]
    write_jsonl(folder / "answers.jsonl", rows)
    return folder


def test_reference_stage_labels_itself(make_job: Any, write_questions: Any, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"q{i}",
            "category": "AB"[i % 2],
            "instruction": "?",
            "keys": [["answer"]],
            "reference": "answer",
        }
        for i in range(3)
    ]
    parents = {
        "benchmark": write_questions(rows),
        "answers": answers_for(tmp_path / "answers", rows),
    }
    settings = {"language": "en", "judge": {"kind": "reference"}}
    job = make_job("score/base/1k.zh.s1/qa/en", settings, parents)
    assert score.run(job) == {"answers": 3}
    scores = list(read_jsonl(job.out / "scores.jsonl"))
    assert [row["id"] for row in scores] == ["q0", "q1", "q2"]
    assert {row["judge"] for row in scores} == {"reference-2"}
    summary = json.loads((job.out / "summary.json").read_text())
    assert (summary["judge"], summary["uninformative"]) == ("reference-2", ["harmlessness"])
    mean = summary["mean"]
    assert mean["average"] == pytest.approx(sum(mean[aspect] for aspect in ASPECTS) / 5)
    assert summary["by_category"]["A"]["n"] == 2


def test_an_answer_must_be_there(make_job: Any, write_questions: Any, tmp_path: Path) -> None:
    rows = [{"id": "q0", "category": "A", "instruction": "?", "reference": "x"}]
    parents = {"benchmark": write_questions(rows), "answers": answers_for(tmp_path / "none", [])}
    settings = {"language": "en", "judge": {"kind": "reference"}}
    with pytest.raises(UserError, match=r"answers.jsonl: 'q0': no answer"):
        score.run(make_job("score/base/1k.zh.s1/qa/en", settings, parents))


def test_verdicts_are_five_small_whole_numbers() -> None:
    good = dict.fromkeys(ASPECTS, 2)
    Verdict.model_validate(good)
    for wrong in (
        {"accuracy": 4},
        {"accuracy": -1},
        {"accuracy": "2"},
        {"accuracy": 1.5},
        {"extra": 1},
    ):
        with pytest.raises(ValidationError):
            Verdict.model_validate(good | wrong)
    with pytest.raises(ValidationError, match=r"give judge\.model exactly when"):
        JudgeConfig(kind="openai")
    with pytest.raises(ValidationError, match=r"judge\.checks are for kind openai"):
        JudgeConfig.model_validate({"kind": "reference", "checks": {"items": 3}})


def test_agreement_is_counted_by_aspect() -> None:
    first = [Verdict.model_validate(dict.fromkeys(ASPECTS, level)) for level in (0, 1, 2, 3)]
    again = [v.model_copy(update={"fluency": 3, "accuracy": v.accuracy ^ 1}) for v in first]
    found = agreement(first, again)
    assert found["fluency"] == {
        "n": 4, "agreement": 0.25, "mean_difference": 1.5, "mean_absolute_difference": 1.5,
    }  # fmt: skip
    assert found["accuracy"]["mean_difference"] == 0
    assert found["accuracy"]["mean_absolute_difference"] == 1
    assert found["logicality"]["agreement"] == 1
