"""The engine against mpi-sppy's extensive form, and against a published instance.

mpi-sppy builds its extensive form from Pyomo models, one per scenario, with copies of the
here-and-now variables: nothing of the template compiler or the block matrices takes part. Without
mpi4py it uses a stand-in for the communicator, which is all that an extensive form needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
import pytest

from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.risk import Risk
from stochbess.engine.template import compile_template
from stochbess.engine.two_stage import Engine, evaluate_first_stage, solve_two_stage
from stochbess.models.data import AgingCut, ModelData
from stochbess.models.scenario_data import set_scenario
from stochbess.models.two_stage import two_stage
from tests.small_case import (
    Series,
    Small,
    changed,
    energy_only,
    everything,
    grid,
    plain,
    small,
    uneven,
)

sputils = pytest.importorskip("mpisppy.utils.sputils")

Floats = npt.NDArray[np.float64]
ENGINES: tuple[Engine, ...] = ("extensive", "decomposition")


def reference_cost(
    build: Callable[[], Any], series: Series, probability: Floats, gap_frac: float
) -> float:
    """Optimal cost of mpi-sppy's extensive form, solved through Pyomo's interface to HiGHS."""

    def scenario_creator(name: str) -> Any:
        s = int(name.removeprefix("scenario"))
        m = build()
        set_scenario(m, {key: values[s] for key, values in series.items()})
        sputils.attach_root_node(m, 0.0, m.first_stage)
        m._mpisppy_probability = float(probability[s])
        return m

    names = [f"scenario{s}" for s in range(len(probability))]
    extensive = sputils.create_EF(names, scenario_creator, suppress_warnings=True)
    solver = pyo.SolverFactory("highs")
    solver.solve(extensive, solver_options={"mip_rel_gap": gap_frac})
    return float(pyo.value(extensive.EF_Obj))


def of_case(case: Small, gap_frac: float = 1e-7) -> float:
    return reference_cost(lambda: two_stage(case.data), case.series, case.probability, gap_frac)


def fractional(data: ModelData) -> ModelData:
    return changed(data, reserves={"integer_lots": False})


def variants() -> dict[str, ModelData]:
    full = everything()
    cut = AgingCut(20.0, np.linspace(1.0, 4.0, full.grid.n_steps))
    return {
        "plain": plain(),
        "everything": full,
        "cuts": changed(full, aging={"cuts": (cut,)}),
        "day-ahead as recourse": changed(full, energy={"day_ahead": "recourse"}),
        "energy only": energy_only(plain()),
        "no intraday": changed(full, energy={"intraday": False}),
    }


@pytest.mark.parametrize("name", variants())
def test_continuous_problems_of_three_scenarios_cost_what_mpi_sppy_finds(name: str) -> None:
    case = small(fractional(variants()[name]), 3, seed=100)
    expected = of_case(case)
    for engine in ENGINES:
        found = solve_two_stage(case.blocks, gap_frac=1e-9, time_limit_s=60.0, engine=engine)
        assert found.cost == pytest.approx(expected, rel=1e-6), engine
        assert found.bound == pytest.approx(expected, rel=1e-6), engine


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_continuous_problems_of_ten_scenarios_cost_what_mpi_sppy_finds(name: str) -> None:
    case = small(fractional(variants()[name]), 10, seed=101)
    expected = of_case(case)
    for engine in ENGINES:
        found = solve_two_stage(case.blocks, gap_frac=1e-9, time_limit_s=60.0, engine=engine)
        assert found.cost == pytest.approx(expected, rel=1e-6), engine


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_whole_lots_of_three_scenarios_cost_what_mpi_sppy_finds(name: str) -> None:
    case = small(variants()[name], 3, seed=102)
    expected = of_case(case)
    for engine in ENGINES:
        found = solve_two_stage(case.blocks, gap_frac=1e-7, time_limit_s=60.0, engine=engine)
        assert found.cost == pytest.approx(expected, rel=1e-5), engine


def test_recourse_with_binaries_costs_what_mpi_sppy_finds() -> None:
    data = replace(everything(grid((3.0, 5.0), dt_h=1.0)), exclusive="binary")
    case = small(data, 3, seed=102, level_eur_mwh=-20.0)
    found = solve_two_stage(case.blocks, gap_frac=1e-7, time_limit_s=60.0, engine="extensive")
    assert found.cost == pytest.approx(of_case(case), rel=1e-5)


def test_whole_lots_of_ten_scenarios_cost_what_mpi_sppy_finds() -> None:
    case = small(plain(grid((4.0, 4.0), dt_h=1.0)), 10, seed=103)
    expected = of_case(case, gap_frac=1e-6)
    for engine in ENGINES:
        found = solve_two_stage(case.blocks, gap_frac=1e-6, time_limit_s=60.0, engine=engine)
        assert found.cost == pytest.approx(expected, rel=1e-5), engine


@pytest.mark.slow
def test_a_whole_day_in_quarter_hours_costs_what_mpi_sppy_finds() -> None:
    case = small(fractional(everything(grid((4.0,) * 6, dt_h=0.25))), 10, seed=104)
    expected = of_case(case)
    for engine in ENGINES:
        found = solve_two_stage(case.blocks, gap_frac=1e-8, time_limit_s=300.0, engine=engine)
        assert found.cost == pytest.approx(expected, rel=1e-6), engine


# -- the farmer -----------------------------------------------------------------------------------
CROPS = ("wheat", "corn", "beets")
YIELD_T_ACRE = np.array([2.5, 3.0, 20.0])


def farmer() -> pyo.ConcreteModel:
    """Birge & Louveaux 2011 (doi 10.1007/978-1-4614-0237-4), section 1.1."""
    m = pyo.ConcreteModel()
    m.xi = pyo.Block()
    m.xi.yields = pyo.Var(range(3), initialize=0.0)
    m.xi.yields.fix()
    m.acres = pyo.Var(range(3), bounds=(0, 500))
    m.land = pyo.Constraint(expr=sum(m.acres[i] for i in range(3)) <= 500)
    m.bought = pyo.Var(range(2), domain=pyo.NonNegativeReals)
    m.sold = pyo.Var(range(3), domain=pyo.NonNegativeReals)
    m.surplus_beets = pyo.Var(domain=pyo.NonNegativeReals)
    m.sold[2].setub(6000)
    need = (200, 240)

    def fed(m: Any, i: int) -> Any:
        return m.xi.yields[i] * m.acres[i] + m.bought[i] - m.sold[i] >= need[i]

    m.feed = pyo.Constraint(range(2), rule=fed)
    m.beets = pyo.Constraint(expr=m.sold[2] + m.surplus_beets <= m.xi.yields[2] * m.acres[2])
    planting = 150 * m.acres[0] + 230 * m.acres[1] + 260 * m.acres[2]
    trading = 238 * m.bought[0] + 210 * m.bought[1] - 170 * m.sold[0] - 150 * m.sold[1]
    m.cost = pyo.Objective(expr=planting + trading - 36 * m.sold[2] - 10 * m.surplus_beets)
    m.first_stage = list(m.acres.values())
    return m


@cache
def farm() -> Blocks:
    yields = np.outer([1.2, 1.0, 0.8], YIELD_T_ACRE)
    return blocks(compile_template(farmer()), {"yields": yields}, np.full(3, 1 / 3))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_farmer_earns_what_is_published(engine: Engine) -> None:
    """RP 108390, WS 115406, EEV 107240: EVPI 7016 and VSS 1150."""
    block = farm()
    options: dict[str, Any] = {"gap_frac": 1e-9, "time_limit_s": 30.0, "engine": engine}
    found = solve_two_stage(block, **options)
    assert -found.cost == pytest.approx(108390.0, abs=1.0)
    assert found.x == pytest.approx([170.0, 80.0, 250.0], abs=1e-3)
    own = [-solve_two_stage(block.subset(np.array([s])), **options).cost for s in range(3)]
    assert own == pytest.approx([167666.67, 118600.0, 59950.0], abs=1.0)
    assert float(np.mean(own)) == pytest.approx(115405.56, abs=1.0)
    mean = blocks(block.template, {"yields": YIELD_T_ACRE[None, :]}, np.ones(1))
    decided = solve_two_stage(mean, **options)
    assert decided.x == pytest.approx([120.0, 80.0, 300.0], abs=1e-3)
    assert -evaluate_first_stage(block, decided.x).cost == pytest.approx(107240.0, abs=1.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_risk_averse_farmer_earns_what_mpi_sppy_documents(engine: Engine) -> None:
    """E + 2 CVaR at level 0.8 is -220700 in its documentation: three times our mean-CVaR."""
    found = solve_two_stage(
        farm(), gap_frac=1e-9, time_limit_s=30.0, engine=engine, risk=Risk(2 / 3, 0.8)
    )
    assert 3 * found.cost == pytest.approx(-220700.0, abs=1.0)


def test_mpi_sppy_agrees_on_the_farmer_with_uneven_probabilities() -> None:
    yields = np.outer([1.2, 1.0, 0.8], YIELD_T_ACRE)
    expected = reference_cost(farmer, {"yields": yields}, uneven(3), 1e-7)
    block = blocks(farm().template, {"yields": yields}, uneven(3))
    for engine in ENGINES:
        found = solve_two_stage(block, gap_frac=1e-9, time_limit_s=30.0, engine=engine)
        assert found.cost == pytest.approx(expected, rel=1e-8), engine
