"""Held-out questions with known answers, and the four-option knowledge test."""

import random
from collections.abc import Callable, Iterator

from pydantic import BaseModel, ConfigDict

from langtransfer.corpus.atlas.draw import Draw, Vocabulary, vocabulary
from langtransfer.corpus.atlas.facts import CONTINENTS, Ref
from langtransfer.corpus.atlas.pairs import Drawn, draw_item, texts
from langtransfer.corpus.atlas.speaker import Speaker
from langtransfer.corpus.atlas.tasks import CATEGORIES, NOUN_KINDS
from langtransfer.corpus.atlas.templates import Templates

LETTERS = "ABCD"


class Question(BaseModel):
    """A question whose right answers are known.

    An answer is fully right if for every group of `keys` at least one of its strings occurs in
    it, whatever the case; it is wrong if a string of `wrong` occurs in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    category: str
    instruction: str
    input: str
    reference: str
    keys: list[list[str]]
    wrong: list[str]


def questions(templates: Templates, per_category: int, *, seed: int) -> list[Question]:
    """`per_category` questions of each category, held out from `instructions`.

    Question i asks the same in every language, and a larger `per_category` only adds questions.
    Raises UserError if a category has fewer items.
    """
    speaker, words = Speaker(templates), vocabulary(templates)
    found = []
    for category in CATEGORIES:
        for number, drawn in enumerate(_held_out(category, per_category, words, seed), start=1):
            found.append(_question(speaker, drawn, f"{category}_{number}"))
    return found


def _held_out(category: str, count: int, words: Vocabulary, seed: int) -> Iterator[Drawn]:
    seen: set[str] = set()
    for number in range(count):
        name = f"questions:{seed}:{category}:{number}"
        drawn = draw_item(category, name, words, held_out=True, seen=seen)
        seen.add(drawn.item)
        yield drawn


def _question(speaker: Speaker, drawn: Drawn, name: str) -> Question:
    instruction, given, reference = texts(speaker, drawn)
    folded = reference.casefold()
    wrong = (speaker.answers(ref)[0] for ref in drawn.wrong)
    return Question(
        id=name,
        category=drawn.category,
        instruction=instruction,
        input=given,
        reference=reference,
        keys=[speaker.answers(drawn.slots[slot]) for slot in drawn.spec.keys],
        # One name can lie inside another ("Ana" in "Diana"): such a string proves nothing.
        wrong=[text for text in dict.fromkeys(wrong) if text.casefold() not in folded],
    )


Options = list[Ref]  # the right one first, then three wrong ones


def _three(rng: random.Random, right: Ref, others: Iterator[Ref]) -> Options:
    return [right, *rng.sample(sorted({o for o in others if o != right}, key=str), 3)]


def _currency(d: Draw) -> Options:
    d.lands()
    return _three(
        d.rng, d.slots["currency"], (Ref("currency", land.currency) for land in d.world.lands)
    )


def _language(d: Draw) -> Options:
    d.lands(keep=lambda land: len(land.languages) == 1)
    right = Ref("language", d.slots["languages"].key)
    official = {code for land in d.world.lands for code in land.languages}
    return _three(d.rng, right, (Ref("language", code) for code in official))


def _continent(d: Draw) -> Options:
    d.lands()
    parts = set(CONTINENTS.values())
    return _three(d.rng, d.slots["continent"], (Ref("continent", part) for part in parts))


def _city(d: Draw) -> Options:
    d.lands()
    return _three(
        d.rng, d.slots["territory"], (Ref("territory", land.code) for land in d.world.lands)
    )


def _month(d: Draw) -> Options:
    first, later = d.rng.randrange(12), d.rng.randint(2, 11)
    d.put("month", "month", first + 1)
    d.put("n", "number", later)
    months = (Ref("month", str(month)) for month in range(1, 13))
    return _three(d.rng, Ref("month", str((first + later) % 12 + 1)), months)


def _weekday(d: Draw) -> Options:
    first, later = d.rng.randrange(7), d.rng.randint(2, 6)
    d.put("weekday", "weekday", first)
    d.put("n", "number", later)
    days = (Ref("weekday", str(day)) for day in range(7))
    return _three(d.rng, Ref("weekday", str((first + later) % 7)), days)


def _sum(d: Draw) -> Options:
    d.sums(50)
    right = int(d.slots["sum"].key)
    near = (Ref("number", str(number)) for number in range(max(2, right - 8), right + 9))
    return _three(d.rng, d.slots["sum"], near)


def _noun(d: Draw) -> Options:
    kind = d.rng.choice(NOUN_KINDS)
    d.put("thing", kind, d.rng.choice(d.vocabulary[kind]))
    return _three(d.rng, Ref("label", kind), (Ref("label", label) for label in NOUN_KINDS))


# Kind of fact -> (how often, how to draw it).
KNOWLEDGE: dict[str, tuple[int, Callable[[Draw], Options]]] = {
    "currency": (4, _currency),
    "language": (3, _language),
    "continent": (3, _continent),
    "city": (4, _city),
    "month": (1, _month),
    "weekday": (1, _weekday),
    "sum": (2, _sum),
    "noun": (3, _noun),
}

# The slots that a question shows.
ASKED = {
    "currency": ("territory",),
    "language": ("territory",),
    "continent": ("territory",),
    "city": ("city",),
    "month": ("month", "n"),
    "weekday": ("weekday", "n"),
    "sum": ("n", "n2"),
    "noun": ("thing",),
}


def knowledge(templates: Templates, count: int, *, seed: int) -> list[dict[str, str]]:
    """`count` tests {"id", "question", "A", "B", "C", "D", "answer"}, no two alike.

    Same facts, options and right letter in every language; each letter is right equally often.
    """
    speaker, words = Speaker(templates), vocabulary(templates)
    seen: set[str] = set()
    return [_test(speaker, words, f"knowledge:{seed}", index, seen) for index in range(count)]


def _test(
    speaker: Speaker, words: Vocabulary, name: str, index: int, seen: set[str]
) -> dict[str, str]:
    kind, draw, options = _fresh(random.Random(f"{name}:{index}"), words, seen)
    answer = _letter(name, index)
    wrong = iter(options[1:])
    shown = {letter: options[0] if letter == answer else next(wrong) for letter in LETTERS}
    return {
        "id": f"knowledge-{index:05d}",
        "question": speaker.fill(speaker.templates.knowledge[kind], draw.slots),
        **{letter: speaker.say(ref) for letter, ref in shown.items()},
        "answer": answer,
    }


def _fresh(rng: random.Random, words: Vocabulary, seen: set[str]) -> tuple[str, Draw, Options]:
    """A fact that was not asked before; 2,401 sums are the last to run out."""
    while True:
        kind = rng.choices(list(KNOWLEDGE), [often for often, _ in KNOWLEDGE.values()])[0]
        draw = Draw(rng, words)
        options = KNOWLEDGE[kind][1](draw)
        fact = f"{kind}|{_asked(kind, draw)}"
        if fact not in seen:
            seen.add(fact)
            return kind, draw, options


def _asked(kind: str, draw: Draw) -> str:
    return "|".join(str(draw.slots[slot]) for slot in ASKED[kind])


def _letter(name: str, index: int) -> str:
    """Every block of four questions has each letter once."""
    block = random.Random(f"{name}:letters:{index // 4}").sample(LETTERS, 4)
    return block[index % 4]
