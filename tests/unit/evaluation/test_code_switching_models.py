"""Character n-gram models: proper distributions, the best stretch, thresholds, and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer.corpus.jsonl import read_json, read_lines
from langtransfer.evaluation.character_ngrams import (
    CLIP,
    COST,
    END,
    CharacterModel,
    Tail,
    Word,
    _stretch,
    calibration,
    common_words,
    find_clauses,
    largest_gain,
    load_model,
    load_tail,
    profile,
)
from langtransfer.evaluation.language_confusion import ENGLISH_WORDS
from langtransfer.languages import known_languages
from scripts import character_ngrams as builder


def model_of(script: str) -> CharacterModel:
    model = load_model(script)
    assert model is not None
    return model


@pytest.mark.parametrize("script", sorted(builder.SCRIPTS))
def test_next_characters_are_a_distribution(script: str) -> None:
    model = model_of(script)
    characters = [gram for gram in model._counts if len(gram) == 1]
    for context in ("", *sorted(model._totals)[:: len(model._totals) // 20], "xyz"):
        columns = zip(*(model._probabilities(context, c) for c in characters), strict=True)
        assert [sum(column) for column in columns] == pytest.approx([1.0] * len(model.languages))


def test_what_was_seen_rarely_tells_little() -> None:
    def lead(times: int) -> float:
        counts = {"^x": [50, 50], "^xy": [times, 0], f"^xy{END}": [times, 0], f"^x{END}": [9, 9]}
        first, second = CharacterModel(("a", "b"), counts).scores("xy")
        return first - second

    assert 0 < lead(1) < 0.6 < 1.2 < lead(100)


def test_every_script_that_languages_share_has_models_of_them() -> None:
    users: dict[str, set[str]] = {}
    for row in known_languages().values():
        for script in row.scripts:
            users.setdefault(script, set()).add(row.code)
    shared = {script: names for script, names in users.items() if len(names) > 1}
    assert {script: set(model_of(script).languages) for script in shared} == shared


@pytest.mark.parametrize(
    ("text", "common"),
    [
        ("Mji mkubwa zaidi huko New York ni huu", ["mkubwa", "zaidi", "huko", "ni", "huu"]),
        ("kitabu cha Gone with the Wind leo", ["kitabu", "cha", "leo"]),
        ("Gone with, the Wind", ["with", "the"]),  # a comma ends a name
        ("The end of a long Day", ["end", "of", "a", "long"]),  # four words are no title's
        ("hutumia iPhone na NASA pia", ["hutumia", "pia"]),
        ("COVID19 x1 don't", ["x", "don", "t"]),
    ],
)
def test_names_are_no_common_words(text: str, common: list[str]) -> None:
    words = common_words(text, "Latin")
    assert [word.text for word in words] == common
    assert [text[word.start : word.end] for word in words] == common


@given(st.lists(st.floats(-8, 8), max_size=12), st.data())
def test_the_best_stretch_is_the_best(gains: list[float], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(gains)))
    last = data.draw(st.integers(first, len(gains)))
    best = _stretch("x", gains, first, last)
    sums = [sum(gains[a:b]) for a in range(first, last) for b in range(a + 1, last + 1)]
    assert best.gain == pytest.approx(max([0.0, *sums]))
    assert sum(gains[best.first : best.last]) == pytest.approx(best.gain)


ENGLISH = tuple(
    word.text for word in common_words("because many people there rather stay", "Latin")
)
SWAHILI = tuple(
    word.text for word in common_words("kwa sababu watu wengi wanapenda kukaa", "Latin")
)


@given(st.lists(st.sampled_from([*ENGLISH, *SWAHILI]), max_size=25), st.floats(1, 20))
def test_clauses_are_apart_in_order_and_gain_enough(words: list[str], threshold: float) -> None:
    model = model_of("Latin")
    sequence = [Word(word, 0, 0) for word in words]
    found = find_clauses(sequence, "sw", model, threshold)
    ends = [0, *(clause.last for clause in found)]
    assert all(clause.first >= end for clause, end in zip(found, ends, strict=False))
    assert all(clause.gain >= threshold and clause.language != "sw" for clause in found)
    if largest_gain(sequence, "sw", model) < threshold:
        assert not found


def test_two_clauses_of_two_languages_are_both_found() -> None:
    text = (
        f"{' '.join(SWAHILI)} {' '.join(ENGLISH)} {' '.join(SWAHILI)} "
        "orang di sana lebih suka tinggal bersama keluarga mereka"
    )
    words = common_words(text, "Latin")
    found = find_clauses(words, "sw", model_of("Latin"), 8.0)
    assert [clause.language for clause in found] == ["en", "id"]
    assert [word.text for word in words[found[0].first : found[0].last]] == list(ENGLISH)


def test_one_word_is_never_enough() -> None:
    model = model_of("Latin")
    assert largest_gain([Word("throughout", 0, 0)], "sw", model) <= CLIP - COST
    often = [Word("throughout", 0, 0)] * 9  # a word that comes again is no further evidence
    assert largest_gain(often, "sw", model) <= CLIP - COST
    for script, languages in builder.SCRIPTS.items():
        assert min(load_tail(script, name).threshold(1, 0.0999) for name in languages) >= CLIP
    known = [Word(word, 0, 0, evidence=False) for word in ENGLISH]
    assert largest_gain(known, "sw", model) == 0


@pytest.mark.parametrize("passages", [1, 4, 16])
def test_threshold_keeps_its_false_alarms_at_any_length(passages: int) -> None:
    rng = np.random.default_rng(1)
    tail = Tail(start=9.0, scale=1.5)
    drawn = rng.exponential(tail.scale, size=(20_000, passages))
    reach = rng.random(drawn.shape) < 0.1
    largest = np.where(reach, tail.start + drawn, 0.0).max(axis=1)
    for share in (0.01, 0.05):
        assert np.mean(largest > tail.threshold(25 * passages, share)) == pytest.approx(
            share, rel=0.2
        )


def test_tail_is_recovered_in_spite_of_real_switches() -> None:
    rng = np.random.default_rng(2)
    low, high = rng.uniform(0, 5, 4_500), 5 + rng.exponential(1.2, 500)
    high[:20] = 60.0  # passages that really are in another language
    tail = builder.fit_tail([*low, *high])
    assert (tail.start, tail.scale) == (pytest.approx(5.0, abs=0.1), pytest.approx(1.2, rel=0.2))


@pytest.mark.parametrize("script", sorted(builder.SCRIPTS))
def test_counts_are_those_the_script_makes(shared_data: Path, script: str) -> None:
    """Compared line by line: the compressed bytes depend on the version of zstd."""
    found = builder.texts_of(shared_data / "text", script)
    made = builder.profile_lines(builder.count(script, builder.merged(found)))
    header = "\t".join(["ngram", *builder.SCRIPTS[script]])
    assert [line for _, line in read_lines(profile(script)) if line] == [header, *made]


def test_tail_and_english_words_are_those_the_script_makes(shared_data: Path) -> None:
    text = shared_data / "text"
    made = builder.tails("Arabic", builder.texts_of(text, "Arabic"))
    assert read_json(calibration())["Arabic"] == made
    words = builder.english_words(builder.english(text))
    assert [line for _, line in read_lines(ENGLISH_WORDS) if line] == words
