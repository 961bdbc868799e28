"""Bounds from multipliers, and the mean-CVaR as a sum over scenarios: no ranks needed."""

from __future__ import annotations

import numpy as np
import pytest

from stochbess.cylinders import Job, decide_on_ranks
from stochbess.engine.cylinders import proximal_weights, with_mean_cvar
from stochbess.engine.highs import SolveOptions
from stochbess.engine.lagrangian import centred, group_bound, groups_of, least_cost
from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.risk import Risk
from stochbess.engine.template import compile_template
from stochbess.engine.two_stage import solve_two_stage
from stochbess.errors import InfeasibleError, SolverError
from tests.small_case import Floats, changed, everything, plain, small, toy
from tests.test_mpisppy_reference import YIELD_T_ACRE, farm, farmer

EXACT = SolveOptions(gap_frac=1e-9)
YIELDS = np.outer([1.2, 1.0, 0.8], YIELD_T_ACRE)


def bound_of(block: Blocks, multipliers: Floats, size: int = 1) -> float:
    groups = groups_of(block.n_scenarios, size)
    weight = np.array([block.probability[group].sum() for group in groups])
    each = [group_bound(block, g, m, EXACT).bound for g, m in zip(groups, multipliers, strict=True)]
    return float(weight @ each)


def test_without_multipliers_the_bound_is_wait_and_see() -> None:
    assert bound_of(farm(), np.zeros((3, 3))) == pytest.approx(-115405.56, abs=0.01)


def test_one_group_of_all_scenarios_is_the_problem_itself() -> None:
    assert groups_of(3, 5)[0].tolist() == [0, 1, 2]
    assert bound_of(farm(), np.zeros((1, 3)), size=3) == pytest.approx(-108390.0, abs=0.01)


@pytest.mark.parametrize("size", [1, 2])
def test_no_multipliers_give_a_bound_above_the_optimum(size: int) -> None:
    case = small(everything(), 4, seed=7)
    block = case.blocks
    optimum = solve_two_stage(block, gap_frac=1e-7, time_limit_s=60.0, engine="extensive").cost
    groups = groups_of(4, size)
    weight = np.array([case.probability[group].sum() for group in groups])
    rng = np.random.default_rng(3)
    found = []
    for scale in (0.0, 1.0, 10.0, 100.0):
        drawn = rng.normal(0.0, scale, (len(groups), len(block.template.first_stage)))
        found.append(bound_of(block, centred(drawn, weight), size))
    assert max(found) <= optimum + 1e-6 * abs(optimum)
    assert found[0] < optimum - 1.0  # information is worth something here


def test_multipliers_that_do_not_cancel_are_no_bound_and_are_centred() -> None:
    """Rewarding acres in every scenario lowers the cost by as much as they are: no bound of it."""
    shifted = np.full((3, 3), 50.0)  # 500 acres of land: at most 25,000 too high
    assert bound_of(farm(), shifted) > -108390.0 + 1000.0
    weight = np.array([0.2, 0.3, 0.5])
    assert weight @ centred(np.arange(9.0).reshape(3, 3), weight) == pytest.approx(np.zeros(3))
    assert centred(shifted, weight) == pytest.approx(np.zeros((3, 3)))


def test_the_mean_cvar_of_all_scenarios_is_the_sum_of_their_shares() -> None:
    """The published -220700 of E + 2 CVaR at 0.8 is three times ours, as in (22)."""
    risk = Risk(2 / 3, 0.8)
    template = compile_template(with_mean_cvar(farmer(), risk, -2e5, 2e5))
    block = blocks(template, {"yields": YIELDS}, np.full(3, 1 / 3))
    found = solve_two_stage(block, gap_frac=1e-9, time_limit_s=30.0, engine="extensive")
    assert 3 * found.cost == pytest.approx(-220700.0, abs=1.0)
    assert bound_of(block, np.zeros((3, 4))) <= found.cost


def test_a_scenario_that_admits_nothing_is_named() -> None:
    series = {"a": np.ones((3, 2)), "b": np.array([[1.0], [40.0], [1.0]])}  # x <= 10, y <= 20
    block = blocks(compile_template(toy()), series, np.full(3, 1 / 3))
    with pytest.raises(InfeasibleError, match=r"scenario 1 .*need"):
        group_bound(block, np.array([1]), np.zeros(1), EXACT)
    with pytest.raises(InfeasibleError, match=r"scenario 1 .*need"):
        group_bound(block, np.array([0, 1]), np.zeros(1), EXACT)
    with pytest.raises(InfeasibleError, match="scenario 1"):
        least_cost(block, [0, 1])


def test_scenarios_that_do_not_go_together_are_told_apart_from_infeasible_ones() -> None:
    """x = b_s in each scenario: each alone is possible, both together are not."""

    def pinned() -> Blocks:
        m = toy()
        m.y.setub(0.0)
        m.pinned = type(m.need)(expr=m.x <= m.xi.b[0])
        series = {"a": np.ones((2, 2)), "b": np.array([[1.0], [2.0]])}
        return blocks(compile_template(m), series, np.full(2, 0.5))

    with pytest.raises(InfeasibleError, match="scenarios 0 to 1"):
        group_bound(pinned(), np.array([0, 1]), np.zeros(1), EXACT)


def test_proximal_weights_are_prices_over_spreads() -> None:
    x = np.array([[0.0, 5.0, 1.0], [40.0, 5.0, 1.0]])
    cost = np.array([[100.0, -30.0, 0.0], [100.0, 30.0, 0.0]])
    found = proximal_weights(cost, x, np.array([0.5, 0.5]))
    assert found == pytest.approx([0.1 * 100 / 20, 0.1 * 30, 0.1 * 65])


def test_a_single_process_is_told_how_to_call_and_to_install() -> None:
    case = small(changed(plain(), reserves={"integer_lots": False}), 3)
    job = Job(farmer, case.series, case.probability, 0.01, 10.0)
    with pytest.raises(SolverError, match=r"mpiexec -n 3 stochbess solve.*stochbess\[mpi\]"):
        decide_on_ranks(job)
