"""Solve a two-stage problem from its blocks, by extensive form or decomposition, to one result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.sparse as sp

from stochbess.clock import monotonic_s
from stochbess.engine.branch import BranchAndBenders
from stochbess.engine.certificate import TOLERANCE, certify
from stochbess.engine.highs import SolveOptions, solve_problem, version
from stochbess.engine.lazy import Lazy, RowPool, Separation, bound_to
from stochbess.engine.lazy_extensive import solve_growing
from stochbess.engine.lshaped import CutPool, Recourse
from stochbess.engine.matrix import Blocks, ColumnMap, Problem, extensive_form, single
from stochbess.engine.outcome import Status
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import Floats, Ints
from stochbess.errors import InfeasibleError, SolverError

Engine = Literal["auto", "extensive", "decomposition"]
Progress = Callable[[float, float, float], None]  # elapsed s, best cost, bound

# Below this many scenarios one MIP or LP over all of them was never slower than the decomposition
# on the reference problem (benchmarks/).
_EXTENSIVE_UP_TO = 2


@dataclass(frozen=True)
class TwoStageOutcome:
    """A first stage with its price: `bound <= optimal cost <= cost`, both to be minimised.

    Attributes
    ----------
    x : here-and-now columns, in the order of `template.first_stage`
    values : every template column in every scenario, (S, n)
    scenario_cost : cost of every scenario (S,)
    relaxation_bound : bound of the continuous relaxation where the engine computed one
    violation : largest relative violation over all scenarios, recomputed from the arrays
    rows : rows that were added by need, to begin a related solve with; None without a `lazy`
    excess : (S,) part of `scenario_cost` that the columns held up by such rows still lacked
    """

    status: Status
    engine: str
    cost: float
    bound: float
    x: Floats
    values: Floats
    scenario_cost: Floats
    relaxation_bound: float
    violation: float
    wall_s: float
    nodes: int
    cuts: int
    hit_time_limit: bool
    solver: str
    rows: RowPool | None = None
    excess: Floats | None = None

    @property
    def gap_frac(self) -> float:
        return (self.cost - self.bound) / max(1.0, abs(self.cost))


def solve_two_stage(
    block: Blocks,
    *,
    gap_frac: float,
    time_limit_s: float,
    threads: int = 1,
    engine: Engine = "auto",
    risk: Risk = NEUTRAL,
    relax: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    start: Floats | None = None,
    lazy: Lazy | None = None,
    rows: RowPool | None = None,
    cuts: CutPool | None = None,
) -> TwoStageOutcome:
    """Minimise the risk-adjusted cost over all scenarios of `block`.

    `relax` drops integrality. `start` is a here-and-now decision that the decomposition prices
    first, so that its result is never worse. `engine="auto"` takes the extensive form for very few
    scenarios or when nothing is decided here and now, the decomposition otherwise. `lazy` supplies
    rows that are added where a solution violates them; the result has its held-up columns at their
    truth and the bound stays one. `rows` from an earlier solve are there from the start, and so are
    `cuts`, to which the decomposition adds its own.

    Raises
    ------
    InfeasibleError : no here-and-now decision exists; names the constraints that conflict
    SolverError : the time ran out without a solution, or a certificate failed
    """
    t = block.template
    if engine == "auto":
        small = block.n_scenarios <= _EXTENSIVE_UP_TO or not len(t.first_stage)
        binary_recourse = bool(t.integer[ColumnMap(t, 1).recourse].any())
        engine = "extensive" if small or binary_recourse else "decomposition"
    started = monotonic_s()
    options = SolveOptions(gap_frac, time_limit_s, threads, seed=seed, progress=progress, stop=stop)
    separation = bound_to(lazy, t)
    if engine == "extensive":
        outcome = _extensive(block, options, risk, relax, separation, rows)
    else:
        outcome = _decomposed(block, options, risk, relax, start, separation, rows, cuts)
    return replace(outcome, wall_s=monotonic_s() - started)


def _extensive(
    block: Blocks,
    options: SolveOptions,
    risk: Risk,
    relax: bool,
    separation: Separation | None,
    rows: RowPool | None,
) -> TwoStageOutcome:
    problem, columns = extensive_form(block)
    position = columns.positions()
    if not risk.neutral:
        problem = with_risk(problem, block, position, risk)
    if relax:
        problem = problem.relaxed()
    pool = None
    if separation is None:
        outcome = solve_problem(problem, options)
    else:
        pool = RowPool(len(separation.position)) if rows is None else rows
        at = position[:, separation.position]
        outcome = solve_growing(problem, at, separation.lazy, pool, options)
    if outcome.status is Status.INFEASIBLE:
        raise InfeasibleError(_conflict(block, options, relax))
    if outcome.status is Status.TIME_LIMIT_NO_SOLUTION:
        raise SolverError(
            f"no solution within the time limit of {options.time_limit_s:g} s; "
            "allow more time (--time-limit) or fewer scenarios (--n-scenarios)"
        )
    if outcome.values is None:
        raise SolverError(f"no solution: {outcome.status.value} ({outcome.message})")
    values, claimed, excess = outcome.values[position], outcome.objective, None
    if separation is not None:
        lacking, values = values, separation.lift(values)
        excess = np.einsum("sn,sn->s", block.cost, values - lacking)
        claimed += _risk_of(block, values, risk) - _risk_of(block, lacking, risk)
    result = certified(block, "extensive", values, claimed, outcome.bound, risk, relax)
    return replace(
        result,
        rows=pool,
        excess=excess,
        status=outcome.status,
        nodes=outcome.nodes,
        hit_time_limit=outcome.hit_time_limit,
    )


def _risk_of(block: Blocks, values: Floats, risk: Risk) -> float:
    cost = np.einsum("sn,sn->s", block.cost, values) + block.offset
    return risk.of_cost(cost, block.probability)


def _conflict(block: Blocks, options: SolveOptions, relax: bool) -> str:
    """What makes an extensive form infeasible, in the names of the first scenario it shows in."""
    for s in range(block.n_scenarios):
        alone = single(block, s)
        found = solve_problem(alone.relaxed() if relax else alone, replace(options, progress=None))
        if found.status is Status.INFEASIBLE:
            return f"scenario {s} has no feasible decision: {found.message}"
    return "every scenario has a feasible decision, but no here-and-now decision suits all of them"


def with_risk(problem: Problem, block: Blocks, position: Ints, risk: Risk) -> Problem:
    """Replace the expected cost by the mean-CVaR of the scenario costs (docs/math.md (22))."""
    n_s, n = block.n_scenarios, problem.n_columns
    tail = risk.n_columns(n_s)
    # theta_s - cost_s . (x, y_s) = offset_s
    rows = np.repeat(np.arange(n_s), block.cost.shape[1])
    costs = sp.csr_array((block.cost.ravel(), (rows, position.ravel())), shape=(n_s, n))
    matrix = sp.block_array(
        [
            [problem.matrix, sp.csr_array((problem.n_rows, n_s + tail))],
            [-costs, sp.hstack([sp.eye_array(n_s), sp.csr_array((n_s, tail))])],
            [sp.csr_array((risk.n_rows(n_s), n)), risk.rows(n_s)],
        ]
    )
    tail_lower, tail_upper = risk.column_bounds(n_s)
    free, zeros = np.full(n_s, np.inf), np.zeros(risk.n_rows(n_s))
    return Problem(
        np.concatenate((np.zeros(n), risk.costs(block.probability))),
        0.0,
        np.concatenate((problem.lower, -free, tail_lower)),
        np.concatenate((problem.upper, free, tail_upper)),
        np.concatenate((problem.integer, np.zeros(n_s + tail, bool))),
        sp.csr_array(matrix),
        np.concatenate((problem.row_lower, block.offset, zeros)),
        np.concatenate((problem.row_upper, block.offset, np.full(len(zeros), np.inf))),
    )


def _decomposed(
    block: Blocks,
    options: SolveOptions,
    risk: Risk,
    relax: bool,
    start: Floats | None,
    separation: Separation | None,
    rows: RowPool | None,
    cuts: CutPool | None,
) -> TwoStageOutcome:
    recourse = Recourse(block, options.threads, separation, rows)
    try:
        progress = options.progress
        search = BranchAndBenders(
            recourse,
            risk,
            options.gap_frac,
            options.time_limit_s,
            None if progress is None else lambda at, cost, bound, _: progress(at, cost, bound),
            relax=relax,
            start=start,
            cuts=cuts,
        )
        tree = search.run()
        if cuts is not None:
            search.master.hand_on(cuts)
        values, attained, lower = recourse.solution(tree.x)
        found = recourse.rows_found()
    finally:
        recourse.close()
    # Rows found since the incumbent was priced may have moved its recourse a little.
    claimed = tree.cost if found is None else risk.of_cost(attained, block.probability)
    result = certified(block, "decomposition", values, claimed, tree.bound, risk, relax)
    return replace(
        result,
        rows=found,
        excess=None if found is None else attained - lower,
        relaxation_bound=tree.relaxation_bound,
        nodes=tree.nodes,
        cuts=tree.cuts,
        hit_time_limit=tree.hit_time_limit,
    )


def evaluate_first_stage(
    block: Blocks,
    x: Floats,
    threads: int = 1,
    lazy: Lazy | None = None,
    rows: RowPool | None = None,
) -> TwoStageOutcome:
    """Optimal continuous recourse of every scenario for the given here-and-now columns."""
    started = monotonic_s()
    separation = bound_to(lazy, block.template)
    recourse = Recourse(block, threads, separation, rows)
    try:
        values, attained, lower = recourse.solution(x)
        found = recourse.rows_found()
    finally:
        recourse.close()
    total, bound = float(block.probability @ attained), float(block.probability @ lower)
    result = certified(block, "fixed first stage", values, total, bound, NEUTRAL)
    excess = None if found is None else attained - lower
    return replace(result, rows=found, excess=excess, wall_s=monotonic_s() - started)


def certified(
    block: Blocks,
    engine: str,
    values: Floats,
    cost: float,
    bound: float,
    risk: Risk,
    relax: bool = False,
) -> TwoStageOutcome:
    """Certify every scenario and the risk-adjusted total, recomputed from the arrays."""
    t = block.template
    scenario_cost = np.einsum("sn,sn->s", block.cost, values) + block.offset
    recomputed = risk.of_cost(scenario_cost, block.probability)
    worst = abs(recomputed - cost) / max(1.0, abs(cost))
    for s in range(block.n_scenarios):
        problem = single(block, s)
        if relax or engine == "fixed first stage":
            problem = problem.relaxed()
        certificate = certify(problem, values[s], float(scenario_cost[s]))
        worst = max(
            worst,
            certificate.row_violation,
            certificate.bound_violation,
            certificate.integrality_violation,
        )
    if not worst <= TOLERANCE:
        raise SolverError(
            f"the {engine} solution fails its certificate: largest relative violation {worst:.2e}, "
            f"expected at most {TOLERANCE:.0e}"
        )
    x = values[0, t.first_stage]
    gap = (cost - bound) / max(1.0, abs(cost))
    status = Status.OPTIMAL if gap <= TOLERANCE else Status.FEASIBLE_GAP
    return TwoStageOutcome(
        status, engine, recomputed, min(bound, recomputed), x, values, scenario_cost,
        -np.inf, worst, 0.0, 0, 0, False, f"HiGHS {version()}",
    )  # fmt: skip
