"""SMPS texts: published optima by every engine, and what is refused rather than guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

from stochbess.engine.matrix import blocks
from stochbess.engine.mps import read_core
from stochbess.engine.risk import Risk
from stochbess.engine.smps import MOST_SCENARIOS, StochasticProgram, read_smps
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.errors import InfeasibleError, ScenarioError
from stochbess.rng import stream
from tests.smps_case import (
    APL1P_OPTIMUM,
    APL1P_TIME,
    FARMER_CORE,
    FARMER_OPTIMUM,
    FARMER_SCENARIOS,
    FARMER_TIME,
    LANDS_INDEPENDENT,
    LANDS_OPTIMUM,
    LANDS_TIME,
    apl1p_core,
    apl1p_independent,
    lands_core,
)

ENGINES: tuple[Engine, ...] = ("extensive", "decomposition")


def farmer() -> StochasticProgram:
    return read_smps(FARMER_CORE, FARMER_TIME, FARMER_SCENARIOS)


def lands() -> StochasticProgram:
    return read_smps(lands_core(), LANDS_TIME, LANDS_INDEPENDENT)


def apl1p() -> StochasticProgram:
    return read_smps(apl1p_core(), APL1P_TIME, apl1p_independent())


def cost(block: Any, engine: Engine = "extensive", **options: Any) -> float:
    found = solve_two_stage(block, gap_frac=1e-9, time_limit_s=60.0, engine=engine, **options)
    assert found.bound == pytest.approx(found.cost, rel=1e-7)
    return found.cost


# -- published optima -----------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ENGINES)
def test_the_farmer_from_smps_earns_what_is_published(engine: Engine) -> None:
    assert cost(farmer().blocks(), engine) == pytest.approx(FARMER_OPTIMUM, abs=1e-2)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_risk_averse_farmer_from_smps_earns_what_mpi_sppy_documents(engine: Engine) -> None:
    """Its E + 2 CVaR at level 0.8 is three times our mean-CVaR of weight 2/3."""
    found = 3 * cost(farmer().blocks(), engine, risk=Risk(2 / 3, 0.8))
    assert found == pytest.approx(-220700.0, abs=1.0)


def test_lands_costs_what_is_published() -> None:
    assert cost(lands().blocks()) == pytest.approx(LANDS_OPTIMUM, abs=1e-4)


def test_apl1p_costs_what_is_published_over_all_its_1280_scenarios() -> None:
    program = apl1p()
    assert program.n_scenarios == 1280
    assert cost(program.blocks()) == pytest.approx(APL1P_OPTIMUM, abs=1e-2)


@pytest.mark.slow
def test_apl1p_costs_the_same_by_decomposition() -> None:
    assert cost(apl1p().blocks(), "decomposition") == pytest.approx(APL1P_OPTIMUM, abs=1e-2)


def test_a_sample_of_apl1p_costs_the_same_by_both_engines() -> None:
    block = apl1p().draw(40, stream(1, "test.apl1p"))
    assert cost(block, "decomposition") == pytest.approx(cost(block), rel=1e-6)


def test_lands_whose_recourse_is_not_complete_costs_the_same_by_both_engines() -> None:
    """The first point is the origin: nothing is built, and no demand can be met."""
    assert cost(lands().blocks(), "decomposition") == pytest.approx(LANDS_OPTIMUM, abs=1e-4)


# -- mpi-sppy's extensive form --------------------------------------------------------------------
def extensive_cost(module: Any, names: list[str], **arguments: Any) -> float:
    sputils = pytest.importorskip("mpisppy.utils.sputils")
    problem = sputils.create_EF(
        names, module.scenario_creator, scenario_creator_kwargs=arguments, suppress_warnings=True
    )
    pyo.SolverFactory("highs").solve(problem, solver_options={"mip_rel_gap": 1e-9})
    return float(pyo.value(problem.EF_Obj))


def test_mpi_sppy_finds_the_same_cost_of_scenarios_that_it_drew_of_apl1p() -> None:
    module = pytest.importorskip("mpisppy.tests.examples.apl1p")
    names = [f"scen{i}" for i in range(12)]
    models = [module.scenario_creator(name, num_scens=12) for name in names]
    program = apl1p()
    # Elements in the order of the stochastic text: two availabilities, three demands.
    xi = [[m.Availability[g] for g in (1, 2)] + [m.Demand[j] for j in (1, 2, 3)] for m in models]
    block = blocks(program.template, {"xi": np.array(xi)}, np.full(12, 1 / 12))
    expected = extensive_cost(module, names, num_scens=12)
    for engine in ENGINES:
        assert cost(block, engine) == pytest.approx(expected, rel=1e-6), engine


@pytest.mark.parametrize("whole", [False, True], ids=["acres", "whole acres"])
def test_mpi_sppy_finds_the_same_profit_of_farms_that_it_drew(whole: bool) -> None:
    module = pytest.importorskip("mpisppy.tests.examples.farmer")
    names = [f"scen{i}" for i in range(3, 9)]
    arguments = {"use_integer": whole, "num_scens": 6}
    scenarios = []
    for name in names:
        m = module.scenario_creator(name, **arguments)
        wheat, corn, beets = (float(pyo.value(m.Yield[crop])) for crop in m.CROPS)
        scenarios.append(
            f" SC {name} ROOT {1 / 6!r}\n ACREW WHEAT {wheat!r}\n ACREC CORN {corn!r}\n"
            f" ACREB BEETS {-beets!r}\n"
        )
    core = FARMER_CORE
    if whole:
        core = core.replace("COLUMNS\n", "COLUMNS\n M1 'MARKER' 'INTORG'\n")
        core = core.replace(" BUYW COST", " M2 'MARKER' 'INTEND'\n BUYW COST")
        acres = "".join(f" UP BND ACRE{crop} 500\n" for crop in "WCB")
        core = core.replace("BOUNDS\n", f"BOUNDS\n{acres}")
    stochastic = "STOCH F\nSCENARIOS DISCRETE\n" + "".join(scenarios) + "ENDATA\n"
    block = read_smps(core, FARMER_TIME, stochastic).blocks()
    assert block.template.integer.sum() == (3 if whole else 0)
    expected = extensive_cost(module, names, **arguments)
    for engine in ENGINES:
        found = solve_two_stage(block, gap_frac=1e-7, time_limit_s=60.0, engine=engine)
        assert found.cost == pytest.approx(expected, rel=1e-6), engine


# -- the form -------------------------------------------------------------------------------------
SHOP_CORE = """\
NAME SHOP
OBJSENSE
    MAX
ROWS
 N PROFIT
 N UNUSED
 L STOCK
 L DEMAND
COLUMNS
 ORDER PROFIT -1 STOCK -1
 SALE PROFIT 3 STOCK 1
 SALE DEMAND 1 UNUSED 7
RHS
 PROFIT 4 DEMAND 5
BOUNDS
 UP ORDER 10
ENDATA
"""
SHOP_TIME = "TIME SHOP\nPERIODS\n ORDER PROFIT NOW\n SALE STOCK LATER\nENDATA\n"


def shop(stochastic: str) -> StochasticProgram:
    return read_smps(SHOP_CORE, SHOP_TIME, f"STOCH SHOP\n{stochastic}ENDATA\n")


@pytest.mark.parametrize(
    "text",
    [
        "BLOCKS DISCRETE\n BL B LATER 0.5\n SALE PROFIT 4\n RHS DEMAND 2\n"
        " BL B LATER 0.5\n RHS DEMAND 6\n",
        "SCENARIOS DISCRETE\n SC A ROOT 0.5 LATER\n SALE PROFIT 4\n RHS DEMAND 2\n"
        " SC B A 0.5 LATER\n RHS DEMAND 6\n",
    ],
    ids=["block", "scenario"],
)
def test_an_outcome_keeps_what_it_does_not_say_from_the_first(text: str) -> None:
    """Order 6: sold are 2 or 6 at 4 each, less 6 paid and 4 fixed: 16 - 6 - 4 = 6."""
    block = shop(text).blocks()
    found = solve_two_stage(block, gap_frac=1e-9, time_limit_s=10.0, engine="extensive")
    assert -found.cost == pytest.approx(6.0)
    assert found.x == pytest.approx([6.0])
    assert -found.scenario_cost == pytest.approx([-2.0, 14.0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_later_row_of_orders_alone_binds_by_scenario(engine: Engine) -> None:
    core = SHOP_CORE.replace(" L DEMAND\n", " L DEMAND\n L ROOM\n")
    core = core.replace(" SALE PROFIT 3", " ORDER ROOM 1\n SALE PROFIT 3")
    room = "INDEP DISCRETE\n RHS ROOM 8 0.5\n RHS ROOM 3 0.5\n"
    program = read_smps(core, SHOP_TIME, f"STOCH SHOP\n{room}ENDATA\n")
    if engine == "decomposition":  # it has no cut for an order that has no room
        with pytest.raises(InfeasibleError, match="ROOM"):
            cost(program.blocks(), engine)
        return
    assert cost(program.blocks(), engine) == pytest.approx(-(2 * 3 - 4))


def test_random_prices_and_constants_replace_those_of_the_core_with_their_sign() -> None:
    text = "INDEP DISCRETE\n SALE PROFIT 2 LATER 0.25\n SALE PROFIT 5 LATER 0.75\n"
    program = shop(text + " RHS PROFIT 0 LATER 0.5\n RHS PROFIT -8 LATER 0.5\n")
    block = program.blocks()
    assert block.probability == pytest.approx([0.125, 0.125, 0.375, 0.375])
    found = solve_two_stage(block, gap_frac=1e-9, time_limit_s=10.0, engine="extensive")
    # Order and sell 5, whatever the price, and 0 or 8 on top.
    assert -found.scenario_cost == pytest.approx([5.0, 13.0, 20.0, 28.0])


def test_an_element_that_the_core_leaves_at_zero_may_vary() -> None:
    program = shop("INDEP DISCRETE\n ORDER DEMAND -1 0.5\n ORDER DEMAND 0 0.5\n")
    found = solve_two_stage(program.blocks(), gap_frac=1e-9, time_limit_s=10.0, engine="extensive")
    # Half of the time an order makes its own demand: from 5 on, 3/2 - 1 a unit up to 10.
    assert found.x == pytest.approx([10.0])
    assert -found.cost == pytest.approx(-10 + 3 * (5 + 10) / 2 - 4)


def test_draws_repeat_with_their_stream_and_come_as_often_as_they_should() -> None:
    program = lands()
    drawn, again = (program.draw(4000, stream(3, "test.lands")) for _ in range(2))
    assert np.array_equal(drawn.rhs, again.rhs)
    assert drawn.probability == pytest.approx(np.full(4000, 1 / 4000))
    demand = drawn.rhs[:, program.template.rows.index("DEM1")]
    shares = [float(np.mean(demand == value)) for value in (3.0, 5.0, 7.0)]
    assert shares == pytest.approx([0.3, 0.4, 0.3], abs=0.03)


def test_too_many_scenarios_are_drawn_and_not_listed() -> None:
    rows = "".join(
        f" {column} {row} {value} 0.1\n"
        for column, row in (
            ("SALE", "STOCK"), ("SALE", "DEMAND"), ("SALE", "PROFIT"),
            ("RHS", "DEMAND"), ("RHS", "STOCK"), ("ORDER", "STOCK"),
        )
        for value in range(1, 11)
    )  # fmt: skip
    program = shop("INDEP DISCRETE\n" + rows)
    assert program.n_scenarios == 10**6 > MOST_SCENARIOS
    with pytest.raises(ScenarioError, match=r"1e\+06 scenarios.*Draw"):
        program.blocks()
    assert program.draw(5, stream(0, "test")).n_scenarios == 5


def test_bounds_of_all_kinds_are_read() -> None:
    bounds = " LO B A 2\n FX B B 3\n FR B C\n MI B D\n UP B D -1\n BV B E\n LI B F 1\n UI B F 9\n"
    columns = "".join(f" {name} COST 1 R 1\n" for name in "ABCDEFG")
    core = read_core(f"ROWS\n N COST\n L R\nCOLUMNS\n{columns}BOUNDS\n{bounds} PL B G\nENDATA\n")
    inf = float("inf")
    assert core.lower == {"A": 2, "B": 3, "C": -inf, "D": -inf, "E": 0, "F": 1, "G": 0}
    assert core.upper == {"A": inf, "B": 3, "C": inf, "D": -1, "E": 1, "F": 9, "G": inf}
    assert [name for name, whole in core.integer.items() if whole] == ["E", "F"]


@pytest.mark.parametrize(("bound", "told"), [("PL", True), ("UP", True), ("LO", False)])
def test_an_integer_column_says_how_far_it_goes(bound: str, told: bool) -> None:
    text = "ROWS\n N COST\nCOLUMNS\n M 'MARKER' 'INTORG'\n A COST 1\nBOUNDS\n"
    text += f" {bound} BND A{'' if bound == 'PL' else ' 3'}\nENDATA\n"
    if told:
        assert read_core(text).integer == {"A": True}
    else:
        with pytest.raises(ScenarioError, match="A has no upper bound"):
            read_core(text)


SHOP_INDEPENDENT = "INDEP DISCRETE\n RHS DEMAND 2 0.5\n RHS DEMAND 6 0.5\n"


@pytest.mark.parametrize(
    ("of", "old", "new", "message"),
    [
        ("core", "ENDATA\n", "", "core: no ENDATA"),
        ("core", "NAME SHOP", " NAME SHOP", "core line 1: data before"),
        ("core", " L STOCK", " Q STOCK", "core line 7: .*expected kind N, L, E or G"),
        ("core", " L DEMAND", " L STOCK", "STOCK stands twice"),
        ("core", "PROFIT 3", "PROFIT three", "a number instead of 'three'"),
        ("core", "PROFIT 3", "PROFIT nan", "a finite number instead of 'nan'"),
        ("core", "DEMAND 1", "DEMNAD 1", "a row of ROWS instead of 'DEMNAD'"),
        ("core", "DEMAND 1", "STOCK 1", "one number for STOCK in SALE"),
        ("core", " SALE DEMAND 1 UNUSED 7", " ORDER DEMAND 1", "lines of column ORDER together"),
        ("core", "RHS\n", "RHS\n A STOCK 1\n B STOCK 2\n", "one set of this section, 'A'"),
        ("core", "BOUNDS\n", "RANGES\n", "one of NAME"),
        ("core", " UP ORDER 10", " UP ORDER -10", "lies between 0 and -10"),
        ("core", " UP ORDER 10", " UP ODER 10", "a column of COLUMNS instead of 'ODER'"),
        ("core", " UP ORDER 10", " SC ORDER 10", "kind UP, LO"),
        ("core", " ORDER PROFIT", " M 'MARKER' 'INTORG'\n ORDER PROFIT", "SALE has no upper bound"),
        ("core", " N PROFIT\n N UNUSED\n", "", "a row of ROWS instead of 'PROFIT'"),
        ("core", "    MAX", "    BEST", "MIN or MAX"),
        ("time", "PERIODS\n", "PERIODS EXPLICIT\n", "implicit order"),
        ("time", "ENDATA", " SALE DEMAND END\nENDATA", "3 periods; expected two"),
        ("time", " ORDER PROFIT NOW", " SALE PROFIT NOW", "the first column"),
        ("time", " SALE STOCK", " SALE NONE", "a column and a row of the core"),
        ("time", " SALE STOCK", " SALE DEMAND", "row STOCK of the first period holds column SALE"),
        ("stochastic", "INDEP DISCRETE", "INDEP NORMAL", "DISCRETE values"),
        ("stochastic", "INDEP DISCRETE", "INDEP DISCRETE ADD", "DISCRETE values"),
        ("stochastic", "INDEP DISCRETE", "CHANCE", "one of INDEP"),
        ("stochastic", "6 0.5", "6 0.6", "add up to 1.1"),
        ("stochastic", "6 0.5", "6 -0.5", "none below zero"),
        ("stochastic", "RHS DEMAND 6", "RHS DEMNAD 6", "a row of the core"),
        ("stochastic", "RHS DEMAND 6", "SAIL DEMAND 6", "a column of the core, or RHS"),
        ("stochastic", " RHS DEMAND 2 0.5\n RHS DEMAND 6 0.5\n", "", "no outcome"),
        ("stochastic", "6 0.5\n", "6 0.5\nBLOCKS DISCRETE\n RHS DEMAND 3\n", "a header SC or BL"),
        (
            "stochastic",
            "6 0.5\n",
            "6 0.5\nSCENARIOS DISCRETE\n SC A ROOT 1\n RHS DEMAND 3\n",
            "varies in INDEP .* and in SCENARIOS",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_or_ambiguous_is_refused_with_its_place(
    of: str, old: str, new: str, message: str
) -> None:
    texts = {
        "core": SHOP_CORE,
        "time": SHOP_TIME,
        "stochastic": f"STOCH SHOP\n{SHOP_INDEPENDENT}ENDATA\n",
    }
    assert old in texts[of]
    assert read_smps(**texts).n_scenarios == 2
    texts[of] = texts[of].replace(old, new, 1)
    with pytest.raises(ScenarioError, match=message):
        read_smps(**texts)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SC POOR GOOD", "SC POOR BEST", "an earlier scenario as the parent instead of 'BEST'"),
        ("SC POOR", "SC FAIR", "FAIR stands twice"),
        (" ACREB BEETS -24", " RHS LAND 400\n ACREB BEETS -24", "row LAND of the first period"),
    ],
)
def test_scenarios_that_contradict_their_tree_are_refused(old: str, new: str, message: str) -> None:
    assert old in FARMER_SCENARIOS
    with pytest.raises(ScenarioError, match=message):
        read_smps(FARMER_CORE, FARMER_TIME, FARMER_SCENARIOS.replace(old, new, 1))
