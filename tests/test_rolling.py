"""The rolling dispatch: it sees nothing of the future, and never beats the one who does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.decide import Effort, Problem
from stochbess.engine.matrix import blocks
from stochbess.engine.rolling import certified_cost, roll
from stochbess.errors import ConfigError, SolverError
from stochbess.models.data import Aging, ModelData, Terminal
from stochbess.rolling import RollingValue, _Dispatch, value_of
from stochbess.rolling_forecast import Clock, Forecast, Information, safety_mwh
from tests.small_case import (
    FREE,
    Series,
    changed,
    energy_only,
    everything,
    grid,
    plain,
    series_of,
    small,
    uneven,
)
from tests.test_aging_cuts import with_cuts

Floats = npt.NDArray[np.float64]
EFFORT = Effort(1e-7, 60.0, 1)
LATE = Information()
# Reserves in every block, so that every step has obligations.
SOLD = {
    "fcr_lots[1]": 1.0,
    **{f"afrr_up_lots[{b}]": 1.0 for b in range(3)},
    **{f"afrr_down_lots[{b}]": lots for b, lots in enumerate((2.0, 1.0, 1.0))},
    **{f"day_ahead_mw[{n}]": 0.5 * (-1) ** n for n in range(12)},
}


@cache
def whole_problem() -> Problem:
    return Problem(everything(), "two-stage")


def possible(series: Series) -> Series:
    """`series` with shares of time that fill at most the whole step, as real ones do."""
    up, down = series["activation_up_frac"], series["activation_down_frac"]
    whole = np.maximum(1.0, up + down)
    return {**series, "activation_up_frac": up / whole, "activation_down_frac": down / whole}


def lived(
    problem: Problem,
    series: Series,
    first_stage: dict[str, float] | None = None,
    information: Information = LATE,
    truth: Series | None = None,
) -> RollingValue:
    n = len(series["imbalance_long_eur_mwh"])
    sold = SOLD if first_stage is None else first_stage
    return value_of(problem, series, uneven(n), sold, information, EFFORT, truth=truth)


def day_of(series: Series, s: int) -> Series:
    return {name: values[s : s + 1].copy() for name, values in series.items()}


def lossless(value: RollingValue) -> bool:
    gap = np.abs(value.days["optimism_eur"])
    return bool((gap <= 1e-5 * np.maximum(1.0, value.days["clairvoyant_eur"].abs())).all())


# -- identities -----------------------------------------------------------------------------------
def test_a_perfect_forecast_loses_nothing() -> None:
    series = series_of(everything(), 3, seed=5)
    for s in range(3):
        value = lived(whole_problem(), day_of(series, s))
        assert lossless(value), value.days.T


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(with_cuts(plain(grid((3.0, 5.0, 4.0)))), id="cuts on the path"),
        pytest.param(replace(everything(), terminal=Terminal(np.zeros(0), True)), id="returning"),
        pytest.param(
            changed(everything(), aging={"max_withdrawn_mwh_per_day": 9.0}), id="cycle limit"
        ),
        pytest.param(
            replace(plain(grid((12.0,))), aging=Aging("throughput", 9.0)), id="throughput"
        ),
    ],
)
def test_a_perfect_forecast_loses_nothing_whatever_binds(data: ModelData) -> None:
    problem = Problem(data, "two-stage")
    sold = {name: v for name, v in SOLD.items() if name in problem.binary.column_position}
    value = lived(problem, series_of(data, 1, seed=8), sold)
    gap_eur = float(value.days["optimism_eur"].iloc[0])
    # The cuts leave the aging cost open within their own tolerance.
    allowed = 0.05 if data.aging.model == "cuts" else 1e-4
    assert -allowed <= gap_eur <= allowed


@pytest.mark.parametrize(
    "information",
    [
        LATE,
        Information(0.0),
        Information(120.0, "gate"),
        Information(30.0, safety_frac=0.9),
    ],
    ids=["half an hour", "at once", "two hours and unknown prices", "cautious"],
)
def test_nobody_beats_clairvoyance(information: Information) -> None:
    series = series_of(everything(), 6, seed=3)
    days = lived(whole_problem(), series, information=information).days
    above = days["rolling_eur"] - days["clairvoyant_bound_eur"]
    assert (above <= 1e-6 * days["clairvoyant_bound_eur"].abs()).all()
    assert (days["optimism_eur"] > 1.0).all()  # calls are worth foreseeing


def test_without_reserves_friction_and_price_risk_there_is_nothing_to_foresee() -> None:
    data = energy_only(plain(grid((3.0, 5.0, 4.0))), half_spread_eur_mwh=0.0, liquidity_mw=FREE)
    problem = Problem(data, "two-stage")
    series = series_of(data, 4, seed=2, imbalance_spread_eur_mwh=90.0)
    sold = {f"day_ahead_mw[{n}]": 1.0 for n in range(12)}
    assert lossless(lived(problem, series, sold))
    # The same day is not free once its prices come late: the zero above is not empty.
    hidden = lived(problem, series, sold, Information(30.0, "gate"))
    assert hidden.optimism_eur > 10.0


def test_the_order_of_the_scenarios_changes_nothing() -> None:
    series = series_of(everything(), 4, seed=6)
    order = np.array([2, 0, 3, 1])
    weight = uneven(4)
    one = value_of(whole_problem(), series, weight, SOLD, LATE, EFFORT)
    mixed = {name: values[order] for name, values in series.items()}
    other = value_of(whole_problem(), mixed, weight[order], SOLD, LATE, EFFORT)
    assert other.rolling_eur == pytest.approx(one.rolling_eur, abs=1e-4)


def test_a_longer_lead_costs_on_average() -> None:
    """Not day by day, and not an identity: rolling plans are not monotone in what they know."""
    series = possible(series_of(everything(), 12, seed=9))
    soon = lived(whole_problem(), series, information=Information(0.0)).rolling_eur
    late = lived(whole_problem(), series, information=Information(150.0)).rolling_eur
    assert soon > late + 10.0


# -- nothing of the future ------------------------------------------------------------------------
def decisions(value: RollingValue) -> dict[str, Floats]:
    names = ("charge_mw", "discharge_mw", "delivered_up_mw", "delivered_down_mw")
    return {name: value.values[name][0] for name in (*names, "buy_mw", "sell_mw")}


def first_difference(one: Floats, other: Floats) -> int:
    found = np.flatnonzero(np.abs(one - other) > 1e-6)
    return int(found[0]) if found.size else len(one)


@pytest.mark.parametrize("lead_min", [0.0, 30.0, 90.0])
def test_calls_of_later_steps_change_no_earlier_decision(lead_min: float) -> None:
    series = possible(series_of(everything(), 4, seed=3))
    truth = day_of(possible(series_of(everything(), 1, seed=30)), 0)
    step, lead = 9, round(lead_min / 30)  # steps of half an hour
    corrupted = {name: values.copy() for name, values in truth.items()}
    for name, value in (
        ("activation_up_frac", 1.0),
        ("activation_down_frac", 0.0),
        ("fcr_activation_frac", 0.9),
        ("activation_up_eur_mwh", 900.0),
        ("imbalance_long_eur_mwh", -900.0),
        ("imbalance_short_eur_mwh", 900.0),
    ):
        corrupted[name][:, step:] = value
    information = Information(lead_min)
    before = decisions(lived(whole_problem(), series, None, information, truth))
    after = decisions(lived(whole_problem(), series, None, information, corrupted))
    moved = {name: first_difference(before[name], after[name]) for name in before}
    trades = [moved.pop(name) for name in ("buy_mw", "sell_mw")]
    assert min(moved.values()) == step, "a call is answered in its own step, and not before"
    assert step + lead < min(trades) < 24, "and by trades after their gate"


def test_imbalance_prices_are_never_seen() -> None:
    series = possible(series_of(everything(), 4, seed=3))
    truth = day_of(series, 0)
    corrupted = {**truth, "imbalance_short_eur_mwh": truth["imbalance_short_eur_mwh"] + 500.0}
    before = decisions(lived(whole_problem(), series, truth=truth))
    after = decisions(lived(whole_problem(), series, truth=corrupted))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_prices_are_seen_at_the_gate_where_they_are_not_known_before() -> None:
    series = possible(series_of(everything(), 4, seed=3))
    truth, step = day_of(series, 0), 14
    corrupted = {name: values.copy() for name, values in truth.items()}
    for name in ("intraday_eur_mwh", "imbalance_long_eur_mwh", "imbalance_short_eur_mwh"):
        corrupted[name][:, step] += 400.0
    results = {}
    for prices in ("gate", "auction"):
        information = Information(30.0, prices)
        before = decisions(lived(whole_problem(), series, None, information, truth))
        after = decisions(lived(whole_problem(), series, None, information, corrupted))
        results[prices] = [
            first_difference(before[name], after[name]) for name in ("buy_mw", "sell_mw")
        ]
    assert min(results["gate"]) >= step
    assert min(results["auction"]) < step


def test_a_day_ahead_position_that_is_recourse_does_not_see_the_intraday_auction() -> None:
    data = energy_only(plain(), day_ahead="recourse")
    problem = Problem(data, "two-stage")
    series = series_of(data, 4, seed=4)
    truth = day_of(series, 0)
    corrupted = {**truth, "intraday_eur_mwh": truth["intraday_eur_mwh"][:, ::-1].copy()}
    cheap = {**truth, "day_ahead_eur_mwh": truth["day_ahead_eur_mwh"] - 300.0}
    position = [
        lived(problem, series, {}, truth=day).values["day_ahead_mw"]
        for day in (truth, corrupted, cheap)
    ]
    assert np.array_equal(position[0], position[1])
    assert not np.array_equal(position[0], position[2])


def test_the_true_scenario_is_no_part_of_its_own_forecast() -> None:
    """Two copies of one day forecast each other; a third day that differs does not know itself."""
    series = possible(series_of(everything(), 2, seed=12))
    twice = {name: values[[0, 0]] for name, values in series.items()}
    assert lossless(lived(whole_problem(), twice))
    # With two scenarios the only forecast is the other one.
    apart = lived(whole_problem(), series).days["rolling_eur"]
    told = lived(whole_problem(), day_of(series, 1), truth=day_of(series, 0)).days["rolling_eur"]
    assert apart.iloc[0] == pytest.approx(told.iloc[0], abs=1e-6)


# -- clock and forecast ---------------------------------------------------------------------------
def test_the_clock_of_two_days_knows_the_second_day_from_its_gates_on() -> None:
    where = grid((24.0, 24.0), dt_h=0.25, blocks_per_day=1)
    clock = Clock(where, LATE)
    # 12:00 and 15:00 of the first day are the ends of steps 47 and 59.
    assert set(clock.day_ahead[:96]) == {-2} and set(clock.day_ahead[96:]) == {47}
    assert set(clock.intraday[:96]) == {-1} and set(clock.intraday[96:]) == {59}
    assert clock.trade[:4].tolist() == [-1, -1, -1, 0] and clock.trade[-1] == 191 - 3
    hidden = Clock(where, Information(30.0, "gate"))
    assert np.array_equal(hidden.intraday, hidden.trade)


def test_lead_times_are_whole_steps_that_are_long_enough() -> None:
    assert [Information(m).lead_steps(0.25) for m in (0.0, 15.0, 25.0, 30.0, 31.0)] == [
        0, 1, 2, 2, 3,
    ]  # fmt: skip
    assert Information(30.0).lead_steps(1.0) == 1


def test_a_forecast_is_the_truth_where_it_is_known_and_the_mean_far_from_it() -> None:
    data = plain(grid((12.0,)))
    series = possible(series_of(data, 5, seed=1))
    truth = {name: values[0] for name, values in possible(series_of(data, 1, seed=2)).items()}
    weight = uneven(5)
    forecast = Forecast(data, Clock(data.grid, LATE), series, weight, truth)
    seen = forecast.at(7)
    assert np.array_equal(seen["activation_up_frac"][:8], truth["activation_up_frac"][:8])
    mean = weight @ series["activation_up_frac"]
    assert seen["activation_up_frac"][20:] == pytest.approx(mean[20:])
    assert (seen["activation_up_frac"] + seen["activation_down_frac"] <= 1 + 1e-12).all()
    assert not np.isclose(seen["imbalance_long_eur_mwh"], truth["imbalance_long_eur_mwh"]).any()
    # Against known prices imbalance is never the better market.
    assert (seen["imbalance_long_eur_mwh"] <= seen["intraday_eur_mwh"] + 1e-9).all()
    assert (seen["imbalance_short_eur_mwh"] >= seen["intraday_eur_mwh"] - 1e-9).all()
    ended = forecast.at(data.grid.n_steps)
    assert all(np.array_equal(ended[name], truth[name]) for name in truth)


def test_a_call_that_lasts_is_expected_to_last_a_little_longer() -> None:
    data = plain(grid((12.0,)))
    series = possible(series_of(data, 2, seed=1))
    run = np.zeros((2, 24))
    run[0, 4:12] = 1.0
    series["activation_up_frac"], series["activation_down_frac"] = run, 0 * run
    truth = {name: values[0] for name, values in series.items()}
    seen = Forecast(data, Clock(data.grid, LATE), series, np.full(2, 0.5), truth).at(6)
    assert seen["activation_up_frac"][7] == pytest.approx(0.5 + 0.5 * 7 / 8)


def test_the_price_of_calls_is_the_mean_over_those_that_are_called() -> None:
    data = plain(grid((12.0,)))
    series = possible(series_of(data, 2, seed=1))
    series["activation_up_frac"] = np.tile([[0.5], [0.0]], 24)
    series["activation_up_eur_mwh"] = np.tile([[80.0], [-70.0]], 24)
    truth = {name: values[1] for name, values in series.items()}
    forecast = Forecast(data, Clock(data.grid, LATE), series, np.full(2, 0.5), truth)
    assert forecast.at(-1)["activation_up_eur_mwh"] == pytest.approx(80.0)


def test_the_safety_covers_the_unforeseen_calls_of_the_window() -> None:
    data = plain(grid((12.0,)))
    series = possible(series_of(data, 4, seed=1))
    calls = np.zeros((4, 24))
    calls[0] = 1.0  # one scenario in four is called all the time
    series["activation_up_frac"], series["activation_down_frac"] = calls, 0 * calls
    two, none = np.full(1, 2.0), np.zeros(1)
    energy, room = safety_mwh(data, series, np.full(4, 0.25), (two, none), 3, 0.9)
    # Three steps of 0.5 h at 2 MW, less the quarter that is foreseen, from inside the battery.
    assert energy[0] == pytest.approx(3 * 0.5 * 2.0 * 0.75 / 0.93)
    assert room[0] == pytest.approx(3 * 0.5 * 2.0 * 0.25 / 0.93)
    energy, _ = safety_mwh(data, series, np.full(4, 0.25), (none, two), 3, 0.9)
    assert energy[0] == 0.0


def test_caution_holds_more_energy_than_the_rules_ask_for() -> None:
    data = plain(grid((12.0,)))
    problem = Problem(data, "two-stage")
    series = possible(series_of(data, 6, seed=3, calls=0.4, imbalance_spread_eur_mwh=900.0))
    sold = {"afrr_up_lots[0]": 2.0}
    short = [
        lived(problem, series, sold, Information(30.0, safety_frac=q)).values for q in (None, 0.95)
    ]
    floor = 2.0 / 0.93
    below = [np.maximum(0.0, floor - v["energy_mwh"][:, 1:]).sum() for v in short]
    assert below[1] < 0.5 * below[0]


def test_impossible_information_is_refused() -> None:
    for lead_min in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="lead_min"):
            Information(lead_min)
    for safety in (0.5, 1.0):
        with pytest.raises(ConfigError, match="safety_frac"):
            Information(30.0, safety_frac=safety)


# -- the engine -----------------------------------------------------------------------------------
def test_a_dispatch_that_does_not_fit_the_true_day_is_refused() -> None:
    case = small(everything(), 2)
    problem = whole_problem()
    value = value_of(problem, case.series, case.probability, SOLD, LATE, EFFORT)
    exact = blocks(problem.binary, case.series, case.probability)
    found = problem.evaluate(case.series, case.probability, SOLD, EFFORT)
    assert found.scenario_profit_eur == pytest.approx(value.days["clairvoyant_eur"].to_numpy())
    wrong = np.zeros(len(problem.binary.columns))
    with pytest.raises(SolverError, match="certificate"):
        certified_cost(exact, 1, wrong)


def test_no_stage_no_dispatch() -> None:
    t = whole_problem().binary
    with pytest.raises(SolverError, match="stages"):
        roll(t, np.zeros(len(t.first_stage)), [])


def test_caution_asks_only_where_a_trade_can_still_answer() -> None:
    problem = whole_problem()
    series = possible(series_of(everything(), 4, seed=3))
    truth = {name: values[0] for name, values in series.items()}
    cautious = Information(30.0, safety_frac=0.9)  # one step of lead
    dispatch = _Dispatch(problem, SOLD, cautious)
    forecast = Forecast(problem.data, Clock(problem.data.grid, cautious), series, uneven(4), truth)
    rows, n_blocks = problem.binary.rows, problem.data.grid.n_blocks
    asked = []
    for stage in dispatch._stages(forecast, series, uneven(4)):
        names = [] if stage.caution is None else [rows[i] for i in np.flatnonzero(stage.caution)]
        points = [int(name.partition("[")[2][:-1]) for name in names]
        asked.append([i - n_blocks + 1 for i in points if i >= n_blocks])
    # Stage 6 decides the trade of step 8, which ends at boundary 9; calls of 7 and 8 are open.
    assert min(asked[1 + 6]) == 9 and max(asked[1 + 6]) == 24
    assert asked[-1] == []  # the account is kept by the rules


def test_trades_are_not_planned_on_charging_and_discharging_at_once() -> None:
    """Deeply negative prices reward burning energy, which only the relaxation can.

    Plans that trade on it lose 67 EUR here; what remains are later steps, still relaxed.
    """
    data = energy_only(plain(grid((3.0, 5.0, 4.0))))
    sold = {f"day_ahead_mw[{n}]": -1.0 for n in range(12)}
    series = series_of(data, 1, seed=0, level_eur_mwh=-60.0)
    days = lived(Problem(data, "two-stage"), series, sold, Information(60.0)).days
    assert days["clairvoyant_bound_eur"].iloc[0] > days["clairvoyant_eur"].iloc[0] + 50.0
    assert -0.2 <= days["optimism_eur"].iloc[0] < 15.0
