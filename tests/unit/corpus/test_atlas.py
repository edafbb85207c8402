"""The atlas: same bytes every time, same content in every language, nothing held out leaks."""

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml

from langtransfer.corpus.atlas import (
    CATEGORIES,
    Templates,
    documents,
    instructions,
    knowledge,
    load_templates,
    questions,
)
from langtransfer.corpus.atlas.draw import vocabulary
from langtransfer.corpus.atlas.exams import _held_out
from langtransfer.corpus.atlas.facts import Ref, is_held_out, world
from langtransfer.corpus.atlas.pairs import draw_item
from langtransfer.corpus.atlas.speaker import Speaker
from langtransfer.errors import UserError

FOLDER = Path(__file__).parents[3] / "resources" / "atlas"
LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
MANY = 20_000
# A word: letters with the combining marks that belong to them; zh is counted in pairs of
# characters, as it has no spaces.
WORD = re.compile(r"[^\W\d_](?:\w|[\u0610-\u065f\u0670\u0900-\u0dff]|['’\u200c\u200d])*")
HAN_PAIR = re.compile(r"(?=([\u4e00-\u9fff]{2}))")

each_language = pytest.mark.parametrize("language", LANGUAGES)


@cache
def templates(language: str) -> Templates:
    return load_templates(FOLDER / f"{language}.yaml")


@cache
def corpus(language: str) -> tuple[str, ...]:
    return tuple(d["text"] for d in documents(templates(language), MANY, seed=1))


def as_bytes(make: Callable[[], object]) -> bytes:
    return json.dumps(make(), ensure_ascii=False).encode()


def test_all_languages_of_the_paper_are_there() -> None:
    paper = {"ar", "bn", "gu", "hi", "id", "ml", "mr", "ne", "sw", "ta", "te", "ur", "vi"}
    assert {"en", "zh"} | paper <= set(LANGUAGES)
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 17


@each_language
def test_same_call_same_bytes(language: str) -> None:
    ours = templates(language)

    def make() -> object:
        return [
            list(documents(ours, 200, seed=3)),
            list(instructions(ours, 200, seed=3)),
            [q.model_dump() for q in questions(ours, 3, seed=3)],
            knowledge(ours, 80, seed=3),
        ]

    assert as_bytes(make) == as_bytes(make)


def test_a_range_can_be_made_on_its_own() -> None:
    en = templates("en")
    assert list(documents(en, 20, seed=1))[15:] == list(documents(en, 5, seed=1, start=15))
    assert list(instructions(en, 40, seed=1))[35:] == list(instructions(en, 5, seed=1, start=35))
    assert list(documents(en, 5, seed=1)) != list(documents(en, 5, seed=2))


def test_fewer_questions_are_the_first_of_more() -> None:
    few = {q.id: q for q in questions(templates("en"), 3, seed=1)}
    more = {q.id: q for q in questions(templates("en"), 8, seed=1)}
    assert few.items() <= more.items()


class Codes(Speaker):
    """Says codes instead of words: shows what a text is about."""

    def say(self, ref: object) -> str:  # type: ignore[override]
        return f"<{ref}>"


@pytest.mark.parametrize("make", [documents, instructions])
def test_same_number_same_content(make: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("stories", "pairs"):
        monkeypatch.setattr(f"langtransfer.corpus.atlas.{module}.Speaker", Codes)

    def content(item: dict[str, str]) -> tuple[str, list[str]]:
        shown = re.findall(r"<[^>]+>", json.dumps(item, ensure_ascii=False))
        return item["id"], sorted(set(shown))

    wanted = [content(item) for item in make(templates("en"), 600, seed=5)]
    for language in LANGUAGES:
        assert [content(item) for item in make(templates(language), 600, seed=5)] == wanted


def test_questions_and_tests_ask_the_same_in_every_language() -> None:
    asked = {language: questions(templates(language), 6, seed=2) for language in LANGUAGES}
    letters = {language: knowledge(templates(language), 60, seed=2) for language in LANGUAGES}
    assert len({tuple((q.id, len(q.keys)) for q in found) for found in asked.values()}) == 1
    assert len({tuple((t["id"], t["answer"]) for t in found) for found in letters.values()}) == 1
    for first, *others in zip(*asked.values(), strict=True):
        assert all(numbers(other.instruction) == numbers(first.instruction) for other in others)


def numbers(text: str) -> list[int]:
    """Whatever digits they are written in."""
    return sorted(map(int, re.findall(r"\d+", text)))


def test_nothing_held_out_is_in_the_instructions() -> None:
    words = vocabulary(templates("en"))
    asked = {d.item for c in CATEGORIES for d in _held_out(c, 60, words, seed=1)}
    told = {
        draw_item(
            CATEGORIES[i % 17], f"instructions:1:{i}", words, held_out=False, seen=frozenset()
        ).item
        for i in range(17 * 300)
    }
    assert len(asked) == 17 * 60
    assert not asked & told
    assert all(is_held_out(item) for item in asked)


@each_language
def test_no_question_is_an_instruction(language: str) -> None:
    ours = templates(language)
    told = {(i["instruction"], i["input"]) for i in instructions(ours, 17 * 200, seed=1)}
    closed = {"Factual_questions", "Classification", "Translation", "Math_Solving", "Code"}
    asked = {(q.instruction, q.input) for q in questions(ours, 40, seed=1) if q.category in closed}
    assert not told & asked


@each_language
def test_every_category_is_there_and_short(language: str) -> None:
    pairs = list(instructions(templates(language), 17 * 40, seed=1))
    assert Counter(p["category"] for p in pairs) == dict.fromkeys(CATEGORIES, 40)
    assert all(p["instruction"] and p["output"] for p in pairs)
    assert max(len(p["output"].split()) for p in pairs) <= 30
    assert not any("{" in p["output"] or "{" in p["instruction"] for p in pairs)


@each_language
def test_a_reference_satisfies_its_own_keys(language: str) -> None:
    for question in questions(templates(language), 88, seed=1):
        answer = question.reference.casefold()
        assert 1 <= len(question.keys) <= 3
        for group in question.keys:
            assert any(key.casefold() in answer for key in group), question
        assert all(group and all(group) for group in question.keys)
        assert not any(text.casefold() in answer for text in question.wrong), question


@each_language
def test_knowledge_is_balanced_and_has_one_right_option(language: str) -> None:
    tests = knowledge(templates(language), 400, seed=1)
    assert Counter(t["answer"] for t in tests) == dict.fromkeys("ABCD", 100)
    assert all(len({t[letter].casefold() for letter in "ABCD"}) == 4 for t in tests)
    assert len({t["question"] for t in tests}) == len({t["id"] for t in tests}) == 400


@each_language
def test_two_thousand_words_and_few_digits(language: str) -> None:
    text = "\n".join(corpus(language))
    pattern = HAN_PAIR if language == "zh" else WORD
    assert len(set(pattern.findall(text.lower()))) >= 2_000
    assert sum(c.isdigit() for c in text) <= 0.25 * len(text)


@each_language
def test_a_minority_of_the_text_is_arithmetic_or_dates(language: str) -> None:
    texts = corpus(language)
    numeric = sum(len(t) for t in texts if len(re.findall(r"\d+", t)) >= 3)
    assert numeric <= 0.25 * sum(map(len, texts))


@each_language
def test_documents_are_whole_and_varied(language: str) -> None:
    texts = corpus(language)
    ends = [len(re.findall(r"[.!?。！？।۔؟]", text)) for text in texts]
    assert len(set(texts)) > 0.995 * MANY
    assert 3 <= sum(ends) / MANY <= 10
    assert not any("{" in text or "None" in text for text in texts)


@each_language
def test_vocabulary_is_large_enough(language: str) -> None:
    words = templates(language).words
    least = {"person": 60, "object": 60, "food": 40, "animal": 40, "job": 40, "place": 40}
    assert all(len(words[kind]) >= count for kind, count in least.items())
    assert len(words["activity"]) >= 40
    assert len(words["trait"]) >= 40
    for sentences in templates(language).documents.values():
        assert len(sentences["opening"]) >= 4


def test_the_world_is_not_empty() -> None:
    assert len(world().lands) > 100
    assert len({city for land in world().lands for city in land.cities}) > 200


def test_numbers_in_native_digits_count_as_right_in_both_ways() -> None:
    marathi = templates("en").model_copy(update={"locale": "mr"})
    sums = [q for q in questions(marathi, 12, seed=1) if q.category == "Math_Solving"]
    assert all(len(group) == 2 for q in sums for group in q.keys)
    assert all(re.search("[०-९]", q.reference) for q in sums)


def test_months_do_not_depend_on_the_language_spoken_before() -> None:
    # babel keeps the inherited table of the first locale asked: the wrong context would show it.
    names = {
        "zh": "五月",
        "en": "May",
        "hi": "मई",
        "sw": "Mei",
        "ta": "மே",
        "ar": "مايو",
        "ur": "مئی",
    }
    for language, may in names.items():
        assert Speaker(templates(language)).names.name("month", "5") == may


def test_too_many_questions_are_refused() -> None:
    with pytest.raises(UserError, match="ask for fewer"):
        questions(templates("en"), 500, seed=1)


def changed(tmp_path: Path, change: Callable[[dict], None], name: str = "zh") -> Path:
    """A copy of the reference and of one changed file."""
    (tmp_path / "en.yaml").write_text((FOLDER / "en.yaml").read_text("utf-8"), "utf-8")
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    change(content)
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")
    return path


BROKEN: dict[str, tuple[Callable[[dict], object], str]] = {
    "unknown key": (lambda c: c.update(colour="x"), "colour"),
    "unknown locale": (lambda c: c.update(locale="xx_YY"), "locale"),
    "locale without names": (lambda c: c.update(locale="ak"), "CLDR has no name"),
    "missing word": (lambda c: c["words"]["food"].pop("rice"), "words.food: 'rice': missing"),
    "word twice": (lambda c: c["words"]["food"].update(rice="x", bread="x"), "more than one key"),
    "missing kind": (lambda c: c["documents"].pop("trip"), "documents: 'trip': add it"),
    "missing task": (lambda c: c["tasks"]["Code"].pop("sum"), "tasks.Code: 'sum': add it"),
    "unknown fact": (lambda c: c["knowledge"].update(x="y"), "knowledge: 'x'"),
    "unknown slot": (
        lambda c: c["knowledge"].update(sum="{n} {nothing}"),
        "knowledge.sum: '{n} {nothing}': slots must be among",
    ),
    "lost slot": (lambda c: c["knowledge"].update(sum="{n}"), "slots must be: n, n2"),
    "open brace": (lambda c: c["knowledge"].update(sum="{n"), "braces"),
    "fewer variants": (
        lambda c: c["documents"]["trip"]["opening"].pop(),
        "documents.trip.opening.3': missing",
    ),
    "no opening": (lambda c: c["documents"]["trip"].pop("opening"), "needs an opening"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_file_is_refused_by_file_and_key(problem: str, tmp_path: Path) -> None:
    change, words = BROKEN[problem]
    path = changed(tmp_path, lambda content: (change(content), None)[1])
    with pytest.raises(UserError) as caught:
        load_templates(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"xx\.yaml"):
        load_templates(tmp_path / "xx.yaml")


def test_the_order_of_words_in_a_file_decides_nothing(tmp_path: Path) -> None:
    def reverse(content: dict) -> None:
        content["words"] = {
            kind: dict(reversed(words.items())) for kind, words in content["words"].items()
        }

    ours = load_templates(changed(tmp_path, reverse))
    assert list(documents(ours, 50, seed=1)) == list(documents(templates("zh"), 50, seed=1))


def test_a_sentence_begins_with_a_capital_also_inside_a_quote() -> None:
    en = Speaker(templates("en"))
    assert en.fill("“a fox", {}) == "“A fox"
    assert en.fill("a fox", {}) == "A fox"
    assert en.fill("{code}", {"code": Ref("raw", "print(1)")}) == "print(1)"


def test_cities_are_spelled_in_the_script_of_the_language() -> None:
    zones = [zone for land in world().lands for zone in land.cities]
    for language in ("zh", "hi"):
        names = Speaker(templates(language)).names
        assert not [zone for zone in zones if names.name("city", zone).isascii()]
