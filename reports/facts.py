"""Facts: the numbers of a run, each with its name, unit, digits and meaning.

Every number that a page or a terminal prints comes from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

NOT_AVAILABLE = "not available"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Fact:
    """One number or text of a run.

    Attributes
    ----------
    value : number, text, or None when it is not available (then `meaning` says why)
    unit : "EUR", "MWh", "", ...
    digits : decimals to print
    """

    name: str
    value: float | str | None
    unit: str
    digits: int
    meaning: str

    @property
    def available(self) -> bool:
        """Whether there is something to print: NaN and infinity are no numbers."""
        return isinstance(self.value, str) or (self.value is not None and math.isfinite(self.value))

    def number(self, signed: bool = False) -> str:
        """The value without its unit; `signed` puts a plus before what is above zero."""
        if isinstance(self.value, str):
            return self.value
        if self.value is None or not math.isfinite(self.value):
            return NOT_AVAILABLE
        rounded = round(float(self.value), self.digits) + 0.0  # no negative zero
        return f"{rounded:{'+' if signed and rounded else ''},.{self.digits}f}"

    def text(self, signed: bool = False) -> str:
        """The value as printed, with its unit."""
        number = self.number(signed)
        return f"{number} {self.unit}" if self.unit and self._is_number else number

    @property
    def _is_number(self) -> bool:
        return self.available and not isinstance(self.value, str)


def typeset(number: str) -> str:
    """A printed number as a page shows it: a minus sign instead of a hyphen in front."""
    return MINUS + number[1:] if number.startswith("-") else number


def as_records(facts: Iterable[Fact]) -> list[dict[str, object]]:
    """Facts as plain records, in order, for JSON."""
    return [asdict(fact) for fact in facts]


def from_records(records: Iterable[dict[str, object]]) -> tuple[Fact, ...]:
    """The inverse of `as_records`."""
    return tuple(Fact(**record) for record in records)  # type: ignore[arg-type]
