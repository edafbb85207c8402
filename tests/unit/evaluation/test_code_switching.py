"""Code-switching: planted switches are found, clean text and stated exceptions are not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.evaluation import CodeSwitchingCell
from langtransfer.corpus import atlas
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.code_switching import find_switches, judged, summarise
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.scripts_of_text import script_runs, scripts_of_language, weigh_scripts
from langtransfer.resources import RESOURCES
from scripts import code_switching

CLEAN = {
    "zh": "肯尼亚的首都是内罗毕。它位于非洲东部，人口超过四百万，是东非最大的城市之一。",
    "hi": "केन्या की राजधानी नैरोबी है। यह पूर्वी अफ़्रीका का एक बड़ा शहर है।",
    "sw": "Mji mkuu wa Kenya ni Nairobi. Mji huu uko Afrika ya Mashariki na una watu wengi sana.",
    "ar": "عاصمة كينيا هي نيروبي، وهي مدينة كبيرة تقع في شرق أفريقيا.",
    "en": "The capital of Kenya is Nairobi. It is a large city in the east of Africa.",
}
PLANTED = [
    ("zh", "肯尼亚的首都是 essentially 内罗毕。", True, False, ["Latin"]),
    ("zh", "首都是内罗毕，это большой город。", True, False, ["Cyrillic"]),
    ("zh", "首都はナイロビです、内罗毕。", True, False, ["Hiragana", "Katakana"]),
    ("zh", "首都是内罗毕。\nThe capital of Kenya is Nairobi.", True, True, ["Latin"]),
    ("zh", "首都是内罗毕2个individualized的城市。", True, False, ["Latin"]),
    ("hi", "केन्या की राजधानी नैरोबी है और यह virtually बड़ा है।", True, False, ["Latin"]),
    ("hi", "केन्या की राजधानी 内罗毕 है।", True, False, ["Han"]),
    (
        "hi",
        "केन्या की राजधानी नैरोबी है। काठमाडौँ नेपालको राजधानी हो र यो धेरै ठूलो सहर हो।",
        False,
        True,
        ["ne"],
    ),
    (
        "sw",
        "Mji mkuu wa Kenya ni Nairobi. It is a large city in the east of Africa.",
        False,
        True,
        ["en"],
    ),
    ("sw", "Mji mkuu wa Kenya ni 内罗毕.", True, False, ["Han"]),
    ("ur", "عاصمة كينيا هي نيروبي، وهي مدينة كبيرة تقع في شرق أفريقيا.", False, True, ["ar"]),
]


def question(**fields: Any) -> Question:
    return Question.model_validate(
        {"id": "q", "category": "Factual_questions", "instruction": "?"} | fields
    )


def found(answer: str, language: str, asked: Question | None = None) -> list[str]:
    cell = CodeSwitchingCell(language=language)
    return find_switches(answer, asked or question(), language, cell).languages


@pytest.mark.parametrize("language", CLEAN)
def test_clean_text_is_clean(language: str) -> None:
    assert found(CLEAN[language], language) == []
    assert found("", language) == []


@pytest.mark.parametrize(("language", "answer", "by_word", "by_line", "languages"), PLANTED)
def test_planted_switches(
    language: str, answer: str, by_word: bool, by_line: bool, languages: list[str]
) -> None:
    switches = find_switches(answer, question(), language, CodeSwitchingCell(language=language))
    assert (bool(switches.words), bool(switches.lines)) == (by_word, by_line)
    assert switches.languages == languages


@pytest.mark.parametrize(
    "answer",
    [
        "运行 `print(hello)` 即可。",
        "例如：\n```python\nfor item in items:\n    print(item)\n```\n就是这样。",
        "请看 https://example.org/some-page 或写信到 someone@example.org 。",
        "距离是 5 km，文件是 mp3 格式，得了 COVID-19 。",
        "他说“to be or not to be”是名句。",
        "音乐（music）很美。",
        "公式是 $\\frac{a}{b} + \\sin x$ 。",
        "用<br>换行，用<span class=x>标记</span>。",
        "NASA 和 Google 的 iPhone 测量 pH 值。",
        "作者是 Cristina Fernandez de Kirchner 。",
        "设 x 和 y 为未知数。",
    ],
)
def test_stated_exceptions(answer: str) -> None:
    assert found(answer, "zh") == []


def test_exceptions_end_where_they_say() -> None:
    assert found("“" + "to be or not to be " * 10 + "”是名句。", "zh") == ["Latin"]
    assert found("The capital of France 是巴黎。", "zh") == ["Latin"]
    assert found("巴黎 Paris de 。", "zh") == ["Latin"]  # no name after the particle
    assert found("距离是 5 kilometres 。", "zh") == ["Latin"]


def test_copied_input_is_no_switch() -> None:
    asked = question(instruction="“essentially”是什么意思？", reference="意思是 basically。")
    assert found("essentially 的意思是 Basically。", "zh", asked) == []
    assert found("essentially 的意思是 mostly。", "zh", asked) == ["Latin"]
    english = "It is a large city in the east of Africa"
    summary = question(instruction=f"Fupisha: {english}.")
    assert found(f"{english}. Ni mji mkubwa.", "sw", summary) == []


def test_translation_follows_its_reference() -> None:
    into_english = question(
        category="Translation",
        instruction="译成英文：内罗毕是首都。",
        reference="Nairobi is the capital.",
    )
    assert judged(into_english)
    assert found("nairobi is surely the capital of the country", "zh", into_english) == []
    assert found("nairobi это the capital", "zh", into_english) == ["Cyrillic"]
    swahili = into_english.model_copy(update={"instruction": "Tafsiri kwa Kiingereza."})
    assert found("It is a large city in the east of Africa.", "sw", swahili) == []
    assert not judged(question(category="Translation"))
    assert not judged(question(category="Code", reference="x"))


def test_short_runs_and_lines_follow_the_settings() -> None:
    wide = CodeSwitchingCell(language="zh", min_run_letters=5)
    assert not find_switches("首都是 and 内罗毕", question(), "zh", wide).words
    short = CodeSwitchingCell(language="sw", min_line_letters=200)
    assert not find_switches(PLANTED[8][1], question(), "sw", short).lines
    unsure = CodeSwitchingCell(language="sw", min_confidence=0.9999999)
    assert not find_switches(PLANTED[8][1], question(), "sw", unsure).lines


def test_scripts_of_text() -> None:
    runs = [(run.script, run.letters) for run in script_runs("abc中文 कि x1é")]
    assert runs == [("Latin", 3), ("Han", 2), ("Devanagari", 1), ("Latin", 1), ("Latin", 1)]
    assert weigh_scripts("e\u0301a ーカ")["Latin"] == 2
    assert scripts_of_language("zh") == ("Han",)
    with pytest.raises(UserError, match=r"language: 'xx': add its row"):
        scripts_of_language("xx")


def test_summary_has_wilson_interval_by_category() -> None:
    rows = [
        {
            "id": str(i),
            "category": "AB"[i % 2],
            "by_line": i == 0,
            "by_word": i in (0, 1),
            "languages": ["Latin"] if i < 2 else [],
        }
        for i in range(10)
    ]
    summary = summarise(rows, {"Code": 4})
    assert (summary["n"], summary["switched"], summary["rate"]) == (10, 2, 0.2)
    # Wilson (1927) by hand: n = 10, p = 0.2, z = 1.959964.
    assert summary["low"] == pytest.approx(0.05668, abs=1e-5)
    assert summary["high"] == pytest.approx(0.50984, abs=1e-5)
    assert (summary["by_line"], summary["by_word"]) == (1, 2)
    assert summary["by_category"]["B"]["switched"] == 1
    assert summary["intruders"] == {"Latin": 2}
    assert summary["exempt"] == {"Code": 4}
    assert summarise([], {})["rate"] is None


def test_stage(make_job: Any, write_questions: Any, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "category": "Poetry", "instruction": "?"},
        {"id": "b", "category": "Code", "instruction": "?"},
        {"id": "c", "category": "Summary", "instruction": "?"},
    ]
    texts = {"a": CLEAN["zh"], "b": "print hello", "c": "首都是 essentially 内罗毕"}
    answers = tmp_path / "answers"
    write_jsonl(
        answers / "answers.jsonl", [{"id": r["id"], "answer": texts[r["id"]]} for r in rows]
    )
    parents = {"answers": answers, "benchmark": write_questions(rows)}
    job = make_job("code_switching/base/1k.zh.s1/qa/zh", {"language": "zh"}, parents)
    assert code_switching.run(job) == {"answers": 2}
    assert list(read_jsonl(job.out / "code_switching.jsonl")) == [
        {"id": "a", "category": "Poetry", "by_line": False, "by_word": False, "languages": []},
        {
            "id": "c",
            "category": "Summary",
            "by_line": False,
            "by_word": True,
            "languages": ["Latin"],
        },
    ]
    summary = json.loads((job.out / "summary.json").read_text())
    assert (summary["n"], summary["switched"], summary["exempt"]) == (2, 1, {"Code": 1})


def atlas_questions(language: str) -> list[Question]:
    templates = atlas.load_templates(RESOURCES / "atlas" / f"{language}.yaml")
    return [Question.model_validate(q.model_dump()) for q in atlas.questions(templates, 5, seed=2)]


@pytest.mark.parametrize("language", ["en", "zh", "sw", "hi"])
def test_the_atlas_is_monolingual(language: str) -> None:
    flagged = []
    for asked in filter(judged, atlas_questions(language)):
        alone = asked.model_copy(update={"reference": ""})
        known = asked if asked.category == "Translation" else alone
        flagged += [asked.reference] * bool(found(asked.reference, language, known))
    assert len(flagged) <= 1, flagged  # of 80


@pytest.mark.parametrize(("language", "share"), [("zh", 1.0), ("hi", 1.0), ("sw", 0.75)])
def test_the_atlas_in_english_is_found(language: str, share: float) -> None:
    pairs = zip(atlas_questions(language), atlas_questions("en"), strict=True)
    hits = [
        bool(found(english.reference, language, asked))
        for asked, english in pairs
        if asked.category not in ("Code", "Translation")
    ]
    assert sum(hits) >= share * len(hits)


def test_language_confusion_benchmark(shared_data: Path) -> None:
    """Real answers: command-r mixes in a little English; its English answers are all found."""
    csv.field_size_limit(10**9)
    path = shared_data / "language-confusion" / "outputs" / "command-r.csv"
    with path.open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["task"] == "monolingual"]
    answers = {
        language: [row["completion"] for row in rows if row["language"] == language]
        for language in ("zh", "ar", "hi", "id", "vi", "en")
    }
    for language, texts in answers.items():
        share = sum(bool(found(text, language)) for text in texts) / len(texts)
        assert share < 0.10, language
    for language in ("zh", "hi", "sw", "vi"):
        switched = sum(bool(found(text, language)) for text in answers["en"])
        assert switched >= 199, language


def test_flores_is_monolingual(shared_data: Path) -> None:
    folder = shared_data / "text" / "flores"
    for name, language in {"zho_Hans": "zh", "hin_Deva": "hi", "swh_Latn": "sw"}.items():
        (path,) = folder.rglob(f"{name}.devtest")
        lines = path.read_text(encoding="utf-8").splitlines()
        assert sum(bool(found(line, language)) for line in lines) / len(lines) < 0.01, language
