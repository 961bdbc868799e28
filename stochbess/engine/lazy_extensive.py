"""One large problem with rows added by need: linear rounds first, then whole columns.

The linear relaxation is solved, its violated rows are added, and it is solved again from its basis
until nothing is violated. With whole columns the rows found so far describe the cost well enough
that few mixed-integer solves follow: each gives a bound, and a decision on the whole columns that a
linear problem then completes with rows of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from stochbess.clock import monotonic_s
from stochbess.engine.highs import SolveOptions, solve_problem, version
from stochbess.engine.lazy import GrowingLP, Lazy, RowPool, with_rows
from stochbess.engine.matrix import Problem
from stochbess.engine.outcome import SolveOutcome, Status
from stochbess.engine.template import Floats, Ints
from stochbess.errors import InfeasibleError

_MOST_MIPS = 20
# Rows from earlier solves are copied into every scenario, so that only few may be.
_MOST_HANDED_ON = 10_000


class _AllScenarios:
    """The `Lazy` of S scenarios side by side: its columns are those of all, its rows sparse.

    `pool` is what is handed on to other solves: rows of one scenario, whichever it was.
    """

    def __init__(self, lazy: Lazy, n_scenarios: int, pool: RowPool) -> None:
        self._lazy, self._n, self.pool = lazy, n_scenarios, pool
        self.columns = tuple(f"{s}/{name}" for s in range(n_scenarios) for name in lazy.columns)
        handed_on = len(pool) if len(pool) * n_scenarios <= _MOST_HANDED_ON else 0
        first = sp.kron(sp.eye_array(n_scenarios), pool.coefficients[:handed_on])
        self._rows = [sp.csr_array(first)]
        self._lower = [np.tile(pool.lower[:handed_on], n_scenarios)]

    def rows(self, values: Floats) -> tuple[sp.csr_array, Floats]:
        """Rows that any scenario violates; they are kept for `known`."""
        parts, bounds = [], []
        for s, own in enumerate(values.reshape(self._n, -1)):
            coefficients, lower = self._lazy.rows(own)
            self.pool.add(coefficients, lower)
            width = coefficients.shape[1]
            wide = sp.csr_array(coefficients)
            indices = wide.indices + s * width
            shape = (len(lower), self._n * width)
            parts.append(sp.csr_array((wide.data, indices, wide.indptr), shape=shape))
            bounds.append(lower)
        found, lower = sp.csr_array(sp.vstack(parts)), np.concatenate(bounds)
        if lower.size:
            self._rows.append(found)
            self._lower.append(lower)
        return found, lower

    def known(self) -> tuple[sp.csr_array, Floats]:
        """All rows so far, each in the scenario that needed it."""
        return sp.csr_array(sp.vstack(self._rows)), np.concatenate(self._lower)

    def lifted(self, values: Floats) -> Floats:
        parts = values.reshape(self._n, -1)
        return np.concatenate([self._lazy.lifted(own) for own in parts])


def solve_growing(
    problem: Problem, position: Ints, lazy: Lazy, pool: RowPool, options: SolveOptions
) -> SolveOutcome:
    """Minimise `problem` with the rows of `lazy` in every scenario.

    Parameters
    ----------
    position : (S, n) columns of `problem` that the rows touch, scenario by scenario
    pool : rows to begin with; those found are added to it

    Returns
    -------
    An outcome whose objective counts the held-up columns as the solver left them and whose bound
    holds for the problem with all rows; the caller lifts the values
    """
    began = monotonic_s()
    deadline = began + options.time_limit_s
    whole = problem.integer
    wide = _AllScenarios(lazy, len(position), pool)
    columns = position.ravel()
    try:
        values, cost = _linear(problem.relaxed(), wide, columns)
    except InfeasibleError as error:
        if not whole.any():
            return _outcome(Status.INFEASIBLE, problem, None, -np.inf, message=str(error))
        return solve_problem(problem, options)
    if not whole.any():
        return _outcome(Status.OPTIMAL, problem, values, cost, wall_s=monotonic_s() - began)
    best: tuple[float, Floats | None] = (np.inf, None)
    bound, nodes, timed_out = cost, 0, False
    for _ in range(_MOST_MIPS):
        left = max(0.1, deadline - monotonic_s())
        growing = with_rows(problem, columns, *wide.known())
        found = solve_problem(growing, replace(options, time_limit_s=left))
        nodes += found.nodes
        timed_out = timed_out or found.hit_time_limit
        if found.values is None:
            if best[1] is None:
                return found
            break
        bound = max(bound, found.bound)
        known = len(wide.known()[1])
        values, _ = _linear(_held(problem, found.values), wide, columns)
        values[whole] = np.round(values[whole])
        lifted = values.copy()
        lifted[columns] = wide.lifted(values[columns])
        attained = float(problem.cost @ lifted) + problem.offset
        if attained < best[0]:
            best = (attained, values)
        tight = best[0] - bound <= options.gap_frac * max(1.0, abs(best[0]))
        if tight or len(wide.known()[1]) == known or monotonic_s() > deadline:
            break
    gap = best[0] - bound
    status = Status.OPTIMAL if gap <= 1e-6 * max(1.0, abs(best[0])) else Status.FEASIBLE_GAP
    return replace(
        _outcome(status, problem, best[1], bound, wall_s=monotonic_s() - began),
        nodes=nodes,
        hit_time_limit=timed_out,
    )


def _linear(problem: Problem, wide: _AllScenarios, columns: Ints) -> tuple[Floats, float]:
    """A continuous problem with every row its solution needs: values and objective."""
    growing = GrowingLP(problem, sp.csr_array((problem.n_rows, 0)), wide, columns)
    growing.add_rows(*wide.known())
    cost, _ = growing.solve(np.zeros(0))
    return growing.values(), cost


def _held(problem: Problem, values: Floats) -> Problem:
    """`problem` with its whole columns held at `values`."""
    lower, upper = problem.lower.copy(), problem.upper.copy()
    lower[problem.integer] = upper[problem.integer] = np.round(values[problem.integer])
    return replace(problem.relaxed(), lower=lower, upper=upper)


def _outcome(
    status: Status,
    problem: Problem,
    values: Floats | None,
    bound: float,
    *,
    wall_s: float = 0.0,
    message: str = "",
) -> SolveOutcome:
    objective = np.inf if values is None else float(problem.cost @ values) + problem.offset
    return SolveOutcome(
        status=status,
        objective=objective,
        bound=min(bound, objective),
        values=values,
        wall_s=wall_s,
        solver="HiGHS",
        version=version(),
        message=message,
    )
