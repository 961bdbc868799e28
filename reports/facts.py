"""Facts: the numbers of a run, each with its name, unit, digits and meaning.

Every number that a page or a terminal prints comes from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass


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

    def text(self) -> str:
        """The value as printed, with its unit."""
        if self.value is None:
            return "not available"
        if isinstance(self.value, str):
            return self.value
        return f"{self.value:,.{self.digits}f} {self.unit}".rstrip()


def as_records(facts: Iterable[Fact]) -> list[dict[str, object]]:
    """Facts as plain records, in order, for JSON."""
    return [asdict(fact) for fact in facts]


def from_records(records: Iterable[dict[str, object]]) -> tuple[Fact, ...]:
    """The inverse of `as_records`."""
    return tuple(Fact(**record) for record in records)  # type: ignore[arg-type]
