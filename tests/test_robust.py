"""Robust decisions: the set of called shares, its worst case, and column-and-constraint generation.

Oracles: all vertices priced one by one, the extensive form over all vertices, points inside the
polytope, and a soft limit in place of a bound on duals.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from stochbess.decide import Effort
from stochbess.engine.adversary import Adversary, Inner, MovingRows
from stochbess.engine.ccg import RobustOutcome, blocks_at, price_at
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import Problem, single
from stochbess.engine.risk import Risk
from stochbess.engine.two_stage import solve_two_stage
from stochbess.engine.uncertainty import Budget, BudgetSet, box, fixed_recourse
from stochbess.engine.worst_of import WorstOf
from stochbess.errors import ConfigError, SolverError
from stochbess.models.robust import DOWN, UP, ActivationBudget, activation_budget
from stochbess.robust import RobustProblem, mean_scenario, price_of_robustness
from tests.small_case import (
    Series,
    changed,
    energy_only,
    everything,
    grid,
    plain,
    series_of,
    uneven,
)

Floats = npt.NDArray[np.float64]
EXACT = Effort(gap_frac=1e-6, time_limit_s=60.0, threads=1)
SOLVE = SolveOptions(gap_frac=1e-8)


def short(dear: bool = False) -> RobustProblem:
    """Two blocks of two hours; every hour of a direction deviates by itself: eight deviations."""
    data = plain(grid((2.0, 2.0)), power_mw=3.0, energy_mwh=3.0)
    data = everything(grid((2.0, 2.0))) if dear else data
    series = series_of(data, 12, seed=5)
    return RobustProblem(data, activation_budget(data, series, uneven(12), high_quantile=0.9))


def budgeted(problem: RobustProblem, **most: int | None) -> RobustProblem:
    return RobustProblem(problem.data, replace(problem.budget, **most))  # type: ignore[arg-type]


@cache
def prices(n: int, dear: bool = False) -> tuple[RobustProblem, Series, Floats]:
    """A problem with `n` price scenarios and their probabilities."""
    problem = short(dear)
    series = series_of(problem.data, n, seed=3)
    for name in ("afrr_up_eur_mw_h", "afrr_down_eur_mw_h"):
        series[name] = 3.0 * series[name]  # else a robust decision sells no aFRR
    return problem, series, uneven(n)


def decisions(problem: RobustProblem, count: int) -> list[Floats]:
    """Feasible here-and-now decisions: corners and the middle of what the lots allow."""
    t = problem.template
    out = []
    for i in range(count):
        draw = np.random.default_rng(i)
        cost = np.zeros((1, len(t.columns)))
        cost[0, t.first_stage] = draw.normal(-0.5, 1.0, len(t.first_stage))
        block = blocks_at(t, np.zeros((1, t.n_xi)), np.ones(1))
        block = replace(block, cost=cost)
        out.append(solve_two_stage(block, gap_frac=0.0, time_limit_s=10.0, relax=True).x)
    return out


def inner_problem(problem: RobustProblem, series: Series, x: Floats) -> Inner:
    xi = problem.template.stack(series)[0]
    return Adversary(problem.template, xi, problem.uncertain, problem.moving(series)[0]).at(x)


def solved(
    problem: RobustProblem, series: Series, p: Floats, outer: Risk | None = None
) -> RobustOutcome:
    return problem.solve(series, p, EXACT, outer=outer or Risk())


# -- the set --------------------------------------------------------------------------------------
def test_the_best_vertex_for_a_direction_is_the_best_of_all_vertices() -> None:
    opposed = tuple(Budget(np.array([k, k + 3]), 1) for k in range(3))
    nested = (Budget(np.arange(3), 2), Budget(np.arange(6), 3), *opposed)
    one = sp.csr_array(sp.eye_array(6))
    some = BudgetSet(np.arange(6), np.zeros(6), one, nested)
    points = some.vertices()
    assert len(points) == 26
    for seed in range(20):
        weight = np.random.default_rng(seed).normal(size=6)
        best = some.best(weight)
        assert some.contains(best)
        assert weight @ best == pytest.approx((points @ weight).max())
    assert not some.contains(np.ones(6)) and not some.contains(np.full(6, -0.1))


def test_shares_of_the_set_stay_between_nothing_and_all_that_the_other_direction_leaves() -> None:
    problem = short()
    b, u = problem.budget, problem.uncertain
    shares = np.array([u.nominal + u.deviation @ z for z in u.vertices()])
    n = len(b.period_of_step)
    assert shares.min() >= 0.0
    assert (shares[:, :n] + shares[:, n:]).max() <= 1 + 1e-9
    assert len(b.opposed) > 0 and b.deviation_up_frac.max() > 0.3


def test_the_set_is_read_from_the_scenarios_by_probability() -> None:
    data = plain(grid((2.0,), dt_h=1.0))
    up = np.array([[0.0, 0.1], [0.2, 0.3], [0.6, 0.5]])
    series = {UP: up, DOWN: np.zeros((3, 2))}
    weights = np.array([0.2, 0.7, 0.1])
    found = activation_budget(data, series, weights, high_quantile=0.95, most_up=1)
    assert found.nominal_up_frac == pytest.approx([0.2, 0.28])
    assert found.deviation_up_frac == pytest.approx([0.4, 0.22])
    low = activation_budget(data, series, weights, high_quantile=0.9, nominal_quantile=0.2)
    assert low.nominal_up_frac == pytest.approx([0.0, 0.1])
    assert low.deviation_up_frac == pytest.approx([0.2, 0.2])


def test_a_set_that_is_not_one_is_refused() -> None:
    one = sp.csr_array(sp.eye_array(2))
    with pytest.raises(ConfigError, match="whole number"):
        BudgetSet(np.arange(2), np.zeros(2), one, (Budget(np.arange(2), 1.5),))  # type: ignore[arg-type]
    with pytest.raises(SolverError, match="one deviation only"):
        BudgetSet(np.arange(2), np.zeros(2), sp.csr_array(np.ones((2, 2))), ())
    with pytest.raises(SolverError, match="not finite"):
        box(np.arange(2), np.zeros(2), np.array([1.0, np.nan]))
    with pytest.raises(SolverError, match="at most 10"):
        box(np.arange(9), np.zeros(9), np.ones(9)).vertices(10)
    with pytest.raises(ConfigError, match="reserve market"):
        data = energy_only(plain())
        RobustProblem(data, ActivationBudget(*(np.zeros(16),) * 4, np.arange(16)))


# -- the recourse ---------------------------------------------------------------------------------
@pytest.mark.parametrize("dear", [False, True])
def test_rows_at_both_ends_cost_no_less_than_the_share_itself_anywhere(dear: bool) -> None:
    problem, series, _ = prices(1, dear)
    points = np.random.default_rng(1).random((6, problem.uncertain.size))
    points = np.vstack((points, problem.uncertain.vertices()[:20]))
    xi, more = problem.template.stack(series)[0], 0.0
    assert len(problem.template.rows) > len(problem.exact.rows)
    for x in decisions(problem, 3):
        exact = price_at(problem.exact, xi, problem.uncertain, x, points)
        both = price_at(problem.template, xi, problem.uncertain, x, points)
        assert (both >= exact - 1e-6).all()
        more = max(more, float((both - exact).max()))
    assert more > 1e-3, "nothing tells the two apart: the case is too easy"


def test_numbers_whose_worst_case_need_not_be_at_a_vertex_are_refused() -> None:
    problem, series, _ = prices(1)
    t = problem.exact
    price = t.layout["intraday_eur_mwh"].start
    with pytest.raises(SolverError, match="prices a recourse column"):
        fixed_recourse(t, box(np.array([price]), np.zeros(1), np.ones(1)))
    with pytest.raises(SolverError, match="need not be at a vertex"):
        Adversary(t, t.stack(series)[0], problem.uncertain, problem.moving(series)[0])


def test_rows_that_move_without_being_known_are_refused() -> None:
    problem, series, _ = prices(1)
    m = problem.moving(series)[0]
    half = MovingRows(m.row[:4], m.dual_bound[:4], m.delivered[:4], m.substitutes[:4], m.signs)
    inner = Adversary(
        problem.template, problem.template.stack(series)[0], problem.uncertain, half
    ).at(np.ones(len(problem.template.first_stage)))
    with pytest.raises(SolverError, match=r"row activation_.* moves with the uncertain numbers"):
        inner.solve(SOLVE, enumerated=0)


def test_aging_by_cuts_that_are_found_during_a_solve_is_refused() -> None:
    problem = short()
    with pytest.raises(ConfigError, match="aging"):
        RobustProblem(changed(problem.data, aging={"model": "cuts"}), problem.budget)


def test_without_deviations_both_ends_are_the_share_itself() -> None:
    problem, series, _ = prices(1)
    none = np.zeros(problem.data.grid.n_steps)
    fixed = replace(problem.budget, deviation_up_frac=none, deviation_down_frac=none)
    still = RobustProblem(problem.data, fixed)
    xi, z = still.template.stack(series)[0], np.zeros((1, still.uncertain.size))
    for x in decisions(still, 2):
        both = price_at(still.template, xi, still.uncertain, x, z)
        assert both == pytest.approx(price_at(still.exact, xi, still.uncertain, x, z))


def test_the_adversary_sees_the_cost_that_the_blocks_have_and_its_slope() -> None:
    problem, series, _ = prices(1)
    xi = problem.template.stack(series)[0]
    rng = np.random.default_rng(0)
    for x in decisions(problem, 3):
        inner = inner_problem(problem, series, x)
        points = rng.random((5, problem.uncertain.size))
        costs = [inner.cost(z)[0] for z in points]
        assert costs == pytest.approx(
            list(price_at(problem.template, xi, problem.uncertain, x, points))
        )
        for z in points:
            cost, gradient = inner.cost(z)
            for other in points:
                assert inner.cost(other)[0] >= cost + gradient @ (other - z) - 1e-6


def test_no_point_inside_the_polytope_is_worse_than_the_worst_vertex() -> None:
    problem, series, _ = prices(1)
    problem = budgeted(problem, most_all=3)
    rng = np.random.default_rng(2)
    for x in decisions(problem, 2):
        inner = inner_problem(problem, series, x)
        worst = inner.enumerate().cost
        vertices = problem.uncertain.vertices()
        for _ in range(40):
            z = rng.dirichlet(np.full(len(vertices), 0.05)) @ vertices
            assert inner.cost(z)[0] <= worst + 1e-6


# -- the worst case -------------------------------------------------------------------------------
@pytest.mark.parametrize("dear", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_programme_finds_the_worst_vertex(most: int, dear: bool) -> None:
    problem, series, _ = prices(1, dear)
    problem = budgeted(problem, most_all=most)
    for x in decisions(problem, 3):
        inner = inner_problem(problem, series, x)
        true = inner.enumerate()
        found = inner.solve(SOLVE, enumerated=0)
        assert found.cost == pytest.approx(true.cost, rel=1e-6)
        assert found.bound == pytest.approx(true.cost, rel=1e-5, abs=1e-4)
        assert inner.cost(found.z)[0] == found.cost
        assert inner.climb([np.zeros(problem.uncertain.size)])[0].cost <= true.cost + 1e-6


def test_the_search_improves_what_it_is_given_and_never_exceeds_the_worst() -> None:
    problem, series, _ = prices(1)
    problem = budgeted(problem, most_all=3)
    for x in decisions(problem, 3):
        inner = inner_problem(problem, series, x)
        begin = inner.climb([np.zeros(problem.uncertain.size)])[-1]
        better = inner.improve(begin)
        assert begin.cost <= better.cost <= inner.enumerate().cost + 1e-6
        assert problem.uncertain.contains(better.z)
        assert all(problem.uncertain.contains(z) for z in inner.runs())


def test_a_bound_on_duals_that_is_too_small_is_found_out() -> None:
    problem, series, _ = prices(1)
    problem = budgeted(problem, most_all=2)
    moving = problem.moving(series)[0]
    small = replace(
        moving,
        dual_bound=0.02 * moving.dual_bound,
        substitutes=moving.substitutes[:, :0],
        signs=moving.signs[:0],
    )
    xi = problem.template.stack(series)[0]
    hit = 0
    for x in decisions(problem, 4):
        inner = Adversary(problem.template, xi, problem.uncertain, small).at(x)
        try:
            inner.solve(SOLVE, known=inner.enumerate(), enumerated=0)
        except SolverError as error:
            assert "too small" in str(error)
            hit += 1
    assert hit > 0


@pytest.mark.parametrize("dear", [False, True])
def test_called_energy_is_never_worth_more_than_its_derived_bound(dear: bool) -> None:
    """A limit that may be exceeded at the bound's price is as good as a hard one."""
    problem, series, _ = prices(1, dear)
    t, moving = problem.template, problem.moving(series)[0]

    def gain(x: Floats, z: Floats, factor: float) -> float:
        xi = problem.uncertain.data(t.stack(series)[0], z)[None, :]
        hard = single(blocks_at(t, xi, np.ones(1)), 0).relaxed()
        lower, upper = hard.lower.copy(), hard.upper.copy()
        lower[t.first_stage] = upper[t.first_stage] = x
        hard = replace(hard, lower=lower, upper=upper)
        extra = sp.csr_array(
            (np.ones(len(moving.row)), (moving.row, np.arange(len(moving.row)))),
            shape=(hard.n_rows, len(moving.row)),
        )
        n = len(moving.row)
        soft = replace(
            hard,
            cost=np.concatenate((hard.cost, factor * moving.dual_bound)),
            lower=np.concatenate((hard.lower, np.zeros(n))),
            upper=np.concatenate((hard.upper, np.full(n, np.inf))),
            integer=np.zeros(hard.n_columns + n, bool),
            matrix=sp.csr_array(sp.hstack([hard.matrix, extra])),
            columns=(),
        )
        return _cost(hard) - _cost(soft)

    gains = []
    for i, x in enumerate(decisions(problem, 5)):
        z = problem.uncertain.best(np.random.default_rng(i).normal(size=problem.uncertain.size))
        assert gain(x, z, 1.0) == pytest.approx(0.0, abs=1e-5)
        gains.append(gain(x, z, 0.3))
    assert max(gains) > 1.0, "the bound would also hold at a third of it: the case is too easy"


def _cost(problem: Problem) -> float:
    return solve_problem(problem, SolveOptions()).objective


# -- column-and-constraint generation -------------------------------------------------------------
def test_a_budget_of_nothing_is_the_nominal_problem() -> None:
    problem, series, p = prices(1)
    problem = budgeted(problem, most_all=0)
    robust = solved(problem, series, p)
    xi = problem.uncertain.data(problem.template.stack(series)[0], np.zeros(problem.uncertain.size))
    nominal = solve_two_stage(
        blocks_at(problem.template, xi[None, :], p), gap_frac=1e-7, time_limit_s=60.0
    )
    assert robust.cost == pytest.approx(nominal.cost, rel=1e-5)


@pytest.mark.parametrize("n", [1, 3])
def test_generation_finds_the_optimum_over_all_vertices(n: int) -> None:
    problem, series, p = prices(n)
    problem = budgeted(problem, most_up=1, most_down=1)
    u, t = problem.uncertain, problem.template
    vertices, xi = u.vertices(), t.stack(series)
    data = np.array([u.data(one, z) for one in xi for z in vertices])
    scenario = np.repeat(np.arange(n), len(vertices))
    whole = solve_two_stage(
        blocks_at(t, data, np.full(len(data), 1 / len(data))),
        gap_frac=1e-6,
        time_limit_s=120.0,
        risk=WorstOf(scenario=scenario, probability=p),
    )
    robust = solved(problem, series, p)
    assert robust.cost == pytest.approx(whole.cost, rel=1e-5)
    assert robust.bound <= robust.cost and robust.gap_frac <= 1e-6
    assert robust.attained == pytest.approx(robust.cost, rel=1e-5)
    assert robust.pairs < len(data)


def test_the_worst_profit_does_not_rise_with_the_budget_and_ends_at_the_box() -> None:
    problem, series, p = prices(1)
    costs = [solved(budgeted(problem, most_all=k), series, p).cost for k in (0, 1, 2, 4, 8)]
    assert (np.diff(costs) >= -1e-4).all() and costs[-1] > costs[0] + 1.0
    assert costs[-1] == pytest.approx(solved(problem, series, p).cost, rel=1e-5)


def test_bounds_close_in_from_both_sides_in_every_round() -> None:
    problem, series, p = prices(1)
    robust = solved(budgeted(problem, most_all=2), series, p)
    lower = [i.lower for i in robust.iterations]
    upper = [i.upper for i in robust.iterations]
    assert (np.diff(lower) >= 0).all()
    assert all(b <= a for a, b in pairwise(upper))
    assert all(low <= robust.cost + 1e-6 for low in lower)
    assert robust.cost == upper[-1] and not robust.hit_time_limit


def test_the_outer_measures_are_in_their_order() -> None:
    problem, series, p = prices(2)
    problem = budgeted(problem, most_all=2)
    mean = solved(problem, series, p)
    tail = solved(problem, series, p, Risk(0.5, 0.5))
    worst = WorstOf(scenario=np.zeros(2, np.int64), probability=np.ones(1))
    worst_price = solved(problem, series, p, worst)
    assert mean.cost < tail.cost < worst_price.cost
    assert worst_price.cost == pytest.approx(worst_price.scenario_cost.max(), rel=1e-5)


def test_stopping_early_leaves_a_bracket_of_the_optimum() -> None:
    problem, series, p = prices(1)
    problem = budgeted(problem, most_all=2)
    rough = problem.solve(series, p, replace(EXACT, gap_frac=0.05))
    fine = solved(problem, series, p)
    assert rough.bound <= fine.cost + 1e-6 and fine.bound <= rough.cost + 1e-6
    assert rough.gap_frac <= 0.05


def test_no_time_at_all_still_leaves_a_proven_decision() -> None:
    problem, series, p = prices(1)
    problem = budgeted(problem, most_all=2)
    hurried = problem.solve(series, p, replace(EXACT, time_limit_s=1e-3))
    fine = solved(problem, series, p)
    assert hurried.bound <= fine.cost + 1e-6 and hurried.cost >= fine.cost - 1e-6
    assert hurried.hit_time_limit == (hurried.gap_frac > EXACT.gap_frac)


def test_worst_courses_become_scenarios_of_the_model() -> None:
    problem, series, p = prices(2)
    problem = budgeted(problem, most_all=2)
    found = solved(problem, series, p)
    worst = problem.series_at(series, found.worst)
    assert set(worst) == set(series)
    assert (worst[UP] + worst[DOWN]).max() <= 1 + 1e-9
    profit = problem.expected_profit_eur(worst, p, found.x)
    assert profit >= -found.cost - 1e-6
    calm = problem.series_at(series, np.zeros_like(found.worst))
    assert profit <= problem.expected_profit_eur(calm, p, found.x) + 1e-6


# -- what it costs --------------------------------------------------------------------------------
def test_the_price_of_robustness_is_what_the_decisions_earn() -> None:
    data = changed(plain(grid((2.0, 2.0)), 3.0, 3.0), reserves={"fcr": "off"})
    series, p = series_of(data, 4, seed=8), uneven(4)
    budgets = [activation_budget(data, series, p, most_all=k) for k in (0, 2)]
    table = price_of_robustness(data, series, p, budgets, EXACT)
    assert [row.parameter for row in table] == [0.0, 2.0]
    assert table[0].worst_profit_eur > table[1].worst_profit_eur
    assert all(row.worst_profit_ub_eur >= row.worst_profit_eur - 1e-6 for row in table)
    again = RobustProblem(data, budgets[1])
    found = again.solve(mean_scenario(series, p), np.ones(1), EXACT)
    stochastic = solve_two_stage(
        blocks_at(again.exact, again.exact.stack(series), p), gap_frac=1e-6, time_limit_s=60.0
    )
    assert again.expected_profit_eur(series, p, found.x) <= -stochastic.cost + 1e-3
    assert table[1].expected_profit_eur <= -stochastic.cost + 1e-3
    at_worst = again.profit_at(mean_scenario(series, p), found.x, found.worst)
    assert at_worst[0] >= -found.cost - 1e-6
