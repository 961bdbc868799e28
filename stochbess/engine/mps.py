"""The core of a stochastic programme in MPS form, from text to sparse rows.

Names hold no blanks, so that fixed and free columns read alike. What programs read differently is
refused rather than guessed: integer columns without an upper bound (0-1 or unbounded?), a negative
upper bound without a lower one, ranges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import numpy as np

from stochbess.errors import ScenarioError

_SENSE = {"L": 1, "E": 0, "G": -1}
_WITHOUT_VALUE = ("FR", "MI", "PL", "BV")


class Line(NamedTuple):
    """A line of data with its section; `place` says where it stands."""

    section: tuple[str, ...]
    words: tuple[str, ...]
    place: str

    def refuse(self, expected: str) -> NoReturn:
        raise ScenarioError(
            f"{self.place}: found {' '.join(self.words)!r} in {' '.join(self.section)}; "
            f"expected {expected}."
        )

    def number(self, word: str) -> float:
        """A finite number.

        Raises
        ------
        ScenarioError : `word` is none
        """
        try:
            value = float(word)
        except ValueError:
            self.refuse(f"a number instead of {word!r}")
        if not np.isfinite(value):
            self.refuse(f"a finite number instead of {word!r}")
        return value


def lines(text: str, what: str) -> Iterator[Line]:
    """Lines of data under their section headers; a header alone is a line without words.

    Headers begin in the first column, data do not; ``*`` begins a comment.
    """
    section: tuple[str, ...] = ()
    for at, raw in enumerate(text.splitlines(), 1):
        if not raw.strip() or raw.startswith("*"):
            continue
        words = tuple(raw.split())
        if not raw[0].isspace():
            section = tuple(word.upper() for word in words[:1]) + words[1:]
            if section[0] == "ENDATA":
                return
            yield Line(section, (), f"{what} line {at}")
        elif not section:
            raise ScenarioError(f"{what} line {at}: data before the first section header.")
        else:
            yield Line(section, words, f"{what} line {at}")
    raise ScenarioError(f"{what}: no ENDATA at the end; the text is cut short.")


@dataclass
class Core:
    """A linear or mixed-integer problem by names; columns and rows in the order of the text.

    `sign` is -1 where the text maximises; costs and offset are those of the text. `entries` maps
    (row, column) to a coefficient, `sense` is -1 for >=, 0 for ==, 1 for <=.
    """

    name: str = ""
    objective: str = ""
    sign: float = 1.0
    offset: float = 0.0
    sense: dict[str, int] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    lower: dict[str, float] = field(default_factory=dict)
    upper: dict[str, float] = field(default_factory=dict)
    integer: dict[str, bool] = field(default_factory=dict)
    entries: dict[tuple[str, str], float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    rhs: dict[str, float] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.lower)

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(self.sense)


def read_core(text: str) -> Core:
    """Read the sections NAME, OBJSENSE, ROWS, COLUMNS, RHS and BOUNDS of an MPS text.

    Raises
    ------
    ScenarioError : the text is malformed, names what it did not declare, or could be read in two
        ways
    """
    reader = _Reader()
    for line in lines(text, "core"):
        reader.take(line)
    return reader.finished()


class _Reader:
    def __init__(self) -> None:
        self.core = Core()
        self._in_integers = False
        self._bounded: set[str] = set()
        self._sets: dict[str, str] = {}

    def take(self, line: Line) -> None:
        head, words = line.section[0], line.words
        if head == "NAME":
            self.core.name = " ".join(line.section[1:])
        elif head == "OBJSENSE":
            self._direction(line, words or line.section[1:])
        elif head == "ROWS":
            if words:
                self._row(line)
        elif head == "COLUMNS":
            if words:
                self._column(line)
        elif head == "RHS":
            if words:
                self._right_hand_side(line)
        elif head == "BOUNDS":
            if words:
                self._bound(line)
        else:
            line.refuse("one of NAME, OBJSENSE, ROWS, COLUMNS, RHS, BOUNDS, ENDATA")

    def _direction(self, line: Line, words: tuple[str, ...]) -> None:
        if not words:
            return
        word = words[0].upper()
        if word not in ("MIN", "MINIMIZE", "MAX", "MAXIMIZE"):
            line.refuse("MIN or MAX")
        self.core.sign = -1.0 if word.startswith("MAX") else 1.0

    def _row(self, line: Line) -> None:
        if len(line.words) != 2:
            line.refuse("a kind and a name")
        kind, name = line.words[0].upper(), line.words[1]
        core = self.core
        if name in core.sense or name == core.objective or name in core.ignored:
            line.refuse(f"every row once, {name} stands twice")
        if kind == "N":
            if core.objective:
                core.ignored.add(name)  # a free row limits nothing
            else:
                core.objective = name
        elif kind in _SENSE:
            core.sense[name] = _SENSE[kind]
        else:
            line.refuse("kind N, L, E or G")

    def _column(self, line: Line) -> None:
        words, core = line.words, self.core
        if len(words) == 3 and words[1].strip("'").upper() == "MARKER":
            self._in_integers = words[2].strip("'").upper() == "INTORG"
            return
        if len(words) not in (3, 5):
            line.refuse("a column and one or two pairs of row and number")
        name = words[0]
        if name not in core.lower:
            core.lower[name], core.upper[name] = 0.0, np.inf
            core.integer[name] = self._in_integers
        elif name != next(reversed(core.lower)):
            line.refuse(f"the lines of column {name} together")
        for row, number in zip(words[1::2], words[2::2], strict=True):
            value = line.number(number)
            if row == core.objective:
                place: dict[str, float] = core.cost
                again = name in place
                place[name] = value
            elif row in core.sense:
                again = (row, name) in core.entries
                core.entries[row, name] = value
            elif row in core.ignored:
                continue
            else:
                line.refuse(f"a row of ROWS instead of {row!r}")
            if again:
                line.refuse(f"one number for {row} in {name}")

    def _right_hand_side(self, line: Line) -> None:
        core, words = self.core, self._of_one_set(line, line.words, (2, 4))
        for row, number in zip(words[::2], words[1::2], strict=True):
            value = line.number(number)
            if row == core.objective:
                core.offset = -value
            elif row in core.sense:
                core.rhs[row] = value
            elif row not in core.ignored:
                line.refuse(f"a row of ROWS instead of {row!r}")

    def _of_one_set(
        self, line: Line, words: tuple[str, ...], bare: tuple[int, ...]
    ) -> tuple[str, ...]:
        """`words` without the name of their set; a second set of the same section is refused."""
        if len(words) in bare:
            return words
        if len(words) - 1 not in bare:
            line.refuse(f"{' or '.join(map(str, bare))} words, or one more for the set")
        known = self._sets.setdefault(line.section[0], words[0])
        if words[0] != known:
            line.refuse(f"one set of this section, {known!r}")
        return words[1:]

    def _bound(self, line: Line) -> None:
        kind, core = line.words[0].upper(), self.core
        words = self._of_one_set(line, line.words[1:], (1,) if kind in _WITHOUT_VALUE else (2,))
        name = words[0]
        if name not in core.lower:
            line.refuse(f"a column of COLUMNS instead of {name!r}")
        value = line.number(words[1]) if len(words) > 1 else 0.0
        if kind in ("BV", "LI", "UI"):
            core.integer[name] = True
        if kind in ("LO", "LI", "FX"):
            core.lower[name] = value
        if kind in ("UP", "UI", "FX"):
            core.upper[name] = value
        if kind in ("FR", "MI"):
            core.lower[name] = -np.inf
        if kind == "BV":
            core.lower[name], core.upper[name] = 0.0, 1.0
        if kind not in ("UP", "LO", "FX", "FR", "MI", "PL", "BV", "LI", "UI"):
            line.refuse("kind UP, LO, FX, FR, MI, PL, BV, LI or UI")
        if kind not in ("LO", "LI", "MI"):
            self._bounded.add(name)

    def finished(self) -> Core:
        core = self.core
        if not core.objective or not core.lower:
            raise ScenarioError("core: no objective (a row of kind N) or no column.")
        open_ended = [n for n in core.columns if core.integer[n] and n not in self._bounded]
        if open_ended:
            raise ScenarioError(
                f"core: integer column {open_ended[0]} has no upper bound; programs take it for "
                "0-1 or for unbounded. State it in BOUNDS (UP, BV or PL)."
            )
        for name in core.columns:
            if core.lower[name] > core.upper[name]:
                raise ScenarioError(
                    f"core: column {name} lies between {core.lower[name]:g} and "
                    f"{core.upper[name]:g}. State its lower bound too (LO or MI)."
                )
        return core
