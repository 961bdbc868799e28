"""Losses that grow with power: the pieces, the model that fills them in order, and its account."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.battery.efficiency import Circuit
from stochbess.battery.loss_pieces import LossPieces, loss_pieces
from stochbess.config import load_config
from stochbess.conflict import in_keys
from stochbess.conversion import constant_only, conversion_of
from stochbess.decide import Decision, Effort, Formulation, Problem, by_component
from stochbess.engine.exclusive import solve_whole
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import single
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.errors import ConfigError, InfeasibleError
from stochbess.models.data import LossCuts, ModelData, PowerPieces
from stochbess.models.robust import activation_budget
from stochbess.robust import RobustProblem
from stochbess.rolling import value_of
from stochbess.rolling_forecast import Information
from stochbess.run import check_cash, solve
from tests.small_case import (
    Series,
    Small,
    arr,
    blocks_of,
    changed,
    energy_only,
    everything,
    grid,
    plain,
    series_of,
    small,
    with_losses,
)
from tests.test_exclusive import deeply_negative
from tests.test_ledger import settled

Floats = npt.NDArray[np.float64]
EFFORT = Effort(gap_frac=1e-5, time_limit_s=60.0, threads=1)
CIRCUIT = Circuit(4.472, 2.236)
HOURLY = grid((4.0, 4.0), dt_h=1.0)
CASES = {
    "energy only": energy_only(plain(HOURLY)),
    "plain": plain(HOURLY),
    "everything": everything(grid((3.0, 5.0), dt_h=1.0)),
}


# -- the pieces against the circuit ---------------------------------------------------------------
def loss_of(pieces: LossPieces, power_mw: Floats, charging: bool) -> Floats:
    store = np.interp(power_mw, pieces.node_mw, pieces.store_mw)
    return np.asarray(power_mw - store if charging else store - power_mw)


@pytest.mark.parametrize("charging", [True, False])
@pytest.mark.parametrize("n_pieces", [1, 2, 4, 9])
def test_pieces_are_convex_and_off_by_no_more_than_they_say(n_pieces: int, charging: bool) -> None:
    found = loss_pieces(CIRCUIT, 2.236, n_pieces, charging=charging)
    assert len(found.slope) == n_pieces
    bend = np.diff(found.slope) * (-1 if charging else 1)
    assert (bend > 0).all()
    assert (found.slope < 1).all() if charging else (found.slope > 1).all()
    power = np.linspace(1e-6, 2.236, 7919)
    true = CIRCUIT.loss_curve(-power if charging else power, 0.5, 25.0)
    above = loss_of(found, power, charging) - true
    exact = power >= found.exact_from_mw
    # Chords of a convex function: never below it, and above it by what is stated.
    assert above[exact].min() >= -1e-9
    assert above[exact].max() <= found.chord_error_mw * 1.001
    assert above.min() >= -found.envelope_error_mw * 1.001
    assert above.min() <= -0.9 * found.envelope_error_mw + found.chord_error_mw
    nodes = found.node_mw[1:]
    at_nodes = CIRCUIT.loss_curve(-nodes if charging else nodes, 0.5, 25.0)
    assert loss_of(found, nodes, charging) == pytest.approx(at_nodes, abs=1e-12)


@pytest.mark.parametrize("charging", [True, False])
def test_nested_pieces_lose_no_more_and_their_error_falls_with_the_square(charging: bool) -> None:
    power = np.linspace(0.0, 2.236, 997)
    few, many = (loss_pieces(CIRCUIT, 2.236, n, charging=charging) for n in (5, 9))
    assert np.isin(few.node_mw, many.node_mw).all()
    assert (loss_of(many, power, charging) <= loss_of(few, power, charging) + 1e-12).all()
    assert many.chord_error_mw == pytest.approx(few.chord_error_mw / 4, rel=0.05)


def test_resistance_that_has_grown_and_cold_cells_lose_more() -> None:
    new = loss_pieces(CIRCUIT, 2.236, 4, charging=False)
    old = loss_pieces(CIRCUIT, 2.236, 4, charging=False, resistance_growth_frac=0.5)
    cold = loss_pieces(CIRCUIT, 2.236, 4, charging=False, temperature_degc=10.0)
    assert old.efficiency_frac < new.efficiency_frac - 0.005
    assert cold.efficiency_frac < new.efficiency_frac - 0.005


def test_more_power_than_the_cells_carry_and_no_piece_are_refused() -> None:
    weak = replace(CIRCUIT, resistance_scale=15.0)
    with pytest.raises(ConfigError, match=r"battery\.losses"):
        loss_pieces(weak, 2.236, 4, charging=False, soc_frac=0.05)
    with pytest.raises(ConfigError, match=r"battery\.losses\.pieces"):
        loss_pieces(CIRCUIT, 2.236, 0, charging=True)


def test_widths_end_at_the_limit_of_the_step() -> None:
    pieces = PowerPieces(arr(1.0, 0.5, 0.5), arr(0.95, 0.9, 0.8))
    assert pieces.within(arr(0.0, 1.2, 5.0)) == pytest.approx(
        np.array([[0, 0, 0], [1, 0.2, 0], [1, 0.5, 0.5]])
    )
    assert pieces.power_mw(arr(0.5, 1.5, 2.0, 3.0)) == pytest.approx([0.475, 1.4, 1.8, 2.6])


# -- identities -----------------------------------------------------------------------------------
def straight(data: ModelData, n_pieces: int) -> ModelData:
    """The constant efficiencies of `data` as pieces of one slope."""
    asset, ones = data.asset, np.ones(n_pieces)
    width = 4.0 / n_pieces * ones
    losses = LossCuts(
        PowerPieces(width, asset.charge_efficiency_frac * ones),
        PowerPieces(width, ones / asset.discharge_efficiency_frac),
    )
    nan = float("nan")
    off = {"losses": losses, "charge_efficiency_frac": nan, "discharge_efficiency_frac": nan}
    return changed(data, asset=off)


@pytest.mark.parametrize("n_pieces", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_straight_loss_curve_is_the_constant_efficiency(name: str, n_pieces: int) -> None:
    data = CASES[name]
    series = series_of(data, 1, seed=71, level_eur_mwh=-20.0)
    costs = [
        solve_two_stage(
            blocks_of(one, series, np.ones(1)), gap_frac=1e-9, time_limit_s=60.0, relax=True
        ).cost
        for one in (data, straight(data, n_pieces))
    ]
    assert costs[1] == pytest.approx(costs[0], rel=1e-7)


def relaxed_profit(data: ModelData, series: Series) -> float:
    block = blocks_of(data, series, np.ones(1))
    found = solve_two_stage(block, gap_frac=0.0, time_limit_s=60.0, engine="extensive", relax=True)
    return -found.cost


@pytest.mark.parametrize("level_eur_mwh", [45.0, 20.0])
def test_more_pieces_never_lower_the_bound(level_eur_mwh: float) -> None:
    """Nested chords lose less, so that the relaxation only grows (without reserve)."""
    data = energy_only(plain(HOURLY))
    series = series_of(data, 1, seed=72, level_eur_mwh=level_eur_mwh)
    profits = [relaxed_profit(with_losses(data, n), series) for n in (1, 2, 3, 5, 9)]
    assert (np.diff(profits) >= -1e-6).all()
    assert profits[-1] > profits[0] + 0.01
    # Nine pieces are closer to five than five are to three.
    assert profits[4] - profits[3] < profits[3] - profits[2] + 1e-6


# -- what is physical -----------------------------------------------------------------------------
def off_curve_mwh(data: ModelData, values: dict[str, Floats]) -> float:
    """Largest distance of the stored energy from a recursion in plain loops over the pieces."""
    losses, asset, worst = data.asset.losses, data.asset, 0.0
    assert losses is not None

    def through(pieces: PowerPieces, power: float) -> float:
        left, inside = power, 0.0
        for width, slope in zip(pieces.width_mw, pieces.slope, strict=True):
            part = min(max(left, 0.0), width)
            inside, left = inside + slope * part, left - part
        return inside

    dt = data.grid.dt_h
    for s in range(len(values["energy_mwh"])):
        path = values["energy_mwh"][s]
        for t in range(data.grid.n_steps):
            stored = through(losses.charge, float(values["charge_mw"][s, t]))
            drawn = through(losses.discharge, float(values["discharge_mw"][s, t]))
            kept = (1 - asset.self_discharge_per_h * dt) * path[t]
            worst = max(worst, abs(kept + dt * (stored - drawn) - path[t + 1]))
    return worst


@cache
def negative(name: str, formulation: Formulation) -> tuple[Small, Problem, Decision]:
    case = deeply_negative(with_losses(CASES[name]))
    problem = Problem(case.data, formulation)
    engine: Engine = "auto" if formulation == "two-stage" else "extensive"
    return case, problem, problem.decide(case.series, case.probability, EFFORT, engine=engine)


@pytest.mark.parametrize("formulation", ["two-stage", "deterministic"])
@pytest.mark.parametrize("name", CASES)
def test_no_decision_burns_energy_beside_the_curve(name: str, formulation: Formulation) -> None:
    case, problem, found = negative(name, formulation)
    relaxed = by_component(problem.relaxed, found.outcome.values)
    assert off_curve_mwh(case.data, relaxed) > 0.01, "the relaxation has nothing to abuse here"
    assert off_curve_mwh(case.data, found.values) <= 1e-6
    slack = 1e-6 * abs(found.profit_lb_eur)
    assert found.profit_lb_eur <= found.profit_ub_eur + slack
    assert found.profit_lb_eur < found.relaxed_profit_eur - 0.01


@pytest.mark.parametrize("name", ["energy only", "everything"])
def test_the_settlement_agrees_where_burning_pays(name: str) -> None:
    case, _, found = negative(name, "two-stage")
    points = (0.9, 0.2) if name == "everything" else ()
    ledger = settled(case, found, points)
    check_cash(ledger, found)
    for settlement in ledger.settlements.values():
        assert settlement.violations["soc_balance_mwh"] <= 1e-6
    lost = ledger.scenarios["lost_mwh"].to_numpy()
    net = case.data.grid.dt_h * (found.values["charge_mw"] - found.values["discharge_mw"])
    energy, dt = found.values["energy_mwh"], case.data.grid.dt_h
    leaked = case.data.asset.self_discharge_per_h * dt * energy[:, :-1].sum(axis=1)
    risen = energy[:, -1] - energy[:, 0]
    assert lost == pytest.approx(net.sum(axis=1) - risen - leaked, abs=1e-5)
    assert (lost > 0).all()


def test_a_relaxed_schedule_is_found_out_by_the_settlement() -> None:
    case, problem, found = negative("energy only", "two-stage")
    abused = replace(found, values=by_component(problem.relaxed, found.outcome.values))
    broken = settled(case, abused).settlements.values()
    assert max(one.violations["soc_balance_mwh"] for one in broken) > 0.01


@pytest.mark.parametrize("name", CASES)
def test_turning_edges_is_as_good_as_branching(name: str) -> None:
    """Every binary searched at once: no better by more than a thousandth, and never worse."""
    case, problem, found = negative(name, "two-stage")
    x = found.outcome.x
    first = problem.binary.first_stage
    for s in range(len(case.probability)):
        binary = replace(case.data, exclusive="binary")
        alone = single(blocks_of(binary, case.series, case.probability), s)
        lower, upper = alone.lower.copy(), alone.upper.copy()
        lower[first] = upper[first] = x
        fixed = replace(alone, lower=lower, upper=upper)
        exact = solve_problem(fixed, SolveOptions(gap_frac=1e-7)).objective
        either_or = fixed.integer.copy()
        either_or[first] = False
        continuous = replace(fixed, integer=np.zeros_like(fixed.integer))
        values, cost, _, late = solve_whole(
            continuous, either_or, SolveOptions(gap_frac=1e-6), None, problem.switches
        )
        assert not late
        assert cost >= exact - 1e-5 * abs(exact)
        assert cost <= exact + 1e-3 * abs(exact)
        activity = fixed.matrix @ values
        assert (activity >= fixed.row_lower - 1e-6).all()
        assert (activity <= fixed.row_upper + 1e-6).all()
        whole = values[either_or]
        assert np.abs(whole - np.round(whole)).max() <= 1e-6


def test_four_hours_against_every_schedule_of_a_grid() -> None:
    """Net powers on a grid, followed in plain numpy: none beats the bound, the decision is near."""
    data = with_losses(energy_only(plain(grid((4.0,), dt_h=1.0)), day_ahead="recourse"))
    data = changed(
        data, asset={"energy_start_mwh": 6.5}, energy={"liquidity_mw": 4.0, "intraday": True}
    )
    assert data.asset.losses is not None
    price = arr(-90.0, -160.0, 40.0, -120.0)
    spread = data.energy.half_spread_eur_mwh
    series = {
        "day_ahead_eur_mwh": price[None, :],
        "intraday_eur_mwh": price[None, :],
        "imbalance_long_eur_mwh": price[None, :] - 500.0,
        "imbalance_short_eur_mwh": price[None, :] + 500.0,
    }
    found = Problem(data, "deterministic").decide(series, np.ones(1), EFFORT, engine="extensive")
    nodes = [*np.cumsum(data.asset.losses.charge.width_mw), *np.arange(0, 4.01, 0.5)]
    out = [*np.cumsum(data.asset.losses.discharge.width_mw), *np.arange(0.5, 4.01, 0.5)]
    levels = np.unique(np.concatenate((-np.array(nodes), np.array(out))))
    steps = np.array(list(product(levels, repeat=4)))
    stored = data.asset.stored_mw(np.maximum(-steps, 0.0))
    drawn = data.asset.drawn_mw(np.maximum(steps, 0.0))
    energy = data.asset.energy_start_mwh + np.cumsum(stored - drawn, axis=1)
    fits = ((energy >= -1e-9) & (energy <= data.asset.energy_max_mwh + 1e-9)).all(axis=1)
    # Day-ahead costs no spread: net power is traded there.
    cash = steps[fits] @ price
    left = energy[fits, -1] - data.asset.energy_min_mwh
    width = (data.asset.energy_max_mwh - data.asset.energy_min_mwh) / 3
    value = sum(
        marginal * np.clip(left - k * width, 0.0, width)
        for k, marginal in enumerate(data.terminal.marginal_eur_mwh)
    )
    start = data.terminal.value_eur(data.asset.energy_start_mwh, data.asset)
    best = float((cash + value - start).max())
    assert spread >= 0
    assert best <= found.profit_ub_eur + 1e-6
    assert found.profit_lb_eur >= best - 1e-6


# -- reserves, rolling dispatch, limits -----------------------------------------------------------
def test_the_reserve_rows_hold_more_than_any_call_moves() -> None:
    """(108): whatever the set point, one hour of a call moves no more than the rows ask for."""
    asset = with_losses(plain()).asset
    rng = np.random.default_rng(3)
    call = rng.uniform(0.0, 4.0, 20_000)
    set_point = rng.uniform(-4.0, 4.0, 20_000)

    def draw(net: Floats) -> Floats:
        return asset.drawn_mw(np.maximum(net, 0.0)) - asset.stored_mw(np.maximum(-net, 0.0))

    up = set_point + call <= 4.0
    more = draw(set_point + call) - draw(set_point)
    assert (more[up] <= call[up] / asset.reserve_discharge_efficiency_frac + 1e-9).all()
    # Downwards the set point's own discharge ends with the call; what matters is what comes in.
    down = set_point - call >= -4.0
    arrives = np.maximum(-draw(set_point - call), 0.0) - np.maximum(-draw(set_point), 0.0)
    assert (arrives[down] <= call[down] * asset.reserve_charge_efficiency_frac + 1e-9).all()
    assert asset.reserve_discharge_efficiency_frac < 0.92
    assert asset.reserve_charge_efficiency_frac > 0.95


def test_a_rolling_dispatch_stays_on_the_curve_and_never_beats_clairvoyance() -> None:
    data = with_losses(everything(grid((3.0, 2.0))))
    series = series_of(data, 2, seed=73, level_eur_mwh=-60.0)
    sold = {"afrr_down_lots[0]": 2.0, "afrr_up_lots[0]": 1.0, "afrr_down_lots[1]": 1.0}
    problem = Problem(data, "two-stage")
    found = value_of(problem, series, np.full(2, 0.5), sold, Information(), EFFORT)
    assert off_curve_mwh(data, found.values) <= 1e-6
    assert (found.days["optimism_eur"] >= -1e-4 * found.days["clairvoyant_eur"].abs()).all()


def test_steps_without_power_have_no_pieces() -> None:
    data = with_losses(energy_only(plain(HOURLY)))
    charge, discharge = np.full(8, 4.0), np.full(8, 4.0)
    charge[2:4], discharge[3:6] = 0.0, 0.3
    data = changed(data, asset={"charge_limit_mw": charge, "discharge_limit_mw": discharge})
    case = small(data, 1, seed=74)
    found = Problem(data, "deterministic").decide(
        case.series, case.probability, EFFORT, engine="extensive"
    )
    assert (found.values["charge_mw"][0] <= charge + 1e-9).all()
    assert (found.values["discharge_mw"][0] <= discharge + 1e-9).all()
    assert off_curve_mwh(data, found.values) <= 1e-6


# -- configuration and words ----------------------------------------------------------------------
def test_a_run_names_its_efficiency_model_and_what_it_loses() -> None:
    closed = [f"markets.{name}.enabled=false" for name in ("fcr", "afrr", "intraday")]
    cheap = [*closed, "scenarios.n=2", "aging.model=none"]
    run = solve(
        None,
        "deterministic",
        overrides=[*cheap, "battery.efficiency_model=loss_cuts", "battery.losses.pieces=3"],
        worth=False,
        store=False,
    )
    assert "3 pieces each way" in str(run.fact("efficiency_model").value)
    lost, rows = run.fact("energy_lost").value, run.frames["scenarios"]
    assert isinstance(lost, float)
    mean = rows["probability"].to_numpy() @ rows["lost_mwh"].to_numpy()
    assert lost == pytest.approx(float(mean))
    assert lost > 0.05
    assert any("pieces lie at most" in text for text in run.assumptions)
    constant = solve(None, "deterministic", overrides=cheap, worth=False, store=False)
    assert str(constant.fact("efficiency_model").value).startswith("constant, 0.95")


def test_the_curve_of_the_configuration_is_that_of_its_circuit() -> None:
    config = load_config(
        None,
        ["battery.efficiency_model=loss_cuts", "battery.state.resistance_growth_frac=0.3",
         "battery.losses.at_temperature_degc=12", "battery.losses.at_soc_frac=0.4"],
    )  # fmt: skip
    found = conversion_of(config)
    assert found.charge is not None and found.discharge is not None
    end = np.array([2.236])
    true = Circuit(4.472, 2.236).loss_curve(end, 0.4, 12.0, 0.3)
    assert found.discharge.store_mw[-1] - 2.236 == pytest.approx(true[0])
    assert conversion_of(load_config(None)).cuts is None


def test_what_cannot_count_with_loss_cuts_refuses_them() -> None:
    config = load_config(None, ["battery.efficiency_model=loss_cuts"])
    with pytest.raises(ConfigError, match=r"battery\.efficiency_model=constant"):
        constant_only(config, "this")
    constant_only(load_config(None), "this")
    case = small(with_losses(plain(HOURLY)), 2)
    budget = activation_budget(case.data, case.series, case.probability)
    with pytest.raises(ConfigError, match="constant efficiencies"):
        RobustProblem(case.data, budget)


def test_a_conflict_in_the_loss_curve_is_told_in_its_keys() -> None:
    error = InfeasibleError("these exclude each other: charge_pieces[3], energy_end")
    told = in_keys(error, with_losses(plain(HOURLY)))
    assert "battery.efficiency_model" in str(told)
    assert "battery.efficiency_model" not in str(in_keys(error, plain(HOURLY)))
