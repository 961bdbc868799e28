"""Recourse in which columns lie on one side of a level, found by need, moved from edge to edge.

A piecewise-linear curve that is not concave where it matters needs a binary at every bend: a switch
that is 1 where another column is above the level of the bend. Made whole all at once, the switches
of neighbouring steps are alike and a search through them has no end. Here they start out
continuous. Those that the solution abuses are held on the side on which it is, the problem is
solved again, and wherever a column then stands exactly at its level the switch is turned over: the
solution stays feasible, so that the cost never rises by it. The result is feasible with every
switch whole; how far from the best it can be is told by the bound of the relaxation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from stochbess.engine.matrix import Problem
from stochbess.engine.template import Bools, Floats, Ints
from stochbess.errors import InfeasibleError, SolverError

# A column within this of its level is at it.
_AT_LEVEL = 1e-7
# Rows of a rounded switch may be missed by this much, as in the exclusive recourse.
_SLACK = 1e-6
_MOST_ROUNDS = 60

Found = tuple[Floats, float, int, bool]
Solve = Callable[[Problem], Found]


@dataclass(frozen=True)
class Switches:
    """Either-or columns `column` (K,): 1 where the columns `on` (K,) exceed `level` (K,)."""

    column: Ints
    on: Ints
    level: Floats


def solve_with_switches(problem: Problem, switches: Switches, solve: Solve, wanted: float) -> Found:
    """Minimise `problem` by `solve` with every switch whole.

    `solve` sees switches as continuous columns or held ones, and answers with values, cost, a count
    and whether it ran out of time. Rounds end where they gain less than `wanted` of the cost.

    Raises
    ------
    SolverError, InfeasibleError : there is no solution even with every held switch at 0
    """
    search = _Search(problem, switches)
    best: Found | None = None
    late, count = False, 0
    for _ in range(_MOST_ROUNDS):
        try:
            values, cost, made_whole, timed_out = solve(search.problem)
        except (SolverError, InfeasibleError):
            if best is not None:
                break
            if not search.lower_all():
                raise
            continue
        late, count = late or timed_out, max(count, made_whole)
        if search.hold_abused(values):
            continue
        gain = np.inf if best is None else best[1] - cost
        if gain > 0:
            best = values, cost, count, late
        if gain <= wanted * max(1.0, abs(cost)) or not search.turn_over(values):
            break
    if best is None:
        raise SolverError("no recourse on the loss curve was found; please report the case")
    return best[0], best[1], count + search.n_held, late


class _Search:
    """Which switches are held, and where."""

    def __init__(self, problem: Problem, switches: Switches) -> None:
        self._base, self._s = problem, switches
        self._rows = sp.csc_array(problem.matrix)[:, switches.column].tocoo()
        self._held: Bools = np.zeros(len(switches.column), bool)
        self._side = np.zeros(len(switches.column))

    @property
    def n_held(self) -> int:
        return int(self._held.sum())

    @property
    def problem(self) -> Problem:
        """The problem with the held switches fixed."""
        lower, upper = self._base.lower.copy(), self._base.upper.copy()
        at = self._s.column[self._held]
        lower[at] = upper[at] = self._side[self._held]
        return replace(self._base, lower=lower, upper=upper)

    def hold_abused(self, values: Floats) -> bool:
        """Hold the switches that fit neither side, where the solution is; round the others."""
        down, up = self._fits(values, 0.0), self._fits(values, 1.0)
        abused = ~(down | up) & ~self._held
        above = values[self._s.on] >= self._s.level
        self._side[abused] = above[abused]
        self._held |= abused
        rounded = np.where(down & up, np.round(values[self._s.column]), np.where(up, 1.0, 0.0))
        values[self._s.column] = np.where(self._held, self._side, rounded)
        return bool(abused.any())

    def turn_over(self, values: Floats) -> bool:
        """Turn every held switch whose column stands at its level; whether there was one."""
        at_level = np.abs(values[self._s.on] - self._s.level) <= _AT_LEVEL
        turn = self._held & at_level
        self._side[turn] = 1.0 - self._side[turn]
        return bool(turn.any())

    def lower_all(self) -> bool:
        """Hold every held switch at 0; whether that changed anything."""
        changed = bool(self._side[self._held].any())
        self._side[:] = 0.0
        return changed

    def _fits(self, values: Floats, side: float) -> Bools:
        """Switches whose rows allow `side`; no row holds two switches."""
        p, coo = self._base, self._rows
        activity = p.matrix @ values
        activity = activity[coo.row] + (side - values[self._s.column][coo.col]) * coo.data
        bad = (activity > p.row_upper[coo.row] + _SLACK) | (
            activity < p.row_lower[coo.row] - _SLACK
        )
        broken = np.bincount(coo.col[bad], minlength=len(self._s.column))
        return np.asarray(broken == 0)
