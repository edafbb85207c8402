"""Code-switching: planted switches are found, clean text and stated exceptions are not."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.evaluation import CodeSwitchingCell
from langtransfer.corpus import atlas
from langtransfer.corpus.jsonl import read_jsonl, write_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation import code_switching as code_switching_rule
from langtransfer.evaluation import scripts_of_text
from langtransfer.evaluation.code_switching import find_switches, is_empty, judged, summarise
from langtransfer.evaluation.questions import Question
from langtransfer.evaluation.scripts_of_text import script_runs, scripts_of_language, weigh_scripts
from langtransfer.languages import known_languages
from langtransfer.resources import RESOURCES
from scripts import code_switching

CLEAN = {
    "zh": "肯尼亚的首都是内罗毕。它位于非洲东部，人口超过四百万，是东非最大的城市之一。",
    "hi": "केन्या की राजधानी नैरोबी है। यह पूर्वी अफ़्रीका का एक बड़ा शहर है।",
    "sw": "Mji mkuu wa Kenya ni Nairobi. Mji huu uko Afrika ya Mashariki na una watu wengi sana.",
    "ar": "عاصمة كينيا هي نيروبي، وهي مدينة كبيرة تقع في شرق أفريقيا.",
    "en": "The capital of Kenya is Nairobi. It is a large city in the east of Africa.",
}
# (asked for, answer, by word, by line, intruders)
PLANTED = [
    ("zh", "肯尼亚的首都是 essentially 内罗毕。", True, False, ["en"]),
    ("zh", "首都是内罗毕，это большой город。", True, False, ["ru"]),
    ("zh", "首都はナイロビです、内罗毕。", False, True, ["ja"]),
    ("zh", "首都是内罗毕。\nThe capital of Kenya is Nairobi.", False, True, ["en"]),
    ("zh", "首都是内罗毕2个individualized的城市。", True, False, ["en"]),
    ("hi", "केन्या की राजधानी नैरोबी है और यह virtually बड़ा है।", True, False, ["en"]),
    ("hi", "केन्या की राजधानी 内罗毕 है।", True, False, ["zh"]),
    ("hi", "Kenya ki rajdhani Nairobi hai aur yah bahut bada shahar hai", False, True, ["Latin"]),
    (
        "hi",
        "केन्या की राजधानी नैरोबी है। काठमाडौँ नेपालको राजधानी हो र यो धेरै ठूलो सहर हो।",
        False,
        True,
        ["ne"],
    ),
    (
        "hi",
        "केन्या की राजधानी नैरोबी है और यो धेरै ठूलो सहर हो जहाँ धेरै मानिसहरू बस्छन् यहाँ बहुत लोग रहते हैं।",
        True,
        False,
        ["ne"],
    ),
    (
        "sw",
        "Mji mkuu wa Kenya ni Nairobi. It is a large city in the east of Africa.",
        False,
        True,
        ["en"],
    ),
    (
        "sw",
        "Mji mkuu wa Kenya ni Nairobi, which is a large city, na watu wengi wanaishi huko.",
        True,
        False,
        ["en"],
    ),
    (
        "sw",
        "Mji mkuu ni 内罗毕. It is a large city in the east of Africa.",
        True,
        True,
        ["en", "zh"],
    ),
    ("sw", "Mji mkuu wa Kenya ni 内罗毕.", True, False, ["zh"]),
    ("ur", "عاصمة كينيا هي نيروبي، وهي مدينة كبيرة تقع في شرق أفريقيا.", False, True, ["ar"]),
    (
        "en",
        "The capital is Nairobi. La ville est très grande, à l'est de l'Afrique.",
        False,
        True,
        ["fr"],
    ),
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


@pytest.mark.parametrize(
    "answer",
    [
        "Kitabu cha Gone with the Wind ni maarufu sana duniani.",
        "Rais wa Marekani alikutana na Secretary of State huko Washington.",
        "Anapenda kutumia computer na internet kila siku nyumbani.",
        "Neno hilo ni really really really really really zuri sana.",
        "Alisema “which is a very large city indeed” kisha akaondoka.",
        "Andika `for the first item in the list` kwenye faili hilo.",
    ],
)
def test_stated_exceptions_in_one_script(answer: str) -> None:
    assert found(answer, "sw") == []


def test_exceptions_end_where_they_say() -> None:
    assert found("“" + "to be or not to be " * 10 + "”是名句。", "zh") == ["en"]
    assert found("The capital of France 是巴黎。", "zh") == ["en"]
    assert found("“The capital is a very large city indeed.”", "sw") == ["en"]  # no more said
    assert found("巴黎 Paris de 。", "zh") == ["Latin"]  # no name after the particle
    assert found("距离是 5 kilometres 。", "zh") == ["Latin"]


def test_copied_input_is_no_switch() -> None:
    asked = question(instruction="“essentially”是什么意思？", reference="意思是 basically。")
    assert found("essentially 的意思是 Basically。", "zh", asked) == []
    assert found("essentially 的意思是 mostly。", "zh", asked) == ["en"]
    english = "It is a large city in the east of Africa"
    summary = question(instruction=f"Fupisha: {english}.")
    assert found(f"{english}. Ni mji mkubwa.", "sw", summary) == []
    assert found(f"Mji huu, {english.lower()}, ni mkubwa.", "sw", summary) == []
    other = "and many people live there because of the work"
    assert found(f"Mji huu, {other}, ni mkubwa.", "sw", summary) == ["en"]


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


def test_the_settings_decide() -> None:
    wide = CodeSwitchingCell(language="zh", min_run_letters=5)
    assert not find_switches("首都是 and 内罗毕", question(), "zh", wide).words
    french = "The capital is Nairobi. La ville est très grande, à l'est de l'Afrique."
    short = CodeSwitchingCell(language="en", min_line_letters=200)
    assert not find_switches(french, question(), "en", short).lines
    unsure = CodeSwitchingCell(language="en", min_confidence=0.9999999)
    assert not find_switches(french, question(), "en", unsure).lines
    clause = "केन्या की राजधानी नैरोबी है जहाँ धेरै ठूलो सहर है।"
    strict = CodeSwitchingCell(language="hi", false_alarms=1e-6)
    assert found(clause, "hi") == ["ne"]
    assert not find_switches(clause, question(), "hi", strict).words


def test_a_language_with_two_scripts_is_at_home_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(known_languages())
    table["sr"] = replace(table["en"], code="sr", scripts=("Cyrillic", "Latin"))
    for module in (code_switching_rule, scripts_of_text):
        monkeypatch.setattr(module, "known_languages", lambda: table)
    both = "Главни град Кеније је Најроби. Glavni grad Kenije je Najrobi."
    assert found(both, "sr") == []
    assert found(both + " 内罗毕是首都", "sr") == ["zh"]


@pytest.mark.parametrize("answer", ["", " \n", "42", "```\nprint(1)\n```", "https://a.org/b", "…"])
def test_empty_answers_are_in_no_language(answer: str) -> None:
    assert is_empty(answer)


@pytest.mark.parametrize("answer", ["内罗毕", "Nairobi", "“essentially”", "5 क"])
def test_a_letter_is_not_empty(answer: str) -> None:
    assert not is_empty(answer)


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
    summary = summarise(rows, "hi", {"Code": 4}, {"Poetry": 1})
    assert (summary["n"], summary["switched"], summary["rate"]) == (10, 2, 0.2)
    # Wilson (1927) by hand: n = 10, p = 0.2, z = 1.959964.
    assert summary["low"] == pytest.approx(0.05668, abs=1e-5)
    assert summary["high"] == pytest.approx(0.50984, abs=1e-5)
    assert (summary["by_line"], summary["by_word"]) == (1, 2)
    assert summary["by_category"]["B"]["switched"] == 1
    assert summary["intruders"] == {"Latin": 2}
    assert summary["matrix"] == {"hi": {"Latin": 2}}
    assert summary["same_script"] == ["mr", "ne"]
    assert (summary["exempt"], summary["empty"]) == ({"Code": 4}, {"Poetry": 1})
    assert summarise([], "zh", {}, {})["rate"] is None
    assert summarise([], "zh", {}, {})["same_script"] == []


def test_stage(make_job: Any, write_questions: Any, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "category": "Poetry", "instruction": "?"},
        {"id": "b", "category": "Code", "instruction": "?"},
        {"id": "c", "category": "Summary", "instruction": "?"},
        {"id": "d", "category": "Summary", "instruction": "?"},
        {"id": "e", "category": "Summary", "instruction": "?"},
    ]
    english = "The capital of Kenya is Nairobi and it is very large."
    mixed = CLEAN["zh"] + "首都是 essentially 内罗毕"
    texts = {"a": CLEAN["zh"], "b": "print hello", "c": mixed, "d": " \n", "e": english}
    answers = tmp_path / "answers"
    write_jsonl(
        answers / "answers.jsonl", [{"id": r["id"], "answer": texts[r["id"]]} for r in rows]
    )
    parents = {"answers": answers, "benchmark": write_questions(rows)}
    job = make_job("code_switching/base/1k.zh.s1/qa/zh", {"language": "zh"}, parents)
    assert code_switching.run(job) == {"answers": 3}
    found = [(r["id"], r["by_line"], r["by_word"], r["languages"]) for r in judged_rows(job.out)]
    assert found == [
        ("a", False, False, []),
        ("c", False, True, ["en"]),
        ("e", True, False, ["en"]),
    ]
    summary = json.loads((job.out / "summary.json").read_text())
    assert (summary["n"], summary["switched"]) == (3, 2)
    assert (summary["exempt"], summary["empty"]) == ({"Code": 1}, {"Summary": 1})
    assert summary["matrix"] == {"zh": {"en": 2}}
    benchmark = summary["language_confusion"]
    assert (benchmark["n"], benchmark["lpr"]) == (3, pytest.approx(2 / 3))
    assert (benchmark["wpr_n"], benchmark["wpr"]) == (2, 0.5)
    assert benchmark["identifier"].startswith("py3langid 0.")


def judged_rows(folder: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(folder / "code_switching.jsonl"))


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


@pytest.mark.parametrize(("language", "share"), [("zh", 1.0), ("hi", 1.0), ("sw", 0.85)])
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
