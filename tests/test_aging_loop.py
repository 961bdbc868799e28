"""Prices of a step, and passes that hold temperature and C-rate while the plant judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.aging_loop import PlantTruth, Refined, Region, Witness, refine
from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.cut_step import StepCost, calendar_cost, plating_cost, price_of_w_eur
from stochbess.battery.efficiency import ConstantEfficiency
from stochbess.battery.hull_curve import naumann_hull_curve
from stochbess.battery.naumann import Naumann
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.plant_cost import PlantAging
from stochbess.battery.schimpe import Schimpe
from stochbess.battery.thermal import ThermalModel
from stochbess.decide import Effort, Problem
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.errors import ConfigError, SolverError
from stochbess.models.aging_cuts import AgingRows, aging_rows, charged_eur
from stochbess.models.data import Aging, ModelData
from tests.small_case import Series, energy_only, grid, plain, series_of, small

Floats = npt.NDArray[np.float64]
ENERGY_MWH = 8.0
ENGINES: tuple[Engine, Engine] = ("extensive", "decomposition")
EFFORT = Effort(gap_frac=1e-6, time_limit_s=60.0, threads=1)
W_EUR = price_of_w_eur(ENERGY_MWH, 120.0, 0.2, 0.05)
CYCLE = CycleCost(
    naumann_hull_curve(
        energy_mwh=ENERGY_MWH,
        replacement_cost_eur_kwh=120.0,
        usable_fade_frac=0.2,
        cycle_loss_frac=0.05,
        c_rate_per_h=0.5,
    ),
    ENERGY_MWH,
)
LAW = Naumann().calendar.w_rate_per_h
PLANT = Plant(
    energy_mwh=ENERGY_MWH,
    charge_limit_mw=4.0,
    discharge_limit_mw=4.0,
    efficiency=ConstantEfficiency(0.95, 0.93),
    thermal=ThermalModel(coolant_degc=None, heat_capacity_kwh_k=14.0, cooling_kw_k=6.0),
    aging=Naumann(),
)


def a_day() -> tuple[ModelData, Series]:
    data = energy_only(plain(grid((4.0, 4.0, 4.0), dt_h=1.0)))
    return data, series_of(data, 1, seed=3)


def truth_of(data: ModelData) -> PlantTruth:
    state = PlantState.new(PLANT, 0.5, 28.0)
    judge = PlantAging(PLANT, state, data.grid.dt_h, 28.0, W_EUR, W_EUR)
    return PlantTruth(judge, CYCLE, Aging("cuts", cut_gap_frac=1e-6))


def begin(data: ModelData) -> Witness:
    return Witness(0.0, 0.0, np.full(data.grid.n_steps, 28.0), 1.0)


def build(data: ModelData, aging: Aging) -> Problem:
    return Problem(replace(data, aging=aging), "deterministic")


# -- prices of a step -----------------------------------------------------------------------------
def test_the_calendar_price_is_the_hull_of_the_law_and_never_above_it() -> None:
    soc = np.linspace(0.0, 1.0, 97)
    degc = np.full(97, 25.0)
    cost = calendar_cost(LAW, W_EUR, degc, ENERGY_MWH, 0.25)
    law = W_EUR * 0.25 * LAW(soc, degc)
    price = cost.at(soc * ENERGY_MWH)[0]
    assert (price <= law * (1 + 5e-5)).all()  # chords between nodes
    gap = 1 - price / law
    assert 0.3 < gap.max() < 0.5  # the law is far from convex below the middle
    assert gap[[0, -1]] == pytest.approx(0.0, abs=1e-9)


def test_the_hull_over_a_small_region_is_close_to_the_law_inside_it() -> None:
    degc = np.array([15.0, 25.0, 35.0])
    centre = ENERGY_MWH * np.array([0.3, 0.3, 0.4, 0.2])
    region = (centre - 0.2, centre + 0.2)
    cost = calendar_cost(LAW, W_EUR, degc, ENERGY_MWH, 0.25, region)
    for shift in (-0.2, -0.1, 0.0, 0.15, 0.2):
        middle = (centre[:-1] + centre[1:]) / 2 + shift
        price, slope = cost.at(middle)
        law = W_EUR * 0.25 * LAW(middle / ENERGY_MWH, degc)
        assert (price <= law + 1e-9).all() and price == pytest.approx(law, rel=5e-3)
        assert (slope > 0).all()


def test_a_subgradient_of_a_step_price_supports_it_everywhere() -> None:
    rng = np.random.default_rng(1)
    degc = rng.uniform(0.0, 40.0, 24)
    low = rng.uniform(0.0, 6.0, 25)
    prices = [
        calendar_cost(LAW, W_EUR, degc, ENERGY_MWH, 0.25),
        calendar_cost(LAW, W_EUR, degc, ENERGY_MWH, 0.25, (low, low + 1.5)),
        plating_cost(W_EUR, degc, ENERGY_MWH, 0.95, 4.0, 0.25),
    ]
    for cost in prices:
        for _ in range(200):
            a, b = rng.uniform(0.0, cost.top, (2, 24))
            value, slope = cost.at(a)
            assert (value + slope * (b - a) <= cost.at(b)[0] + 1e-7).all()


def test_plating_costs_more_in_the_cold_and_grows_faster_than_the_power() -> None:
    cost = plating_cost(W_EUR, np.array([5.0, 25.0]), ENERGY_MWH, 0.95, 8.0, 0.25)
    full, half = cost.at(np.array([8.0, 8.0]))[0], cost.at(np.array([4.0, 4.0]))[0]
    assert full[0] > 3 * full[1] and (full > 3 * half).all()
    assert cost.at(np.zeros(2))[0] == pytest.approx([0.0, 0.0])
    c_rate = 0.95 * 8.0 / ENERGY_MWH
    w = Schimpe().low_rate_per_sqrt_ah(5.0, c_rate) ** 2 * c_rate * 0.25 * 3.0
    assert full[0] == pytest.approx(W_EUR * float(w), rel=1e-9)


def test_prices_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="loss so far"):
        price_of_w_eur(8.0, 120.0, 0.2, 0.0)
    with pytest.raises(ConfigError, match="calendar aging"):
        calendar_cost(lambda s, t: s + t + np.nan, 1.0, np.zeros(3), 8.0, 1.0)


def test_rows_of_a_step_hold_the_price_up_through_both_energies_or_the_charge_power() -> None:
    rng = np.random.default_rng(2)
    degc = np.full(5, 10.0)
    prices: tuple[StepCost, ...] = (
        calendar_cost(LAW, W_EUR, degc, ENERGY_MWH, 1.0),
        plating_cost(W_EUR, degc, ENERGY_MWH, 0.95, 4.0, 1.0),
    )
    rows = AgingRows(CYCLE, 5, 1e-6, prices)
    held = CYCLE.size + 10
    assert len(rows.columns) == held + 6 + 5
    for _ in range(50):
        at, other = rng.uniform(0.0, 4.0, (2, 11))
        other[0] = at[0]
        coefficients, lower = rows.rows(np.concatenate((np.zeros(held), at)))
        assert len(lower) > 8
        lifted = rows.lifted(np.concatenate((np.zeros(held), other)))
        assert (coefficients @ lifted >= lower - 1e-7).all()
        tight = rows.lifted(np.concatenate((np.zeros(held), at)))
        assert coefficients @ tight == pytest.approx(lower, abs=1e-7)


def test_the_decision_pays_for_calendar_aging_and_plating_as_they_are() -> None:
    data, series = a_day()
    degc = np.full(data.grid.n_steps, 5.0)
    calendar = calendar_cost(LAW, W_EUR, degc, ENERGY_MWH, 1.0)
    plating = plating_cost(W_EUR, degc, ENERGY_MWH, 0.95, 4.0, 1.0)
    profits = []
    for prices in ((), (calendar,), (calendar, plating)):
        aging = Aging("cuts", path_cost=CYCLE, step_prices=prices, cut_gap_frac=1e-6)
        found = build(data, aging).decide(series, np.ones(1), EFFORT)
        priced = charged_eur(replace(data, aging=aging), found.values)[0]
        held = sum(
            found.values[name].sum()
            for name in ("cycle_theta_eur", "step_theta_eur")
            if name in found.values
        )
        moved = 0.95 * found.values["charge_mw"].sum() + found.values["discharge_mw"].sum() / 0.93
        assert priced == pytest.approx(held + CYCLE.shallow_eur_mwh * moved, abs=1e-6)
        profits.append(found.profit_lb_eur)
    assert profits[0] > profits[1] + 5 > profits[2] + 10


def test_a_two_stage_problem_takes_prices_of_a_step_in_both_engines() -> None:
    data = plain(grid((4.0, 4.0), dt_h=1.0))
    calendar = calendar_cost(LAW, W_EUR, np.full(data.grid.n_steps, 25.0), ENERGY_MWH, 1.0)
    data = replace(
        data, aging=Aging("cuts", path_cost=CYCLE, step_prices=(calendar,), cut_gap_frac=1e-6)
    )
    case = small(data, 3, seed=5)
    whole, parts = (
        solve_two_stage(
            case.blocks, gap_frac=1e-6, time_limit_s=60.0, engine=engine, lazy=aging_rows(data)
        )
        for engine in ENGINES
    )
    assert parts.cost == pytest.approx(whole.cost, rel=1e-5)
    assert whole.bound <= parts.cost + 1e-6 and parts.bound <= whole.cost + 1e-6


# -- passes ---------------------------------------------------------------------------------------
def test_passes_never_lower_the_true_profit_and_bring_model_and_plant_together() -> None:
    data, series = a_day()
    found = refine(lambda aging: build(data, aging), series, EFFORT, truth_of(data), begin(data))
    accepted = [p.true_profit_eur for p in found.passes if p.accepted]
    assert accepted == sorted(accepted) and len(accepted) > 1
    assert found.true_profit_eur == accepted[-1]
    assert abs(found.passes[0].gap_frac) > 0.03 and abs(found.gap_frac) < 0.01
    assert found.relaxed_profit_ub_eur >= found.true_profit_eur


def test_the_true_profit_is_the_cash_less_the_aging_of_the_plant() -> None:
    data, series = a_day()
    data = replace(data, fees=replace(data.fees, profit_tax_frac=0.25))
    truth = truth_of(data)
    problem = build(data, truth.local(begin(data), None))
    found = refine(lambda _: problem, series, EFFORT, truth, begin(data), most_passes=1)
    values = {name: value[0] for name, value in found.decision.values.items()}
    profit = float(found.decision.scenario_profit_eur[0])
    cash = profit / 0.75 + float(charged_eur(problem.data, found.decision.values)[0])
    expected = 0.75 * (cash - truth(values).aging_eur)
    assert found.true_profit_eur == pytest.approx(expected, abs=1e-9)


@dataclass(frozen=True)
class Heating:
    """A plant whose temperature follows its own schedule strongly: a full step overshoots."""

    inner: PlantTruth
    data: ModelData
    strength: float = 60.0

    def __call__(self, values: Mapping[str, Floats]) -> Witness:
        energy = values["energy_mwh"]
        level = (energy[:-1] + energy[1:]) / 2 / ENERGY_MWH
        degc = 20.0 + self.strength * level
        calendar = W_EUR * float(LAW(level, degc).sum()) * self.data.grid.dt_h
        return Witness(calendar, CYCLE.rainflow_eur(energy), degc, 1.0)

    def local(self, witness: Witness, region: Region | None) -> Aging:
        return self.inner.local(witness, region)


def heated(judged: bool) -> Refined:
    data, series = a_day()
    truth = Heating(truth_of(data), data)
    return refine(
        lambda aging: build(data, aging),
        series,
        EFFORT,
        truth,
        begin(data),
        judged=judged,
        most_passes=6,
    )


def test_without_the_judgement_full_steps_overshoot_and_with_it_they_cannot() -> None:
    free, judged = heated(judged=False), heated(judged=True)
    course = [p.true_profit_eur for p in free.passes]
    assert min(np.diff(course)) < -1.0  # some full step makes the truth worse
    kept = [p.true_profit_eur for p in judged.passes if p.accepted]
    assert kept == sorted(kept) and judged.true_profit_eur == kept[-1] > course[0]
    refused = [p for p in judged.passes if not p.accepted]
    assert all(p.true_profit_eur <= judged.true_profit_eur for p in refused)


def test_a_band_with_other_columns_is_refused() -> None:
    data, _ = a_day()
    aging = Aging("cuts", path_cost=CYCLE)
    edge = np.zeros(data.grid.n_steps + 1)
    calendar = calendar_cost(LAW, W_EUR, np.full(data.grid.n_steps, 25.0), ENERGY_MWH, 1.0)
    with pytest.raises(SolverError, match="columns"):
        build(data, aging).localised(replace(aging, step_prices=(calendar,)), edge, edge)


def test_a_band_bounds_the_stored_energy_of_relaxed_and_exclusive_schedules() -> None:
    data, series = a_day()
    aging = Aging("cuts", path_cost=CYCLE)
    steps = data.grid.n_steps + 1
    wide = build(data, aging)
    free = wide.decide(series, np.ones(1), EFFORT)
    narrow = wide.localised(aging, np.full(steps, 3.0), np.full(steps, 5.0))
    found = narrow.decide(series, np.ones(1), EFFORT)
    assert free.values["energy_mwh"].max() > 5.5
    for energy in (found.values["energy_mwh"], found.outcome.values):
        assert energy is not None
    assert found.values["energy_mwh"].min() >= 3.0 - 1e-6
    assert found.values["energy_mwh"].max() <= 5.0 + 1e-6
    assert found.profit_ub_eur < free.profit_lb_eur


def test_a_plant_without_the_law_of_a_priced_mechanism_is_refused() -> None:
    state = PlantState.new(PLANT)
    with pytest.raises(ConfigError, match="Naumann"):
        PlantAging(replace(PLANT, aging=Schimpe()), state, 1.0, 25.0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="Schimpe"):
        PlantAging(PLANT, state, 1.0, 25.0, 1.0, 1.0, plating_w_eur=1.0)
    PlantAging(PLANT, state, 1.0, 25.0, 1.0, 1.0)


def test_a_problem_without_path_cost_has_no_rows() -> None:
    data = small(energy_only(plain()), 1).data
    assert aging_rows(data) is None
    idle = {"energy_mwh": np.zeros((2, 3)), "discharge_mw": np.zeros((2, 2))}
    assert charged_eur(data, idle).tolist() == [0.0, 0.0]
