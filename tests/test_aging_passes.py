"""The decision as the plant sees it: judged and improved by scenario, bounded, foreign judges."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.aging_loop import PlantTruth, Refined, Witness, judged_by, refine, step_prices
from stochbess.aging_passes import Shown, show
from stochbess.aging_prices import (
    bounding_aging,
    cycle_cost,
    cycle_curve,
    held_prices,
    plant_aging,
    truth_of,
)
from stochbess.assemble import build_case
from stochbess.battery.aging import Ensemble, advance, fresh
from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.half_cycle_stress import CellPath
from stochbess.battery.judges import Opinion, next_loss_frac, opinions
from stochbess.battery.naumann import Naumann
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.plant_cost import PlantAging
from stochbess.battery.schimpe import Schimpe
from stochbess.battery.thermal import ThermalModel
from stochbess.comparison import compare
from stochbess.config import Config, load_config
from stochbess.decide import Effort, Problem
from stochbess.errors import ConfigError
from stochbess.models.aging_cuts import charged_eur
from stochbess.models.data import Aging, ModelData
from stochbess.rolling import nonanticipative_value
from stochbess.rolling_forecast import Information
from stochbess.run import Run, solve
from stochbess.strict_yaml import ConfigFaultsError
from stochbess.tables_aging import Judged, exploited_law, slug
from tests.small_case import Series, changed, energy_only, grid, plain, series_of
from tests.test_aging_loop import CYCLE, PLANT, W_EUR

Floats = npt.NDArray[np.float64]
EFFORT = Effort(gap_frac=1e-6, time_limit_s=60.0, threads=1)
ENERGY_ONLY = [
    "markets.intraday.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "scenarios.source=realised",
    "aging.model=cuts",
]
PRICED = [*ENERGY_ONLY, "aging.mechanisms=[cycle, calendar]"]
WINTER = [
    *ENERGY_ONLY,
    "aging.mechanisms=[cycle, calendar, plating]",
    "aging.surroundings_degc=0",
    "battery.power_mw=4.472",
]


# -- plating in the cold --------------------------------------------------------------------------
def cold_plant() -> Plant:
    thermal = ThermalModel(coolant_degc=None, heat_capacity_kwh_k=14.0, cooling_kw_k=12.0)
    laws = Ensemble((Naumann(), Schimpe()))
    return replace(PLANT, charge_limit_mw=8.0, discharge_limit_mw=8.0, thermal=thermal, aging=laws)


def cold_judge(data: ModelData, plating_w_eur: float) -> PlantAging:
    state = PlantState.new(cold_plant(), 0.5, 0.0)
    return PlantAging(cold_plant(), state, data.grid.dt_h, 0.0, W_EUR, W_EUR, plating_w_eur)


def winter_day() -> tuple[ModelData, Series]:
    """Charging at 1 per h is possible and cells begin at 0 degC."""
    data = energy_only(plain(grid((4.0, 4.0, 4.0), dt_h=1.0), power_mw=8.0))
    return data, series_of(data, 1, seed=3, swing_eur_mwh=150.0)


def refined_in_winter(plating_w_eur: float) -> tuple[Refined, PlantTruth]:
    data, series = winter_day()
    truth = PlantTruth(cold_judge(data, plating_w_eur), CYCLE, Aging("cuts", cut_gap_frac=1e-6))
    start = Witness(0.0, 0.0, np.zeros(data.grid.n_steps), 1.0)

    def build(aging: Aging) -> Problem:
        return Problem(replace(data, aging=aging), "deterministic")

    return refine(build, series, EFFORT, truth, start), truth


def test_a_winter_day_charges_slower_when_plating_is_priced_and_judged() -> None:
    (blind, _), (seeing, truth) = refined_in_winter(0.0), refined_in_winter(2 * W_EUR)
    values = {name: value[0] for name, value in blind.decision.values.items()}
    cost_blind, cost_seeing = truth(values).plating_eur, seeing.witness.plating_eur
    assert cost_seeing < 0.7 * cost_blind and cost_blind > 20.0
    after = blind.true_profit_eur - cost_blind  # the passes of `blind` did not count it
    assert seeing.true_profit_eur > after + 5.0
    fastest = [r.decision.values["charge_mw"].max() for r in (blind, seeing)]
    assert fastest[1] < fastest[0] - 0.5


def test_plating_is_predicted_within_a_percent_by_the_passes() -> None:
    found, _ = refined_in_winter(2 * W_EUR)
    assert found.witness.plating_eur > 5.0
    assert abs(found.gap_frac) < 0.01 < abs(found.passes[0].gap_frac)
    kept = [p.true_profit_eur for p in found.passes if p.accepted]
    assert kept == sorted(kept)


# -- several scenarios ----------------------------------------------------------------------------
PROBABILITY = np.array([0.2, 0.3, 0.5])


@cache
def two_stage_shown(most_passes: int) -> tuple[Problem, PlantTruth, Shown]:
    data = changed(
        plain(grid((4.0, 4.0, 4.0), dt_h=1.0)),
        fees={"profit_tax_frac": 0.25},
    )
    state = PlantState.new(PLANT, 0.5, 28.0)
    # Dear calendar aging: its hull, which decides, then lies far below the law.
    judge = PlantAging(PLANT, state, data.grid.dt_h, 28.0, 3 * W_EUR, W_EUR)
    prices = step_prices(judge, np.full(data.grid.n_steps, 28.0))
    aging = Aging("cuts", path_cost=CYCLE, step_prices=prices, cut_gap_frac=1e-6)
    problem = Problem(replace(data, aging=aging), "two-stage")
    series = series_of(data, 3, seed=10)
    certified = problem.decide(series, PROBABILITY, replace(EFFORT, gap_frac=1e-3))
    truth = PlantTruth(judge, CYCLE, replace(aging, path_cost=None, step_prices=()))
    least = replace(aging, path_cost=replace(CYCLE, deep_factor=0.5))
    shown = show(
        problem, certified, series, PROBABILITY, truth, least, EFFORT, most_passes=most_passes
    )
    return problem, truth, shown


def test_every_scenario_keeps_its_best_schedule_and_the_first_stage_is_carried() -> None:
    _, truth, shown = two_stage_shown(4)
    assert shown.decision.first_stage == shown.certified.first_stage
    assert (shown.decision.scenario_profit_eur >= shown.judged_eur - 1e-9).all()
    assert (shown.decision.scenario_profit_eur > shown.judged_eur + 0.01).any()
    for s in range(3):
        accepted = [p.true_profit_eur for p in shown.passes[s] if p.accepted]
        assert accepted == sorted(accepted)
        assert shown.decision.scenario_profit_eur[s] == accepted[-1]
        own = {name: value[s] for name, value in shown.decision.values.items()}
        assert truth(own).aging_eur == pytest.approx(shown.aging_eur[s], rel=1e-12)
    lots = [name for name in shown.decision.values if name.endswith("_lots")]
    assert lots
    for name in lots:
        assert (shown.decision.values[name] == shown.decision.values[name][0]).all()


def test_the_profit_of_every_scenario_is_its_cash_less_the_aging_of_the_plant() -> None:
    problem, _, shown = two_stage_shown(1)
    held = charged_eur(problem.data, shown.certified.values)
    cash = shown.certified.scenario_profit_eur / 0.75 + held
    expected = 0.75 * (cash - shown.aging_eur)
    assert shown.decision.scenario_profit_eur == pytest.approx(expected, abs=1e-9)
    assert shown.decision.profit_lb_eur == pytest.approx(float(PROBABILITY @ expected), abs=1e-9)
    predicted = float(PROBABILITY @ held) / float(PROBABILITY @ shown.aging_eur) - 1
    assert shown.predicted_gap_frac(PROBABILITY) == pytest.approx(predicted, abs=1e-12)


def test_passes_bring_the_predicted_aging_of_all_scenarios_within_a_percent() -> None:
    before, after = two_stage_shown(1)[2], two_stage_shown(8)[2]
    assert abs(before.predicted_gap_frac(PROBABILITY)) > 0.03
    assert abs(after.predicted_gap_frac(PROBABILITY)) < 0.01
    assert before.decision.profit_ub_eur == pytest.approx(after.decision.profit_ub_eur, rel=1e-9)
    assert after.decision.profit_lb_eur < after.decision.profit_ub_eur


# -- what no schedule undercuts -------------------------------------------------------------------
@pytest.mark.parametrize("overrides", [PRICED, WINTER], ids=["warm", "winter"])
def test_no_random_schedule_ages_less_by_the_plant_than_the_bounding_prices(
    overrides: list[str],
) -> None:
    config = load_config(None, [*overrides, "battery.state.soh_frac=0.9"])
    case = build_case(config)
    assert case.judge is not None
    data = replace(case.data, aging=bounding_aging(config, case.data, case.judge))
    asset, dt_h, rng = data.asset, data.grid.dt_h, np.random.default_rng(4)
    slack = []
    for sluggish in np.linspace(0.05, 1.0, 40):
        energy = [asset.energy_start_mwh]
        charge, discharge = np.zeros(data.grid.n_steps), np.zeros(data.grid.n_steps)
        for t in range(data.grid.n_steps):
            power = sluggish * rng.uniform(-1, 1) * asset.charge_limit_mw[t]
            room = (asset.energy_max_mwh - energy[-1]) / dt_h / asset.charge_efficiency_frac
            left = (energy[-1] - asset.energy_min_mwh) / dt_h * asset.discharge_efficiency_frac
            charge[t], discharge[t] = min(max(power, 0), room), min(max(-power, 0), left)
            gained = asset.charge_efficiency_frac * charge[t]
            drawn = discharge[t] / asset.discharge_efficiency_frac
            energy.append(energy[-1] + dt_h * (gained - drawn))
        values = {
            "energy_mwh": np.array([energy]),
            "charge_mw": charge[None, :],
            "discharge_mw": discharge[None, :],
        }
        least = float(charged_eur(data, values)[0])
        slack.append(case.judge.of(charge, discharge).aging_eur / least - 1)
    assert min(slack) >= -1e-4  # chords between the nodes of the hull
    assert min(slack) < 0.5


def test_a_slow_cycle_costs_less_than_the_configured_c_rate_says_and_no_less_than_the_bound() -> (
    None
):
    config = load_config(None, PRICED)
    case = build_case(config)
    assert case.judge is not None and case.cycle_cost is not None
    least = bounding_aging(config, case.data, case.judge).path_cost
    assert isinstance(least, CycleCost)
    up = np.where(np.arange(24) < 12, 0.18, 0.0)
    down = np.where(np.arange(24) >= 12, 0.16, 0.0)
    energy = case.data.asset.energy_start_mwh + np.cumsum([0.0, *(0.95 * up - down / 0.95)])
    shown = case.judge.of(up, down).cycle_eur
    assert least.rainflow_eur(energy) < shown < case.cycle_cost.rainflow_eur(energy)


def test_held_prices_are_those_of_idle_cells_and_only_of_what_is_priced() -> None:
    config = load_config(None, WINTER)
    judge = plant_aging(config, 1.0)
    calendar, plating = held_prices(judge, 3)
    middle = np.full(3, 0.5 * config.battery.energy_mwh)
    rate = float(Naumann().calendar.w_rate_per_h(1.0, 0.0))
    full = np.full(3, config.battery.energy_mwh)
    assert calendar.at(full)[0] == pytest.approx(np.full(3, judge.calendar_w_eur * rate))
    assert (calendar.reads, plating.reads) == ("energy", "charge")
    assert (calendar.at(middle)[0] > 0).all()
    (only,) = held_prices(plant_aging(load_config(None, PRICED), 1.0), 3)
    assert only.reads == "energy"
    # the value of a unit of squared loss is pi / 2 Q, each mechanism at its own loss
    pi_eur = 200.0 * 1000 * 4.472 / 0.2
    assert judge.calendar_w_eur == pytest.approx(pi_eur / 0.1)
    assert judge.plating_w_eur == pytest.approx(pi_eur / 0.04)


# -- a run ----------------------------------------------------------------------------------------
@cache
def run_with(*overrides: str) -> Run:
    return solve(None, "deterministic", overrides=[*overrides], worth=False, store=False)


def number(run: Run, name: str) -> float:
    value = run.fact(name).value
    assert isinstance(value, float)
    return value


def test_a_run_settles_what_was_charged_and_the_rest_that_the_plant_shows() -> None:
    run = run_with(*PRICED)
    cash = run.cash_flows.set_index("line")["expected"]
    assert -cash["aging"] == pytest.approx(number(run, "aging"))
    assert -cash["aging"] - cash["aging_beyond"] == pytest.approx(number(run, "aging_plant"))
    assert cash["aging_beyond"] < -1.0
    assert number(run, "aging") == pytest.approx(
        number(run, "aging_rainflow") + number(run, "aging_by_step"), rel=1e-6
    )
    assert number(run, "profit") <= number(run, "profit_bound")
    assert number(run, "profit") <= number(run, "held_profit")
    assert abs(number(run, "aging_predicted_gap")) < 0.01
    assert number(run, "judge.naumann.profit") == pytest.approx(number(run, "profit"), abs=0.01)


def test_a_run_that_prices_cycling_alone_is_not_judged_by_the_plant() -> None:
    run = run_with(*ENERGY_ONLY)
    assert "aging_beyond" not in run.cash_flows["line"].tolist()
    assert not any(fact.name == "aging_plant" for fact in run.facts)
    calendar = number(run, "judge.naumann.calendar")
    priced = run_with(*PRICED)
    assert number(priced, "judge.naumann.calendar") < calendar
    assert number(priced, "profit") > number(run, "profit") - calendar


def test_a_floor_is_paid_on_what_is_drawn_and_lowers_it() -> None:
    free = run_with(*ENERGY_ONLY)
    run = solve(
        None,
        "deterministic",
        overrides=[*ENERGY_ONLY, "aging.floor_eur_mwh=20"],
        worth=True,
        store=False,
    )
    drawn = number(run, "full_cycles") * 4.472
    assert number(run, "floor_charged") == pytest.approx(20 * drawn)
    assert -run.cash_flows.set_index("line")["expected"]["aging_floor"] == pytest.approx(20 * drawn)
    assert number(run, "full_cycles") < number(free, "full_cycles") - 0.1
    lost = number(free, "profit") - number(run, "profit") - number(run, "floor_charged")
    low, high = number(run, "steering_cost_low"), number(run, "steering_cost_high")
    assert low - 1e-6 <= lost <= high + 1e-6 and lost > 0.1


@pytest.mark.parametrize(
    ("priced", "told"),
    [
        ("[calendar]", "cycle, and each mechanism once"),
        ("[cycle, cycle]", "cycle, and each mechanism once"),
        ("[]", "an empty list"),
        ("[cycle, plating]", "plating beside model segments"),
        ("[cycle, knee]", "one of cycle, calendar, plating"),
    ],
)
def test_mechanisms_that_no_model_can_price_are_refused(priced: str, told: str) -> None:
    with pytest.raises(ConfigFaultsError, match=told):
        load_config(None, [f"aging.mechanisms={priced}"])


@pytest.mark.slow
def test_a_judged_two_stage_run_is_compared_and_rolled_at_held_prices() -> None:
    overrides = [*PRICED, "aging.passes=2", "aging.floor_eur_mwh=1", "scenarios.source=analog"]
    config = load_config(None, [*overrides, "scenarios.n=2"])
    run = solve(config, worth=False, store=False)
    bids = run.bids
    bid = dict(zip(bids["variable"], bids["quantity"], strict=True))
    effort = Effort(1e-4, 60.0, 1)
    rolled = nonanticipative_value(build_case(config), bid, Information(), effort)
    assert rolled.clairvoyant_eur == pytest.approx(number(run, "held_profit"), rel=1e-3)
    assert rolled.causes.sum(axis=1).to_numpy() == pytest.approx(
        rolled.days["optimism_eur"].to_numpy(), abs=1e-3
    )
    table = compare(config, ["two-stage"], store=False)
    assert table["own_profit_eur"][0] == pytest.approx(number(run, "held_profit"), rel=1e-9)
    assert table["own_profit_eur"][0] <= table["expected_profit_upper_eur"][0] + 1e-6


# -- judges ---------------------------------------------------------------------------------------
def test_a_single_square_root_law_is_linearised_as_in_the_decision() -> None:
    assert next_loss_frac([(3e-6, 0.5)], 0.05) == pytest.approx(3e-6 / 0.1, rel=1e-9)
    assert next_loss_frac([(2e-5, 1.0)], 0.05) == pytest.approx(2e-5, rel=1e-9)
    assert next_loss_frac([(-1e-6, 0.5)], 0.05) == 0.0
    with pytest.raises(ConfigError, match="loss so far"):
        next_loss_frac([(1e-6, 0.5)], 0.0)


def test_several_mechanisms_lose_what_one_repetition_more_adds() -> None:
    mechanisms = [(3e-7, 0.5), (1e-6, 0.828), (2e-6, 1.0)]

    def lost(repetitions: int) -> float:
        return float(sum((repetitions * grown) ** power for grown, power in mechanisms))

    n = next(k for k in range(1, 100_000) if lost(k) >= 0.05)
    assert next_loss_frac(mechanisms, 0.05) == pytest.approx(lost(n + 1) - lost(n), rel=1e-3)


def test_the_opinion_of_the_priced_law_is_the_cost_of_the_plant() -> None:
    config = load_config(None, [*PRICED, "aging.calendar_loss_frac=0.03"])
    judge = plant_aging(config, 1.0)
    charge, discharge = np.array([1.0, 0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.7, 1.5])
    seen = judge.of(charge, discharge)
    model = judge.plant.aging
    found = opinions(model, seen.ran.aging_increments.sum(axis=0), 0.03, 0.05)
    assert [opinion.law for opinion in found] == ["Naumann", "Schimpe", "BLAST 250 Ah"]
    pi_eur = 200.0 * 1000 * 4.472 / 0.2
    assert pi_eur * found[0].calendar_frac == pytest.approx(seen.calendar_eur, rel=1e-9)
    assert pi_eur * found[0].cycle_frac == pytest.approx(seen.cycle_eur, rel=1e-9)
    assert found[0].loss_frac == found[0].calendar_frac + found[0].cycle_frac


def test_shallow_cycles_raise_an_alarm_only_where_another_law_charges_far_more() -> None:
    def told(shallow: float, other: float) -> bool:
        laws = (Opinion("Naumann", 0.0, 1e-5), Opinion("BLAST 250 Ah", 0.0, other))
        return exploited_law(Judged(laws, shallow, 0.0, ())) is not None

    assert told(0.9, 2e-5)
    assert not told(0.4, 2e-5) and not told(0.9, 1.2e-5)
    assert slug("BLAST 250 Ah") == "blast_250_ah"


def test_truth_of_a_case_counts_only_what_has_a_price() -> None:
    config: Config = load_config(None, PRICED)
    case = build_case(config)
    assert case.judge is not None and case.cycle_cost is not None
    truth = truth_of(case.cycle_cost, case.judge, case.data.aging)
    problem = Problem(case.data, "deterministic")
    found = problem.decide(case.series, np.ones(1), EFFORT)
    judged = judged_by(problem, found, truth)
    assert judged.seen.plating_eur == 0.0
    assert judged.charged_eur == pytest.approx(
        float(charged_eur(case.data, found.values)[0]), abs=1e-9
    )
    assert judged.true_profit_eur == pytest.approx(
        found.scenario_profit_eur[0] + judged.charged_eur - judged.seen.aging_eur
    )
    assert cycle_cost(config).provenance == case.cycle_cost.provenance


# -- the dearest law ------------------------------------------------------------------------------
def test_the_dearest_law_is_nowhere_below_any_law_and_is_met_by_one_at_every_depth() -> None:
    config = load_config(None, [*ENERGY_ONLY, "aging.cycle_law=worst"])
    worst, own = cycle_curve(config), cycle_curve(load_config(None, ENERGY_ONLY))
    plant, pi_eur = plant_aging(config, 1.0).plant, 200.0 * 1000 * 4.472 / 0.2
    model = plant.aging
    for depth in (0.02, 0.1, 0.345, 0.6, 1.0):
        path = CellPath(depth / 0.5, np.array([0.0, depth, 0.0]), np.full(2, 25.0))
        growth = advance(model, fresh(model), path).increments.sum(axis=0)
        full = [pi_eur * o.cycle_frac for o in opinions(model, growth, 0.05, 0.05)]
        assert 2 * float(worst.half_law_eur(depth)) == pytest.approx(max(full), rel=1e-3)
        assert full[0] == pytest.approx(2 * float(own.half_law_eur(depth)), rel=1e-3)
    assert worst.half_cost_eur(0.02) > 5 * own.half_cost_eur(0.02)


def test_a_run_by_the_dearest_law_says_what_that_gives_up() -> None:
    free = run_with(*ENERGY_ONLY)
    overrides = [*ENERGY_ONLY, "aging.cycle_law=worst"]
    run = solve(None, "deterministic", overrides=overrides, worth=True, store=False)
    assert number(run, "full_cycles") < number(free, "full_cycles")
    cycling = number(run, "judge.naumann.cycling")
    revenue = number(run, "profit") + number(run, "aging")
    lost = number(free, "profit") - (revenue - cycling)
    low, high = number(run, "steering_cost_low"), number(run, "steering_cost_high")
    assert 0 <= low <= high and lost == pytest.approx(low, abs=0.1 * cycling)
    with pytest.raises(ConfigFaultsError, match="cycle alone"):
        load_config(None, [*PRICED, "aging.cycle_law=worst"])
