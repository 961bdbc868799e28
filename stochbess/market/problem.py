"""What a check finds, and how several findings are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

ERROR = "error"
WARNING = "warning"
SHOWN = 5  # runs that get a line of their own; the rest is counted


@dataclass(frozen=True)
class Problem:
    """A finding: `message` says what was found, what was expected and what to do.

    Attributes
    ----------
    code : D and three digits, explained in docs/market-data.md
    severity : ERROR (the data are refused) or WARNING
    series : file stem, or "manifest"
    where : column, file, first timestamp or local delivery day
    repairable : the importer has an option that mends it
    """

    code: str
    severity: str
    series: str
    where: str
    message: str
    repairable: bool = False

    def __str__(self) -> str:
        return f"{self.code} {self.severity} {self.series} [{self.where}]: {self.message}"


class Findings:
    """Collects the problems of one series in the order in which they are found."""

    def __init__(self, series: str) -> None:
        self.series = series
        self.problems: list[Problem] = []

    def error(self, code: str, where: str, message: str, repairable: bool = False) -> None:
        self.problems.append(Problem(code, ERROR, self.series, where, message, repairable))

    def warning(self, code: str, where: str, message: str) -> None:
        self.problems.append(Problem(code, WARNING, self.series, where, message))

    def runs(
        self, code: str, found: Sequence[tuple[str, str]], what: str, severity: str = ERROR
    ) -> None:
        """One problem for each of the first few (where, message), and one that counts the rest."""
        for where, message in found[:SHOWN]:
            self.problems.append(Problem(code, severity, self.series, where, message))
        if len(found) > SHOWN:
            where, more = found[SHOWN][0], f"and {len(found) - SHOWN} more {what} from here on."
            self.problems.append(Problem(code, severity, self.series, where, more))


def stamp(label: Any) -> str:
    """A UTC label in the form in which messages show it."""
    return pd.Timestamp(label).strftime("%Y-%m-%dT%H:%MZ")


def runs_of(hit: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Maximal runs of True as (first position, length)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], hit, [False])).astype(np.int8)))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
