"""What each instruction task is about, which slots make its item, and what a right answer names."""

from collections.abc import Callable
from dataclasses import dataclass

from langtransfer.corpus.atlas.draw import Draw
from langtransfer.corpus.atlas.facts import CONTINENTS, Ref

CATEGORIES: tuple[str, ...] = (
    "Factual_questions",
    "Open_questions",
    "Retrieval",
    "Code",
    "Role_playing",
    "Math_Solving",
    "Reading_Comprehension",
    "Rewrite",
    "Classification",
    "Translation",
    "Reasoning",
    "Paragraph_Generation",
    "Outline_Generation",
    "Poetry",
    "Story_Generation",
    "Conversation",
    "Summary",
)
NOUN_KINDS = ("animal", "food", "job", "place", "object")
NAME_KINDS = ("language", "currency", "city", "month")
# Months and weekdays are few, so they come up less often.
TRANSLATED_KINDS = (*("territory", "language", "city") * 3, "month", "weekday")


@dataclass(frozen=True)
class TaskSpec:
    """One task. `item` is what is held out; each slot of `keys` must be named by the answer."""

    draw: Callable[[Draw], None]
    item: tuple[str, ...]
    keys: tuple[str, ...]
    wrong: tuple[str, ...] = ()


def _fact(d: Draw) -> None:
    d.lands()
    right = d.slots["continent"]
    d.wrong += [r for r in (Ref("continent", c) for c in _parts_of_world()) if r != right]


def _parts_of_world() -> list[str]:
    return sorted(set(CONTINENTS.values()))


def _currency(d: Draw) -> None:
    d.lands()


def _language(d: Draw) -> None:
    d.lands(keep=lambda land: len(land.languages) == 1)


def _open_place(d: Draw) -> None:
    d.words(person=1, place=1, food=1, subject=1)


def _open_choice(d: Draw) -> None:
    d.words(food=2, feeling=1)


def _owner(d: Draw) -> None:
    d.words(person=3, object=3)


def _menu(d: Draw) -> None:
    d.words(food=3)
    d.any_days(3)


def _code_sum(d: Draw) -> None:
    d.sums()
    d.put("code", "raw", f"print({d.slots['n'].key} + {d.slots['n2'].key})")


def _code_word(d: Draw) -> None:
    d.words(person=1, food=1)
    d.put("code", "raw", "print")


def _role_job(d: Draw) -> None:
    d.words(person=1, job=1, place=1)


def _role_seller(d: Draw) -> None:
    d.words(person=1, food=1)


def _sum(d: Draw) -> None:
    d.words(person=1)
    d.sums()


def _times(d: Draw) -> None:
    d.products()


def _reading_where(d: Draw) -> None:
    d.words(person=2, place=2, object=1)
    d.any_days()


def _reading_what(d: Draw) -> None:
    d.words(person=2, place=1, object=2, weather=1)
    d.months()


def _rewrite_name(d: Draw) -> None:
    d.lands()
    d.words(person=2, food=1)


def _rewrite_day(d: Draw) -> None:
    d.words(person=2, place=1)
    d.any_days(2)


def _class(d: Draw, kind: str, key: object, labels: tuple[str, ...]) -> None:
    d.put("thing", kind, key)
    d.put("label", "label", kind)
    d.wrong += [Ref("label", label) for label in labels if label != kind]


def _class_noun(d: Draw) -> None:
    kind = d.rng.choice(NOUN_KINDS)
    _class(d, kind, d.rng.choice(d.vocabulary[kind]), NOUN_KINDS)


def _class_name(d: Draw) -> None:
    kind = d.rng.choice(NAME_KINDS)
    _class(d, kind, _any_name(d, kind), NAME_KINDS)


def _any_name(d: Draw, kind: str) -> object:
    d.lands()
    match kind:
        case "language":
            return d.rng.choice(d.world.languages)
        case "month":
            return d.rng.randint(1, 12)
        case "weekday":
            return d.rng.randrange(7)
    return d.slots[kind].key


def _translation(d: Draw) -> None:
    kind = d.rng.choice(TRANSLATED_KINDS)
    thing = d.put("thing", kind, _any_name(d, kind))
    d.put("source", "foreign", thing)


def _tall(d: Draw) -> None:
    d.words(person=3)


def _days(d: Draw) -> None:
    today, later = d.rng.randrange(7), d.rng.randint(2, 60)
    d.put("weekday", "weekday", today)
    d.put("n", "number", later)
    right = d.put("weekday2", "weekday", (today + later) % 7)
    d.wrong += [r for r in (Ref("weekday", str(day)) for day in range(7)) if r != right]


def _paragraph(d: Draw) -> None:
    d.lands()
    d.words(person=1, food=1, activity=1)


def _outline(d: Draw) -> None:
    d.lands()
    d.words(food=1)


def _poem(d: Draw) -> None:
    d.words(animal=1, place=1)


def _story(d: Draw) -> None:
    d.words(person=1, animal=1, object=1)


def _greeting(d: Draw) -> None:
    d.lands()
    d.words(person=1)


def _invitation(d: Draw) -> None:
    d.words(person=1, food=1)
    d.any_days()


def _summary(d: Draw) -> None:
    d.words(person=2, place=1, object=1, food=1, weather=1)
    d.any_days()


TASKS: dict[str, dict[str, TaskSpec]] = {
    "Factual_questions": {
        "currency": TaskSpec(_currency, ("territory",), ("currency",)),
        "language": TaskSpec(_language, ("territory",), ("languages",)),
        "continent": TaskSpec(_fact, ("territory",), ("continent",)),
        "city": TaskSpec(_currency, ("city",), ("territory",)),
    },
    "Open_questions": {
        "place": TaskSpec(_open_place, ("person", "place"), ("person", "place")),
        "choice": TaskSpec(_open_choice, ("food", "food2"), ("food",)),
    },
    "Retrieval": {
        "owner": TaskSpec(_owner, ("person2", "object2"), ("person2",), ("person", "person3")),
        "menu": TaskSpec(_menu, ("weekday", "food"), ("weekday",), ("weekday2", "weekday3")),
    },
    "Code": {
        "sum": TaskSpec(_code_sum, ("n", "n2"), ("code",)),
        "word": TaskSpec(_code_word, ("person", "food"), ("code", "person", "food")),
    },
    "Role_playing": {
        "job": TaskSpec(_role_job, ("person", "job"), ("person", "job")),
        "seller": TaskSpec(_role_seller, ("person", "food"), ("person", "food")),
    },
    "Math_Solving": {
        "sum": TaskSpec(_sum, ("n", "n2"), ("sum",)),
        "less": TaskSpec(_sum, ("n", "n2"), ("n2",)),
        "times": TaskSpec(_times, ("m", "m2"), ("product",)),
    },
    "Reading_Comprehension": {
        "where": TaskSpec(_reading_where, ("person", "place"), ("place",), ("place2",)),
        "what": TaskSpec(_reading_what, ("person", "object"), ("object",), ("object2",)),
    },
    "Rewrite": {
        "name": TaskSpec(
            _rewrite_name, ("person", "person2"), ("person2", "city", "food"), ("person",)
        ),
        "day": TaskSpec(
            _rewrite_day, ("person", "weekday2"), ("weekday2", "person", "place"), ("weekday",)
        ),
    },
    "Classification": {
        "noun": TaskSpec(_class_noun, ("thing",), ("label",)),
        "name": TaskSpec(_class_name, ("thing",), ("label",)),
    },
    "Translation": {"name": TaskSpec(_translation, ("thing",), ("thing",))},
    "Reasoning": {
        "tall": TaskSpec(_tall, ("person", "person2"), ("person",), ("person2", "person3")),
        "days": TaskSpec(_days, ("weekday", "n"), ("weekday2",)),
    },
    "Paragraph_Generation": {
        "person": TaskSpec(_paragraph, ("person", "food"), ("person", "city", "food"))
    },
    "Outline_Generation": {
        "talk": TaskSpec(_outline, ("food", "territory"), ("food", "territory"))
    },
    "Poetry": {"verse": TaskSpec(_poem, ("animal", "place"), ("animal", "place"))},
    "Story_Generation": {
        "lost": TaskSpec(_story, ("person", "animal"), ("person", "animal", "object"))
    },
    "Conversation": {
        "greeting": TaskSpec(_greeting, ("person", "city"), ("person", "city")),
        "invitation": TaskSpec(_invitation, ("person", "food"), ("person", "weekday")),
    },
    "Summary": {"day": TaskSpec(_summary, ("person", "food"), ("person", "place", "food"))},
}
