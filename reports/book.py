"""The facts of one report: what the pages may print, and the file that carries it.

A page prints a fact or nothing. What a run does not have stays a fact too, without a value and with
the reason, so that no page shows zero or a blank for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from stochbess.errors import ReportError
from stochbess.reports.facts import Fact, typeset

SCHEMA = 1
_NO_REASON = "the run has no such number"


@dataclass(frozen=True)
class Entry:
    """A fact as a page shows it.

    Attributes
    ----------
    signed : numbers carry a plus above zero
    run : the run that the fact comes from, "" for the run of the book
    """

    fact: Fact
    signed: bool = False
    run: str = ""

    @property
    def available(self) -> bool:
        return self.fact.available

    @property
    def number(self) -> str:
        """The value without its unit."""
        return typeset(self.fact.number(self.signed))

    @property
    def text(self) -> str:
        """The value with its unit."""
        return typeset(self.fact.text(self.signed))

    @property
    def value(self) -> float:
        """The number itself; NaN if there is none."""
        value = self.fact.value
        return float(value) if self.available and not isinstance(value, str | None) else math.nan


class FactBook:
    """Facts by name, in the order in which they were added.

    Parameters
    ----------
    run_id : the run that they come from, where an entry names no other
    facts : the run's own facts
    """

    def __init__(self, run_id: str, facts: Iterable[Fact] = ()) -> None:
        self.run_id = run_id
        self._entries: dict[str, Entry] = {}
        for fact in facts:
            self.add(fact)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Entry:
        """The fact called `name`.

        Raises
        ------
        ReportError : a page asks for a fact that nobody entered, which is a defect
        """
        try:
            return self._entries[name]
        except KeyError:
            raise ReportError(
                f"the pages ask for a fact {name!r} that the report of run {self.run_id} does not "
                "have. This is a defect, please report it."
            ) from None

    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def add(self, fact: Fact, *, signed: bool = False, run: str = "") -> str:
        """Enter a fact and return its name.

        Raises
        ------
        ReportError : the name is taken by a fact that says something else
        """
        known = self._entries.get(fact.name)
        entry = Entry(fact, signed, run)
        if known is not None and known != entry:
            raise ReportError(
                f"two facts of run {self.run_id} are called {fact.name!r}: {known.text} and "
                f"{entry.text}. This is a defect, please report it."
            )
        self._entries[fact.name] = entry
        return fact.name

    def number(
        self,
        name: str,
        value: float | None,
        unit: str,
        digits: int,
        meaning: str,
        *,
        reason: str = _NO_REASON,
        signed: bool = False,
        run: str = "",
    ) -> str:
        """Enter a number and return its name; None, NaN and infinity are "not available"."""
        if value is None or not math.isfinite(value):
            return self.missing(name, unit, reason)
        return self.add(Fact(name, float(value), unit, digits, meaning), signed=signed, run=run)

    def words(self, name: str, value: str, meaning: str, *, run: str = "") -> str:
        """Enter a text and return its name."""
        return self.add(Fact(name, value, "", 0, meaning), run=run)

    def missing(self, name: str, unit: str, reason: str) -> str:
        """Enter that something is not available, and why, unless it is there."""
        if name in self._entries and self._entries[name].available:
            return name
        self._entries[name] = Entry(Fact(name, None, unit, 0, reason))
        return name

    def value(self, name: str) -> float:
        """The number of a fact, NaN if it is not there or has none."""
        return self._entries[name].value if name in self._entries else math.nan

    def to_json(self, about: dict[str, object]) -> str:
        """`facts.json`: the same facts give the same text.

        Every fact carries name, value, unit, digits, meaning, the run it comes from, and the text
        that the pages print.
        """
        records = [
            {
                **asdict(entry.fact),
                "value": _plain(entry),
                "run": entry.run or self.run_id,
                "text": entry.text,
            }
            for entry in self._entries.values()
        ]
        document = {"schema": SCHEMA, **about, "facts": records}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(entry: Entry) -> float | str | None:
    return entry.fact.value if entry.available else None


def decimals(values: Sequence[float], most: int = 3) -> int:
    """Decimals that show all of `values` exactly, at most `most`."""
    for digits in range(most):
        if all(abs(v - round(v, digits)) < 1e-6 for v in values if math.isfinite(v)):
            return digits
    return most
