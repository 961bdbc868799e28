"""Public holidays that hold in a whole bidding zone, computed and not looked up.

They matter to prices because offices and factories rest: a price model treats them as Sundays.
Regional holidays are left out. A zone without an entry has none, and the models say so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

# Days after Easter Sunday, and (month, day), per country; laws of the countries.
_MOVING = {"DE": (-2, 1, 39, 50), "AT": (1, 39, 50, 60)}
_FIXED = {
    "DE": ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26)),
    "AT": (
        *((1, 1), (1, 6), (5, 1), (8, 15), (10, 26)),
        *((11, 1), (12, 8), (12, 25), (12, 26)),
    ),
}
_COUNTRY = {"DE_LU": "DE", "DE": "DE", "AT": "AT"}


def known_zone(zone: str) -> bool:
    """Whether the holidays of `zone` are known here."""
    return zone in _COUNTRY


def holidays(zone: str, years: Iterable[int]) -> frozenset[date]:
    """Public holidays of the zone in `years`; empty for a zone that is not known."""
    country = _COUNTRY.get(zone)
    if country is None:
        return frozenset()
    found = []
    for year in years:
        found += [easter_sunday(year) + timedelta(days=d) for d in _MOVING[country]]
        found += [date(year, month, day) for month, day in _FIXED[country]]
    return frozenset(found)


def easter_sunday(year: int) -> date:
    """Gregorian Easter (the rule of Butcher's Ecclesiastical Calendar, 1876)."""
    golden, century, of_century = year % 19, year // 100, year % 100
    leap, rest = divmod(century, 4)
    moon = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap - moon + 15) % 30
    quarter, remainder = divmod(of_century, 4)
    to_sunday = (32 + 2 * rest + 2 * quarter - epact - remainder) % 7
    late = (golden + 11 * epact + 22 * to_sunday) // 451
    month, day = divmod(epact + to_sunday - 7 * late + 114, 31)
    return date(year, month, day + 1)
