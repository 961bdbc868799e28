"""The engine: what the compiler writes, what the certificate accepts, how a solve may end."""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse as sp

from stochbess.engine.certificate import certify
from stochbess.engine.highs import SolveOptions, load, solve_problem
from stochbess.engine.lshaped import Recourse
from stochbess.engine.matrix import Blocks, Problem, blocks, extensive_form, single
from stochbess.engine.outcome import Status
from stochbess.engine.risk import Risk
from stochbess.engine.template import Template, compile_template
from stochbess.engine.two_stage import Engine, evaluate_first_stage, solve_two_stage
from stochbess.errors import InfeasibleError, SolverError
from stochbess.models.data import ModelData
from tests.small_case import (
    blocks_of,
    energy_only,
    everything,
    grid,
    plain,
    small,
    toy,
    uneven,
)

Floats = npt.NDArray[np.float64]
ENGINES: tuple[Engine, ...] = ("extensive", "decomposition")
inf = float("inf")


# -- certificate ----------------------------------------------------------------------------------
def test_the_certificate_rejects_a_solution_in_which_any_one_value_is_moved() -> None:
    case = small(replace(everything(), exclusive="binary"), 1, seed=21)
    problem = single(case.blocks, 0)
    found = solve_problem(problem, SolveOptions(gap_frac=1e-6))
    assert found.values is not None and found.certificate is not None
    assert found.certificate.accepted
    for j in range(problem.n_columns):
        for step in (1e-3, -1e-3):
            moved = found.values.copy()
            moved[j] += step
            assert not certify(problem, moved, found.objective).accepted, problem.columns[j]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_certificate_rejects_values_that_are_not_numbers(bad: float) -> None:
    problem = single(small(plain(), 1).blocks, 0).relaxed()
    found = solve_problem(problem, SolveOptions())
    assert found.values is not None
    spoilt = found.values.copy()
    spoilt[3] = bad
    assert not certify(problem, spoilt, found.objective).accepted
    assert not certify(problem, found.values, bad).accepted
    assert not certify(problem, found.values[:-1], found.objective).accepted


def test_the_certificate_rejects_an_objective_that_the_values_do_not_have() -> None:
    problem = single(small(plain(), 1).blocks, 0).relaxed()
    found = solve_problem(problem, SolveOptions())
    assert found.values is not None
    assert certify(problem, found.values, found.objective).accepted
    assert not certify(problem, found.values, found.objective * (1 + 1e-5)).accepted


# -- how a solve may end --------------------------------------------------------------------------
def arrays(
    cost: list[float],
    matrix: list[list[float]],
    rows: list[tuple[float, float]],
    columns: list[tuple[float, float]],
    whole: bool = False,
) -> Problem:
    row, column = np.array(rows, float), np.array(columns, float)
    return Problem(
        np.array(cost),
        0.0,
        column[:, 0],
        column[:, 1],
        np.full(len(cost), whole),
        sp.csr_array(np.array(matrix, float)),
        row[:, 0],
        row[:, 1],
        tuple(f"column {j}" for j in range(len(cost))),
        tuple(f"limit {i}" for i in range(len(rows))),
    )


def test_an_infeasible_problem_names_the_rows_and_bounds_that_conflict() -> None:
    """x + y >= 3 and x <= 1 with y <= 1 cannot be; x - y <= 9 has nothing to do with it."""
    problem = arrays(
        [1, 1], [[1, 1], [1, -1], [1, 0]], [(3, inf), (-inf, 9), (-inf, 1)], [(0, inf), (0, 1)]
    )
    found = solve_problem(problem, SolveOptions())
    assert found.status is Status.INFEASIBLE and found.values is None
    assert "limit 0" in found.message and "limit 2" in found.message
    assert "column 1" in found.message and "limit 1" not in found.message


def test_a_problem_without_a_whole_solution_is_told_from_one_without_any() -> None:
    uneven_row = arrays([1], [[2]], [(1, 1)], [(0, 5)], whole=True)
    found = solve_problem(uneven_row, SolveOptions())
    assert found.status is Status.INFEASIBLE and "relaxation is feasible" in found.message
    crossed = solve_problem(arrays([1], [[1]], [(0, inf)], [(2, 1)]), SolveOptions())
    assert crossed.status is Status.INFEASIBLE
    assert "relaxation is feasible" not in crossed.message and "column 0" in crossed.message


@pytest.mark.parametrize("engine", ENGINES)
def test_here_and_now_constraints_that_exclude_each_other_are_named(engine: Engine) -> None:
    m = toy()
    m.least = pyo.Constraint(expr=2 * m.x >= 6)
    m.most = pyo.Constraint(expr=3 * m.x <= 6)
    series = {"a": np.ones((3, 2)), "b": np.ones((3, 1))}
    with pytest.raises(InfeasibleError, match=r"least.*most|most.*least"):
        solve_two_stage(
            blocks(compile_template(m), series, uneven(3)),
            gap_frac=1e-6,
            time_limit_s=10.0,
            engine=engine,
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_recourse_that_is_infeasible_in_one_scenario_only_is_named(engine: Engine) -> None:
    """b = 99 can be reached by x <= 10 and y <= 20 in no way; the other scenarios are easy."""
    series = {"a": np.ones((3, 2)), "b": np.array([[1.0], [2.0], [99.0]])}
    with pytest.raises(InfeasibleError, match="need"):
        solve_two_stage(
            blocks(compile_template(toy()), series, uneven(3)),
            gap_frac=1e-6,
            time_limit_s=10.0,
            engine=engine,
        )


def test_an_unbounded_problem_is_called_unbounded() -> None:
    problem = arrays([-1, 0], [[1, -1]], [(1, 3)], [(0, inf), (0, inf)])
    found = solve_problem(problem, SolveOptions())
    assert found.status is Status.UNBOUNDED
    assert found.values is None and not found.status.has_solution


@pytest.mark.parametrize("engine", ENGINES)
def test_an_arbitrage_without_limit_is_reported_and_not_blamed_on_time(engine: Engine) -> None:
    case = small(plain(), 3)
    case.series["imbalance_long_eur_mwh"] = case.series["imbalance_short_eur_mwh"] + 1.0
    with pytest.raises(SolverError, match=r"(?i)unbounded") as caught:
        solve_two_stage(case.blocks, gap_frac=1e-6, time_limit_s=30.0, engine=engine, relax=True)
    assert "allow more time" not in str(caught.value)


def test_a_time_limit_without_a_solution_says_what_to_do() -> None:
    block = small(everything(), 10).blocks
    with pytest.raises(SolverError, match=r"time limit .*--time-limit.*--n-scenarios"):
        solve_two_stage(block, gap_frac=1e-9, time_limit_s=0.0, engine="extensive")


def test_a_time_limit_with_a_solution_is_not_called_optimal() -> None:
    block = small(plain(grid((4.0, 4.0, 4.0), dt_h=1.0)), 4, seed=22).blocks
    found = solve_two_stage(block, gap_frac=1e-9, time_limit_s=0.0, engine="decomposition")
    assert found.hit_time_limit and found.status is Status.FEASIBLE_GAP
    best = solve_two_stage(block, gap_frac=1e-5, time_limit_s=60.0, engine="decomposition")
    assert found.bound <= best.cost and best.bound <= found.cost
    assert found.gap_frac > best.gap_frac


@pytest.mark.parametrize("gap_frac", [0.0, 1e-12])
def test_a_gap_finer_than_rounding_still_ends(gap_frac: float) -> None:
    block = small(plain(), 4, seed=0).blocks
    reference = solve_two_stage(block, gap_frac=1e-7, time_limit_s=30.0, engine="extensive")
    with _Alarm(20):
        found = solve_two_stage(block, gap_frac=gap_frac, time_limit_s=10.0, engine="decomposition")
    assert found.cost == pytest.approx(reference.cost, rel=1e-6)


class _Alarm:
    """Fail instead of hanging: a signal after so many seconds."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        def ring(*_: object) -> None:
            pytest.fail(f"still running after {self.seconds} s")

        signal.signal(signal.SIGALRM, ring)
        signal.alarm(self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)


# -- HiGHS ----------------------------------------------------------------------------------------
def test_options_reach_the_solver() -> None:
    problem = single(small(plain(), 1).blocks, 0)
    options = SolveOptions(gap_frac=0.0123, time_limit_s=45.0, threads=1, seed=77)
    h = load(problem, options)
    asked = {
        "mip_rel_gap": 0.0123,
        "time_limit": 45.0,
        "threads": 1,
        "random_seed": 77,
        "primal_feasibility_tolerance": 1e-7,
        "mip_feasibility_tolerance": 1e-7,
        "output_flag": False,
    }
    for name, value in asked.items():
        assert h.getOptionValue(name)[1] == value, name
    continuous = load(problem.relaxed(), replace(options, method="ipx"))
    assert continuous.getOptionValue("solver")[1] == "ipx"
    assert continuous.getOptionValue("run_crossover")[1] == "off"


def test_every_method_finds_the_same_optimum_or_says_that_it_is_missing() -> None:
    problem, _ = extensive_form(small(everything(), 4, seed=24).blocks)
    optimum = solve_problem(problem.relaxed(), SolveOptions()).objective
    for method in ("simplex", "ipx"):
        found = solve_problem(problem.relaxed(), SolveOptions(method=method))
        assert found.objective == pytest.approx(optimum, rel=1e-6)
    try:
        found = solve_problem(problem.relaxed(), SolveOptions(method="hipo"))
    except SolverError as error:
        assert "highspy[extras]" in str(error)
    else:
        assert found.objective == pytest.approx(optimum, rel=1e-6)


def test_the_interior_point_method_really_ran() -> None:
    problem, _ = extensive_form(small(everything(), 4, seed=24).blocks)
    counts = {}
    for method in ("simplex", "ipx"):
        h = load(problem.relaxed(), SolveOptions(method=method))
        h.run()
        info = h.getInfo()
        counts[method] = (info.simplex_iteration_count, max(0, info.ipm_iteration_count))
    assert counts["simplex"][0] > 0 and counts["simplex"][1] == 0
    assert counts["ipx"][0] == 0 and counts["ipx"][1] > 0


def test_a_problem_that_presolve_solves_is_no_reason_to_refuse_the_method() -> None:
    found = solve_problem(arrays([1], [[1]], [(1, inf)], [(0, inf)]), SolveOptions(method="ipx"))
    assert found.status is Status.OPTIMAL and found.objective == pytest.approx(1.0)


@pytest.mark.parametrize("where", ["cost", "matrix"])
def test_numbers_that_are_none_never_come_back_as_a_solution(where: str) -> None:
    problem = arrays([1], [[1]], [(0, 1)], [(0, 1)])
    if where == "cost":
        problem = replace(problem, cost=np.array([np.nan]))
    else:
        problem = replace(problem, matrix=sp.csr_array(np.array([[np.nan]])))
    with pytest.raises(SolverError):
        solve_problem(problem, SolveOptions())


# -- decomposition --------------------------------------------------------------------------------
@cache
def open_recourse() -> Recourse:
    return Recourse(small(everything(grid((4.0, 4.0), dt_h=1.0)), 4, seed=25).blocks, 1)


def first_stage_at(recourse: Recourse, share: list[float]) -> Floats:
    t = recourse.block.template
    low, high = t.lower[t.first_stage], t.upper[t.first_stage]
    return low + np.array(share[: low.size]) * (high - low)


shares = st.lists(st.floats(0.0, 1.0), min_size=40, max_size=40)


@settings(max_examples=40)
@given(at=shares, to=shares)
def test_cost_of_recourse_is_convex_and_its_gradient_supports_it(
    at: list[float], to: list[float]
) -> None:
    recourse = open_recourse()
    x, y = first_stage_at(recourse, at), first_stage_at(recourse, to)
    cost, gradient = recourse.evaluate(x)
    there, _ = recourse.evaluate(y)
    middle, _ = recourse.evaluate((x + y) / 2)
    assert (there >= cost + gradient @ (y - x) - 1e-6 * np.maximum(1.0, np.abs(there))).all()
    assert (middle <= (cost + there) / 2 + 1e-6 * np.maximum(1.0, np.abs(middle))).all()


@settings(max_examples=5)
@given(at=shares)
def test_cost_of_recourse_is_that_of_the_scenario_with_the_decision_fixed(at: list[float]) -> None:
    recourse = open_recourse()
    first = recourse.block.template.first_stage
    x = first_stage_at(recourse, at)
    cost, _ = recourse.evaluate(x)
    for s in range(recourse.block.n_scenarios):
        problem = single(recourse.block, s).relaxed()
        lower, upper = problem.lower.copy(), problem.upper.copy()
        lower[first] = upper[first] = x
        # The rows of the first stage alone say whether x is allowed, not what it costs.
        low, high = problem.row_lower.copy(), problem.row_upper.copy()
        common = recourse.block.template.common_rows
        low[common], high[common] = -inf, inf
        fixed = replace(problem, lower=lower, upper=upper, row_lower=low, row_upper=high)
        assert cost[s] == pytest.approx(solve_problem(fixed, SolveOptions()).objective, rel=1e-7)


def test_a_given_decision_costs_the_expectation_of_its_recourse() -> None:
    recourse = open_recourse()
    x = first_stage_at(recourse, [0.2] * 40)
    cost, _ = recourse.evaluate(x)
    found = evaluate_first_stage(recourse.block, x)
    assert found.scenario_cost == pytest.approx(cost, rel=1e-9)
    assert found.cost == pytest.approx(float(recourse.block.probability @ cost), rel=1e-9)


def test_a_given_decision_that_breaks_the_here_and_now_rows_is_refused() -> None:
    recourse = open_recourse()
    with pytest.raises(SolverError, match="certificate"):
        evaluate_first_stage(recourse.block, first_stage_at(recourse, [1.0] * 40))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("risk", [Risk(), Risk(0.5, 0.6)], ids=["neutral", "averse"])
def test_a_search_that_stops_early_still_brackets_the_optimum(seed: int, risk: Risk) -> None:
    block = small(plain(), 3, seed=30 + seed).blocks
    exact = solve_two_stage(block, gap_frac=1e-6, time_limit_s=60.0, engine="extensive", risk=risk)
    for gap in (0.2, 0.02):
        rough = solve_two_stage(
            block, gap_frac=gap, time_limit_s=60.0, engine="decomposition", risk=risk
        )
        slack = 1e-6 * abs(exact.cost)
        assert rough.bound <= exact.cost + slack and exact.bound <= rough.cost + slack
        assert rough.gap_frac <= gap
        assert rough.relaxation_bound <= exact.cost + slack
        assert risk.of_cost(rough.scenario_cost, block.probability) == pytest.approx(rough.cost)


def test_two_threads_find_exactly_what_one_thread_finds() -> None:
    block = small(everything(), 5, seed=26).blocks

    def run(threads: int) -> tuple[bytes, float, float]:
        found = solve_two_stage(
            block, gap_frac=1e-3, time_limit_s=60.0, engine="decomposition", threads=threads
        )
        return found.values.tobytes(), found.cost, found.bound

    assert run(1) == run(2) == run(1)


def test_the_engine_is_chosen_by_what_there_is_to_decide() -> None:
    def engine(data: ModelData, n_scenarios: int) -> str:
        block = small(data, n_scenarios).blocks
        return solve_two_stage(block, gap_frac=0.1, time_limit_s=30.0).engine

    assert engine(plain(), 2) == "extensive"
    assert engine(plain(), 3) == "decomposition"
    assert engine(energy_only(plain(), day_ahead="recourse"), 3) == "extensive"
    assert engine(replace(plain(), exclusive="binary"), 3) == "extensive"


def test_progress_reports_bounds_that_close_in() -> None:
    told: list[tuple[float, float, float]] = []
    found = solve_two_stage(
        small(everything(), 6, seed=27).blocks,
        gap_frac=1e-5,
        time_limit_s=60.0,
        engine="decomposition",
        progress=lambda *at: told.append(at),
    )
    elapsed, cost, bound = np.array(told).T
    assert (np.diff(elapsed) >= 0).all() and (np.diff(cost) <= 0).all()
    assert (bound <= cost + 1e-9).all() and (bound <= found.cost + 1e-6 * abs(found.cost)).all()


def test_a_subset_of_the_scenarios_is_a_problem_of_its_own() -> None:
    case = small(plain(), 4, seed=28)
    which = np.array([3, 1])
    part: Blocks = case.blocks.subset(which)
    weight = case.probability[which] / case.probability[which].sum()
    apart = blocks_of(case.data, {n: v[which] for n, v in case.series.items()}, weight)
    assert part.probability == pytest.approx(weight)
    costs = [
        solve_two_stage(b, gap_frac=1e-9, time_limit_s=30.0, relax=True).cost for b in (part, apart)
    ]
    assert costs[0] == pytest.approx(costs[1], rel=1e-9)


def test_a_template_knows_its_columns_by_name() -> None:
    template: Template = small(plain(), 1).blocks.template
    for name, j in template.column_position.items():
        assert template.columns[j] == name
    assert [template.columns[j] for j in template.first_stage if "day_ahead" in template.columns[j]]
