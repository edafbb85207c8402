"""Says a `Ref` in one language, and fills frames with what it says."""

import datetime
from collections.abc import Mapping
from typing import Any

from babel import Locale
from babel.dates import format_date, get_timezone_location
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal, get_currency_name
from babel.units import format_unit

from .facts import Ref
from .templates import Templates

OPENING = "“‘«‹「『(\"'"  # may stand before the first letter of a sentence
Slots = Mapping[str, Ref]


# CLDR numbering system -> its zero; babel knows which one a locale uses, but writes 0 to 9.
SYSTEM: Any = {"numbering_system": "default"}  # separators of the same system
ZEROS = {"arab": "٠", "arabext": "۰", "beng": "০", "deva": "०", "mymr": "၀", "tibt": "༠"}


class Names:
    """CLDR names, numbers and dates of one locale."""

    def __init__(self, locale: str) -> None:
        self.locale = Locale.parse(locale)
        zero = ord(ZEROS.get(self.locale.default_numbering_system, "0"))
        self.digits = {ord(str(digit)): zero + digit for digit in range(10)}
        # The context "format", not "stand-alone": the latter is inherited, and babel keeps the
        # value that the first locale of a process resolved for all later ones.
        self.tables: dict[str, Mapping[Any, str]] = {
            "territory": self.locale.territories,
            "continent": self.locale.territories,
            "language": self.locale.languages,
            "currency": self.locale.currencies,
            "coin": self.locale.currencies,
            "month": self.locale.months["format"]["wide"],
            "weekday": self.locale.days["format"]["wide"],
        }

    def name(self, kind: str, key: str) -> str:
        if kind == "city":
            return str(get_timezone_location(key, locale=self.locale, return_city=True))
        return str(self.tables[kind][int(key) if kind in {"month", "weekday"} else key])

    def knows(self, ref: Ref) -> bool:
        """Whether CLDR has a name for a territory, continent, language or currency."""
        return ref.key in self.tables[ref.kind]

    def number(self, key: str) -> str:
        return self._own(format_decimal(int(key), locale=self.locale, **SYSTEM))

    def date(self, key: str) -> str:
        day = datetime.date.fromisoformat(key)
        return self._own(format_date(day, "long", locale=self.locale))

    def distance(self, key: str) -> str:
        # "long" has no pattern in zh and ur; babel then returns the raw key.
        unit, style = "length-kilometer", {"length": "short", **SYSTEM}
        return self._own(format_unit(int(key), unit, locale=self.locale, **style))

    def price(self, key: str, names: Mapping[str, str]) -> str:
        """An amount of money; `names` says what currencies are called otherwise than by CLDR."""
        amount, currency = key.split(":")
        style = {"format_type": "name", **SYSTEM}
        text = format_currency(int(amount), currency, locale=self.locale, **style)
        if currency in names:
            usual = get_currency_name(currency, count=int(amount), locale=self.locale)
            text = text.replace(usual, names[currency])
        return self._own(text)

    def _own(self, text: str) -> str:
        """With the digits of the language."""
        return text.translate(self.digits)


class Speaker:
    """One language at work. Holds a cache of what it said, so make one a run, not one a text."""

    def __init__(self, templates: Templates) -> None:
        self.templates = templates
        self.names = Names(templates.locale)
        self.foreign = Names(templates.translate_from)
        self._said: dict[Ref, str] = {}

    def say(self, ref: Ref) -> str:
        """The text of one thing."""
        if ref.kind in {"price", "date", "raw"}:  # too many to keep, or nothing to do
            return self._compute(ref)
        if ref not in self._said:
            self._said[ref] = self._compute(ref)
        return self._said[ref]

    def _compute(self, ref: Ref) -> str:
        kind, key = ref.kind, ref.key
        if kind in self.templates.words:
            return self.templates.words[kind][key]
        match kind:
            case "raw":
                return key
            case "number":
                return self.names.number(key)
            case "date":
                return self.names.date(key)
            case "km":
                return self.names.distance(key)
            case "price":
                return self.names.price(key, self.templates.names.get("currency", {}))
            case "languages":
                spoken = [self.say(Ref("language", code)) for code in key.split("+")]
                return str(format_list(spoken, locale=self.names.locale))
            case "foreign":
                return self.foreign.name(*key.split(":", 1))
        table = "currency" if kind == "coin" else kind
        return self.templates.names.get(table, {}).get(key) or self.names.name(kind, key)

    def fill(self, frame: str, slots: Slots) -> str:
        """A frame with its slots said, first letter capital where the script has capitals."""
        text = frame.format_map(_Filling(self, slots))
        if frame.startswith("{code}"):  # programs are case-sensitive
            return text
        start = len(text) - len(text.lstrip(OPENING))
        return text[:start] + text[start : start + 1].upper() + text[start + 1 :]

    def answers(self, ref: Ref) -> list[str]:
        """Texts that count as naming this thing, the usual one first."""
        said = self._without_article(self.say(ref))
        if ref.kind == "number":
            return list(dict.fromkeys([said, ref.key]))
        if ref.kind == "raw":
            return list(dict.fromkeys([said, said.replace(" ", "")]))
        return [said]

    def _without_article(self, text: str) -> str:
        for article in self.templates.articles:
            if text.casefold().startswith(f"{article} "):
                return text[len(article) + 1 :]
        return text


class _Filling(dict[str, str]):
    """Lets `format_map` say only the slots a frame has."""

    def __init__(self, speaker: Speaker, slots: Slots) -> None:
        super().__init__()
        self._speaker, self._slots = speaker, slots

    def __missing__(self, slot: str) -> str:
        return self._speaker.say(self._slots[slot])
