"""The dated rulebook: which rule of which market holds on a delivery day, and who says so.

Rules are data (rules.toml): a change of the market is a new row, never a change of code. Whatever
was not read in a source is marked and can be listed with `unverified`, so that reports print it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from stochbess.errors import DataError

MARKETS = (
    "day_ahead",
    "intraday_auction",
    "intraday_continuous",
    "fcr",
    "afrr_capacity",
    "afrr_energy",
    "imbalance",
)
ANY_ZONE = "*"
_KEYS = {"zones", "market", "valid_from", "valid_to", "confidence", "unverified", "source"}
_CONFIDENCE = ("verified", "unverified")


@dataclass(frozen=True)
class MarketRule:
    """One row of the rulebook for one zone.

    Attributes
    ----------
    zone : bidding zone, or "*" for the fallback of zones without a row of their own
    valid_from, valid_to : first delivery day, and first day that no longer counts (None = open)
    params : numbers and texts, units in the names
    source : where the values were read
    confidence : "verified" or "unverified"
    unverified_params : names that the source does not cover ("valid_from" may be among them)
    """

    zone: str
    market: str
    valid_from: date
    valid_to: date | None
    params: Mapping[str, float | str]
    source: str
    confidence: str
    unverified_params: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """True when every value of the row was read in the named source."""
        return self.confidence == "verified" and not self.unverified_params

    def is_verified(self, name: str) -> bool:
        """Whether the value of `name` was read in the named source."""
        self._value(name)
        return self.confidence == "verified" and name not in self.unverified_params

    def number(self, name: str) -> float:
        """A numeric parameter, in the unit that its name says; DataError if absent or a text."""
        value = self._value(name)
        if isinstance(value, str):
            raise DataError(f"{self._label()}: {name} is the text {value!r}, expected a number.")
        return value

    def text(self, name: str) -> str:
        """A text parameter, e.g. ``gate_local``; DataError if absent or a number."""
        value = self._value(name)
        if not isinstance(value, str):
            raise DataError(f"{self._label()}: {name} is the number {value:g}, expected a text.")
        return value

    def holds_on(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)

    def _value(self, name: str) -> float | str:
        if name not in self.params:
            raise DataError(
                f"{self._label()} has no parameter {name!r}. It has: {', '.join(self.params)}."
            )
        return self.params[name]

    def _label(self) -> str:
        return f"rule {self.market} of zone {self.zone} from {self.valid_from}"


@dataclass(frozen=True)
class Rulebook:
    """All rows, without overlap per (zone, market)."""

    rules: tuple[MarketRule, ...]

    def __post_init__(self) -> None:
        rows = sorted(self.rules, key=lambda rule: (rule.zone, rule.market, rule.valid_from))
        for earlier, later in pairwise(rows):
            if (earlier.zone, earlier.market) == (later.zone, later.market) and earlier.holds_on(
                later.valid_from
            ):
                raise DataError(
                    f"rulebook: two rows for market {later.market} of zone {later.zone} hold on "
                    f"{later.valid_from}. Set valid_to of the earlier row to that day."
                )

    def rule_for(self, zone: str, market: str, day: date) -> MarketRule:
        """The row that holds on delivery `day`; the "*" row when the zone has none of its own.

        Raises
        ------
        DataError : unknown market, or no row holds on that day
        """
        if market not in MARKETS:
            raise DataError(f"market {market!r} is unknown. Known: {', '.join(MARKETS)}.")
        own = [rule for rule in self.rules if (rule.zone, rule.market) == (zone, market)]
        rows = own or [r for r in self.rules if (r.zone, r.market) == (ANY_ZONE, market)]
        for rule in rows:
            if rule.holds_on(day):
                return rule
        since = min((str(rule.valid_from) for rule in rows), default="never")
        raise DataError(
            f"no rule for market {market} of zone {zone} on delivery day {day}; rows start "
            f"{since}. Choose another day, close the market, or add a dated row to rules.toml."
        )


def rules_for(zone: str, market: str, day: date) -> MarketRule:
    """The rule of the packaged rulebook for a zone, a market and a local delivery day.

    Raises
    ------
    DataError : unknown market, or no row holds on that day
    """
    return packaged_rulebook().rule_for(zone, market, day)


def unverified(rules: Iterable[MarketRule]) -> list[str]:
    """One line per rule that is not fully verified: what is not, and the source of the rest."""
    lines: dict[str, None] = {}
    for rule in rules:
        if rule.verified:
            continue
        what = ", ".join(rule.unverified_params) if rule.confidence == "verified" else "all values"
        zone = "any zone" if rule.zone == ANY_ZONE else rule.zone
        until = f" to {rule.valid_to}" if rule.valid_to else ""
        text = f"{rule.market} ({zone}, from {rule.valid_from}{until}): {what} [{rule.source}]"
        lines[text] = None
    return list(lines)


@cache
def packaged_rulebook() -> Rulebook:
    """The rulebook that comes with stochbess."""
    return read_rulebook(Path(str(files("stochbess.market").joinpath("rules.toml"))))


def read_rulebook(path: Path) -> Rulebook:
    """Reads and validates a rulebook in TOML.

    Raises
    ------
    DataError : not TOML, a row lacks a key or has an unknown one, or two rows overlap
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"rulebook {path.name} cannot be read: {error}.") from error
    rows = raw.get("rule")
    if set(raw) != {"rule"} or not isinstance(rows, list):
        raise DataError(f"rulebook {path.name}: expected [[rule]] tables only, got {sorted(raw)}.")
    return Rulebook(tuple(rule for i, row in enumerate(rows) for rule in _rules(row, i + 1, path)))


def _rules(row: dict[str, Any], number: int, path: Path) -> list[MarketRule]:
    """One rule per zone of a row."""
    where = f"rulebook {path.name}, rule {number}"
    missing = sorted(_KEYS - {"valid_to", "unverified"} - set(row))
    unknown = sorted(set(row) - _KEYS - {"params"})
    if missing or unknown or not isinstance(row.get("params"), dict):
        raise DataError(f"{where}: missing {missing}, unknown {unknown}; params must be a table.")
    valid_from, valid_to = row["valid_from"], row.get("valid_to")
    if type(valid_from) is not date or type(valid_to) not in (date, type(None)):
        raise DataError(f"{where}: valid_from and valid_to must be dates such as 2025-10-01.")
    if valid_to is not None and valid_to <= valid_from:
        raise DataError(f"{where}: valid_to {valid_to} is not after valid_from {valid_from}.")
    if row["market"] not in MARKETS or row["confidence"] not in _CONFIDENCE:
        raise DataError(
            f"{where}: market {row['market']!r} must be one of {', '.join(MARKETS)} and confidence "
            f"{row['confidence']!r} one of {', '.join(_CONFIDENCE)}."
        )
    params = {name: _param(name, value, where) for name, value in row["params"].items()}
    exceptions = tuple(row.get("unverified", ()))
    strange = [name for name in exceptions if name not in params and name != "valid_from"]
    if strange or not row["source"]:
        raise DataError(f"{where}: unverified names {strange} are no parameters, or no source.")
    return [
        MarketRule(
            zone,
            row["market"],
            valid_from,
            valid_to,
            params,
            row["source"],
            row["confidence"],
            exceptions,
        )
        for zone in row["zones"]
    ]


def _param(name: str, value: Any, where: str) -> float | str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise DataError(f"{where}: {name} is {value!r}; expected a number or a text.")
