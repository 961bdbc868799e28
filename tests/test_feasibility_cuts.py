"""Recourse that some first stages do not have: the cuts, by hand and against the extensive form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

from stochbess.engine.highs import FeasibilityCut, NoRecourseError
from stochbess.engine.lshaped import NoRecourseAnywhereError, Recourse
from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import compile_template
from stochbess.engine.two_stage import solve_two_stage
from stochbess.errors import InfeasibleError

OPTIONS: dict[str, Any] = {"gap_frac": 1e-9, "time_limit_s": 30.0}


def plant(most_y: float = 3.0, whole: bool = False, floor: float = 0.0) -> pyo.ConcreteModel:
    """Minimise x + 2 y with x + y >= demand, y <= most_y and y <= x - floor, 0 <= x <= 10."""
    m = pyo.ConcreteModel()
    m.xi = pyo.Block()
    m.xi.demand = pyo.Var(range(1), initialize=0.0)
    m.xi.demand.fix()
    m.x = pyo.Var(bounds=(0, 10), domain=pyo.Integers if whole else pyo.Reals)
    m.y = pyo.Var(bounds=(0, most_y))
    m.need = pyo.Constraint(expr=m.x + m.y >= m.xi.demand[0])
    m.with_x = pyo.Constraint(expr=m.y <= m.x - floor)
    m.cost = pyo.Objective(expr=m.x + 2 * m.y)
    m.first_stage = [m.x]
    return m


def of_demands(*demands: float, **options: Any) -> Blocks:
    series = {"demand": np.array(demands)[:, None]}
    return blocks(
        compile_template(plant(**options)), series, np.full(len(demands), 1 / len(demands))
    )


def cuts_at(block: Blocks, x: float) -> list[FeasibilityCut]:
    recourse = Recourse(block, 1)
    try:
        with pytest.raises(NoRecourseAnywhereError) as raised:
            recourse.evaluate(np.array([x]))
        return raised.value.cuts
    finally:
        recourse.close()


def test_a_cut_is_the_edge_of_what_has_a_recourse() -> None:
    """Demand 8 with y <= 3 takes x >= 5; at 4 y <= x is slack."""
    (cut,) = cuts_at(of_demands(8.0), 4.0)
    edge = -cut.intercept / cut.gradient[0]
    assert edge == pytest.approx(5.0) and cut.gradient[0] < 0


def test_every_scenario_without_recourse_gives_its_cut() -> None:
    cuts = cuts_at(of_demands(8.0, 2.0, 9.0), 4.0)
    assert sorted(-c.intercept / c.gradient[0] for c in cuts) == pytest.approx([5.0, 6.0])


def test_cuts_keep_every_point_that_has_a_recourse() -> None:
    block = of_demands(8.0, 6.5, 4.0)
    recourse = Recourse(block, 1)
    tried = np.linspace(0.0, 10.0, 41)
    cuts = [cut for x in tried[:20] for cut in cuts_at(block, float(x))]
    for x in tried[tried >= 5.0]:
        recourse.evaluate(np.array([x]))
        assert all(c.intercept + c.gradient[0] * x <= 1e-9 for c in cuts), x
    recourse.close()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("risk", [NEUTRAL, Risk(0.5, 0.5)])
def test_both_engines_agree_where_recourse_is_not_complete(whole: bool, risk: Risk) -> None:
    block = of_demands(8.5, 2.0, 7.0, whole=whole)
    by_engine = [
        solve_two_stage(block, engine=engine, risk=risk, **OPTIONS)
        for engine in ("extensive", "decomposition")
    ]
    # x >= 5.5; a unit of x costs 1 in all three scenarios and saves at most 2 in two of them.
    grid = [6.0, 7.0, 8.0, 9.0, 10.0] if whole else np.linspace(5.5, 10.0, 4501)
    costs = [
        risk.of_cost(x + 2 * np.maximum(0.0, np.array([8.5, 2.0, 7.0]) - x), block.probability)
        for x in grid
    ]
    for found in by_engine:
        assert found.cost == pytest.approx(min(costs), abs=1e-6)
        assert found.bound == pytest.approx(min(costs), abs=1e-6)


def test_a_start_without_recourse_is_left_behind() -> None:
    block = of_demands(8.0, 2.0, whole=True)
    found = solve_two_stage(block, engine="decomposition", start=np.array([1.0]), **OPTIONS)
    again = solve_two_stage(block, engine="extensive", **OPTIONS)
    assert found.cost == pytest.approx(again.cost)


def test_scenarios_that_no_first_stage_suits_are_told_with_a_conflict() -> None:
    """Demand 20 needs y = 10 beside x = 10, and y is at most 3."""
    with pytest.raises(InfeasibleError, match=r"suits all scenarios.*no feasible recourse.*need"):
        solve_two_stage(of_demands(8.0, 20.0), engine="decomposition", **OPTIONS)


def test_a_scenario_that_no_first_stage_can_help_is_told_at_once() -> None:
    m = plant()
    m.own = pyo.Constraint(expr=m.y >= m.xi.demand[0])  # x does not take part
    block = blocks(compile_template(m), {"demand": np.array([[1.0], [4.0]])}, np.full(2, 0.5))
    with pytest.raises(InfeasibleError, match=r"no feasible recourse.*(own|y)") as raised:
        solve_two_stage(block, engine="decomposition", **OPTIONS)
    assert not isinstance(raised.value, NoRecourseError)
    assert "suits all" not in str(raised.value)
