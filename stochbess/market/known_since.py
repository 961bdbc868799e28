"""When a market value became known: the grammar of `known_since` in a manifest.

A text says it in words; text in parentheses is a remark and is ignored::

    known_since = clause | "forecasts" clause ";" "realised values" clause
    clause      = "D" ["-" days] " " HH:MM " local"            e.g. D-1 12:45 local
                | "delivery" ("start" | "end") [sign n unit]   e.g. delivery end + 15 min
    unit        = "min" | "h" | "d"

`D` is the local delivery day of the row. A text of two clauses gives forecast columns and realised
columns their own time; a text of one clause holds for all columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from stochbess.errors import DataError
from stochbess.market.schema import FORECAST, VALUE, SeriesSpec, local_days, row_end
from stochbess.timegrid import gate_utc

_REMARK = re.compile(r"\([^()]*\)")
_CLOCK = re.compile(r"^(D(?:-\d+)? ([01]\d|2[0-3]):[0-5]\d) local$")
_DELIVERY = re.compile(r"^delivery (start|end)(?: ([+-]) (\d+) (min|h|d))?$")
_TWO = re.compile(r"^forecasts (.+); realised values (.+)$")
_UNIT_MIN = {"min": 1, "h": 60, "d": 1440}

GRAMMAR = (
    "'D-1 12:45 local', 'delivery end', 'delivery end + 15 min' (units min, h, d; 'start' or "
    "'end'), or for two groups of columns 'forecasts <clause>; realised values <clause>'"
)


@dataclass(frozen=True)
class Clause:
    """One rule of publication: a local clock time on a day before delivery, or an offset."""

    text: str

    def __post_init__(self) -> None:
        if not (_CLOCK.match(self.text) or _DELIVERY.match(self.text)):
            raise DataError(f"known_since {self.text!r} cannot be read. Expected {GRAMMAR}.")

    @cached_property
    def gate(self) -> str | None:
        """``D-1 12:45`` when the clause is a local clock time, else None."""
        match = _CLOCK.match(self.text)
        return match[1] if match else None

    def times(self, spec: SeriesSpec, index: pd.DatetimeIndex, timezone: str) -> pd.Series:
        """UTC instant at which each row of `index` became known; aligned with `index`."""
        if self.gate is not None:
            days, row = np.unique(local_days(index, timezone), return_inverse=True)
            gates = [gate_utc(self.gate, _date(day), timezone) for day in days]
            known = pd.DatetimeIndex(gates, tz="UTC").as_unit("us")[row]
        else:
            match = _DELIVERY.match(self.text)
            known = index if match and match[1] == "start" else row_end(spec, index, timezone)
            if match and match[2]:
                offset_min = int(match[3]) * _UNIT_MIN[match[4]] * (-1 if match[2] == "-" else 1)
                known = known + pd.Timedelta(minutes=offset_min)
        return pd.Series(pd.DatetimeIndex(known).as_unit("us"), index=index, name="known_since_utc")


def _date(day: np.datetime64) -> date:
    return date.fromisoformat(str(day))


def parse_known_since(text: str) -> dict[str, Clause]:
    """Clause per group of columns; both groups share one clause when the text has only one.

    Raises
    ------
    DataError : the text does not follow the grammar of this module
    """
    stripped = text
    while _REMARK.search(stripped):
        stripped = _REMARK.sub("", stripped)
    stripped = " ".join(stripped.split()).replace(" ;", ";")
    two = _TWO.match(stripped)
    if two:
        return {FORECAST: Clause(two[1]), VALUE: Clause(two[2])}
    clause = Clause(stripped)
    return {FORECAST: clause, VALUE: clause}
