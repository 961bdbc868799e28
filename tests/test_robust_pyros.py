"""Column-and-constraint generation against PyROS, on a problem that both solve exactly.

PyROS restricts the recourse to affine rules. Over a simplex these are optimal (Bertsimas & Goyal
2012, doi 10.1007/s10107-011-0444-4), and a budget of one makes the set a simplex.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.sparse as sp

from stochbess.engine.adversary import MovingRows
from stochbess.engine.ccg import solve_robust
from stochbess.engine.template import compile_template
from stochbess.engine.uncertainty import Budget, BudgetSet

STEPS = range(4)
HIGH, NOMINAL = (0.9, 0.7, 1.0, 0.8), (0.2, 0.1, 0.3, 0.1)
PRICE = (40.0, 90.0, 150.0, 60.0)
PAID, ENERGY_MWH, PENALTY = 130.0, 1.2, 900.0


def capacity(share: Any, m: Any) -> None:
    """Sell capacity now; later deliver what is called from a store that may be refilled."""
    m.sold = pyo.Var(bounds=(0, 3))
    m.delivered = pyo.Var(STEPS, domain=pyo.NonNegativeReals)
    m.bought = pyo.Var(STEPS, bounds=(0, 0.6))
    m.excess = pyo.Var(STEPS, domain=pyo.NonNegativeReals)

    def stored(t: int) -> Any:
        flows = (0.9 * m.bought[k] - m.delivered[k] / 0.9 - m.excess[k] for k in range(t + 1))
        return ENERGY_MWH + sum(flows)

    m.called = pyo.Constraint(STEPS, rule=lambda m, t: share[t] * m.sold - m.delivered[t] >= 0)
    m.floor = pyo.Constraint(STEPS, rule=lambda m, t: stored(t) >= 0)
    m.ceiling = pyo.Constraint(STEPS, rule=lambda m, t: stored(t) <= 2.0)
    m.bill = pyo.Expression(
        expr=sum(PRICE[t] * m.bought[t] - PAID * m.delivered[t] for t in STEPS)
        + PENALTY * sum(share[t] * m.sold - m.delivered[t] for t in STEPS)
    )


def by_generation(most: int) -> float:
    m = pyo.ConcreteModel()
    m.xi = pyo.Block()
    m.xi.share = pyo.Var(STEPS, initialize=0.0)
    m.xi.share.fix()
    capacity(m.xi.share, m)
    m.cost = pyo.Objective(expr=-300.0 * m.sold + m.bill)
    m.first_stage = [m.sold]
    t = compile_template(m)
    deviation = sp.csr_array(sp.diags_array(np.array(HIGH) - np.array(NOMINAL)))
    uncertain = BudgetSet(np.arange(4), np.array(NOMINAL), deviation, (Budget(np.arange(4), most),))
    rows = np.array([t.rows.index(f"called[{k}]") for k in STEPS])
    delivered = np.array([t.column_position[f"delivered[{k}]"] for k in STEPS])
    # Less delivered is energy left, which may be thrown away: the loss is the pay and the penalty.
    moving = MovingRows(
        rows, np.full(4, PAID + PENALTY), delivered, np.zeros((4, 0), np.int64), np.zeros(0)
    )
    found = solve_robust(
        t, np.zeros((1, 4)), np.ones(1), uncertain, [moving], gap_frac=1e-7, time_limit_s=30.0
    )
    return found.cost


def by_affine_rules(most: int) -> float:
    pyros = pytest.importorskip("pyomo.contrib.pyros")
    m = pyo.ConcreteModel()
    m.z = pyo.Param(STEPS, initialize=0.0, mutable=True)
    share = {t: NOMINAL[t] + (HIGH[t] - NOMINAL[t]) * m.z[t] for t in STEPS}
    capacity(share, m)
    m.cost = pyo.Objective(expr=-300.0 * m.sold + m.bill)
    solver = pyo.SolverFactory("appsi_highs")
    found = pyo.SolverFactory("pyros").solve(
        model=m,
        first_stage_variables=[m.sold],
        second_stage_variables=[*m.delivered.values(), *m.bought.values(), *m.excess.values()],
        uncertain_params=[m.z[t] for t in STEPS],
        uncertainty_set=pyros.CardinalitySet(
            origin=[0.0] * 4, positive_deviation=[1.0] * 4, gamma=most
        ),
        local_solver=solver,
        global_solver=solver,
        objective_focus=pyros.ObjectiveType.worst_case,
        decision_rule_order=1,
        solve_master_globally=True,
    )
    assert "robust" in str(found.pyros_termination_condition)
    return float(found.final_objective_value)


@pytest.mark.slow
def test_affine_rules_over_a_simplex_have_the_same_worst_case() -> None:
    cost = by_generation(1)
    assert cost < -10.0
    assert by_affine_rules(1) == pytest.approx(cost, rel=1e-4)


@pytest.mark.slow
def test_affine_rules_cost_no_less_than_full_recourse() -> None:
    assert by_affine_rules(2) >= by_generation(2) - 1e-3
    assert by_generation(2) > by_generation(1) + 1.0
