"""What a stochastic decision is worth: interval arithmetic, tail risk, WS, RP, EEV, opponents."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from stochbess.assemble import Case, build_case
from stochbess.config import load_config
from stochbess.decide import Decision, Effort, Problem
from stochbess.engine.matrix import blocks
from stochbess.engine.risk import Risk, cvar
from stochbess.engine.two_stage import evaluate_first_stage, solve_two_stage
from stochbess.evaluate.worth import Interval, Worth, cvar_eur, quantile_eur
from stochbess.models.data import ModelData
from stochbess.valuation import mean_series, value_decision, virtual_profit
from tests.small_case import changed, energy_only, grid, plain, series_of

Floats = npt.NDArray[np.float64]
EFFORT = Effort(gap_frac=1e-6, time_limit_s=60.0, threads=2)

amounts = st.floats(-1e4, 1e4)


@st.composite
def profits(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Profits, with ties, and their probabilities."""
    n = draw(st.integers(1, 8))
    profit = draw(
        st.lists(st.sampled_from([-500.0, -3.5, 0.0, 7.0]) | amounts, min_size=n, max_size=n)
    )
    weight = np.array(draw(st.lists(st.integers(1, 50), min_size=n, max_size=n)), float)
    return np.array(profit), weight / weight.sum()


def of_mean(case: Case, problem: Problem) -> Decision:
    """The expected-value decision."""
    return problem.decide(mean_series(case), np.ones(1), EFFORT, engine="extensive")


levels = st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.999]) | st.floats(0.0, 0.999)


# -- intervals ------------------------------------------------------------------------------------
@given(
    low=st.tuples(amounts, amounts),
    width=st.tuples(st.floats(0, 100), st.floats(0, 100)),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_difference_of_intervals_holds_every_difference_of_their_members_and_is_tight(
    low: tuple[float, float], width: tuple[float, float], at: tuple[float, float]
) -> None:
    a, b = (Interval(low[i], low[i] + width[i]) for i in range(2))
    x, y = (low[i] + at[i] * width[i] for i in range(2))
    difference = a - b
    assert difference.low - 1e-9 <= x - y <= difference.high + 1e-9
    assert difference.low == a.low - b.high and difference.high == a.high - b.low
    assert difference.middle == pytest.approx(a.middle - b.middle, abs=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "known"),
    [(1.0, 2.0, True), (-2.0, -1.0, True), (-1.0, 1.0, False), (0.0, 3.0, False), (0, 0, False)],
)
def test_a_sign_is_known_only_where_the_interval_excludes_zero(
    low: float, high: float, known: bool
) -> None:
    assert Interval(low, high).sign_known is known


def test_a_sign_is_not_read_out_of_the_last_digits_of_large_numbers() -> None:
    """Both are known to 1e-6 of 10000 EUR: 0.01 EUR between them may be nothing."""
    a, b = Interval(10_000.01, 10_000.01), Interval(10_000.0, 10_000.0)
    assert not (a - b).sign_known and not (b - a).sign_known
    assert (Interval(10_000.1, 10_000.1) - b).sign_known
    assert (a - b).noise_eur == pytest.approx(a.noise_eur + b.noise_eur)


def test_measures_are_signed_differences_of_the_bounds() -> None:
    worth = Worth(
        ws=Interval(120.0, 121.0),
        rp=Interval(100.0, 104.0),
        eev=Interval(101.0, 101.5),
        opponents={"derated": Interval(90.0, 91.0)},
    )
    assert (worth.evpi.low, worth.evpi.high) == (16.0, 21.0)
    assert (worth.vss.low, worth.vss.high) == (-1.5, 3.0) and not worth.vss.sign_known
    gain = worth.gain_over("derated")
    assert (gain.low, gain.high) == (9.0, 14.0) and gain.sign_known
    with pytest.raises(KeyError):
        worth.gain_over("nobody")


# -- tail risk ------------------------------------------------------------------------------------
def cvar_by_definition(profit: Floats, probability: Floats, level: float) -> float:
    """Largest over eta of eta - E[(eta - profit)+] / (1 - level); attained at an atom."""
    short = np.maximum(profit[:, None] - profit[None, :], 0.0)  # (eta, scenario)
    return float((profit - short @ probability / (1 - level)).max())


@given(drawn=profits(), level=levels)
def test_two_independent_codes_and_the_definition_agree_on_cvar(
    drawn: tuple[Floats, Floats], level: float
) -> None:
    profit, probability = drawn
    expected = cvar_by_definition(profit, probability, level)
    # With a tail of one in a thousand, rounding of the profits is magnified a thousandfold.
    for code in (cvar_eur, cvar):
        assert code(profit, probability, level) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_cvar_of_four_scenarios_is_known_by_hand() -> None:
    profit, probability = np.array([40.0, -10.0, 20.0, 0.0]), np.array([0.4, 0.1, 0.3, 0.2])
    for tail, expected in (
        (0.05, -10.0),
        (0.1, -10.0),
        (0.2, (-1.0 + 0.1 * 0.0) / 0.2),
        (0.4, (-1.0 + 0.0 + 0.1 * 20.0) / 0.4),
        (1.0, 21.0),
    ):
        assert cvar_eur(profit, probability, 1 - tail) == pytest.approx(expected)
        assert cvar(profit, probability, 1 - tail) == pytest.approx(expected)


@given(drawn=profits(), level=levels, shift=amounts, scale=st.floats(0.01, 100))
def test_cvar_moves_with_the_profit_and_lies_between_the_worst_and_the_mean(
    drawn: tuple[Floats, Floats], level: float, shift: float, scale: float
) -> None:
    profit, probability = drawn
    value = cvar_eur(profit, probability, level)
    moved = cvar_eur(shift + scale * profit, probability, level)
    assert moved == pytest.approx(shift + scale * value, rel=1e-7, abs=1e-5)
    assert profit.min() - 1e-6 <= value <= float(probability @ profit) + 1e-6


# A weight below the solver's tolerance for reduced costs would test the solver.
@given(drawn=profits(), level=levels, weight=st.just(0.0) | st.floats(0.01, 1))
def test_the_rows_that_the_engine_adds_for_risk_have_the_risk_as_their_optimum(
    drawn: tuple[Floats, Floats], level: float, weight: float
) -> None:
    cost, probability = drawn
    risk, n = Risk(weight, level), len(probability)
    costs, rows = risk.costs(probability), risk.rows(n)
    low, high = risk.column_bounds(n)
    bounds = np.column_stack((np.concatenate((cost, low)), np.concatenate((cost, high))))
    assert len(costs) == n + risk.n_columns(n) and rows.shape[0] == risk.n_rows(n)
    found = linprog(
        costs,
        A_ub=-rows if rows.shape[0] else None,
        b_ub=np.zeros(rows.shape[0]) if rows.shape[0] else None,
        bounds=bounds,
    )
    assert found.status == 0
    expected = risk.of_cost(cost, probability)
    assert found.fun == pytest.approx(expected, rel=1e-7, abs=1e-5)
    by_hand = (1 - weight) * probability @ cost - weight * cvar_by_definition(
        -cost, probability, level
    )
    assert expected == pytest.approx(float(by_hand), rel=1e-7, abs=1e-5)


@given(drawn=profits(), level=st.floats(0.0, 1.0))
def test_a_quantile_is_the_smallest_profit_not_exceeded_with_that_probability(
    drawn: tuple[Floats, Floats], level: float
) -> None:
    profit, probability = drawn
    reached = np.array([probability[profit <= p].sum() for p in profit])
    if (np.abs(reached - level) < 1e-9).any():
        level = float(reached[np.argmin(np.abs(reached - level))])
    allowed = profit[reached >= level - 1e-10]
    expected = allowed.min() if allowed.size else profit.max()
    assert quantile_eur(profit, probability, level) == expected


# -- valuation ------------------------------------------------------------------------------------
@cache
def any_case() -> Case:
    """A case of the reference market, to be given other numbers."""
    closed = [f"markets.{name}.enabled=false" for name in ("intraday", "fcr", "afrr")]
    config = ["scenarios.n=3", "battery.power_mw=4.0", "battery.energy_mwh=8.0"]
    return build_case(load_config(None, config + closed))


def case_of(data: ModelData, seed: int) -> Case:
    return replace(any_case(), data=data, series=series_of(data, 3, seed))


def test_worth_is_bracketed_by_what_the_engine_finds_for_each_rule() -> None:
    case = case_of(plain(grid((4.0, 4.0), dt_h=1.0)), seed=90)
    problem = Problem(case.data, "two-stage")
    decision = problem.decide(case.series, case.probability, EFFORT)
    told: list[str] = []
    worth = value_decision(
        case, problem, decision, of_mean(case, problem), EFFORT, lambda _, words: told.append(words)
    )

    block = blocks(problem.relaxed, case.series, case.probability)
    alone = [block.subset(np.array([s])) for s in range(3)]
    ws = -case.probability @ [
        solve_two_stage(b, gap_frac=1e-7, time_limit_s=60.0, engine="extensive").cost for b in alone
    ]
    mean = {name: (case.probability @ v)[None, :] for name, v in case.series.items()}
    decided = solve_two_stage(
        blocks(problem.relaxed, mean, np.ones(1)), gap_frac=1e-7, time_limit_s=60.0
    )
    eev = -evaluate_first_stage(block, decided.x).cost
    slack = 1e-4 * abs(ws)
    assert worth.ws.low - slack <= ws <= worth.ws.high + slack
    assert worth.eev.high == pytest.approx(eev, rel=1e-5)
    assert worth.rp == Interval(decision.profit_lb_eur, decision.profit_ub_eur)
    for interval in (worth.ws, worth.rp, worth.eev, *worth.opponents.values()):
        assert interval.low <= interval.high + slack
    # WS >= RP >= every rule, as far as the bounds can tell; and here they can.
    assert worth.evpi.sign_known and worth.evpi.low > 0
    assert worth.vss.sign_known and worth.vss.low > 0
    assert set(worth.opponents) == {
        "reserve-derated deterministic",
        "full-activation deterministic",
    }
    for opponent in worth.opponents:
        assert worth.gain_over(opponent).high >= -slack
    assert told[-1].startswith("opponents")


def test_without_reserves_there_is_no_opponent_to_derate() -> None:
    case = case_of(energy_only(plain(grid((4.0, 4.0), dt_h=1.0))), seed=91)
    problem = Problem(case.data, "two-stage")
    decision = problem.decide(case.series, case.probability, EFFORT)
    worth = value_decision(case, problem, decision, of_mean(case, problem), EFFORT, lambda *_: None)
    assert worth.opponents == {}
    assert worth.evpi.low > 0 and worth.vss.high >= -1e-6


def test_a_derated_opponent_is_no_worse_than_one_that_sells_no_reserve() -> None:
    """It is tuned over shares of reserve, none among them, on the scenarios themselves."""
    case = case_of(plain(grid((4.0, 4.0), dt_h=1.0)), seed=92)
    problem = Problem(case.data, "two-stage")
    decision = problem.decide(case.series, case.probability, EFFORT)
    worth = value_decision(case, problem, decision, of_mean(case, problem), EFFORT, lambda *_: None)
    mean = {name: (case.probability @ v)[None, :] for name, v in case.series.items()}
    capped = changed(case.data, reserves={"fcr_max_mw": 0.0, "afrr_max_mw": 0.0})
    rule = Problem(capped, "two-stage").decide(mean, np.ones(1), EFFORT)
    assert not any(v for k, v in rule.first_stage.items() if "lots" in k)
    priced = problem.evaluate(case.series, case.probability, rule.first_stage, EFFORT)
    derated = worth.opponents["reserve-derated deterministic"]
    assert derated.low >= priced.profit_lb_eur - 1e-5 * abs(priced.profit_lb_eur)


@pytest.mark.parametrize("now", [True, False], ids=["day-ahead now", "day-ahead known"])
def test_trading_without_a_battery_earns_the_spread_between_the_markets(now: bool) -> None:
    stage = "here_and_now" if now else "recourse"
    data = changed(
        plain(grid((4.0, 4.0), dt_h=0.5)),
        asset={"trade_limit_mw": 1.5},
        energy={"day_ahead": stage},
        fees={"capacity_fee_eur": 50.0, "profit_tax_frac": 0.2},
    )
    case = case_of(data, seed=93)
    dt, unit = data.grid.dt_h, data.grid.day_ahead_of_step
    day_ahead, intraday = case.series["day_ahead_eur_mwh"][:, unit], case.series["intraday_eur_mwh"]

    def per_unit(gain: Floats) -> Floats:
        return np.stack([np.bincount(unit, row) for row in gain])

    sell = per_unit(dt * (day_ahead - intraday - 2.0))
    buy = per_unit(dt * (intraday - 2.0 - day_ahead))
    if now:
        sell, buy = (case.probability @ gain for gain in (sell, buy))
        expected = np.maximum(np.maximum(sell, buy), 0.0).sum()
    else:
        expected = case.probability @ np.maximum(np.maximum(sell, buy), 0.0).sum(axis=1)
    found = virtual_profit(case, case.series, case.probability, EFFORT, "two-stage")
    assert found == pytest.approx(0.8 * 1.5 * float(expected), rel=1e-5)
    assert found > 10.0
