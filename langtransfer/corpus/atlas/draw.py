"""Draws the things a text is about: the same ones in every language."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

from langtransfer.corpus.atlas.facts import Land, Ref, World, world
from langtransfer.corpus.atlas.templates import Templates

Vocabulary = Mapping[str, Sequence[str]]


def vocabulary(templates: Templates) -> Vocabulary:
    """Word keys by kind, sorted, so that the order of a file decides nothing."""
    return {kind: sorted(words) for kind, words in templates.words.items()}


class Draw:
    """Collects slots (name -> Ref) from one random generator. `wrong` gathers wrong answers."""

    def __init__(self, rng: random.Random, vocabulary: Vocabulary) -> None:
        self.rng = rng
        self.vocabulary = vocabulary
        self.world: World = world()
        self.slots: dict[str, Ref] = {}
        self.wrong: list[Ref] = []

    def put(self, slot: str, kind: str, key: object) -> Ref:
        """Set one slot."""
        self.slots[slot] = Ref(kind, str(key))
        return self.slots[slot]

    def words(self, **counts: int) -> None:
        """Distinct words of each kind, in slots `food`, `food2`, `food3`, ..."""
        for kind, count in counts.items():
            self._spread(kind, self.rng.sample(self.vocabulary[kind], count))

    def _spread(self, kind: str, keys: Sequence[object]) -> None:
        for index, key in enumerate(keys, start=1):
            self.put(kind if index == 1 else f"{kind}{index}", kind, key)

    def lands(self, count: int = 1, *, keep: Callable[[Land], bool] | None = None) -> list[Land]:
        """Territories with all their facts, in slots `territory`, `currency2`, ..."""
        choice = [land for land in self.world.lands if keep is None or keep(land)]
        lands = self.rng.sample(choice, count)
        for index, land in enumerate(lands, start=1):
            self._describe(land, "" if index == 1 else str(index))
        return lands

    def _describe(self, land: Land, suffix: str) -> None:
        self.put(f"territory{suffix}", "territory", land.code)
        self.put(f"continent{suffix}", "continent", land.continent)
        self.put(f"currency{suffix}", "currency", land.currency)
        self.put(f"languages{suffix}", "languages", "+".join(land.languages))
        self.put(f"since{suffix}", "date", land.since)
        self.put(f"city{suffix}", "city", self.rng.choice(land.cities))

    def languages(self, count: int = 1) -> None:
        """Any languages of the world."""
        self._spread("language", self.rng.sample(self.world.languages, count))

    def coins(self, count: int) -> None:
        """Any currencies of the world, also old ones."""
        self._spread("coin", self.rng.sample(self.world.currencies, count))

    def next_days(self, count: int = 2) -> None:
        """Weekdays that follow each other, Monday = 0."""
        first = self.rng.randrange(7)
        self._spread("weekday", [(first + step) % 7 for step in range(count)])

    def any_days(self, count: int = 1) -> None:
        """Distinct weekdays in any order."""
        self._spread("weekday", self.rng.sample(range(7), count))

    def months(self) -> None:
        """A month and the one after it."""
        first = self.rng.randrange(12)
        self._spread("month", [first + 1, (first + 1) % 12 + 1])

    def a_date(self) -> None:
        """Any day of a hundred years."""
        self.put("date", "date", date(1925, 1, 1) + timedelta(days=self.rng.randrange(36_500)))

    def a_price(self) -> None:
        """An amount in a currency of today."""
        land = self.rng.choice(self.world.lands)
        self.put("price", "price", f"{self.rng.randint(2, 950)}:{land.currency}")

    def a_distance(self) -> None:
        """A round number of kilometres."""
        self.put("km", "km", self.rng.randint(2, 160) * 5)

    def sums(self, top: int = 99) -> None:
        """n + n2 = sum."""
        a, b = self.rng.randint(2, top), self.rng.randint(2, top)
        for slot, value in (("n", a), ("n2", b), ("sum", a + b)):
            self.put(slot, "number", value)

    def products(self) -> None:
        """m * m2 = product."""
        a, b = self.rng.randint(2, 12), self.rng.randint(2, 12)
        for slot, value in (("m", a), ("m2", b), ("product", a * b)):
            self.put(slot, "number", value)
