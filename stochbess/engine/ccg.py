"""Adjustable two-stage robust optimisation by column-and-constraint generation.

The master is the two-stage problem over the vertices found so far, under the worst of them; the
adversary finds the worst vertex for the master's decision (Zeng & Zhao 2013,
doi 10.1016/j.orl.2013.05.003). Each scenario has an adversary of its own, so that the worst case of
the activation can stand under an expectation, a CVaR, or the worst over price scenarios. The master
leaves vertices out and is a lower bound of the cost; a decision with its proven worst cases is an
upper bound.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from stochbess.clock import monotonic_s
from stochbess.engine.adversary import Adversary, Inner, MovingRows, WorstCase
from stochbess.engine.highs import SolveOptions
from stochbess.engine.lshaped import CutPool, Recourse
from stochbess.engine.matrix import Blocks
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import Bools, Floats, Template
from stochbess.engine.two_stage import Engine, TwoStageOutcome, solve_two_stage
from stochbess.engine.uncertainty import BudgetSet
from stochbess.engine.worst_of import WorstOf
from stochbess.errors import SolverError

# Shares of the requested gap: the master's tree, the adversary's programme.
_MASTER_SHARE, _ADVERSARY_SHARE = 0.4, 0.3
# Vertices of the past from which a search starts, and most new ones of a scenario in a round.
_STARTS, _AT_ONCE = 6, 3
# Shares of the time after which the relaxation stops giving vertices, and after which a decision is
# proven even if a worse vertex is known: without one there is no result.
_RELAXED_UNTIL, _PROVEN_FROM = 0.3, 0.5
# Both shares shrink when no vertex is left to add and the bounds are still apart; down to this.
_FINEST = 1e-3


@dataclass
class Courses:
    """Pairs of scenario and vertex with the cuts of their costs, handed from search to search.

    They serve any set that holds these vertices, such as the same one with a larger budget.
    """

    pairs: list[tuple[int, Floats]] = field(default_factory=list)
    cuts: CutPool | None = None


@dataclass(frozen=True)
class Iteration:
    """One round: elapsed seconds, best proven bounds of the optimal cost so far, pairs held."""

    elapsed_s: float
    lower: float
    upper: float
    pairs: int


@dataclass(frozen=True)
class RobustOutcome:
    """A here-and-now decision with its worst case: `bound <= optimal cost <= cost`.

    Attributes
    ----------
    x : here-and-now columns, in the order of `template.first_stage`
    cost : proven worst-case cost of x under the outer measure; what x costs is at most this
    bound : lower bound of the cost of every decision
    attained : cost of x at the worst vertices found; `attained <= cost`
    scenario_cost : (S,) cost of x at the worst vertex found of each scenario
    worst : (S, K) that vertex
    iterations : bounds of every round
    hit_time_limit : the time ended the search before the gap did
    clocked : the clock decided a step on the way, so that a repetition may differ
    """

    x: Floats
    cost: float
    bound: float
    attained: float
    scenario_cost: Floats
    worst: Floats
    iterations: tuple[Iteration, ...]
    pairs: int
    wall_s: float
    hit_time_limit: bool
    clocked: bool = False

    @property
    def gap_frac(self) -> float:
        return max(0.0, self.cost - self.bound) / max(1.0, abs(self.cost))


def solve_robust(
    template: Template,
    xi: Floats,
    probability: Floats,
    uncertain: BudgetSet,
    moving: Sequence[MovingRows],
    *,
    gap_frac: float,
    time_limit_s: float,
    linking: Bools | None = None,
    threads: int = 1,
    engine: Engine = "auto",
    outer: Risk = NEUTRAL,
    relax: bool = False,
    seed: int = 0,
    progress: Callable[[float, float, float], None] | None = None,
    stop: threading.Event | None = None,
    courses: Courses | None = None,
) -> RobustOutcome:
    """Minimise `outer` over scenarios of the worst cost over the vertices of `uncertain`.

    Parameters
    ----------
    template : recourse matrix free of the uncertain numbers (`fixed_recourse`)
    xi : (S, n_xi) scenario data; the uncertain numbers in it are ignored
    probability : (S,) of the scenarios
    moving : what is known of the rows that the uncertain numbers move, per scenario
    gap_frac : relative gap between the two bounds at which the search ends
    linking : (n_columns,) columns that link the parts of the recourse in time, see `VertexSearch`
    time_limit_s : wall clock; the round in work is ended as soon as its parts allow
    outer : measure over the scenarios: expectation by default
    courses : what an earlier search over the same scenarios found, to begin with; left as found

    Raises
    ------
    InfeasibleError : no here-and-now decision exists
    SolverError : the time ran out before one decision was priced, or a bound on duals is wrong
    """
    search = _Search(
        template, xi, probability, uncertain, moving, linking, gap_frac, time_limit_s, threads,
        engine, outer, relax, seed, stop, courses,
    )  # fmt: skip
    return search.run(progress)


class _Search:
    """State of one run; call `run` once."""

    def __init__(
        self, template: Template, xi: Floats, probability: Floats, uncertain: BudgetSet,
        moving: Sequence[MovingRows], linking: Bools | None, gap_frac: float,
        time_limit_s: float, threads: int,
        engine: Engine, outer: Risk, relax: bool, seed: int, stop: threading.Event | None,
        courses: Courses | None,
    ) -> None:  # fmt: skip
        self.template, self.xi, self.probability = template, xi, probability
        self.uncertain, self.gap_frac, self.threads = uncertain, gap_frac, threads
        self.engine, self.outer, self.relax, self.seed = engine, outer, relax, seed
        self.stop = threading.Event() if stop is None else stop
        self.began = monotonic_s()
        self.time_limit_s, self.deadline = time_limit_s, self.began + time_limit_s
        self.adversaries = [
            Adversary(template, one, uncertain, rows, linking)
            for one, rows in zip(xi, moving, strict=True)
        ]
        nominal = np.zeros(uncertain.size)
        self.courses = Courses() if courses is None else courses
        first = [(s, nominal) for s in range(len(xi))]
        self.pairs = [pair for pair in self.courses.pairs if uncertain.contains(pair[1])] or first
        self.lower, self.upper, self.precision = -np.inf, np.inf, 1.0
        self.best: tuple[Floats, list[WorstCase]] | None = None
        self.clocked = False
        self.history: list[Iteration] = []
        # Pairs are only added, so that the cuts of the old ones hold in every later master.
        whole = self.courses.cuts if len(self.pairs) == len(self.courses.pairs) else None
        self.cuts = CutPool.empty(len(template.first_stage)) if whole is None else whole

    def run(self, progress: Callable[[float, float, float], None] | None) -> RobustOutcome:
        whole = not self.relax and bool(self.template.integer[self.template.first_stage].any())
        for relax in (True, False) if whole else (self.relax,):
            self._rounds(relax, relax and whole, progress)
        self.courses.pairs, self.courses.cuts = list(self.pairs), self.cuts
        return self._outcome(not self._closed() and monotonic_s() > self.deadline)

    def _rounds(
        self, relax: bool, only_search: bool, progress: Callable[[float, float, float], None] | None
    ) -> None:
        """Master and adversaries in turn; `only_search` gathers vertices and proves nothing."""
        while True:
            master = self._master(relax)
            self.lower = max(self.lower, master.bound)
            new = self._respond(master, only_search)
            self.pairs += new
            elapsed = monotonic_s() - self.began
            self.history.append(Iteration(elapsed, self.lower, self.upper, len(self.pairs)))
            if progress is not None:
                progress(elapsed, self.upper, self.lower)
            late = monotonic_s() > self.deadline
            if self._closed() or (only_search and (not new or self._clock(_RELAXED_UNTIL))):
                return
            if (late and self.best is not None) or (not new and self.precision < _FINEST):
                return
            if not new:
                self.precision *= 0.3

    def _closed(self) -> bool:
        if not np.isfinite(self.upper):
            return False
        return self.upper - self.lower <= self.gap_frac * max(1.0, abs(self.upper))

    def _past(self, share: float) -> bool:
        return monotonic_s() > self.began + share * self.time_limit_s

    def _clock(self, share: float) -> bool:
        """Whether a share of the time is over, for a decision that depends on it."""
        past = self._past(share)
        self.clocked = self.clocked or past
        return past

    def _left_s(self) -> float:
        return max(1.0, self.deadline - monotonic_s())

    def _master(self, relax: bool) -> TwoStageOutcome:
        scenario = np.array([s for s, _ in self.pairs], np.int64)
        data = np.array([self.uncertain.data(self.xi[s], z) for s, z in self.pairs])
        return solve_two_stage(
            blocks_at(self.template, data, np.full(len(data), 1 / len(data))),
            gap_frac=_MASTER_SHARE * self.precision * self.gap_frac,
            time_limit_s=self._left_s(),
            threads=self.threads,
            engine=self.engine,
            risk=WorstOf(scenario=scenario, probability=self.probability, outer=self.outer),
            relax=relax,
            seed=self.seed,
            stop=self.stop,
            start=None if self.best is None else self.best[0],
            cuts=self.cuts,
        )

    def _respond(self, master: TwoStageOutcome, only_search: bool) -> list[tuple[int, Floats]]:
        """Price the master's decision against the adversaries; the pairs that it left out.

        The adversary's programme is solved only if the fast search finds nothing worth adding.
        """
        x, everyone = master.x, range(len(self.adversaries))
        theta = WorstOf(scenario=np.array([s for s, _ in self.pairs]), probability=self.probability)
        held = theta.worst(master.scenario_cost)
        scale = self.gap_frac * max(1.0, abs(master.cost))
        inner = [a.at(x) for a in self.adversaries]
        with ThreadPoolExecutor(max(1, self.threads)) as pool, self._stopping():

            def each(work: Callable[[int], list[WorstCase]]) -> list[list[WorstCase]]:
                return list(pool.map(work, everyone))

            def worth_adding() -> bool:
                risen = np.array([w[0].cost for w in found])
                return self._measure(np.maximum(risen, held)) - master.cost > 0.5 * scale

            found = each(lambda s: inner[s].climb([*self._starts(s), *inner[s].runs()]))
            if not only_search and not worth_adding():
                found = each(lambda s: [inner[s].improve(found[s][0]), *found[s]])
            urgent = not only_search and self.best is None and self._clock(_PROVEN_FROM)
            if not only_search and (urgent or not worth_adding()):
                part = _ADVERSARY_SHARE * self.precision * scale
                proven = each(lambda s: [self._prove(inner[s], found[s][0], part)])
                bound = self._measure(np.array([w[0].bound for w in proven]))
                if bound < self.upper:
                    self.upper, self.best = bound, (x, [w[0] for w in proven])
                found = proven
        least = held + (0.2 * scale if only_search else 1e-7 * max(1.0, abs(master.cost)))
        known = {(s, z.tobytes()) for s, z in self.pairs}
        return [
            (s, w.z)
            for s in everyone
            for w in found[s][:_AT_ONCE]
            if w.cost > least[s] and (s, w.z.tobytes()) not in known
        ]

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """An exception in this thread, such as Ctrl-C, ends the proofs that others run."""
        try:
            yield
        except BaseException:
            self.stop.set()
            raise

    def _prove(self, inner: Inner, found: WorstCase, part: float) -> WorstCase:
        gap_frac = part / max(1.0, abs(found.cost))
        turns = -(-len(self.adversaries) // max(1, self.threads))
        options = SolveOptions(gap_frac, self._left_s() / turns, seed=self.seed, stop=self.stop)
        return inner.solve(options, found)

    def _starts(self, s: int) -> list[Floats]:
        """Nothing deviates, everything deviates, and the latest vertices of the scenario."""
        size = self.uncertain.size
        latest = [z for of, z in reversed(self.pairs) if of == s][:_STARTS]
        return [np.zeros(size), np.ones(size), np.full(size, 0.5), *latest]

    def _measure(self, cost: Floats) -> float:
        return self.outer.of_cost(cost, self.probability)

    def _outcome(self, late: bool) -> RobustOutcome:
        if self.best is None:
            raise SolverError("no decision was priced against its worst case; allow more time")
        x, found = self.best
        cost = np.array([w.cost for w in found])
        return RobustOutcome(
            x, self.upper, min(self.lower, self.upper), self._measure(cost), cost,
            np.array([w.z for w in found]), tuple(self.history), len(self.pairs),
            monotonic_s() - self.began, late, self.clocked,
        )  # fmt: skip


def blocks_at(template: Template, xi: Floats, probability: Floats) -> Blocks:
    """Blocks of scenario data (S, n_xi) that are laid out already."""
    return Blocks(
        template,
        probability,
        template.entries.values(xi),
        template.cost.values(xi),
        template.rhs.values(xi),
        template.offset.values(xi)[:, 0],
    )


def price_at(
    template: Template, xi: Floats, uncertain: BudgetSet, x: Floats, points: Floats
) -> Floats:
    """Cost of the decision `x` at points z (P, K) of the set, under one scenario `xi`."""
    data = np.array([uncertain.data(xi, z) for z in points])
    recourse = Recourse(blocks_at(template, data, np.full(len(data), 1 / len(data))), 1)
    try:
        cost, _ = recourse.evaluate(x)
    finally:
        recourse.close()
    return cost
