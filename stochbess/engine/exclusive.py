"""Recourse with either-or columns that are made whole only where the relaxation abuses them.

Charge and discharge at once is rarely optimal, so the binaries that forbid it start out
continuous. Those whose relaxation cannot be rounded either way are made whole, and the problem is
solved again until none is left. The result is feasible for the full problem; the relaxation stays a
bound on it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from stochbess.clock import monotonic_s
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import Blocks, Problem, single
from stochbess.engine.template import Bools, Floats, Ints
from stochbess.errors import SolverError

_SLACK = 1e-6
# A hundredth of the default gap: what is left of it only lowers the proven profit.
_GAP_FRAC = 1e-4


def exclusive_recourse(
    block: Blocks, x: Floats, threads: int, time_limit_s: float = 30.0
) -> tuple[Floats, Floats, int]:
    """Best found recourse of every scenario at first stage x with either-or columns honoured.

    Returns
    -------
    values (S, n), cost (S,) including the first stage, number of columns that had to be made whole

    Raises
    ------
    SolverError : a scenario has no solution within the time limit
    """
    t = block.template
    either_or = t.integer.copy()
    either_or[t.first_stage] = False

    def one(s: int) -> tuple[Floats, float, int]:
        problem = single(block, s)
        lower, upper = problem.lower.copy(), problem.upper.copy()
        lower[t.first_stage] = upper[t.first_stage] = x
        fixed = replace(problem, lower=lower, upper=upper, integer=np.zeros(len(lower), bool))
        options = SolveOptions(gap_frac=_GAP_FRAC, time_limit_s=time_limit_s)
        return solve_lazily_whole(fixed, either_or, options)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        results = list(pool.map(one, range(block.n_scenarios)))
    values = np.array([v for v, _, _ in results])
    return values, np.array([c for _, c, _ in results]), sum(n for _, _, n in results)


def solve_lazily_whole(
    problem: Problem, either_or: Bools, options: SolveOptions
) -> tuple[Floats, float, int]:
    """Minimise `problem` with the columns `either_or` (binaries) whole, found by need.

    Returns the values, their cost, and how many columns were made whole during the search.
    """
    columns = np.flatnonzero(either_or)
    rows = sp.csc_array(problem.matrix)[:, columns]
    needed = np.zeros(len(columns), bool)
    deadline = monotonic_s() + options.time_limit_s
    while True:
        integer = problem.integer.copy()
        integer[columns[needed]] = True
        left = max(0.1, deadline - monotonic_s())
        outcome = solve_problem(
            replace(problem, integer=integer), replace(options, time_limit_s=left)
        )
        if outcome.values is None:
            raise SolverError(
                f"no recourse without simultaneous flows within {options.time_limit_s:g} s: "
                f"{outcome.status.value} ({outcome.message})"
            )
        values = outcome.values
        values[columns], stuck = _rounded(problem, rows, columns, values)
        if not stuck.any():
            return values, float(problem.cost @ values) + problem.offset, int(needed.sum())
        if not (stuck & ~needed).any():
            raise SolverError("an either-or column cannot be rounded although it is whole")
        needed |= stuck


def _rounded(
    problem: Problem, rows: sp.csc_array, columns: Ints, values: Floats
) -> tuple[Floats, Bools]:
    """Round every either-or column to the side that its rows allow; flag those with no side.

    Every row may hold one either-or column at most, so that columns can be rounded apart.
    """
    without = problem.matrix @ values - rows @ values[columns]
    coo = rows.tocoo()
    row, column, factor = coo.row, coo.col, coo.data

    def broken(side: float) -> Bools:
        activity = without[row] + side * factor
        bad = (activity > problem.row_upper[row] + _SLACK) | (
            activity < problem.row_lower[row] - _SLACK
        )
        return np.bincount(column[bad], minlength=len(columns)) > 0

    down, up = broken(0.0), broken(1.0)
    nearest = np.round(values[columns])
    rounded = np.where(down & ~up, 1.0, np.where(up & ~down, 0.0, nearest))
    return np.where(down & up, values[columns], rounded), down & up
