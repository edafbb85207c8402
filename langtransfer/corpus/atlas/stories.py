"""Running text: what each kind of document is about, and how one is put together."""

import random
from collections.abc import Callable, Iterator

from langtransfer.corpus.atlas.draw import Draw, Vocabulary, vocabulary
from langtransfer.corpus.atlas.speaker import Speaker
from langtransfer.corpus.atlas.templates import Templates


def _country(d: Draw) -> None:
    d.lands()
    d.words(person=1, food=1)
    d.languages()


def _portrait(d: Draw) -> None:
    d.lands()
    d.words(person=1, job=1, food=2, colour=1, trait=1, activity=1, animal=1, place=1)


def _shopping(d: Draw) -> None:
    d.words(person=2, place=1, food=2, object=1, feeling=1)
    d.any_days()
    d.a_price()


def _trip(d: Draw) -> None:
    d.lands(2)
    d.words(person=2, vehicle=1, weather=1, place=1, animal=1, plant=1, object=1)
    d.months()
    d.a_distance()


def _nature(d: Draw) -> None:
    d.words(person=1, animal=2, plant=1, place=1, colour=1, food=1, weather=1, trait=1)


def _dialogue(d: Draw) -> None:
    d.words(person=2, food=2, place=1, activity=1, object=1, feeling=1)
    d.any_days()
    d.lands()
    d.languages()


def _comparison(d: Draw) -> None:
    d.lands(2)
    d.words(person=1)


def _calendar(d: Draw) -> None:
    d.words(person=2, weather=1, food=1, activity=1)
    d.months()
    d.next_days()
    d.a_date()


def _arithmetic(d: Draw) -> None:
    d.words(person=2, place=1, feeling=1, object=1, food=1)
    d.sums(400)
    d.products()


def _school(d: Draw) -> None:
    d.words(person=2, place=1, subject=2, object=1, feeling=1, trait=1, job=1)
    d.any_days(2)
    d.languages(2)
    d.lands()


def _work(d: Draw) -> None:
    d.words(person=2, place=1, job=2, object=2, trait=1, food=1, activity=1)
    d.months()
    d.any_days()
    d.a_price()


def _nouns(d: Draw) -> None:
    d.words(person=1, animal=2, food=2, job=2, place=2, object=2, colour=2)


def _home(d: Draw) -> None:
    d.words(person=2, place=1, weather=1, relation=1, food=2, activity=1, feeling=1)
    d.words(object=1, colour=1, animal=2, plant=1)
    d.any_days()
    d.lands()


def _money(d: Draw) -> None:
    d.words(person=2, place=1, object=1, animal=1, trait=1)
    d.coins(2)
    d.lands()
    d.a_price()
    d.languages(2)


# Kind -> (how often, what it is about). Calendar and arithmetic stay a minority.
KINDS: dict[str, tuple[int, Callable[[Draw], None]]] = {
    "country": (16, _country),
    "portrait": (9, _portrait),
    "shopping": (8, _shopping),
    "trip": (8, _trip),
    "nature": (8, _nature),
    "dialogue": (8, _dialogue),
    "comparison": (8, _comparison),
    "calendar": (9, _calendar),
    "arithmetic": (8, _arithmetic),
    "school": (7, _school),
    "work": (7, _work),
    "nouns": (6, _nouns),
    "home": (8, _home),
    "money": (6, _money),
}
MOST_SENTENCES = 10


def documents(
    templates: Templates, count: int, *, seed: int, start: int = 0
) -> Iterator[dict[str, str]]:
    """Yield `count` documents {"id", "text"} from number `start` on.

    A document is decided by its number and the seed alone: any range can be made on its own, and
    the same id says the same in every language.
    """
    speaker, words = Speaker(templates), vocabulary(templates)
    for index in range(start, start + count):
        yield {"id": f"atlas-{index:06d}", "text": _document(speaker, words, f"{seed}:{index}")}


def _document(speaker: Speaker, words: Vocabulary, name: str) -> str:
    rng = random.Random(f"documents:{name}")
    kind = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    draw = Draw(rng, words)
    KINDS[kind][1](draw)
    frames = speaker.templates.documents[kind]
    picked = _pick_variants(rng, {sentence: len(frames[sentence]) for sentence in frames})
    chosen = (frames[sentence][picked[sentence]] for sentence in frames if sentence in picked)
    return speaker.templates.joiner.join(speaker.fill(frame, draw.slots) for frame in chosen)


def _pick_variants(rng: random.Random, variants: dict[str, int]) -> dict[str, int]:
    """Which sentences stand in a document and how each is worded: {sentence: variant}.

    Sentences are drawn in the order of their names, so a file may tell them in its own order.
    """
    others = sorted(variants.keys() - {"opening"})
    size = rng.randint(2, min(MOST_SENTENCES - 1, len(others)))
    sentences = ["opening", *sorted(rng.sample(others, size))]
    return {sentence: rng.randrange(variants[sentence]) for sentence in sentences}
