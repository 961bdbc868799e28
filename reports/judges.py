"""What every law of aging says of the schedules of a run, as rows of names of facts."""

from __future__ import annotations

from dataclasses import dataclass

from stochbess.reports.book import FactBook

_PARTS = ("calendar", "cycling", "loss", "profit")


@dataclass(frozen=True)
class JudgeRow:
    """A law, named by a fact, or what all of them say together, in words; cells may be empty."""

    law: str
    words: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Judges:
    """All laws, where tests were left, and whether the priced law may be exploited."""

    rows: tuple[JudgeRow, ...]
    flags: tuple[str, ...]
    exploited: bool


def judges(book: FactBook) -> Judges:
    """The judges of the facts; no rows for a run that nobody judged."""
    rows = []
    for name in book.names():
        if name.startswith("judge.") and name.endswith(".law"):
            key = name.removesuffix("law")
            rows.append(JudgeRow(name, "", tuple(key + part for part in _PARTS)))
    for words, key in (("Mean of the laws", "judge.mean."), ("Worst law", "judge.worst.")):
        if f"{key}loss" in book:
            rows.append(JudgeRow("", words, ("", "", f"{key}loss", f"{key}profit")))
    exploited = "judge.exploited" in book and book["judge.exploited"].text == "yes"
    flags = tuple(name for name in book.names() if name.startswith("judge.flag."))
    return Judges(tuple(rows), flags, exploited)
