"""Multi-cut L-shaped method: cost of all scenarios, the cut pool, and the in-out LP phase.

Van Slyke & Wets 1969 (doi 10.1137/0117061), multi-cut form of Birge & Louveaux 1988
(doi 10.1016/0377-2217(88)90159-2), stabilised by in-out separation (Ben-Ameur & Neto 2007,
doi 10.1002/net.20137). The master's optimum is a valid lower bound at every iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import scipy.sparse as sp

from stochbess.clock import monotonic_s
from stochbess.engine.highs import (
    FeasibilityCut,
    MasterLP,
    NoRecourseError,
    RecourseLP,
    explain_infeasibility,
)
from stochbess.engine.lazy import GrowingLP, RowPool, Separation, bound_to
from stochbess.engine.matrix import Blocks, ColumnMap, Problem, single
from stochbess.engine.risk import Risk
from stochbess.engine.template import Bools, Floats, Ints
from stochbess.errors import InfeasibleError, SolverError

_VIOLATED = 1e-7
_MOST_ROUNDS = 1000
# Below this a feasibility cut, scaled to one, holds or fails whatever x is.
_FLAT = 1e-9
# Rows added by need per evaluation while the search is on. They stay, so that later evaluations
# begin closer; until nothing is violated takes ten times as long and gains nothing on the bound.
ROUNDS_IN_SEARCH = 1


class NoRecourseAnywhereError(InfeasibleError):
    """Some scenarios have no recourse at a first stage; `cuts` exclude it."""

    def __init__(self, errors: list[NoRecourseError]) -> None:
        super().__init__()
        self._first = errors[0]
        self.cuts = [error.cut for error in errors if error.cut is not None]

    def __str__(self) -> str:
        return str(self._first)


class Recourse:
    """Cost of every scenario as a function of the here-and-now columns x.

    With a `separation` every scenario's problem grows by the rows that it violates. Its value is
    then that of a relaxation, so that cuts taken from it stay valid, and its *excess* is what the
    columns held up by such rows still lack; value plus excess is attained.
    """

    def __init__(
        self,
        block: Blocks,
        threads: int,
        separation: Separation | None = None,
        rows: RowPool | None = None,
    ) -> None:
        t = block.template
        self.block, self.separation = block, separation or bound_to(None, t)
        self._handed_on = rows
        self.columns = ColumnMap(t, block.n_scenarios).recourse
        self.first = t.first_stage
        self._first_cost = block.cost[:, self.first]
        self._pool = ThreadPoolExecutor(max(1, threads))
        self._problems = list(self._pool.map(self._recourse_lp, range(block.n_scenarios)))

    def _recourse_lp(self, s: int) -> RecourseLP:
        t = self.block.template
        whole = single(self.block, s)
        keep = np.ones(len(t.rows), bool)
        keep[t.common_rows] = False
        matrix = sp.csc_array(whole.matrix[np.flatnonzero(keep)])
        recourse = replace(
            whole,
            cost=whole.cost[self.columns],
            offset=0.0,
            lower=whole.lower[self.columns],
            upper=whole.upper[self.columns],
            integer=whole.integer[self.columns],
            matrix=sp.csr_array(matrix[:, self.columns]),
            row_lower=whole.row_lower[keep],
            row_upper=whole.row_upper[keep],
            columns=tuple(t.columns[j] for j in self.columns),
            rows=tuple(name for name, kept in zip(t.rows, keep, strict=True) if kept),
        )
        coupling = sp.csr_array(matrix[:, self.first])
        if self.separation is None:
            return RecourseLP(recourse, coupling)
        position = np.searchsorted(self.columns, self.separation.position)
        growing = GrowingLP(recourse, coupling, self.separation.lazy, position)
        if self._handed_on is not None and len(self._handed_on):
            growing.add_rows(self._handed_on.coefficients, self._handed_on.lower)
        return growing

    def evaluate(self, x: Floats, which: Ints | None = None) -> tuple[Floats, Floats]:
        """Total cost of every scenario (S,) at first stage x, and its subgradients (S, n_first).

        `which` (K,) asks for these scenarios alone, in its order. With rows added by need the cost
        is a lower bound; see `priced`.
        """
        cost, gradient, _ = self.priced(x, ROUNDS_IN_SEARCH, which)
        return cost, gradient

    def priced(
        self, x: Floats, most_rounds: int | None = None, which: Ints | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Cost (S,), subgradients (S, n_first), and the excess (S,) that attains the cost.

        `most_rounds` bounds how often rows are added by need; None = until nothing is violated.
        `which` (K,) asks for these scenarios alone, in its order.

        Raises
        ------
        NoRecourseAnywhereError : scenarios have no recourse at x; carries the cuts that exclude x
        InfeasibleError : a scenario has none whatever x is; names the constraints that conflict
        """
        asked = np.arange(self.block.n_scenarios) if which is None else which
        found = list(self._pool.map(lambda s: self._tried(int(s), x, most_rounds), asked))
        missing = [error for error in found if isinstance(error, NoRecourseError)]
        if missing:
            self._raise(missing)
        results = [result for result in found if not isinstance(result, NoRecourseError)]
        recourse = np.array([q for q, _, _ in results])
        gradient = np.array([g for _, g, _ in results])
        excess = np.array([e for _, _, e in results])
        cost = self._first_cost[asked] @ x + self.block.offset[asked] + recourse
        return cost, self._first_cost[asked] + gradient, excess

    def _tried(
        self, s: int, x: Floats, most_rounds: int | None
    ) -> tuple[float, Floats, float] | NoRecourseError:
        try:
            return self._priced(s, x, most_rounds)
        except NoRecourseError as error:
            return error

    def _raise(self, missing: list[NoRecourseError]) -> NoReturn:
        """The error of a scenario that no x can help, or else of all that lack a recourse."""
        for error in missing:
            if error.cut is None or not np.abs(error.cut.gradient).max(initial=0.0) > _FLAT:
                raise InfeasibleError(str(error))
        raise NoRecourseAnywhereError(missing)

    def _priced(self, s: int, x: Floats, most_rounds: int | None) -> tuple[float, Floats, float]:
        problem = self._problems[s]
        if self.separation is None or not isinstance(problem, GrowingLP):
            return *problem.solve(x), 0.0
        rounds = () if most_rounds is None else (most_rounds,)
        cost, gradient = problem.solve(x, *rounds)
        values = np.zeros(len(self.block.template.columns))
        values[self.columns] = problem.values()
        lack = self.separation.lift(values) - values
        return cost, gradient, float(self.block.cost[s] @ lack)

    def scenario_values(self, x: Floats) -> Floats:
        """All template columns of all scenarios at x, shape (S, n)."""
        return self.solution(x)[0]

    def solution(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Columns of all scenarios at x (S, n), their attained cost (S,), its lower bound (S,)."""
        cost, _, excess = self.priced(x)
        values = np.empty((self.block.n_scenarios, len(self.block.template.columns)))
        values[:, self.first] = x
        for s, problem in enumerate(self._problems):
            values[s, self.columns] = problem.values()
        if self.separation is not None:
            values = self.separation.lift(values)
        return values, cost + excess, cost

    def rows_found(self) -> RowPool | None:
        """All rows that were added by need, scenario after scenario."""
        if self.separation is None:
            return None
        pool = RowPool(len(self.separation.position))
        for problem in self._problems:
            if isinstance(problem, GrowingLP):
                pool.add(problem.found.coefficients, problem.found.lower)
        return pool

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class CutPool:
    """Cuts `theta_s >= intercept + gradient . x` of scenario costs, handed from solve to solve.

    They hold for any measure of risk and for any problem whose scenarios begin with the same ones.
    """

    gradient: Floats
    intercept: Floats
    scenario: Ints

    @classmethod
    def empty(cls, n_first: int) -> CutPool:
        return cls(np.zeros((0, n_first)), np.zeros(0), np.zeros(0, np.int64))


class CutMaster:
    """First-stage LP with one epigraph column per scenario cost and the cuts that are active.

    All cuts stay in a pool; the LP holds those that bind. Solving returns a valid lower bound on
    the first-stage problem under the bounds set last.
    """

    def __init__(self, recourse: Recourse, risk: Risk, cuts: CutPool | None = None) -> None:
        block, t = recourse.block, recourse.block.template
        self.risk, self.probability, self._template = risk, block.probability, t
        self.n_first, self.n_scenarios = len(t.first_stage), block.n_scenarios
        self.lower, self.upper = t.lower[t.first_stage], t.upper[t.first_stage]
        self.integer: Bools = t.integer[t.first_stage]
        whole = single(block, 0)
        common = whole.matrix[t.common_rows][:, t.first_stage]
        n_s, tail = self.n_scenarios, risk.n_columns(block.n_scenarios)
        self._fixed_rows = len(t.common_rows) + risk.n_rows(n_s)
        self.common, self.common_lower, self.common_upper = (
            sp.csr_array(common),
            whole.row_lower[t.common_rows],
            whole.row_upper[t.common_rows],
        )
        risk_rows = risk.rows(n_s)
        matrix = sp.block_array(
            [
                [common, sp.csr_array((len(t.common_rows), n_s + tail))],
                [sp.csr_array((risk.n_rows(n_s), self.n_first)), risk_rows],
            ]
        )
        free = np.full(n_s, np.inf)
        tail_lower, tail_upper = risk.column_bounds(n_s)
        self._width = n_s + tail
        self._lp = MasterLP(
            Problem(
                np.concatenate((np.zeros(self.n_first), risk.costs(block.probability))),
                0.0,
                np.concatenate((self.lower, -free, tail_lower)),
                np.concatenate((self.upper, free, tail_upper)),
                np.zeros(self.n_first + self._width, bool),
                sp.csr_array(matrix),
                np.concatenate((self.common_lower, np.zeros(risk.n_rows(n_s)))),
                np.concatenate((self.common_upper, np.full(risk.n_rows(n_s), np.inf))),
            )
        )
        # Cuts of earlier solves enter the LP when they are violated, like all others of the pool.
        known = CutPool.empty(self.n_first) if cuts is None else cuts
        self._gradient, self._intercept = known.gradient, known.intercept
        self._scenario = known.scenario
        self._rows: list[int] = []  # pool index of every cut row in the LP
        self._idle = np.zeros(0, np.int64)
        self.solves = 0

    @property
    def n_cuts(self) -> int:
        return len(self._intercept)

    def hand_on(self, cuts: CutPool) -> None:
        """Leave all cuts for the next solve."""
        cuts.gradient, cuts.intercept = self._gradient, self._intercept
        cuts.scenario = self._scenario

    def add_cuts(
        self, x: Floats, cost: Floats, gradient: Floats, which: Ints | None = None
    ) -> None:
        """Add `theta_s >= cost_s + gradient_s . (x' - x)` for all scenarios, or for `which`."""
        first = self.n_cuts
        of = np.arange(self.n_scenarios) if which is None else which
        self._gradient = np.vstack((self._gradient, gradient))
        self._intercept = np.concatenate((self._intercept, cost - gradient @ x))
        self._scenario = np.concatenate((self._scenario, of))
        self._insert(np.arange(first, self.n_cuts))

    def exclude(self, cuts: Sequence[FeasibilityCut]) -> None:
        """Add `0 >= intercept + gradient . x`, a cut of the pool that belongs to no scenario."""
        first = self.n_cuts
        scale = np.array([max(np.abs(cut.gradient).max(), _FLAT) for cut in cuts])
        gradient = np.array([cut.gradient for cut in cuts]) / scale[:, None]
        self._gradient = np.vstack((self._gradient, gradient))
        intercept = np.array([cut.intercept for cut in cuts]) / scale
        self._intercept = np.concatenate((self._intercept, intercept))
        self._scenario = np.concatenate((self._scenario, np.full(len(cuts), -1)))
        self._insert(np.arange(first, self.n_cuts))

    @property
    def excludes(self) -> bool:
        """Whether some here-and-now decisions were found to have no recourse."""
        return bool((self._scenario < 0).any())

    def floor(self, cost: float) -> None:
        """Let no scenario cost less than that; -inf takes it back."""
        which = np.arange(self.n_first, self.n_first + self.n_scenarios)
        self._lp.set_bounds(which, np.full(len(which), cost), np.full(len(which), np.inf))

    def _insert(self, which: Ints) -> None:
        theta = np.zeros((len(which), self._width))
        of_scenario = np.flatnonzero(self._scenario[which] >= 0)
        theta[of_scenario, self._scenario[which[of_scenario]]] = 1.0
        self._lp.add_rows(self._intercept[which], np.hstack((-self._gradient[which], theta)))
        self._rows.extend(int(i) for i in which)
        self._idle = np.concatenate((self._idle, np.zeros(len(which), np.int64)))

    def set_bounds(self, lower: Floats, upper: Floats) -> None:
        self._lp.set_bounds(np.arange(self.n_first), lower, upper)

    def conflict(self) -> str:
        """Names of the here-and-now constraints that exclude each other."""
        t = self._template
        return explain_infeasibility(
            Problem(
                np.zeros(self.n_first),
                0.0,
                self.lower,
                self.upper,
                self.integer,
                self.common,
                self.common_lower,
                self.common_upper,
                tuple(t.columns[j] for j in t.first_stage),
                tuple(t.rows[i] for i in t.common_rows),
            )
        )

    def solve(self) -> tuple[float, Floats, Floats] | None:
        """(lower bound, x, theta), or None when the bounds admit no x."""
        while True:
            result = self._lp.solve()
            self.solves += 1
            if result is None:
                return None
            bound, values, rows = result
            x = values[: self.n_first]
            theta = values[self.n_first : self.n_first + self.n_scenarios]
            slack = rows[self._fixed_rows :] - self._intercept[self._rows]
            self._idle = np.where(slack > 1e-6, self._idle + 1, 0)
            missing = self._violated(x, theta)
            if not missing.size:
                self._purge()
                return bound, x, theta
            self._insert(missing)

    def _violated(self, x: Floats, theta: Floats) -> Ints:
        """Per scenario the most violated pool cut that the LP does not hold."""
        theta = np.append(theta, 0.0)  # for the cuts that belong to no scenario
        scale = np.maximum(1.0, np.abs(theta))
        excess = (self._gradient @ x + self._intercept - theta[self._scenario]) / scale[
            self._scenario
        ]
        excess[self._rows] = 0.0
        worst = np.zeros(self.n_scenarios + 1)
        np.maximum.at(worst, self._scenario, excess)
        hit = np.flatnonzero((excess > _VIOLATED) & (excess >= worst[self._scenario]))
        return hit.astype(np.int64)

    def _purge(self) -> None:
        """Drop rows that have been slack for long once the LP is large; the pool keeps them."""
        if len(self._rows) <= 12 * self.n_scenarios + 200:
            return
        idle = np.flatnonzero(self._idle > 10)
        if not idle.size:
            return
        self._lp.delete_rows(idle + self._fixed_rows)
        keep = np.ones(len(self._rows), bool)
        keep[idle] = False
        self._rows = [r for r, k in zip(self._rows, keep, strict=True) if k]
        self._idle = self._idle[keep]


def _first_point(
    recourse: Recourse, master: CutMaster, deadline_s: float
) -> tuple[Floats, Floats, Floats]:
    """A here-and-now decision with a recourse in every scenario, its cost and subgradients.

    Begins at zero. Where that has no recourse, cuts exclude it and the next one is any that obeys
    them, until one has: rays are finitely many.
    """
    x = np.clip(np.zeros(master.n_first), master.lower, master.upper)
    while True:
        try:
            cost, gradient = recourse.evaluate(x)
        except NoRecourseAnywhereError as error:
            if monotonic_s() > deadline_s:
                raise SolverError(f"no decision within the time limit: {error}") from error
            master.exclude(error.cuts)
            master.floor(0.0)
            result = master.solve()
            master.floor(-np.inf)
            if result is None:
                raise InfeasibleError(
                    f"no here-and-now decision suits all scenarios. At the last one tried, {error}"
                ) from error
            x = result[1]
        else:
            return x, cost, gradient


def lp_phase(
    recourse: Recourse, master: CutMaster, tolerance: float, deadline_s: float
) -> tuple[float, float, Floats]:
    """Solve the continuous relaxation to `tolerance`; (lower bound, upper bound, best x).

    Stops after the round in which the monotonic clock passes `deadline_s`; the bounds are valid
    whenever it stops.

    Raises
    ------
    InfeasibleError : the here-and-now constraints exclude each other, or x has no recourse
    """
    centre, cost, gradient = _first_point(recourse, master, deadline_s)
    master.add_cuts(centre, cost, gradient)
    start = master.solve()
    if start is None:
        raise InfeasibleError(f"no here-and-now decision exists: {master.conflict()}")
    centre, best, step, bound = start[1], float("inf"), 0.6, start[0]
    lack, exact = 0.0, False  # excess of the best point; whether all its rows are there
    for _ in range(_MOST_ROUNDS):
        result = master.solve()
        if result is None:
            raise InfeasibleError(f"no here-and-now decision exists: {master.conflict()}")
        bound, outer, theta = result
        wanted = tolerance * max(1.0, abs(best))
        near = bool(np.isfinite(best)) and best - lack - bound <= wanted
        if near and (exact or lack <= 0.1 * wanted):
            break
        trial = centre if near else step * outer + (1 - step) * centre
        try:
            cost, gradient, excess = recourse.priced(trial, None if near else ROUNDS_IN_SEARCH)
        except NoRecourseAnywhereError as error:
            master.exclude(error.cuts)
            if monotonic_s() > deadline_s:
                break
            continue
        cut_off = cost + gradient @ (outer - trial) > theta + _VIOLATED * np.maximum(1, abs(theta))
        master.add_cuts(trial, cost, gradient)
        value = master.risk.of_cost(cost + excess, master.probability)
        if value < best or near:
            best, centre, exact = min(best, value), trial, near
            lack = value - master.risk.of_cost(cost, master.probability)
        if monotonic_s() > deadline_s:
            break
        step = max(0.3, step * 0.9) if cut_off.any() else min(1.0, step + 0.2)
    return bound, best, centre
