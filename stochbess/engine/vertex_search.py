"""The worst vertex by branching on deviations, proven by repairs that stay local.

Columns that link the time before an instant with the time after it (stored energy) cut the recourse
into parts. Keep the linking columns of the best answer to some vertex, and let every part that is
called again answer alone: that is feasible, so that its cost is an upper bound of the cost of the
larger vertex, and the parts add up (docs/math.md (120a), (120b)). A branch whose bound does not
reach the best vertex is cut off. Nothing has to be known of dual values.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from stochbess.clock import monotonic_s
from stochbess.engine.highs import RecourseLP
from stochbess.engine.matrix import Problem
from stochbess.engine.template import Bools, Floats, Ints
from stochbess.engine.uncertainty import BudgetSet
from stochbess.errors import InfeasibleError

# Most deviations that may share a part: their subsets are all tried.
_MOST_TOGETHER = 5
_ENDLESS = 1e30  # finite, so that differences of rises without a bound stay numbers


@dataclass(frozen=True)
class Found:
    """Best vertex, its cost, and a proven bound of the worst cost."""

    z: Floats
    cost: float
    bound: float


@dataclass(frozen=True)
class _Option:
    """Further deviations of one part, and what they raise the cost by at most."""

    adds: tuple[int, ...]
    rise: float


@dataclass(frozen=True)
class _Part:
    """Columns that meet others through `linked` columns only, and the deviations that move them."""

    columns: Ints
    linked: Ints
    deviations: tuple[int, ...]
    lp: RecourseLP | None


class VertexSearch:
    """Branch and bound over the 0-1 points of a budgeted set, at one here-and-now decision.

    Parameters
    ----------
    problem : recourse at z = 0
    by_z : derivative of its right-hand sides with respect to z, (rows, K)
    slope : (K,) derivative of the direct cost
    linking : (columns,) columns that may be kept when a part answers alone
    """

    def __init__(
        self, problem: Problem, by_z: sp.csr_array, constant: float, slope: Floats,
        uncertain: BudgetSet, linking: Bools,
    ) -> None:  # fmt: skip
        self._problem, self._by_z = problem, sp.csr_array(by_z)
        self._constant, self._slope, self._uncertain = constant, slope, uncertain
        self._lp = RecourseLP(problem, sp.csr_array(-self._by_z))
        self._parts = self._split(linking)

    @property
    def usable(self) -> bool:
        """Whether the parts are small enough to try all subsets of their deviations."""
        return all(len(part.deviations) <= _MOST_TOGETHER for part in self._parts)

    def _split(self, linking: Bools) -> list[_Part]:
        """Connected parts of rows and columns without the linking ones, where deviations act."""
        matrix = sp.csc_array(self._problem.matrix)
        free = np.flatnonzero(~linking)
        inside = abs(matrix[:, free])
        # Rows that one deviation moves belong together.
        moved = abs(self._by_z)
        graph = sp.block_array([[None, inside, moved], [inside.T, None, None],
                                [moved.T, None, None]])  # fmt: skip
        _, label = connected_components(graph, directed=False)
        n_rows = self._problem.n_rows
        of_row, of_free = label[:n_rows], label[n_rows : n_rows + len(free)]
        of_deviation = label[n_rows + len(free) :]
        acts = (np.diff(sp.csc_array(self._by_z).indptr) > 0) | (self._slope != 0)
        parts = []
        for name in dict.fromkeys(int(of_deviation[k]) for k in np.flatnonzero(acts)):
            deviations = tuple(int(k) for k in np.flatnonzero((of_deviation == name) & acts))
            rows, columns = np.flatnonzero(of_row == name), free[of_free == name]
            parts.append(self._part(matrix, rows, columns, deviations))
        return parts

    def _part(
        self, matrix: sp.csc_array, rows: Ints, columns: Ints, deviations: tuple[int, ...]
    ) -> _Part:
        p = self._problem
        if not len(columns):
            return _Part(columns, columns, deviations, None)
        here = sp.csc_array(sp.csr_array(matrix)[rows])
        others = np.ones(p.n_columns, bool)
        others[columns] = False
        linked = np.flatnonzero(others & (np.diff(here.indptr) > 0))
        own = Problem(
            p.cost[columns], 0.0, p.lower[columns], p.upper[columns],
            np.zeros(len(columns), bool), sp.csr_array(here[:, columns]),
            p.row_lower[rows], p.row_upper[rows],
        )  # fmt: skip
        coupling = sp.csr_array(sp.hstack([here[:, linked], -self._by_z[rows]]))
        return _Part(columns, linked, deviations, RecourseLP(own, coupling))

    def _priced(self, z: Floats) -> tuple[float, Floats]:
        """Cost at z and the recourse that has it."""
        cost, _ = self._lp.solve(z)
        return self._constant + float(self._slope @ z) + cost, self._lp.values()

    def _options(self, z: Floats, values: Floats, allowed: Bools, most: int) -> list[list[_Option]]:
        """Per part what may be added to z, and the rise of the cost when the part answers alone."""
        found = []
        for part in self._parts:
            free = [k for k in part.deviations if allowed[k] and z[k] == 0.0]
            options = []
            for count in range(1, min(most, len(free)) + 1):
                for adds in combinations(free, count):
                    larger = z.copy()
                    larger[list(adds)] = 1.0
                    if self._uncertain.contains(larger):
                        options.append(_Option(adds, self._rise(part, larger, values, adds)))
            found.append(options)
        return found

    def _rise(self, part: _Part, larger: Floats, values: Floats, adds: tuple[int, ...]) -> float:
        direct = float(self._slope[list(adds)].sum())
        if part.lp is None:
            return direct
        try:
            cost, _ = part.lp.solve(np.concatenate((values[part.linked], larger)))
        except InfeasibleError:  # at the solver's tolerance: no bound from here
            return _ENDLESS
        return direct + cost - float(self._problem.cost[part.columns] @ values[part.columns])

    def run(
        self,
        known: Floats,
        slack: float,
        limit_s: float = np.inf,
        stop: threading.Event | None = None,
    ) -> Found:
        """The worst vertex to within `slack` of cost, or less well proven when the time is up.

        `known` is a vertex to begin with. A branch is cut off when its bound is at most the best
        cost plus `slack`.
        """
        state = _State(known, self._priced(known)[0], slack, monotonic_s() + limit_s, stop)
        acts = np.zeros(self._uncertain.size, bool)
        acts[[k for part in self._parts for k in part.deviations]] = True
        begin = np.zeros(self._uncertain.size)
        self._branch(state, begin, acts, np.inf)
        return Found(state.z, state.cost, max(state.cost, state.bound))

    def _branch(self, state: _State, z: Floats, allowed: Bools, inherited: float) -> None:
        """All vertices that contain z and else only what is allowed; `inherited` bounds them."""
        if state.late():
            state.leave(inherited)
            return
        cost, values = self._priced(z)
        state.offer(z, cost)
        most = self._uncertain.most_at_once - int(z.sum())
        if most <= 0:
            return
        options = self._options(z, values, allowed, most)
        bound = min(inherited, cost + _best_sum(options, most))
        if bound <= state.cut_off:
            state.leave(bound)
            return
        alone = {o.adds[0]: o.rise for part in options for o in part if len(o.adds) == 1}
        allowed = allowed.copy()
        for k in sorted(alone, key=lambda j: -alone[j]):
            rest = _with(options, k, alone[k], allowed)
            upper = min(bound, cost + alone[k] + _best_sum(rest, most - 1))
            if upper <= state.cut_off:
                state.leave(upper)
            else:
                larger = z.copy()
                larger[k] = 1.0
                self._branch(state, larger, allowed, upper)
            allowed[k] = False


class _State:
    """Best vertex, and the largest bound among the branches that were left."""

    def __init__(
        self, z: Floats, cost: float, slack: float, deadline_s: float,
        stop: threading.Event | None,
    ) -> None:  # fmt: skip
        self.z, self.cost, self.bound = z, cost, -np.inf
        self._slack, self._deadline_s, self._stop = slack, deadline_s, stop

    @property
    def cut_off(self) -> float:
        return self.cost + self._slack

    def late(self) -> bool:
        return monotonic_s() > self._deadline_s or (self._stop is not None and self._stop.is_set())

    def offer(self, z: Floats, cost: float) -> None:
        if cost > self.cost:
            self.z, self.cost = z, cost

    def leave(self, bound: float) -> None:
        self.bound = max(self.bound, bound)


def _best_sum(options: list[list[_Option]], most: int) -> float:
    """Largest sum of rises, one option per part, with at most `most` deviations (120b)."""
    best = np.zeros(most + 1)
    for part in options:
        new = best.copy()
        for option in part:
            n = len(option.adds)
            if n <= most:
                new[n:] = np.maximum(new[n:], best[: most + 1 - n] + option.rise)
        best = new
    return float(best[most])


def _with(options: list[list[_Option]], k: int, rise: float, allowed: Bools) -> list[list[_Option]]:
    """What may still be added once k is, with rises on top of that of k alone."""
    out = []
    for part in options:
        usable = [o for o in part if all(allowed[j] for j in o.adds)]
        if any(k in o.adds for o in part):
            usable = [
                _Option(tuple(j for j in o.adds if j != k), o.rise - rise)
                for o in usable
                if k in o.adds and len(o.adds) > 1
            ]
        out.append(usable)
    return out
