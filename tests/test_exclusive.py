"""Charge and discharge at once: allowed in the bound, excluded in what is reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.decide import Decision, Effort, Formulation, Problem, by_component
from stochbess.engine.exclusive import exclusive_recourse, solve_lazily_whole
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import Blocks, single
from stochbess.engine.matrix import Problem as MatrixProblem
from stochbess.engine.outcome import SolveOutcome, Status
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.errors import SolverError
from stochbess.models.data import ModelData, Terminal
from tests.small_case import (
    Small,
    blocks_of,
    changed,
    energy_only,
    everything,
    grid,
    plain,
    small,
)

Floats = npt.NDArray[np.float64]
EFFORT = Effort(gap_frac=1e-5, time_limit_s=60.0, threads=1)


def deeply_negative(data: ModelData, n_scenarios: int = 3, seed: int = 60) -> Small:
    """Being paid to take energy for hours, with a storage that is soon full."""
    return small(data, n_scenarios, seed, level_eur_mwh=-150.0, swing_eur_mwh=80.0)


CASES = {
    "energy only": energy_only(plain(grid((4.0, 4.0), dt_h=1.0))),
    "plain": plain(grid((4.0, 4.0), dt_h=1.0)),
    "everything": everything(grid((3.0, 5.0), dt_h=1.0)),
    "must end empty": replace(
        changed(energy_only(plain(grid((4.0,), dt_h=1.0))), asset={"energy_start_mwh": 0.0}),
        terminal=Terminal(np.zeros(0), True),
    ),
}


def loops_mw(values: dict[str, Floats]) -> Floats:
    """Power that goes in and out at once beyond delivered calls, (S, T)."""
    up = values.get("delivered_up_mw", 0.0)
    down = values.get("delivered_down_mw", 0.0)
    return np.asarray(np.minimum(values["charge_mw"] - down, values["discharge_mw"] - up))


def whole(case: Small) -> tuple[Blocks, Blocks]:
    """The relaxed and the binary problem of one case."""
    binary = replace(case.data, exclusive="binary")
    return case.blocks, blocks_of(binary, case.series, case.probability)


@pytest.mark.parametrize("formulation", ["two-stage", "deterministic"])
@pytest.mark.parametrize("name", CASES)
def test_no_decision_charges_and_discharges_at_once(name: str, formulation: Formulation) -> None:
    case = deeply_negative(CASES[name])
    problem = Problem(case.data, formulation)
    engine: Engine = "auto" if formulation == "two-stage" else "extensive"
    found: Decision = problem.decide(case.series, case.probability, EFFORT, engine=engine)
    assert loops_mw(found.values).max() <= 1e-6
    relaxed = by_component(problem.relaxed, found.outcome.values)
    assert loops_mw(relaxed).max() > 0.1, "the relaxation makes no use of loops here"
    slack = 1e-6 * abs(found.profit_lb_eur)
    assert found.profit_lb_eur <= found.relaxed_profit_eur + slack
    assert found.relaxed_profit_eur <= found.profit_ub_eur + slack
    assert found.profit_lb_eur < found.relaxed_profit_eur - 1.0
    assert found.made_whole > 0


@pytest.mark.parametrize("name", ["energy only", "plain", "everything"])
def test_loops_are_not_worth_a_binary_at_ordinary_prices(name: str) -> None:
    case = small(CASES[name], 3, seed=61, level_eur_mwh=90.0, swing_eur_mwh=30.0, calls=0.0)
    found = Problem(case.data, "two-stage").decide(case.series, case.probability, EFFORT)
    assert loops_mw(found.values).max() <= 1e-6
    assert found.made_whole == 0
    assert found.profit_lb_eur == pytest.approx(found.relaxed_profit_eur, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_recourse_made_whole_by_need_is_as_good_as_recourse_made_whole_at_once(name: str) -> None:
    relaxed, binary = whole(deeply_negative(CASES[name]))
    x = solve_two_stage(relaxed, gap_frac=1e-4, time_limit_s=60.0).x
    values, cost, made_whole, late = exclusive_recourse(binary, x, threads=1)
    assert not late
    first = binary.template.first_stage
    n_binaries = int(binary.template.integer.sum() - binary.template.integer[first].sum())
    assert 0 < made_whole < binary.n_scenarios * n_binaries
    for s in range(binary.n_scenarios):
        problem = single(binary, s)
        lower, upper = problem.lower.copy(), problem.upper.copy()
        lower[first] = upper[first] = x
        exact = solve_problem(replace(problem, lower=lower, upper=upper), SolveOptions(gap_frac=0))
        assert cost[s] == pytest.approx(exact.objective, rel=2e-5)
        assert float(problem.cost @ values[s]) + problem.offset == pytest.approx(cost[s])
        activity = problem.matrix @ values[s]
        assert (activity >= problem.row_lower - 1e-6).all()
        assert (activity <= problem.row_upper + 1e-6).all()
        either_or = values[s][binary.template.integer]
        assert np.abs(either_or - np.round(either_or)).max() <= 1e-6


@pytest.mark.parametrize("name", CASES)
def test_a_search_that_runs_out_of_time_ends_with_a_recourse_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directions of the relaxation are kept where the solver found nothing in its time."""
    relaxed, binary = whole(deeply_negative(CASES[name]))
    x = solve_two_stage(relaxed, gap_frac=1e-4, time_limit_s=60.0).x
    _, best, _, _ = exclusive_recourse(binary, x, threads=1)

    def out_of_time(problem: MatrixProblem, options: SolveOptions) -> SolveOutcome:
        found = solve_problem(problem, options)
        if not problem.integer.any():
            return found
        status = Status.TIME_LIMIT_NO_SOLUTION
        return replace(found, status=status, values=None, hit_time_limit=True)

    monkeypatch.setattr("stochbess.engine.exclusive.solve_problem", out_of_time)
    values, cost, _, late = exclusive_recourse(binary, x, threads=1)
    assert late
    assert (cost >= best - 1e-6 * np.abs(best)).all()
    for s in range(binary.n_scenarios):
        problem = single(binary, s)
        activity = problem.matrix @ values[s]
        assert (activity >= problem.row_lower - 1e-6).all()
        assert (activity <= problem.row_upper + 1e-6).all()
        either_or = values[s][binary.template.integer]
        assert np.abs(either_or - np.round(either_or)).max() <= 1e-6
        assert float(problem.cost @ values[s]) + problem.offset == pytest.approx(cost[s])


@pytest.mark.parametrize("name", CASES)
def test_the_relaxed_row_is_the_projection_of_the_binary_rows(name: str) -> None:
    """Without integrality both forms have one optimum: the row (13) loses nothing of (12)."""
    relaxed, binary = whole(deeply_negative(CASES[name]))
    costs = [
        solve_two_stage(
            block, gap_frac=1e-9, time_limit_s=60.0, engine="extensive", relax=True
        ).cost
        for block in (relaxed, binary)
    ]
    assert costs[0] == pytest.approx(costs[1], rel=1e-8)


def test_bounds_hold_for_the_exact_problem_with_all_binaries_whatever_the_gap() -> None:
    case = small(CASES["plain"], 3, seed=63)
    _, binary = whole(case)
    exact = -solve_two_stage(binary, gap_frac=1e-6, time_limit_s=60.0, engine="extensive").cost
    problem, slack, gaps = Problem(case.data, "two-stage"), 1e-5 * abs(exact), []
    for gap in (1e-5, 0.1, 0.3):
        found = problem.decide(
            case.series,
            case.probability,
            replace(EFFORT, gap_frac=gap),
            engine="decomposition",
        )
        assert found.profit_lb_eur - slack <= exact <= found.profit_ub_eur + slack
        gaps.append(found.gap_frac)
    # The coarse search did stop early: its incumbent alone would be no bound.
    assert gaps[-1] > gaps[0] + 0.005
    assert -found.outcome.cost < exact - slack


def test_evaluating_a_decision_prices_it_as_the_search_did() -> None:
    case = deeply_negative(CASES["everything"])
    problem = Problem(case.data, "two-stage")
    found = problem.decide(case.series, case.probability, EFFORT)
    again = problem.evaluate(case.series, case.probability, found.first_stage, EFFORT)
    assert again.scenario_profit_eur == pytest.approx(found.scenario_profit_eur, rel=1e-6)
    assert again.profit_lb_eur == pytest.approx(found.profit_lb_eur, rel=1e-6)


def test_a_decision_named_in_part_stands_for_nothing_else_sold() -> None:
    case = small(plain(grid((4.0, 4.0), dt_h=1.0)), 2, seed=62)
    problem = Problem(case.data, "two-stage")
    found = problem.decide(case.series, case.probability, EFFORT)
    nothing = problem.evaluate(case.series, case.probability, {}, EFFORT)
    assert all(value == 0.0 for value in nothing.first_stage.values())
    part = {"afrr_up_lots[0]": 1.0}
    some = problem.evaluate(case.series, case.probability, part, EFFORT)
    assert some.first_stage["afrr_up_lots[0]"] == 1.0
    assert nothing.profit_lb_eur < found.profit_lb_eur
    assert some.profit_lb_eur <= found.profit_ub_eur + 1e-6 * abs(found.profit_ub_eur)


def test_recourse_that_cannot_be_made_exclusive_is_an_error_and_not_a_guess() -> None:
    """A path that needs both directions at once has no solution with binaries."""
    case = deeply_negative(CASES["energy only"], n_scenarios=1)
    _, binary = whole(case)
    problem = single(binary, 0)
    lower = problem.lower.copy()
    for name in ("charge_mw[2]", "discharge_mw[2]"):
        lower[binary.template.column_position[name]] = 0.5
    forced = replace(problem, lower=lower, integer=np.zeros(problem.n_columns, bool))
    with pytest.raises(SolverError, match="no recourse without simultaneous flows"):
        solve_lazily_whole(forced, binary.template.integer, SolveOptions(time_limit_s=10.0))
