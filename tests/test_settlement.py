"""Settlement: one case by hand, a second opinion in plain loops, properties, refusals."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.errors import DataError
from stochbess.market.settlement import (
    Prices,
    Schedule,
    SettlementTerms,
    cash_frame,
    settle,
)
from stochbess.market.tariffs import Tariff, build_tariff
from stochbess.timegrid import Horizon

FloatArray = npt.NDArray[np.float64]


def arr(*values: float) -> FloatArray:
    return np.array(values, np.float64)


# Four half-hour steps in two blocks (and day-ahead units) of one hour.
TERMS = SettlementTerms(
    dt_h=0.5,
    block_of_step=np.array([0, 0, 1, 1]),
    block_hours=arr(1, 1),
    day_ahead_of_step=np.array([0, 0, 1, 1]),
    energy_min_mwh=11.0,
    energy_max_mwh=20.0,
    charge_efficiency_frac=0.5,
    discharge_efficiency_frac=0.8,
    self_discharge_per_h=0.1,
    charge_limit_mw=arr(4, 4, 4, 4),
    discharge_limit_mw=arr(7.5, 8, 3, 2.5),
    fcr_energy_h=0.25,
    afrr_energy_h=1.0,
    recharge_factor=1.25,
    reserve_shortfall_eur_mwh_h=500.0,
    undelivered_eur_mwh=1000.0,
    tariff=Tariff(
        import_fee_eur_mwh=arr(1, 2, 3, 4),
        export_fee_eur_mwh=arr(0.5, 0.5, 0.5, 0.5),
        levy_eur_mwh=6.0,
        capacity_fee_eur=7.0,
        profit_tax_frac=0.3,
    ),
    intraday_liquidity_mw=3.0,
)
# Stored energy by hand: 0.95 of the step before, less 0.5 h * discharge / 0.8, plus 0.5 h * 0.5 *
# charge: 20 -> 19 - 3.75 -> 14.4875 - 1.5625 -> 12.27875 + 0.375 -> 12.0210625
SCHEDULE = Schedule(
    fcr_mw=arr(1, 0),
    committed_fcr_mw=arr(0, 1),
    afrr_up_mw=arr(2, 0),
    committed_afrr_up_mw=arr(0, 1),
    afrr_down_mw=arr(0, 3),
    committed_afrr_down_mw=arr(1, 0),
    day_ahead_mw=arr(4, -2),
    committed_day_ahead_mw=arr(1, 0),
    buy_mw=arr(0, 1, 0, 0),
    sell_mw=arr(0, 0, 0, 3),
    charge_mw=arr(0, 0, 1.5, 0),
    discharge_mw=arr(6, 2.5, 0, 0),
    energy_mwh=arr(20, 15.25, 12.925, 12.65375, 12.0210625),
    undelivered_up_mw=arr(0.25, 0, 0, 0),
    undelivered_down_mw=arr(0, 0, 0, 0.5),
)
PRICES = Prices(
    day_ahead_eur_mwh=arr(50, 80),
    intraday_eur_mwh=arr(60, 70, -10, 100),
    half_spread_eur_mwh=2.0,
    fcr_eur_mw=arr(100, 999),
    afrr_up_eur_mw_h=arr(10, 999),
    afrr_down_eur_mw_h=arr(999, 5),
    activation_up_eur_mwh=arr(200, 0, 300, 0),
    activation_down_eur_mwh=arr(0, 20, 0, -30),
    activation_up_frac=arr(0.5, 0, 1, 0),
    activation_down_frac=arr(0, 1, 0, 0.5),
    fcr_activation_frac=arr(0.1, -0.2, 0, 0),
    imbalance_long_eur_mwh=arr(40, 41, 42, 43),
    imbalance_short_eur_mwh=arr(95, 90, -20, 50),
)


def test_the_case_by_hand_is_settled_line_by_line() -> None:
    s = settle(SCHEDULE, PRICES, TERMS)
    # sched [5, 4, -2, 1]; delivered up [.75, 0, 1, 0], down [0, 1, 0, 1]; FCR net [.1, -.2, 0, 0]
    # owed [5.85, 2.8, -1, 0] against net flows [6, 2.5, -1.5, 0]
    assert s.imbalance_mw == pytest.approx([0.15, -0.3, -0.5, 0.0])
    # energy to hold: up (.25 + 2) / .8 = 2.8125 and (.25 + 1) / .8 = 1.5625,
    # down .5 * (.25 + 1) = .625 and .5 * (.25 + 3) = 1.625
    short_energy = (
        0.625  # start of block 0: full, no room at all
        + (2.8125 - (12.925 - 11.0))  # end of step 1
        + (1.5625 - (12.0210625 - 11.0))  # end of step 3
    )
    # the unit runs at schedule and imbalance: [5.15, 3.7, -2.5, 1]
    short_power = (5.15 + 1 + 2 - 7.5) + (1 + 1 + 1 - 2.5) + (2.5 + 1 + 3 - 4)
    assert s.reserve_shortfall_mwh_h == pytest.approx(0.5 * (short_energy + short_power))
    assert s.cash_eur == pytest.approx(
        {
            "fcr_capacity": 1 * 100.0,  # per block; the committed MW was paid elsewhere
            "afrr_up_capacity": 2 * 10.0 * 1.0,
            "afrr_down_capacity": 3 * 5.0 * 1.0,
            "day_ahead": 4 * 50.0 * 1.0 - 2 * 80.0 * 1.0,
            "intraday": 0.5 * (-1 * 70.0 + 3 * 100.0),
            "intraday_spread": -0.5 * 2.0 * (1 + 3),
            "activation_up": 0.5 * (0.75 * 200.0 + 1 * 300.0),
            "activation_down": -0.5 * (1 * 20.0 + 1 * -30.0),
            "imbalance": 0.5 * (0.15 * 40.0 - 0.3 * 90.0 - 0.5 * -20.0),
            "import_fee": -0.5 * 1.5 * 3.0,
            "export_fee": -0.5 * 8.5 * 0.5,
            "levy": -6.0 * 0.5 * (1.5 - 8.5),
            "capacity_fee": -7.0,
            "undelivered_penalty": -1000.0 * 0.5 * (0.25 + 0.5),
            "reserve_shortfall_penalty": -500.0 * 0.5 * (short_energy + short_power),
        }
    )
    assert s.total_cash_eur == pytest.approx(sum(s.cash_eur.values()))
    assert s.loop_energy_mwh == 0.0
    broken = {rule: worst for rule, worst in s.violations.items() if worst > 1e-9}
    # step 3: 1 MW down delivered in half of the time beside 1 MW sold, and no charge is shown
    assert broken == pytest.approx(
        {"recharge_band_mw": 1.25 + 3 - 4, "gross_flow_mw": 1.0 - 0.5 * 1.0}
    )


@pytest.mark.parametrize(
    ("change", "rule", "worst"),
    [
        ({"energy_mwh": SCHEDULE.energy_mwh + arr(0, 0, 0, 0, 0.2)}, "soc_balance_mwh", 0.2),
        ({"energy_mwh": SCHEDULE.energy_mwh + 0.7}, "energy_window_mwh", 0.7),
        ({"energy_mwh": SCHEDULE.energy_mwh - 2.0}, "energy_window_mwh", 0.9789375),
        ({"charge_mw": arr(0, 0, 4.3, 0)}, "charge_limit_mw", 0.3),
        ({"discharge_mw": arr(6, 2.5, 3.1, 0)}, "discharge_limit_mw", 0.1),
        ({"buy_mw": arr(0, 3.5, 0, 0)}, "intraday_liquidity_mw", 0.5),
        ({"sell_mw": arr(0, 0, 0, 3.25)}, "intraday_liquidity_mw", 0.25),
        ({"undelivered_up_mw": arr(-0.1, 0, 0, 0)}, "undelivered_mw", 0.1),
        ({"undelivered_up_mw": arr(1.5, 0, 0, 0)}, "undelivered_mw", 0.5),
        ({"undelivered_up_mw": arr(0, 0.3, 0, 0)}, "undelivered_mw", 0.3),
        ({"undelivered_down_mw": arr(0, 0, 0, 1.75)}, "undelivered_mw", 0.25),
        ({"buy_mw": arr(0, -0.4, 0, 0)}, "negative_quantity_mw", 0.4),
        ({"discharge_mw": arr(6, 2.5, 0, -0.6)}, "negative_quantity_mw", 0.6),
        ({"afrr_up_mw": arr(2, -1.5)}, "negative_quantity_mw", 0.5),
        ({"fcr_mw": arr(5, 0)}, "recharge_band_mw", 3.25),
        ({"afrr_up_mw": arr(8, 0)}, "recharge_band_mw", 1.75),
    ],
)
def test_each_broken_rule_is_reported_with_its_size(
    change: dict[str, FloatArray], rule: str, worst: float
) -> None:
    s = settle(replace(SCHEDULE, **change), PRICES, TERMS)
    assert s.violations[rule] == pytest.approx(worst)


def test_simultaneous_flow_is_a_loop_only_beyond_calls_in_both_directions() -> None:
    idle = Schedule(
        charge_mw=arr(1, 1, 0, 0), discharge_mw=arr(1, 1, 0, 0), energy_mwh=np.full(5, 15.0)
    )
    prices = Prices(
        half_spread_eur_mwh=0.0,
        activation_up_frac=arr(1, 0, 0, 0),
        activation_down_frac=arr(0.75, 0, 0, 0),
        activation_up_eur_mwh=arr(0, 0, 0, 0),
        activation_down_eur_mwh=arr(0, 0, 0, 0),
        imbalance_long_eur_mwh=arr(0, 0, 0, 0),
        imbalance_short_eur_mwh=arr(0, 0, 0, 0),
    )
    assert settle(idle, prices, TERMS).loop_energy_mwh == pytest.approx(0.5 * 2)
    reserved = replace(idle, committed_afrr_up_mw=arr(1, 0), committed_afrr_down_mw=arr(1, 0))
    # step 0: min(1 - 0.75, 1 - 1) = 0 is explained; step 1: nothing is called
    assert settle(reserved, prices, TERMS).loop_energy_mwh == pytest.approx(0.5 * 1)


def test_a_perfect_day_without_markets_costs_the_capacity_fee_and_nothing_else() -> None:
    idle = Schedule(charge_mw=np.zeros(4), discharge_mw=np.zeros(4), energy_mwh=np.full(5, 15.0))
    terms = replace(TERMS, self_discharge_per_h=0.0)
    s = settle(idle, Prices(half_spread_eur_mwh=2.0), terms)
    assert {line: eur for line, eur in s.cash_eur.items() if eur} == {"capacity_fee": -7.0}
    assert not any(s.violations.values())


@pytest.mark.parametrize(
    "name",
    [f.name for f in fields(Prices) if "eur" in f.name and f.name != "half_spread_eur_mwh"],
)
def test_what_is_traded_without_a_price_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=rf"Prices\.{name} is empty"):
        settle(SCHEDULE, replace(PRICES, **{name: arr()}), TERMS)  # type: ignore[arg-type]


def test_buying_and_selling_at_once_without_a_price_is_refused() -> None:
    s = replace(SCHEDULE, buy_mw=arr(0, 1, 0, 0), sell_mw=arr(0, 1, 0, 0))
    with pytest.raises(DataError, match="intraday_eur_mwh is empty"):
        settle(s, replace(PRICES, intraday_eur_mwh=arr()), TERMS)


def test_solver_rounding_on_a_market_without_a_price_is_not_refused() -> None:
    s = replace(SCHEDULE, fcr_mw=arr(1e-8, 0))
    assert settle(s, replace(PRICES, fcr_eur_mw=arr()), TERMS).cash_eur["fcr_capacity"] == 0.0


# A loss curve instead of constant efficiencies: every fifth megawatt is lost, then every fourth.
CURVED = replace(
    TERMS,
    charge_node_mw=arr(0, 5, 50),
    stored_node_mw=arr(0, 4, 37.75),
    discharge_node_mw=arr(0, 4, 40),
    drawn_node_mw=arr(0, 5, 53),
)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (record, item.name)
        for record in (SCHEDULE, PRICES, CURVED, TERMS.tariff)
        for item in fields(record)
        if item.name not in ("block_of_step", "day_ahead_of_step", "tariff")
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_nan_in_any_field_is_refused_by_name(record: Any, name: str) -> None:
    bad = np.array(getattr(record, name), np.float64)
    bad[(-1,) * bad.ndim] = np.nan
    spoiled: Any = replace(record, **{name: float(bad) if bad.ndim == 0 else bad})
    parts: dict[type, Any] = {Schedule: SCHEDULE, Prices: PRICES, SettlementTerms: TERMS}
    parts[type(spoiled)] = spoiled
    terms = parts[SettlementTerms]
    if isinstance(spoiled, Tariff):
        terms = replace(TERMS, tariff=spoiled)
    with pytest.raises(DataError, match=rf"{type(record).__name__}\.{name}\b"):
        settle(parts[Schedule], parts[Prices], terms)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"charge_mw": np.zeros(3)}, r"Schedule\.charge_mw: shape \(3,\) found, expected \(4,\)"),
        ({"energy_mwh": np.zeros(4)}, r"Schedule\.energy_mwh: shape \(4,\) found"),
        ({"fcr_mw": np.zeros(1)}, r"Schedule\.fcr_mw: shape \(1,\) found, expected \(2,\)"),
        ({"day_ahead_mw": np.zeros((2, 1))}, r"Schedule\.day_ahead_mw: shape \(2, 1\)"),
        ({"charge_mw": np.zeros(0)}, r"Schedule\.charge_mw: shape \(0,\)"),
    ],
)
def test_an_array_of_another_horizon_is_refused(change: dict[str, FloatArray], words: str) -> None:
    with pytest.raises(DataError, match=words):
        settle(replace(SCHEDULE, **change), PRICES, TERMS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block_hours": arr(4, 4)}, "block_hours"),
        ({"block_hours": arr(1, 1, 1)}, "block_hours"),
        ({"block_of_step": np.array([1, 1, 0, 0])}, "block_of_step"),
        ({"block_of_step": arr(0, 0, 1, 1)}, "block_of_step"),
        ({"day_ahead_of_step": np.array([0, 0, 2, 2])}, "day_ahead_of_step"),
        ({"dt_h": 0.0}, "dt_h"),
        ({"discharge_efficiency_frac": 0.0}, "discharge_efficiency_frac"),
        ({"charge_efficiency_frac": 1.2}, "charge_efficiency_frac"),
        ({"block_of_step": np.array([1, 1, 2, 2])}, "block_of_step"),
        ({"block_of_step": np.zeros(0, int), "block_hours": arr()}, "block_of_step"),
        ({"day_ahead_of_step": np.array([0, 0, 1])}, "day_ahead_of_step"),
        ({"tariff": replace(TERMS.tariff, import_fee_eur_mwh=arr(1, 2))}, "import_fee_eur_mwh"),
    ],
)
def test_terms_that_contradict_themselves_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        settle(SCHEDULE, PRICES, replace(TERMS, **change))


@pytest.mark.parametrize(
    ("name", "bad"),
    [("activation_up_frac", 1.5), ("activation_down_frac", -0.1), ("fcr_activation_frac", -1.2)],
)
def test_a_call_beyond_the_bid_is_refused(name: str, bad: float) -> None:
    with pytest.raises(DataError, match=rf"Prices\.{name}: values from"):
        settle(SCHEDULE, replace(PRICES, **{name: arr(0, bad, 0, 0)}), TERMS)  # type: ignore[arg-type]


def test_unlimited_intraday_liquidity_is_allowed() -> None:
    s = settle(SCHEDULE, PRICES, replace(TERMS, intraday_liquidity_mw=float("inf")))
    assert s.violations["intraday_liquidity_mw"] == 0.0


# ---- random cases


def random_case(seed: int, n_blocks: int = 3) -> tuple[Schedule, Prices, SettlementTerms]:
    """Twelve steps of 20 min; nothing is feasible, everything must be settled all the same."""
    rng = np.random.default_rng(seed)
    n_steps, n_units = 4 * n_blocks, 2 * n_blocks
    b, t, n = n_blocks, n_steps, n_units
    schedule = Schedule(
        fcr_mw=rng.random(b),
        afrr_up_mw=rng.random(b),
        afrr_down_mw=rng.random(b),
        committed_fcr_mw=rng.random(b),
        committed_afrr_up_mw=rng.random(b),
        committed_afrr_down_mw=rng.random(b),
        day_ahead_mw=rng.normal(size=n),
        committed_day_ahead_mw=rng.normal(size=n),
        buy_mw=rng.random(t),
        sell_mw=rng.random(t),
        charge_mw=rng.random(t),
        discharge_mw=rng.random(t),
        energy_mwh=4 * rng.random(t + 1),
        undelivered_up_mw=0.1 * rng.random(t),
        undelivered_down_mw=0.1 * rng.random(t),
    )
    terms = SettlementTerms(
        dt_h=1 / 3,
        block_of_step=np.arange(t) // 4,
        block_hours=np.full(b, 4 / 3),
        day_ahead_of_step=np.arange(t) // 2,
        energy_min_mwh=0.2,
        energy_max_mwh=3.8,
        charge_efficiency_frac=0.93,
        discharge_efficiency_frac=0.91,
        self_discharge_per_h=0.001,
        charge_limit_mw=1 + rng.random(t),
        discharge_limit_mw=1 + rng.random(t),
        fcr_energy_h=0.25,
        afrr_energy_h=1.0,
        recharge_factor=1.25,
        reserve_shortfall_eur_mwh_h=500.0,
        undelivered_eur_mwh=1000.0,
        tariff=Tariff(rng.normal(size=t), rng.normal(size=t), 5.0, 3.0, 0.0),
        intraday_liquidity_mw=2.0,
    )
    return schedule, random_prices(rng, b, n, t), terms


def random_prices(rng: np.random.Generator, b: int, n: int, t: int) -> Prices:
    return Prices(
        day_ahead_eur_mwh=rng.normal(60, 50, n),
        intraday_eur_mwh=rng.normal(60, 50, t),
        half_spread_eur_mwh=float(rng.random()),
        fcr_eur_mw=rng.normal(60, 20, b),
        afrr_up_eur_mw_h=rng.normal(8, 3, b),
        afrr_down_eur_mw_h=rng.normal(8, 3, b),
        activation_up_eur_mwh=rng.normal(150, 60, t),
        activation_down_eur_mwh=rng.normal(0, 60, t),
        activation_up_frac=rng.random(t),
        activation_down_frac=rng.random(t),
        fcr_activation_frac=rng.uniform(-1, 1, t),
        imbalance_long_eur_mwh=rng.normal(50, 100, t),
        imbalance_short_eur_mwh=rng.normal(80, 100, t),
    )


def second_opinion_eur(s: Schedule, p: Prices, g: SettlementTerms) -> float:
    """Total cash from the written rules, one number after the other."""
    total, fee = -g.tariff.capacity_fee_eur, g.tariff
    last_block = -1
    for t, block in enumerate(g.block_of_step):
        unit = g.day_ahead_of_step[t]
        fcr = s.fcr_mw[block] + s.committed_fcr_mw[block]
        up = s.afrr_up_mw[block] + s.committed_afrr_up_mw[block]
        down = s.afrr_down_mw[block] + s.committed_afrr_down_mw[block]
        checks = [s.energy_mwh[t + 1]]
        if block != last_block:
            total += p.fcr_eur_mw[block] * s.fcr_mw[block]
            total += p.afrr_up_eur_mw_h[block] * s.afrr_up_mw[block] * g.block_hours[block]
            total += p.afrr_down_eur_mw_h[block] * s.afrr_down_mw[block] * g.block_hours[block]
            checks.append(s.energy_mwh[t])
            last_block = int(block)
        sched = s.day_ahead_mw[unit] + s.committed_day_ahead_mw[unit] + s.sell_mw[t] - s.buy_mw[t]
        a_up = p.activation_up_frac[t] * up - s.undelivered_up_mw[t]
        a_down = p.activation_down_frac[t] * down - s.undelivered_down_mw[t]
        owed = sched + a_up - a_down + p.fcr_activation_frac[t] * fcr
        gap = s.discharge_mw[t] - s.charge_mw[t] - owed
        short = 0.0
        for energy in checks:
            need = (g.fcr_energy_h * fcr + g.afrr_energy_h * up) / g.discharge_efficiency_frac
            room = (g.fcr_energy_h * fcr + g.afrr_energy_h * down) * g.charge_efficiency_frac
            short += max(0.0, need - (energy - g.energy_min_mwh))
            short += max(0.0, room - (g.energy_max_mwh - energy))
        short += max(0.0, sched + gap + fcr + up - g.discharge_limit_mw[t])
        short += max(0.0, -sched - gap + fcr + down - g.charge_limit_mw[t])
        price_gap = p.imbalance_long_eur_mwh[t] if gap > 0 else p.imbalance_short_eur_mwh[t]
        total += g.dt_h * (
            p.day_ahead_eur_mwh[unit] * s.day_ahead_mw[unit]
            + (p.intraday_eur_mwh[t] - p.half_spread_eur_mwh) * s.sell_mw[t]
            - (p.intraday_eur_mwh[t] + p.half_spread_eur_mwh) * s.buy_mw[t]
            + p.activation_up_eur_mwh[t] * a_up
            - p.activation_down_eur_mwh[t] * a_down
            + price_gap * gap
            - fee.import_fee_eur_mwh[t] * s.charge_mw[t]
            - fee.export_fee_eur_mwh[t] * s.discharge_mw[t]
            - fee.levy_eur_mwh * (s.charge_mw[t] - s.discharge_mw[t])
            - g.undelivered_eur_mwh * (s.undelivered_up_mw[t] + s.undelivered_down_mw[t])
            - g.reserve_shortfall_eur_mwh_h * short
        )
    return float(total)


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_the_total_equals_a_second_opinion_in_plain_loops(seed: int, n_blocks: int) -> None:
    case = random_case(seed, n_blocks)
    assert settle(*case).total_cash_eur == pytest.approx(second_opinion_eur(*case), rel=1e-10)


def scaled(prices: Prices, k: float, other: Prices | None = None) -> Prices:
    """Every price times k (plus the price of `other`); shares of bids stay."""
    changes = {}
    for item in fields(prices):
        if not item.name.endswith("frac"):
            changes[item.name] = k * getattr(prices, item.name)
            if other is not None:
                changes[item.name] = changes[item.name] + getattr(other, item.name)
    return replace(prices, **changes)


@settings(max_examples=40, deadline=None)
@given(SEEDS, SEEDS, st.floats(-3, 3))
def test_every_line_is_linear_in_prices(seed: int, other_seed: int, k: float) -> None:
    schedule, p, terms = random_case(seed)
    q = random_prices(np.random.default_rng(other_seed), 3, 6, 12)
    q = replace(
        q,
        activation_up_frac=p.activation_up_frac,
        activation_down_frac=p.activation_down_frac,
        fcr_activation_frac=p.fcr_activation_frac,
    )
    free = replace(
        terms,
        reserve_shortfall_eur_mwh_h=0.0,
        undelivered_eur_mwh=0.0,
        tariff=Tariff(np.zeros(12), np.zeros(12), 0.0, 0.0, 0.0),
    )
    at_p, at_q = (settle(schedule, x, free).cash_eur for x in (p, q))
    mixed = settle(schedule, scaled(p, k, q), free).cash_eur
    for line, eur in mixed.items():
        assert eur == pytest.approx(k * at_p[line] + at_q[line], abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0, 100))
def test_scaling_all_money_by_k_scales_every_line_by_k(seed: int, k: float) -> None:
    schedule, prices, terms = random_case(seed)
    fee = terms.tariff
    dearer = replace(
        terms,
        reserve_shortfall_eur_mwh_h=k * terms.reserve_shortfall_eur_mwh_h,
        undelivered_eur_mwh=k * terms.undelivered_eur_mwh,
        tariff=Tariff(
            k * fee.import_fee_eur_mwh, k * fee.export_fee_eur_mwh,
            k * fee.levy_eur_mwh, k * fee.capacity_fee_eur, 0.0,
        ),
    )  # fmt: skip
    before = settle(schedule, prices, terms)
    after = settle(schedule, scaled(prices, k), dearer)
    assert after.cash_eur == pytest.approx({n: k * v for n, v in before.cash_eur.items()}, abs=1e-7)
    assert after.violations == before.violations


def moved(record: Any, n_blocks: int, shift: int) -> Any:
    """The record with every array rolled by `shift` blocks of three."""
    per_block = {n_blocks: 1, 2 * n_blocks: 2, 4 * n_blocks: 4}
    changes: dict[str, Any] = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, Tariff):
            changes[item.name] = moved(value, n_blocks, shift)
        elif item.name == "energy_mwh":
            rolled = np.roll(value[:-1], 4 * shift)
            changes[item.name] = np.append(rolled, rolled[0])
        elif np.size(value) and np.ndim(value) == 1 and not item.name.endswith("of_step"):
            changes[item.name] = np.roll(value, shift * per_block[len(value)])
    return replace(record, **changes)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(-3, 3))
def test_a_periodic_schedule_settles_the_same_after_a_shift_in_time(seed: int, shift: int) -> None:
    schedule, prices, terms = random_case(seed)
    energy = schedule.energy_mwh.copy()
    energy[-1] = energy[0]
    schedule = replace(schedule, energy_mwh=energy)
    before = settle(schedule, prices, terms)
    after = settle(*(moved(record, 3, shift) for record in (schedule, prices, terms)))
    assert after.cash_eur == pytest.approx(before.cash_eur, abs=1e-8)
    assert after.violations == pytest.approx(before.violations)
    assert after.imbalance_mw == pytest.approx(np.roll(before.imbalance_mw, 4 * shift))


def test_steps_cut_into_quarters_settle_the_same_where_no_reserve_is_short() -> None:
    schedule, prices, terms = random_case(7)
    terms = replace(terms, energy_min_mwh=-99.0, energy_max_mwh=99.0)

    def fine(record: Any) -> Any:
        changes: dict[str, Any] = {}
        for item in fields(record):
            value = getattr(record, item.name)
            if isinstance(value, Tariff):
                changes[item.name] = fine(value)
            elif np.ndim(value) == 1 and len(value) == 12:
                changes[item.name] = np.repeat(value, 4)
        return replace(record, **changes)

    fine_schedule = replace(fine(schedule), energy_mwh=np.zeros(49))
    after = settle(fine_schedule, fine(prices), replace(fine(terms), dt_h=terms.dt_h / 4))
    before = settle(replace(schedule, energy_mwh=np.zeros(13)), prices, terms)
    assert after.cash_eur == pytest.approx(before.cash_eur, rel=1e-10)
    assert after.loop_energy_mwh == pytest.approx(before.loop_energy_mwh)


def test_on_the_day_of_92_quarter_hours_the_first_block_pays_three_hours_of_afrr() -> None:
    day = Horizon(date(2025, 3, 30), 1, "Europe/Berlin", step_min=15, day_ahead_min=60)
    terms = replace(
        TERMS,
        dt_h=day.dt_h,
        block_of_step=day.block_of_step,
        block_hours=day.block_hours,
        day_ahead_of_step=day.day_ahead_of_step,
        charge_limit_mw=np.full(92, 2.0),
        discharge_limit_mw=np.full(92, 2.0),
        self_discharge_per_h=0.0,
        tariff=build_tariff(
            exempt=False,
            import_fee_eur_mwh=0.0,
            export_fee_eur_mwh=0.0,
            levy_eur_mwh=0.0,
            capacity_fee_eur_kw_year=8.76,
            hourly_import_fee_eur_mwh=[0.0] * 3 + [4.0] + [0.0] * 20,
            profit_tax_frac=0.0,
            horizon=day,
            power_mw=2.0,
        ),
    )
    charge = np.zeros(92)
    charge[8:12] = 1.0  # 03:00 to 04:00 local, the third hour of this day
    energy = np.concatenate([[14.0], 14.0 + 0.25 * 0.5 * np.cumsum(charge)])
    schedule = Schedule(
        fcr_mw=np.full(6, 0.5),
        afrr_up_mw=np.full(6, 1.0),
        day_ahead_mw=np.where(np.arange(23) == 2, -1.0, 0.0),
        charge_mw=charge,
        discharge_mw=np.zeros(92),
        energy_mwh=energy,
    )
    prices = Prices(
        half_spread_eur_mwh=0.0,
        day_ahead_eur_mwh=np.arange(23.0),
        fcr_eur_mw=np.full(6, 10.0),
        afrr_up_eur_mw_h=np.full(6, 3.0),
    )
    s = settle(schedule, prices, terms)
    assert s.cash_eur["afrr_up_capacity"] == pytest.approx(3.0 * (3 + 5 * 4))
    assert s.cash_eur["fcr_capacity"] == pytest.approx(6 * 0.5 * 10.0)  # per block, however long
    assert s.cash_eur["day_ahead"] == pytest.approx(-2.0)  # the hour that starts at 03:00
    assert s.cash_eur["import_fee"] == pytest.approx(-4.0)
    assert s.cash_eur["capacity_fee"] == pytest.approx(-8.76 * 2000 * 23 / 8760)
    assert s.cash_eur["reserve_shortfall_penalty"] == 0.0
    assert max(s.violations.values()) < 1e-12
    assert np.abs(s.imbalance_mw).max() < 1e-12


# ---- the table of scenarios


def test_the_table_has_lines_as_rows_and_the_expectation_as_last_column() -> None:
    other = settle(SCHEDULE, scaled(PRICES, 2.0), TERMS)
    table = cash_frame({"low": settle(SCHEDULE, PRICES, TERMS), "high": other}, [0.25, 0.75])
    assert table.columns.tolist() == ["low", "high", "expected"]
    assert table.index.tolist() == list(other.cash_eur)
    assert table.T["fcr_capacity"].tolist() == [100.0, 200.0, 175.0]
    total = table.sum(axis=0)
    assert total["expected"] == pytest.approx(0.25 * total["low"] + 0.75 * other.total_cash_eur)


def test_a_scenario_of_probability_zero_is_shown_but_does_not_count() -> None:
    one, other = settle(SCHEDULE, PRICES, TERMS), settle(SCHEDULE, scaled(PRICES, 2.0), TERMS)
    table = cash_frame({"sure": one, "never": other}, [1.0, 0.0])
    assert table["expected"].tolist() == table["sure"].tolist()


@pytest.mark.parametrize(
    ("names", "probabilities", "words"),
    [
        (["a", "b"], [0.5, 0.4], "sum to 0.9"),
        (["a", "b"], [1.5, -0.5], "smallest -0.5"),
        (["a", "b"], [1.0], r"2 settlements and probabilities of shape \(1,\)"),
        ([], [], "0 settlements"),
        (["expected"], [1.0], "none of them named 'expected'"),
        (["a"], [float("nan")], "probabilities"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(
    names: list[str], probabilities: list[float], words: str
) -> None:
    one = settle(SCHEDULE, PRICES, TERMS)
    with pytest.raises(DataError, match=words):
        cash_frame(dict.fromkeys(names, one), probabilities)


def test_a_loss_curve_is_read_between_its_nodes_and_takes_the_place_of_the_efficiencies() -> None:
    assert CURVED.stored_mw(arr(0, 2.5, 5, 9)) == pytest.approx([0, 2, 4, 7])
    assert CURVED.drawn_mw(arr(0, 2, 4, 7)) == pytest.approx([0, 2.5, 5, 9])
    assert CURVED.most_stored_per_mw == pytest.approx(0.8)
    assert CURVED.most_drawn_per_mw == pytest.approx(4 / 3)


def test_settlement_finds_stored_energy_that_is_not_on_the_loss_curve() -> None:
    flow = CURVED.stored_mw(SCHEDULE.charge_mw) - CURVED.drawn_mw(SCHEDULE.discharge_mw)
    kept = 1 - CURVED.self_discharge_per_h * CURVED.dt_h
    energy = [float(SCHEDULE.energy_mwh[0])]
    for step in flow:
        energy.append(kept * energy[-1] + CURVED.dt_h * float(step))
    true = settle(replace(SCHEDULE, energy_mwh=np.array(energy)), PRICES, CURVED)
    assert true.violations["soc_balance_mwh"] < 1e-12
    energy[2] += 0.01
    wrong = settle(replace(SCHEDULE, energy_mwh=np.array(energy)), PRICES, CURVED)
    assert wrong.violations["soc_balance_mwh"] > 0.009


@pytest.mark.parametrize(
    "change",
    [
        {"charge_node_mw": arr(0, 5)},
        {"stored_node_mw": arr()},
        {"drawn_node_mw": arr(0, 3, 53)},
        {"stored_node_mw": arr(0, 6, 37)},
        {"discharge_node_mw": arr(1, 4, 40)},
        {"charge_node_mw": arr(0, 50, 50)},
    ],
)
def test_nodes_that_are_no_loss_curve_are_refused(change: dict[str, FloatArray]) -> None:
    with pytest.raises(DataError, match="Take both from one loss curve"):
        settle(SCHEDULE, PRICES, replace(CURVED, **change))  # type: ignore[arg-type]
