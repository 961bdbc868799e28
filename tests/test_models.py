"""The mathematics against oracles that know nothing of it: enumeration, dynamic programming."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from stochbess.battery.rainflow import discharge_cycle_cost
from stochbess.decide import by_component
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.lshaped import Recourse
from stochbess.engine.matrix import Problem
from stochbess.engine.template import Template
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.models.data import Aging, ModelData
from stochbess.models.lots import envelope, max_lots
from stochbess.models.scenario_data import scenario_series
from tests.small_case import (
    arr,
    best,
    changed,
    curve_of,
    energy_only,
    fixed_path,
    grid,
    plain,
    segments,
    series_of,
    small,
    template_of,
)

Floats = npt.NDArray[np.float64]
inf = float("inf")


# -- dynamic programming over stored energy -------------------------------------------------------
def by_dynamic_programming(data: ModelData, price_eur_mwh: Floats, step_mwh: float) -> float:
    """Best profit of trading energy at one price, over stored energies on a grid of `step_mwh`."""
    asset, fees, dt = data.asset, data.fees, data.grid.dt_h
    n_levels = round((asset.energy_max_mwh - asset.energy_min_mwh) / step_mwh) + 1
    levels = asset.energy_min_mwh + step_mwh * np.arange(n_levels)
    change = levels[None, :] - levels[:, None]  # from row to column
    charge = np.maximum(change, 0.0) / asset.charge_efficiency_frac / dt
    discharge = np.maximum(-change, 0.0) * asset.discharge_efficiency_frac / dt
    value = np.array([data.terminal.value_eur(float(e), asset) for e in levels])
    for t in range(data.grid.n_steps - 1, -1, -1):
        cash = dt * (
            price_eur_mwh[t] * (discharge - charge)
            - (fees.import_fee_eur_mwh[t] + fees.levy_eur_mwh) * charge
            - (fees.export_fee_eur_mwh[t] - fees.levy_eur_mwh) * discharge
            - data.aging.throughput_eur_mwh * discharge / asset.discharge_efficiency_frac
        )
        too_fast = (charge > asset.charge_limit_mw[t] + 1e-9) | (
            discharge > asset.discharge_limit_mw[t] + 1e-9
        )
        value = np.where(too_fast, -np.inf, cash + value[None, :]).max(axis=1)
    start = round((asset.energy_start_mwh - asset.energy_min_mwh) / step_mwh)
    before = data.terminal.value_eur(asset.energy_start_mwh, asset)
    return (1 - fees.profit_tax_frac) * (float(value[start]) - before - fees.capacity_fee_eur)


# (charge efficiency, discharge efficiency, grid of stored energy on which full power lands)
EXACT = [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.75, 0.8, 0.25)]


@pytest.mark.parametrize("efficiency", EXACT)
@pytest.mark.parametrize("prices", ["positive", "of both signs"])
def test_day_ahead_arbitrage_earns_what_dynamic_programming_finds(
    efficiency: tuple[float, float, float], prices: str
) -> None:
    charge, discharge, step_mwh = efficiency
    where = grid((4.0,) * 6, dt_h=1.0)
    rng = np.random.default_rng(40)
    lowest = 5.0 if prices == "positive" else -80.0
    data = energy_only(plain(where, power_mw=1.0, energy_mwh=5.0), intraday=False)
    limit = np.ones(24)
    limit[9:11] = 0.0
    data = changed(
        data,
        asset={
            "energy_start_mwh": 2.0,
            "charge_efficiency_frac": charge,
            "discharge_efficiency_frac": discharge,
            "discharge_limit_mw": limit,
        },
        fees={
            "import_fee_eur_mwh": rng.uniform(0, 4, 24),
            "export_fee_eur_mwh": rng.uniform(0, 4, 24),
            "levy_eur_mwh": 3.0,
            "capacity_fee_eur": 5.0,
            "profit_tax_frac": 0.2,
        },
        terminal={"marginal_eur_mwh": arr(50, 40, 30, 20, 10)},
        aging={"model": "throughput", "throughput_eur_mwh": 2.0},
    )
    if prices == "of both signs":
        data = replace(data, exclusive="binary")
    far = np.full((1, 24), 1e4)
    earned = []
    for _ in range(3):
        price = rng.uniform(lowest, 120.0, 24)
        series = {
            "day_ahead_eur_mwh": price[None, :],
            "imbalance_long_eur_mwh": -far,
            "imbalance_short_eur_mwh": far,
        }
        earned.append(best(data, series)[0])
        expected = by_dynamic_programming(data, price, step_mwh)
        assert earned[-1] == pytest.approx(expected, rel=1e-6)
    assert min(earned) > 10.0


# -- lots -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
@pytest.mark.parametrize("seed", [41, 42])
def test_no_combination_of_lots_earns_more_than_the_search_finds(engine: Engine, seed: int) -> None:
    data = plain(grid((4.0, 4.0), dt_h=1.0), power_mw=3.0, energy_mwh=6.0)
    data = changed(
        data,
        energy={"day_ahead": "recourse"},
        reserves={"committed_afrr_down_mw": arr(0.0, 0.5), "shortfall_eur_mwh_h": 60.0},
    )
    case = small(data, 3, seed=seed)
    recourse = Recourse(case.blocks, 1)
    names = [case.blocks.template.columns[j] for j in recourse.first]
    fitting = []
    for b in range(2):
        down = 3.0 - data.reserves.committed_afrr_down_mw[b]
        fitting.append(
            [
                {f"fcr_lots[{b}]": i, f"afrr_up_lots[{b}]": j, f"afrr_down_lots[{b}]": k}
                for i, j, k in product(range(4), repeat=3)
                if 1.25 * i + j <= 3.0 and 1.25 * i + k <= down
            ]
        )
    costs = {}
    for first, second in product(*fitting):
        lots = first | second
        x = np.array([float(lots[name]) for name in names])
        costs[tuple(x)] = float(case.probability @ recourse.evaluate(x)[0])
    best_lots = min(costs, key=lambda lots: costs[lots])
    assert sum(best_lots) > 0 and len(costs) > 200
    found = solve_two_stage(case.blocks, gap_frac=1e-7, time_limit_s=60.0, engine=engine)
    assert found.cost == pytest.approx(costs[best_lots], rel=1e-6)


limits = st.floats(0.0, 6.0)


@settings(max_examples=60)
@given(
    power=st.tuples(limits, limits),
    lot=st.tuples(st.sampled_from([0.5, 1.0, 1.5]), st.sampled_from([0.5, 1.0, 2.0])),
    committed=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    most=st.tuples(st.sampled_from([inf, 1.0, 2.5]), st.sampled_from([inf, 2.0, 3.5])),
    price=st.tuples(st.floats(0.1, 3) | st.just(0.0), st.floats(0.1, 3) | st.just(0.0)),
)
@example((2.236, 2.236), (1.0, 1.0), (0.0, 0.0, 0.0), (inf, inf), (1.0, 0.9))
def test_the_rows_for_lots_are_the_hull_of_the_pairs_that_fit(
    power: tuple[float, float],
    lot: tuple[float, float],
    committed: tuple[float, float, float],
    most: tuple[float, float],
    price: tuple[float, float],
) -> None:
    where = grid((4.0,), dt_h=4.0, unit_h=4.0)
    data = changed(
        plain(where),
        asset={"charge_limit_mw": arr(power[0]), "discharge_limit_mw": arr(power[1])},
        reserves={
            "fcr_lot_mw": lot[0],
            "afrr_lot_mw": lot[1],
            "fcr_max_mw": most[0],
            "afrr_max_mw": most[1],
            "committed_fcr_mw": arr(committed[0]),
            "committed_afrr_up_mw": arr(committed[1]),
            "committed_afrr_down_mw": arr(committed[2]),
        },
    )
    room = {
        "afrr_up": power[1] - 1.25 * committed[0] - committed[1],
        "afrr_down": power[0] - 1.25 * committed[0] - committed[2],
    }
    if min(room.values()) < 0.0:
        return  # the commitments alone are too much; that is another test
    for name, left in room.items():
        pairs = [
            (i, j)
            for i in range(14)
            for j in range(14)
            if i * lot[0] <= most[0] + 1e-9
            and j * lot[1] <= most[1] + 1e-9
            and 1.25 * i * lot[0] + j * lot[1] <= left + 1e-9
            and 1.25 * i * lot[0] <= min(room.values()) + 1e-9
        ]
        tops = max_lots(data, "fcr", 0), max_lots(data, name, 0)
        assert tops[0] == max(i for i, _ in pairs) and tops[1] == max(j for _, j in pairs)
        lines = envelope(data, name, 0)
        assert all(j <= slope * i + top + 1e-9 for i, j in pairs for slope, top in lines)
        rows = np.array([[-slope, 1.0] for slope, _ in lines]).reshape(-1, 2)
        top = np.array([top for _, top in lines])
        found = linprog(
            [-price[0], -price[1]],
            A_ub=rows if lines else None,
            b_ub=top if lines else None,
            bounds=[(0, tops[0]), (0, tops[1])],
        )
        whole = max(price[0] * i + price[1] * j for i, j in pairs)
        assert -found.fun == pytest.approx(whole, abs=1e-7)


def test_what_a_battery_of_two_megawatts_can_sell_is_known_by_hand() -> None:
    """1.25 FCR + aFRR <= 2.236 MW: two lots of aFRR, or one of FCR and none of aFRR."""
    data = plain(power_mw=2.236)
    assert [max_lots(data, name, 0) for name in ("fcr", "afrr_up", "afrr_down")] == [1, 2, 2]
    assert envelope(data, "afrr_up", 0) == [(-2.0, 2.0)]
    halves = changed(data, reserves={"integer_lots": False})
    assert max_lots(halves, "fcr", 0) == pytest.approx(2.236 / 1.25)


# -- aging ----------------------------------------------------------------------------------------
USABLE_MWH, POWER_MW = 8.0, 4.0


@cache
def aged(n_steps: int) -> tuple[ModelData, Template]:
    data = energy_only(plain(grid((0.5 * n_steps,), dt_h=0.5)))
    data = changed(data, asset={"charge_efficiency_frac": 1.0, "discharge_efficiency_frac": 1.0})
    data = segments(data, USABLE_MWH)
    return data, template_of(data)


def set_start(problem: Problem, data: ModelData) -> Problem:
    """Rows of the start with the numbers of `data`."""
    low, high = problem.row_lower.copy(), problem.row_upper.copy()
    for i, row in enumerate(problem.rows):
        name, _, index = row.partition("[")
        if name == "soc_start":
            sign = problem.matrix[[i]].data[0]
            low[i] = high[i] = sign * data.asset.energy_start_mwh
        if name == "segment_start":
            sign = problem.matrix[[i]].data[0]
            low[i] = high[i] = sign * data.aging.start_fill_mwh[int(index[:-1])]
    return replace(problem, row_lower=low, row_upper=high)


socs = st.floats(0.0, 1.0)


@settings(max_examples=60)
@given(
    moves=st.lists(st.floats(-0.25, 0.25), min_size=12, max_size=12),
    start=socs,
    history=st.lists(socs, max_size=4),
)
@example([0.25, -0.25] * 6, 0.5, [0.9, 0.1])
@example([-0.25] * 4 + [0.25] * 8, 0.8, [])
def test_segments_price_a_path_like_rainflow_with_the_same_curve(
    moves: list[float], start: float, history: list[float]
) -> None:
    data, template = aged(12)
    soc = np.clip(start + np.concatenate(([0.0], np.cumsum(moves))), 0.0, 1.0)
    data = changed(data, asset={"energy_start_mwh": USABLE_MWH * start})
    data = segments(data, USABLE_MWH, turning_points_frac=history)
    series = {name: np.full((1, n), 50.0) for name, n in scenario_series(data).items()}
    problem = set_start(fixed_path(template, series, USABLE_MWH * soc), data)
    found = solve_problem(problem, SolveOptions())
    assert found.values is not None, found.message
    values = by_component(template, found.values[None, :])
    assert np.minimum(values["charge_mw"], values["discharge_mw"]).max() <= 1e-7
    cost = float(data.aging.cost_eur_mwh @ values["withdrawn_mwh"][0].sum(axis=1))
    curve = curve_of(data, USABLE_MWH)
    prefix = tuple(history) or (0.0,)
    assert cost == pytest.approx(discharge_cycle_cost(soc, prefix, curve), abs=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_segments_price_an_optimal_day_like_rainflow_with_the_same_curve(seed: int) -> None:
    history = (0.95, 0.15, 0.7)
    data = energy_only(plain(grid((4.0,) * 6, dt_h=1.0)))
    data = changed(data, asset={"energy_min_mwh": 0.4, "energy_start_mwh": 2.8})
    data = replace(data, exclusive="binary")
    data = segments(data, USABLE_MWH, turning_points_frac=history)
    _, values = best(data, series_of(data, 1, seed=43 + seed))
    cost = float(data.aging.cost_eur_mwh @ values["withdrawn_mwh"].sum(axis=1))
    floor = data.asset.energy_min_mwh / USABLE_MWH
    soc = values["energy_mwh"] / USABLE_MWH - floor
    prefix = [point - floor for point in history]
    curve = curve_of(data, USABLE_MWH)
    assert cost == pytest.approx(discharge_cycle_cost(soc, prefix, curve), abs=1e-5)
    assert cost > 20.0
    # The past counts: without it the same path costs something else.
    assert abs(cost - discharge_cycle_cost(soc, (0.0,), curve)) > 1.0


def test_the_daily_limit_on_cycling_holds_on_every_day_and_binds() -> None:
    data = energy_only(plain(grid((4.0, 4.0) * 3, blocks_per_day=2)))
    data = replace(data, aging=Aging(max_withdrawn_mwh_per_day=3.0))
    _, values = best(data, series_of(data, 1, seed=46))
    drawn = 0.5 * values["discharge_mw"] / data.asset.discharge_efficiency_frac
    per_day = np.bincount(data.grid.day_of_step, drawn)
    assert (per_day <= 3.0 + 1e-6).all() and per_day.max() == pytest.approx(3.0)
