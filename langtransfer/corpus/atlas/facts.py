"""The facts of the atlas, without words: what babel (CLDR) knows, named by code.

A `Ref` names one thing in no language ("territory", "KE"); `speaker.Speaker` says it in one.
Everything here is the same for every language, so that documents stay parallel.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from babel import Locale
from babel.core import get_global
from babel.dates import get_timezone_location
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies

# A thing is in the world only if CLDR names it in all of these: the languages of the study, and
# French, from which English translates. `loading` checks other locales against the world.
NAMED_IN = (
    "en",
    "fr",
    "ar",
    "bn",
    "gu",
    "hi",
    "id",
    "ml",
    "mr",
    "ne",
    "sw",
    "ta",
    "te",
    "ur",
    "vi",
    "zh",
)

# First part of a time zone -> CLDR code of the part of the world.
CONTINENTS = {
    "Africa": "002",
    "America": "019",
    "Asia": "142",
    "Europe": "150",
    "Australia": "009",
    "Pacific": "009",
}
# Time zones do not settle these two (islands or exclaves elsewhere tie with the mainland).
CONTINENT_OF = {"ES": "150", "EC": "019"}

# Left out: on two continents, with a disputed status, without inhabitants, or with a CLDR name
# that holds brackets or a dash.
LEFT_OUT = frozenset(
    {
        *("RU", "TR", "TW", "XK", "EH", "IO", "DG", "EA", "IC", "HK", "MO"),
        *("UM", "GS", "SJ", "AC", "TA", "CP", "BV", "HM", "AQ"),
        *("CD", "CG", "MM", "CC"),
    }
)

# Zones of the Pacific are mostly named after islands; these are cities.
PACIFIC_CITIES = frozenset({"Pacific/Auckland", "Pacific/Port_Moresby", "Pacific/Apia"})
# Where CLDR does not know a city, babel falls back to Latin letters: these would show it.
OTHER_SCRIPTS = ("ar", "hi", "zh")
CITY_AREAS = frozenset({"Africa", "America", "Asia", "Europe", "Australia"})


@dataclass(frozen=True)
class Ref:
    """One thing, named by kind and key: ("animal", "fox"), ("price", "250:KES")."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.key}"


@dataclass(frozen=True)
class Land:
    """A territory with exactly one currency in use, and at least one city."""

    code: str
    continent: str
    currency: str
    since: str  # ISO date on which the currency came into use
    languages: tuple[str, ...]  # official ones
    cities: tuple[str, ...]  # time zones, whose exemplar city CLDR names


@dataclass(frozen=True)
class World:
    """All facts, in a fixed order."""

    lands: tuple[Land, ...]
    languages: tuple[str, ...]
    currencies: tuple[str, ...]


def is_held_out(item: str) -> bool:
    """Whether an item is kept for `questions`: one in five, for ever and in every language."""
    return hashlib.sha256(item.encode()).digest()[0] % 5 == 0


@cache
def world() -> World:
    """The facts that all `NAMED_IN` locales can name; built once a process."""
    languages = _named_everywhere("languages")
    currencies = _named_everywhere("currencies")
    cities = _cities()
    codes = sorted(set(cities) - LEFT_OUT)
    lands = (_land(code, cities[code], set(languages), set(currencies)) for code in codes)
    return World(tuple(land for land in lands if land is not None), languages, currencies)


def world_refs() -> Iterator[Ref]:
    """Everything of the world whose name a locale may lack."""
    yield from (Ref("continent", code) for code in sorted(set(CONTINENTS.values())))
    yield from (Ref("territory", land.code) for land in world().lands)
    yield from (Ref("language", code) for code in world().languages)
    yield from (Ref("currency", code) for code in world().currencies)


def _named_everywhere(table: str) -> tuple[str, ...]:
    names = [set(getattr(Locale.parse(code), table)) for code in NAMED_IN]
    return tuple(sorted(code for code in set.intersection(*names) if _is_plain(table, code)))


def _is_plain(table: str, code: str) -> bool:
    """Leave out regional variants, pseudo codes and names with brackets or years."""
    name = str(getattr(Locale.parse("en"), table)[code])
    reserved = code in {"mul", "und", "zxx", "root", "XXX", "XTS"}
    return code.isalpha() and not reserved and not any(c in name for c in "()–0123456789/")


def _cities() -> dict[str, tuple[str, ...]]:
    """Territory -> the time zones that are named after one of its cities."""
    territories = Locale.parse("en").territories
    found: dict[str, list[str]] = {}
    for zone, territory in sorted(get_global("zone_territories").items()):
        if territory in territories and _is_city(zone, str(territories[territory])):
            found.setdefault(territory, []).append(zone)
    return {code: tuple(zones) for code, zones in found.items()}


def _is_city(zone: str, territory_name: str) -> bool:
    area, _, rest = zone.partition("/")
    if "/" in rest or (area not in CITY_AREAS and zone not in PACIFIC_CITIES):
        return False
    if any(_city(zone, code).isascii() for code in OTHER_SCRIPTS):
        return False
    city = _city(zone, "en")
    return city.casefold() not in territory_name.casefold() and "(" not in city


def _city(zone: str, locale: str) -> str:
    return str(get_timezone_location(zone, locale=locale, return_city=True))


def _land(code: str, cities: tuple[str, ...], known: set[str], money: set[str]) -> Land | None:
    languages = tuple(dict.fromkeys(_base(t) for t in get_official_languages(code, de_facto=True)))
    current = [c for c in get_territory_currencies(code, include_details=True) if c["tender"]]
    continent = _continent(code)
    if len(current) != 1 or continent is None or not languages or not known.issuperset(languages):
        return None
    currency, since = current[0]["currency"], current[0]["from"]
    if currency not in money or since is None:
        return None
    return Land(code, continent, currency, since.isoformat(), languages, cities)


def _base(tag: str) -> str:
    """`sr_Latn` is `sr` here: the world does not tell scripts apart."""
    return tag.split("_")[0]


def _continent(code: str) -> str | None:
    if code in CONTINENT_OF:
        return CONTINENT_OF[code]
    votes = Counter(
        _areas(z for z, owner in get_global("zone_territories").items() if owner == code)
    )
    ranked = sorted(votes.items(), key=lambda pair: (-pair[1], pair[0]))
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _areas(zones: Iterable[str]) -> Iterable[str]:
    for zone in zones:
        area = zone.partition("/")[0]
        if area in CONTINENTS:
            yield CONTINENTS[area]
