"""Recourse that is decided stage by stage: later data replace forecasts, past decisions stay.

One linear programme of one scenario is kept in HiGHS. At every stage its numbers become those that
are known or forecast there, it is solved again from the last basis, and the columns whose time has
come are fixed at their values (99c). What is fixed has seen nothing of the later stages. Columns
that only keep account of others (stored energy, slacks, wear) are never fixed: they follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import scipy.sparse as sp

from stochbess.engine.certificate import certify
from stochbess.engine.highs import SolveOptions, explain_infeasibility, load
from stochbess.engine.lazy import Separation, with_rows
from stochbess.engine.matrix import Blocks, ColumnMap, Problem, single
from stochbess.engine.template import Bools, Floats, Ints, Template
from stochbess.errors import SolverError

# A rounded either-or column may miss a row by this much; the certificate accepts ten times more.
_SLACK = 1e-7
# Rows added by need are worth this many solves of one stage; the next stage goes on with them.
_MOST_ROUNDS = 30


@dataclass(frozen=True)
class Stage:
    """What is known at one moment, and what is decided for good at it.

    Attributes
    ----------
    xi : (n_xi,) scenario data as known or forecast at this stage
    decided : template columns that are fixed after this stage
    either_or : binary template columns that are made whole for good at this stage
    planned : binary template columns of later steps whose trades are decided at or before this
        stage: the plan must be able to be whole in them, or it trades on flows that cannot be
    caution : (m,) added to the right-hand sides at this stage only, or None
    """

    xi: Floats
    decided: Ints
    either_or: Ints
    planned: Ints
    caution: Floats | None = None


def roll(
    template: Template,
    x: Floats,
    stages: Iterable[Stage],
    separation: Separation | None = None,
    watch: Callable[[int, Floats], None] | None = None,
) -> Floats:
    """Template columns (n,) after all stages, the here-and-now columns at `x`.

    The last stage must hold the true data of the whole scenario: it only keeps account. Columns of
    rows added by need are then at their truth. `watch` is shown the plan (n,) of every stage, by
    its place in `stages`: what was decided before and what is intended for the rest.

    Raises
    ------
    SolverError : a stage has no solution (recourse must be complete), or there is no stage
    """
    rolling: RollingLP | None = None
    for place, stage in enumerate(stages):
        if rolling is None:
            rolling = RollingLP(template, x, stage.xi, separation)
        rolling.see(stage.xi, stage.caution)
        rolling.solve()
        rolling.make_whole(stage.either_or)
        tentative = rolling.make_feasible(stage.planned)
        if watch is not None:
            watch(place, rolling.values)
        rolling.fix(stage.decided)
        rolling.release(tentative)
    if rolling is None:
        raise SolverError("a rolling dispatch needs stages; expected at least one")
    return rolling.values if separation is None else separation.lift(rolling.values)


def certified_cost(block: Blocks, s: int, values: Floats) -> float:
    """Cost of `values` (n,) in scenario s, recomputed from the arrays and certified.

    Raises
    ------
    SolverError : the values are not feasible for the true data of the scenario
    """
    problem = single(block, s)
    cost = float(problem.cost @ values) + problem.offset
    certificate = certify(problem, values, cost)
    if not certificate.accepted:
        raise SolverError(
            f"the rolling dispatch of scenario {s} fails its certificate: {certificate}; expected "
            "every violation below the tolerance. This is a defect, please report the case."
        )
    return cost


class RollingLP:
    """The recourse of one scenario at a fixed first stage, whose numbers and bounds move.

    The here-and-now columns are taken to the right-hand side, so that the data of a stage touch few
    coefficients.
    """

    def __init__(
        self, template: Template, x: Floats, xi: Floats, separation: Separation | None = None
    ) -> None:
        self._t, self._x, self._separation = template, x, separation
        self._own = ColumnMap(template, 1).recourse
        self._local = np.full(len(template.columns), -1, np.int64)
        self._local[self._own] = np.arange(len(self._own))
        self._row = np.repeat(np.arange(len(template.rows)), np.diff(template.indptr))
        self._here = self._local[template.indices] < 0  # entries of here-and-now columns
        self._lower = template.lower[self._own].copy()
        self._upper = template.upper[self._own].copy()
        self._entries, self._cost, self._rhs = self._numbers(xi, None)
        self._lively = self._with_free_columns()
        self._values = np.zeros(len(template.columns))
        self._values[template.first_stage] = x
        self._h = load(self._problem(), SolveOptions(method="simplex"))

    @property
    def values(self) -> Floats:
        """(n,) template columns of the last solve, decided ones as they were decided."""
        return self._values.copy()

    # -- numbers ----------------------------------------------------------------------------
    def _numbers(self, xi: Floats, caution: Floats | None) -> tuple[Floats, Floats, Floats]:
        t, row_of = self._t, self._row
        one = np.atleast_2d(xi) if t.layout else np.zeros((1, 1))
        entries, rhs = t.entries.values(one)[0], t.rhs.values(one)[0]
        at = np.zeros(len(t.columns))
        at[t.first_stage] = self._x
        held = np.where(self._here, entries * at[t.indices], 0.0)
        rhs -= np.bincount(row_of, weights=held, minlength=len(t.rows))
        return entries, t.cost.values(one)[0][self._own], rhs if caution is None else rhs + caution

    def _row_bounds(self, rows: Ints) -> tuple[Floats, Floats]:
        """Bounds of the rows; those without a free column are open, they were met when fixed."""
        rhs, sense, lively = self._rhs[rows], self._t.sense[rows], self._lively[rows]
        lower = np.where((sense <= 0) & lively, rhs, -np.inf)
        upper = np.where((sense >= 0) & lively, rhs, np.inf)
        return lower, upper

    def _problem(self) -> Problem:
        t, keep = self._t, ~self._here
        shape = (len(t.rows), len(self._own))
        where = (self._row[keep], self._local[t.indices[keep]])
        # Entries that are zero now may not be later: the pattern stays whole.
        matrix = sp.csr_array(sp.coo_array((self._entries[keep], where), shape=shape))
        lower, upper = self._row_bounds(np.arange(len(t.rows)))
        names = tuple(t.columns[j] for j in self._own)
        return Problem(
            self._cost, 0.0, self._lower, self._upper, np.zeros(len(self._own), bool), matrix,
            lower, upper, names, t.rows,
        )  # fmt: skip

    def see(self, xi: Floats, caution: Floats | None = None) -> None:
        """Let the data of a stage replace those of the one before; only what differs is passed."""
        entries, cost, rhs = self._numbers(xi, caution)
        changed = np.flatnonzero((entries != self._entries) & ~self._here)
        dear = np.flatnonzero(cost != self._cost).astype(np.int32)
        moved = np.flatnonzero(rhs != self._rhs)
        for i in changed:
            column = self._local[self._t.indices[i]]
            self._h.changeCoeff(int(self._row[i]), int(column), float(entries[i]))
        self._entries, self._cost, self._rhs = entries, cost, rhs
        if dear.size:
            self._h.changeColsCost(len(dear), dear, cost[dear])
        self._pass_rows(moved)

    def _pass_rows(self, rows: Ints) -> None:
        if rows.size:
            lower, upper = self._row_bounds(rows)
            self._h.changeRowsBounds(len(rows), rows.astype(np.int32), lower, upper)

    # -- solving ----------------------------------------------------------------------------
    def solve(self) -> float:
        """Solve from the last basis, rows added by need included; the cost without its offset."""
        cost = self._run()
        for _ in range(_MOST_ROUNDS):
            if self._separation is None:
                break
            coefficients, lower = self._separation.rows(self._values)
            if not len(lower):
                break
            self._add_rows(coefficients, lower)
            cost = self._run()
        return cost

    def _run(self) -> float:
        h: Any = self._h
        h.run()
        if h.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            h.clearSolver()
            h.run()
        if h.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise SolverError(
                f"a stage of the rolling dispatch ended {h.modelStatusToString(h.getModelStatus())}"
                f": {explain_infeasibility(self._problem())}. Expected complete recourse."
            )
        values = np.array(h.getSolution().col_value)
        cost = float(h.getInfo().objective_function_value)
        if not (np.isfinite(values).all() and np.isfinite(cost)):
            raise SolverError("a stage of the rolling dispatch came back without numbers")
        self._values[self._own] = np.clip(values, self._lower, self._upper)
        return cost

    def _add_rows(self, coefficients: Floats, lower: Floats) -> None:
        if self._separation is None:
            return
        empty = Problem(
            self._cost, 0.0, self._lower, self._upper, np.zeros(len(self._own), bool),
            sp.csr_array((0, len(self._own))), np.zeros(0), np.zeros(0),
        )  # fmt: skip
        at = self._local[self._separation.position]
        wide = with_rows(empty, at, coefficients, lower).matrix
        starts, index = wide.indptr[:-1].astype(np.int32), wide.indices.astype(np.int32)
        free = np.full(len(lower), np.inf)
        self._h.addRows(len(lower), lower, free, wide.nnz, starts, index, wide.data)

    # -- deciding ---------------------------------------------------------------------------
    def make_whole(self, columns: Ints) -> None:
        """Round every binary column to a side that its rows allow; where none does, try both."""
        for column in columns:
            sides = [side for side in (0.0, 1.0) if self._fits(int(column), side)]
            if not sides:
                self._better_side(int(column))
                continue
            side = min(sides, key=lambda side: abs(side - self._values[column]))
            self._values[column] = side
            self._hold(np.array([column]), np.array([side]), np.array([side]))

    def make_feasible(self, columns: Ints) -> Ints:
        """Hold those of the binary columns that fit no side at the better one; which they are."""
        held = []
        for column in columns:
            if not any(self._fits(int(column), side) for side in (0.0, 1.0)):
                self._better_side(int(column))
                held.append(column)
        return np.array(held, np.int64)

    def release(self, columns: Ints) -> None:
        """Give binary columns that were held for a plan their range back."""
        if columns.size:
            self._hold(columns, self._t.lower[columns], self._t.upper[columns])

    def _better_side(self, column: int) -> None:
        """(99d) Solve with the binary at either side and keep the cheaper one.

        A side may have no solution: one that asks for more power than what is decided allows.
        """
        where, cost = np.array([column]), {}
        for side in (0.0, 1.0):
            self._hold(where, np.array([side]), np.array([side]))
            try:
                cost[side] = self.solve()
            except SolverError:
                if side and not np.isfinite(cost[0.0]):
                    raise
                cost[side] = np.inf
        if cost[0.0] < cost[1.0]:
            self._hold(where, np.zeros(1), np.zeros(1))
            self.solve()

    def _fits(self, column: int, side: float) -> bool:
        """Whether the rows of a binary column hold with it at `side` and all else as it is."""
        t = self._t
        for row in self._row[t.indices == column]:
            part = slice(int(t.indptr[row]), int(t.indptr[row + 1]))
            at = self._values[t.indices[part]]
            at = np.where(t.indices[part] == column, side, at)
            kept = ~self._here[part]
            activity = float(self._entries[part][kept] @ at[kept])
            excess = t.sense[row] * (activity - self._rhs[row])
            if (abs(excess) if t.sense[row] == 0 else excess) > _SLACK:
                return False
        return True

    def fix(self, columns: Ints) -> None:
        """Keep columns at their values for good; rows that hold no free column any more open."""
        if not columns.size:
            return
        at = self._values[columns]
        at = np.where(np.abs(at) < 1e-11, 0.0, at)
        self._values[columns] = at
        self._hold(columns, at, at)

    def _hold(self, columns: Ints, lower: Floats, upper: Floats) -> None:
        local = self._local[columns]
        self._lower[local], self._upper[local] = lower, upper
        self._h.changeColsBounds(len(local), local.astype(np.int32), lower, upper)
        lively = self._with_free_columns()
        moved = np.flatnonzero(self._lively != lively)
        self._lively = lively
        self._pass_rows(moved)

    def _with_free_columns(self) -> Bools:
        """Rows that hold a column which is not fixed."""
        t = self._t
        free = np.zeros(len(t.columns), bool)
        free[self._own] = self._lower < self._upper
        return np.bincount(self._row[free[t.indices]], minlength=len(t.rows)) > 0
