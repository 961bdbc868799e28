"""Recourse with either-or columns that are made whole only where the relaxation abuses them.

Charge and discharge at once is rarely optimal, so the binaries that forbid it start out
continuous. Those whose relaxation cannot be rounded either way are made whole, and the problem is
solved again until none is left. The result is feasible for the full problem; the relaxation stays a
bound on it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from stochbess.clock import monotonic_s
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.lazy import GrowingLP, RowPool, Separation, bound_to, with_rows
from stochbess.engine.matrix import Blocks, Problem, single
from stochbess.engine.switches import Found, Switches, solve_with_switches
from stochbess.engine.template import Bools, Floats, Ints
from stochbess.errors import InfeasibleError, SolverError

_SLACK = 1e-6
# A hundredth of the default gap: what is left of it only lowers the proven profit.
_GAP_FRAC = 1e-4


@dataclass(frozen=True)
class Held:
    """Columns that rows added by need hold up: the rows, and those known from a relaxation.

    `near` (S, n) is the relaxed solution in the columns of the separation; the rows of `known` that
    are least slack there are in the problem from the start.
    """

    separation: Separation
    known: RowPool
    near: Floats

    def of_scenario(self, s: int) -> tuple[Separation, RowPool]:
        """The separation, and the rows to begin scenario s with."""
        pool = RowPool(len(self.separation.position))
        pool.add(*self.known.near(self.near[s]))
        return self.separation, pool


def exclusive_recourse(
    block: Blocks,
    x: Floats,
    threads: int,
    time_limit_s: float = 30.0,
    held: Held | None = None,
    switches: Switches | None = None,
) -> tuple[Floats, Floats, int, bool]:
    """Best found recourse of every scenario at first stage x with either-or columns honoured.

    Those of `switches` are not searched by branching but moved from edge to edge.

    Returns
    -------
    values (S, n), cost (S,) including the first stage, number of columns that had to be made whole,
    whether the time limit of a scenario ended its search

    Raises
    ------
    SolverError : a scenario has no solution
    """
    t = block.template
    if held is None:
        bound_to(None, t)
    either_or = t.integer.copy()
    either_or[t.first_stage] = False

    def one(s: int) -> tuple[Floats, float, int, bool]:
        problem = single(block, s)
        lower, upper = problem.lower.copy(), problem.upper.copy()
        lower[t.first_stage] = upper[t.first_stage] = x
        fixed = replace(problem, lower=lower, upper=upper, integer=np.zeros(len(lower), bool))
        options = SolveOptions(gap_frac=_GAP_FRAC, time_limit_s=time_limit_s)
        rows = None if held is None else held.of_scenario(s)
        return solve_whole(fixed, either_or, options, rows, switches)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        results = list(pool.map(one, range(block.n_scenarios)))
    values, costs, counts, late = zip(*results, strict=True)
    return np.array(values), np.array(costs), sum(counts), any(late)


def solve_whole(
    problem: Problem,
    either_or: Bools,
    options: SolveOptions,
    growing: tuple[Separation, RowPool] | None = None,
    switches: Switches | None = None,
) -> Found:
    """As `solve_lazily_whole`, with the columns of `switches` among `either_or` turned one by one.

    The time limit is that of all rounds together.
    """
    if switches is None or not len(switches.column):
        return solve_lazily_whole(problem, either_or, options, growing)
    searched = either_or.copy()
    searched[switches.column] = False
    deadline = monotonic_s() + options.time_limit_s

    def solve(trial: Problem) -> Found:
        left = replace(options, time_limit_s=max(1.0, deadline - monotonic_s()))
        return solve_lazily_whole(trial, searched, left, growing)

    return solve_with_switches(problem, switches, solve, options.gap_frac / 100)


def solve_lazily_whole(
    problem: Problem,
    either_or: Bools,
    options: SolveOptions,
    growing: tuple[Separation, RowPool] | None = None,
) -> tuple[Floats, float, int, bool]:
    """Minimise `problem` with the columns `either_or` (binaries) whole, found by need.

    With `growing`, rows are added by need as well, beginning with those of its pool. Where the time
    runs out before there is a solution, the columns are held on their nearer side in the last one
    that was not whole.

    Returns
    -------
    values with held-up columns at their truth, their cost, how many columns were made whole, and
    whether the time limit ended the search
    """
    columns = np.flatnonzero(either_or)
    rows = sp.csc_array(problem.matrix)[:, columns]
    needed = np.zeros(len(columns), bool)
    deadline = monotonic_s() + options.time_limit_s
    best: tuple[float, Floats | None] = (np.inf, None)
    late, nearest = False, np.zeros(len(columns))
    while True:
        values, reference, timed_out = _with_whole(
            problem, columns[needed], options, deadline, growing
        )
        late = late or timed_out
        if values is None and best[1] is None:
            values, reference = _held_at(problem, columns, nearest, growing)
        if values is None:
            break
        nearest = np.round(values[columns])
        values[columns], stuck = _rounded(problem, rows, columns, values)
        if growing is not None:
            known = len(growing[1])
            for candidate in _attained(problem, columns, values, stuck, growing):
                best = min(best, candidate, key=lambda one: one[0])
            wanted = options.gap_frac * max(1.0, abs(best[0]))
            learnt = len(growing[1]) > known or bool((stuck & ~needed).any())
            if best[0] - reference <= wanted or not learnt:
                break
            if best[1] is not None and monotonic_s() > deadline:
                late = True
                break
        elif not stuck.any():
            best = float(problem.cost @ values) + problem.offset, values
            break
        if growing is None and not (stuck & ~needed).any():
            raise SolverError("an either-or column cannot be rounded although it is whole")
        needed |= stuck
    cost, found = best
    if found is None:
        raise SolverError("no recourse without simultaneous flows was found")
    return found, cost, int(needed.sum()), late


def _with_whole(
    problem: Problem,
    whole: Ints,
    options: SolveOptions,
    deadline: float,
    growing: tuple[Separation, RowPool] | None,
) -> tuple[Floats | None, float, bool]:
    """Values and lower bound with the columns `whole` whole, and whether the time ran out.

    None when it ran out before there was a solution. Without whole columns the rows added by need
    are completed here.
    """
    if growing is not None and not len(whole):
        return *_completed(problem, *growing), False
    integer = problem.integer.copy()
    integer[whole] = True
    known = problem if growing is None else _with_pool(problem, *growing)
    left = max(0.1, deadline - monotonic_s())
    outcome = solve_problem(replace(known, integer=integer), replace(options, time_limit_s=left))
    if outcome.values is None and not (outcome.hit_time_limit and len(whole)):
        raise SolverError(
            f"no recourse without simultaneous flows within {options.time_limit_s:g} s: "
            f"{outcome.status.value} ({outcome.message})"
        )
    return outcome.values, outcome.bound, outcome.hit_time_limit


def _held_at(
    problem: Problem,
    columns: Ints,
    nearest: Floats,
    growing: tuple[Separation, RowPool] | None,
) -> tuple[Floats, float]:
    """Values with every either-or column on a given side; they bound nothing.

    Raises
    ------
    SolverError : that leaves no solution
    """
    lower, upper = problem.lower.copy(), problem.upper.copy()
    lower[columns] = upper[columns] = nearest
    held = replace(problem, lower=lower, upper=upper)
    if growing is not None:
        return _completed(held, *growing)[0], -np.inf
    outcome = solve_problem(held, SolveOptions(gap_frac=_GAP_FRAC))
    if outcome.values is None:
        raise SolverError(
            "no recourse without simultaneous flows was found in time, and none keeps the "
            f"directions of the relaxation: {outcome.status.value} ({outcome.message})"
        )
    return outcome.values, -np.inf


def _attained(
    problem: Problem,
    columns: Ints,
    values: Floats,
    stuck: Bools,
    growing: tuple[Separation, RowPool],
) -> list[tuple[float, Floats]]:
    """Feasible solutions with their true cost: the rounded one, and its directions completed.

    A stuck column is held on its nearer side; where that leaves no solution there is none.
    """
    separation, pool = growing
    candidates = [] if stuck.any() else [separation.lift(values)]
    coefficients, lower = separation.rows(values)
    if stuck.any() or len(lower):
        pool.add(coefficients, lower)
        held_lower, held_upper = problem.lower.copy(), problem.upper.copy()
        held_lower[columns] = held_upper[columns] = np.round(values[columns])
        held = replace(problem, lower=held_lower, upper=held_upper)
        with suppress(InfeasibleError):
            candidates.append(separation.lift(_completed(held, separation, pool)[0]))
    return [(float(problem.cost @ v) + problem.offset, v) for v in candidates]


def _completed(problem: Problem, separation: Separation, pool: RowPool) -> tuple[Floats, float]:
    """The continuous problem with every row that its solution needs; they enter the pool."""
    none = sp.csr_array((problem.n_rows, 0))
    linear = GrowingLP(problem, none, separation.lazy, separation.position)
    linear.add_rows(pool.coefficients, pool.lower)
    cost, _ = linear.solve(np.zeros(0))
    pool.add(linear.found.coefficients, linear.found.lower)
    return linear.values(), cost


def _with_pool(problem: Problem, separation: Separation, pool: RowPool) -> Problem:
    return with_rows(problem, separation.position, pool.coefficients, pool.lower)


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
