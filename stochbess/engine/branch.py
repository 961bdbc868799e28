"""Branch-and-Benders-cut: integer here-and-now decisions over continuous recourse, in one tree.

Every node solves the cut master under its bounds; fractional points are separated a few times,
whole points until their epigraph is tight. Lower bounds stay valid throughout, so stopping at any
time leaves an incumbent with a proven gap. Branching is strong branching on the cut master, which
costs small LPs and no recourse.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from stochbess.clock import monotonic_s
from stochbess.engine.lshaped import (
    ROUNDS_IN_SEARCH,
    CutMaster,
    CutPool,
    NoRecourseAnywhereError,
    Recourse,
    lp_phase,
)
from stochbess.engine.risk import Risk
from stochbess.engine.template import Floats, Ints
from stochbess.errors import InfeasibleError, SolverError

_WHOLE = 1e-6
_MOST_PRICINGS = 12  # of one candidate, while rows added by need leave its cost uncertain
_SHARE = 0.3  # of the scenarios that are evaluated at a fractional point,
_FEWEST = 10  # but not fewer than these
_FORGETTING = 1.5  # growth of an old lack, each time that it was not looked at
_UNSEEN = 1e12  # lack of a scenario that was never looked at
_EXACT = 1e-9  # relative rounding of the subproblems: no smaller gap can be closed
Progress = Callable[[float, float, float, int], None]  # elapsed s, best cost, bound, open nodes


@dataclass(order=True)
class _Node:
    bound: float
    order: int
    lower: Floats = field(compare=False)
    upper: Floats = field(compare=False)


@dataclass(frozen=True)
class TreeResult:
    """Best x with its cost, the proven lower bound, and what it took."""

    x: Floats
    cost: float
    bound: float
    relaxation_bound: float
    nodes: int
    cuts: int
    hit_time_limit: bool


class BranchAndBenders:
    """One search; call `run` once."""

    def __init__(
        self,
        recourse: Recourse,
        risk: Risk,
        gap_frac: float,
        time_limit_s: float,
        progress: Progress | None = None,
        relax: bool = False,
        start: Floats | None = None,
        cuts: CutPool | None = None,
    ) -> None:
        self.recourse, self.master = recourse, CutMaster(recourse, risk, cuts)
        self.gap_frac, self.progress = gap_frac, progress
        self.deadline = monotonic_s() + time_limit_s
        self.began = monotonic_s()
        self.x, self.cost = np.zeros(0), float("inf")
        self.seen: dict[bytes, float] = {}
        self.pruned_bound = float("inf")
        self.start = start
        # Cost less epigraph of every scenario, when last seen.
        self.uncertain = np.full(self.master.n_scenarios, _UNSEEN)
        if relax:
            self.master.integer = np.zeros(self.master.n_first, bool)

    # -- search ---------------------------------------------------------------------------------
    def run(self) -> TreeResult:
        """Search until the gap is proven, the tree is empty or the time is up."""
        tolerance = self.gap_frac * (0.2 if self.master.integer.any() else 1.0)
        relaxation, cost, centre = lp_phase(self.recourse, self.master, tolerance, self.deadline)
        if not self.master.integer.any():
            late = monotonic_s() > self.deadline
            if self.start is not None:
                self._evaluate(self.start)
                if self.cost < cost:
                    centre, cost = self.x, self.cost
            return TreeResult(centre, cost, relaxation, relaxation, 0, self.master.n_cuts, late)
        lower, upper = self.master.lower.copy(), self.master.upper.copy()
        if self.start is not None:
            self._evaluate(self._rounded(self.start))
        self._dive(centre, lower, upper)
        self._improve()
        heap = [_Node(relaxation, 0, lower, upper)]
        order, nodes, timed_out = 1, 0, False
        while heap:
            best_open = min(heap[0].bound, self.pruned_bound)
            self._report(best_open, len(heap))
            if heap[0].bound >= self._cutoff():
                break
            if monotonic_s() > self.deadline and np.isfinite(self.cost):
                timed_out = True
                break
            node = heapq.heappop(heap)
            nodes += 1
            for child in self._process(node):
                child.order = order
                order += 1
                heapq.heappush(heap, child)
            if nodes % 25 == 0:
                self._improve()
        if not np.isfinite(self.cost):
            raise InfeasibleError(
                "no whole-lot decision satisfies the here-and-now constraints; "
                "check commitments, outages and power limits"
            )
        open_bound = min((n.bound for n in heap), default=float("inf"))
        bound = min(open_bound, self.pruned_bound, self.cost)
        self._report(bound, len(heap))
        return TreeResult(
            self.x, self.cost, bound, relaxation, nodes, self.master.n_cuts, timed_out
        )

    def _require_time(self) -> None:
        """Points without recourse are cut off until the time is up, if there is no decision yet."""
        if monotonic_s() > self.deadline and not np.isfinite(self.cost):
            raise SolverError(
                "no decision with a recourse in every scenario within the time limit; "
                "allow more time (--time-limit) or fewer scenarios (--n-scenarios)"
            )

    def _cutoff(self) -> float:
        return self.cost - self.gap_frac * max(1.0, abs(self.cost))

    def _report(self, bound: float, open_nodes: int) -> None:
        if self.progress is not None:
            self.progress(monotonic_s() - self.began, self.cost, min(bound, self.cost), open_nodes)

    def _process(self, node: _Node) -> list[_Node]:
        """Bound a node by cuts; return its children, none when it is pruned or solved."""
        master, rounds, previous = self.master, 0, -np.inf
        while True:
            master.set_bounds(node.lower, node.upper)
            result = master.solve()
            if result is None:
                return []
            bound, x, theta = result
            bound = max(bound, node.bound)
            if bound >= self._cutoff():
                self.pruned_bound = min(self.pruned_bound, bound)
                return []
            whole = self._is_whole(x)
            if whole:
                cost = self._evaluate(self._rounded(x))
                if not np.isfinite(cost):  # x has no recourse and is cut off
                    self._require_time()
                    continue
                if cost - bound <= max(0.1 * self.gap_frac, _EXACT) * max(1.0, abs(cost)):
                    self.pruned_bound = min(self.pruned_bound, bound)
                    return []
                if monotonic_s() > self.deadline:
                    return [replace(node, bound=bound)]  # stays open, with its better bound
                continue
            if rounds >= 3 or bound - previous < 0.02 * self.gap_frac * abs(bound):
                return self._branch(node, bound, x)
            previous, rounds = bound, rounds + 1
            which = self._most_uncertain()
            try:
                scenario_cost, gradient = self.recourse.evaluate(x, which)
            except NoRecourseAnywhereError as error:
                master.exclude(error.cuts)
                self._require_time()
                continue
            self.uncertain[which] = scenario_cost - theta[which]
            master.add_cuts(x, scenario_cost, gradient, which)

    def _most_uncertain(self) -> Ints:
        """Scenarios whose cuts lay furthest below their cost when last seen, in their order.

        A cut of few scenarios raises the bound of a fractional point nearly as much as one of all,
        at a part of the work; what was not looked at counts for more each time.
        """
        n_s = self.master.n_scenarios
        count = max(min(n_s, _FEWEST), int(np.ceil(_SHARE * n_s)))
        weight = self.master.probability * self.uncertain
        chosen = np.sort(np.argsort(-weight, kind="stable")[:count])
        self.uncertain = np.minimum(_FORGETTING * self.uncertain, _UNSEEN)
        return chosen.astype(np.int64)

    def _branch(self, node: _Node, bound: float, x: Floats) -> list[_Node]:
        """Two children on the variable whose weaker child bound rises most."""
        best: tuple[float, list[_Node]] = (-np.inf, [])
        for j in self._candidates(x):
            children = []
            for lower_side in (True, False):
                lower, upper = node.lower.copy(), node.upper.copy()
                if lower_side:
                    upper[j] = np.floor(x[j])
                else:
                    lower[j] = np.ceil(x[j])
                self.master.set_bounds(lower, upper)
                result = self.master.solve()
                value = np.inf if result is None else max(result[0], bound)
                children.append(_Node(value, 0, lower, upper))
            rises = sorted(min(c.bound, self.cost) - bound for c in children)
            score = rises[0] + 0.1 * rises[1]
            if score > best[0]:
                best = (score, children)
        kept = []
        for child in best[1]:
            if child.bound >= self._cutoff():
                if np.isfinite(child.bound):
                    self.pruned_bound = min(self.pruned_bound, child.bound)
            else:
                kept.append(child)
        return kept

    def _candidates(self, x: Floats, most: int = 8) -> list[int]:
        distance = np.where(self.master.integer, np.abs(x - np.round(x)), 0.0)
        order = np.argsort(-distance, kind="stable")
        return [int(j) for j in order[:most] if distance[j] > _WHOLE]

    # -- incumbents -----------------------------------------------------------------------------
    def _is_whole(self, x: Floats) -> bool:
        whole = x[self.master.integer]
        return bool((np.abs(whole - np.round(whole)) <= _WHOLE).all())

    def _rounded(self, x: Floats) -> Floats:
        return np.where(self.master.integer, np.round(x), x)

    def _evaluate(self, x: Floats) -> float:
        """Cost of a feasible whole x as its cuts say it; adds them and keeps x when it is the best.

        The incumbent's cost is the attained one, which rows added by need may leave a little above.
        An x without recourse costs infinitely much and is cut off.
        """
        risk, probability = self.master.risk, self.master.probability
        rounds = ROUNDS_IN_SEARCH
        for _ in range(_MOST_PRICINGS):
            try:
                scenario_cost, gradient, excess = self.recourse.priced(x, rounds)
            except NoRecourseAnywhereError as error:
                self.master.exclude(error.cuts)
                return float("inf")
            cost = risk.of_cost(scenario_cost, probability)
            attained = risk.of_cost(scenario_cost + excess, probability)
            if attained - cost <= 0.1 * self.gap_frac * max(1.0, abs(cost)) or cost >= self.cost:
                break
            rounds = 4 * ROUNDS_IN_SEARCH
        self.master.add_cuts(x, scenario_cost, gradient)
        if attained < self.cost and self._feasible(x):
            self.x, self.cost = x, attained
        return cost

    def _feasible(self, x: Floats) -> bool:
        master, tolerance = self.master, 1e-7
        rows = master.common @ x
        inside = (rows >= master.common_lower - tolerance) & (
            rows <= master.common_upper + tolerance
        )
        return bool(
            inside.all()
            and (x >= master.lower - tolerance).all()
            and (x <= master.upper + tolerance).all()
        )

    def _dive(self, x: Floats, lower: Floats, upper: Floats) -> None:
        """Fix the most nearly whole lots one by one, re-solving the cut master in between."""
        lower, upper = lower.copy(), upper.copy()
        open_columns = [int(j) for j in np.flatnonzero(self.master.integer)]
        while open_columns:
            j = min(open_columns, key=lambda k: abs(x[k] - np.round(x[k])))
            nearest = float(np.clip(np.round(x[j]), lower[j], upper[j]))
            other = nearest + (1.0 if x[j] > nearest else -1.0)
            for value in (nearest, other):
                trial_lower, trial_upper = lower.copy(), upper.copy()
                trial_lower[j] = trial_upper[j] = value
                if not self.master.lower[j] <= value <= self.master.upper[j]:
                    continue
                self.master.set_bounds(trial_lower, trial_upper)
                result = self.master.solve()
                if result is not None:
                    break
            else:
                return
            lower, upper, x = trial_lower, trial_upper, result[1]
            open_columns.remove(j)
        self._try_whole(x)

    def _try_whole(self, x: Floats, rounds: int = 4) -> float:
        """Best cost found with the whole part of x fixed and the continuous part free."""
        whole = self.master.integer
        key = np.round(x[whole]).tobytes()
        if key in self.seen:
            return self.seen[key]
        lower, upper = self.master.lower.copy(), self.master.upper.copy()
        lower[whole] = upper[whole] = np.round(x[whole])
        best = np.inf
        for _ in range(rounds):
            self.master.set_bounds(lower, upper)
            result = self.master.solve()
            if result is None:
                break
            best = min(best, self._evaluate(self._rounded(result[1])))
            if best - result[0] <= 0.1 * self.gap_frac * max(1.0, abs(best)):
                break
            if result[0] >= self.cost:
                break
        self.seen[key] = best
        return best

    def _improve(self, most_tries: int = 6) -> None:
        """Local search over single lots around the incumbent, screened by the cut master."""
        improved = np.isfinite(self.cost)
        while improved and monotonic_s() < self.deadline:
            improved = False
            screened: list[tuple[float, int, Floats]] = []
            for neighbour in self._neighbours():
                lower, upper = self.master.lower.copy(), self.master.upper.copy()
                whole = self.master.integer
                if neighbour[whole].tobytes() in self.seen:
                    continue
                lower[whole] = upper[whole] = neighbour[whole]
                self.master.set_bounds(lower, upper)
                result = self.master.solve()
                if result is not None and result[0] < self.cost:
                    screened.append((result[0], len(screened), neighbour))
            for _, _, neighbour in sorted(screened, key=lambda item: item[:2])[:most_tries]:
                before = self.cost
                self._try_whole(neighbour)
                if self.cost < before - 1e-9 * abs(before):
                    improved = True
                    break

    def _neighbours(self) -> list[Floats]:
        out = []
        for j in np.flatnonzero(self.master.integer):
            for step in (-1.0, 1.0):
                if self.master.lower[j] <= self.x[j] + step <= self.master.upper[j]:
                    neighbour = self.x.copy()
                    neighbour[j] += step
                    out.append(neighbour)
        return out
