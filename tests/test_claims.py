"""Ceilings by power, hours and prices, and the published band."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stochbess.evaluate.claims import (
    BAND_EUR_MW_MONTH,
    MONTH_H,
    PRODUCTS,
    band_check,
    breaches,
    ceilings_eur,
    monthly_products,
)
from stochbess.market.settlement import Prices, SettlementTerms
from stochbess.market.tariffs import Tariff

STEPS = 4


def terms(**changes: float) -> SettlementTerms:
    fees = np.zeros(STEPS)
    given = SettlementTerms(
        dt_h=1.0,
        block_of_step=np.zeros(STEPS, np.int64),
        block_hours=np.array([4.0]),
        day_ahead_of_step=np.arange(STEPS),
        energy_min_mwh=0.0,
        energy_max_mwh=4.0,
        charge_efficiency_frac=0.95,
        discharge_efficiency_frac=0.95,
        self_discharge_per_h=0.0,
        charge_limit_mw=np.full(STEPS, 1.5),
        discharge_limit_mw=np.full(STEPS, 2.0),
        fcr_energy_h=0.25,
        afrr_energy_h=1.0,
        recharge_factor=1.25,
        reserve_shortfall_eur_mwh_h=500.0,
        undelivered_eur_mwh=1000.0,
        tariff=Tariff(fees, fees, 0.0, 0.0, 0.0),
        intraday_liquidity_mw=3.0,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def prices() -> Prices:
    return Prices(
        day_ahead_eur_mwh=np.array([100.0, -20.0, 0.0, 30.0]),
        intraday_eur_mwh=np.array([10.0, 10.0, -10.0, 0.0]),
        half_spread_eur_mwh=2.0,
        fcr_eur_mw=np.array([50.0]),
        afrr_up_eur_mw_h=np.array([5.0]),
        afrr_down_eur_mw_h=np.array([7.0]),
        activation_up_eur_mwh=np.array([200.0, 100.0, -50.0, 0.0]),
        activation_down_eur_mwh=np.array([-10.0, 40.0, 40.0, 40.0]),
        activation_up_frac=np.array([0.5, 0.0, 1.0, 0.0]),
        activation_down_frac=np.array([0.4, 1.0, 0.0, 0.0]),
    )


def test_ceilings_are_power_times_hours_times_prices() -> None:
    most = ceilings_eur(prices(), terms(), trade_limit_mw=2.0)
    assert most["day_ahead"] == pytest.approx(2.0 * 150)
    assert most["intraday"] == pytest.approx(3.0 * 30)
    assert most["fcr_capacity"] == pytest.approx(2.0 * 50)
    assert most["afrr_up_capacity"] == pytest.approx(2.0 * 4 * 5)
    assert most["afrr_down_capacity"] == pytest.approx(1.5 * 4 * 7)
    assert most["activation_up"] == pytest.approx(2.0 * 0.5 * 200)
    assert most["activation_down"] == pytest.approx(1.5 * 0.4 * 10)
    assert "imbalance" not in most and "levy" not in most


def test_a_breach_is_told_and_rounding_is_none() -> None:
    most = ceilings_eur(prices(), terms(), trade_limit_mw=2.0)
    assert breaches({"day_ahead": 300.0, "import_fee": -5.0, "capacity_fee": 0.0}, most) == []
    assert breaches({"day_ahead": 300.0 * (1 + 1e-9)}, most) == []
    (told,) = breaches({"day_ahead": 301.0, "intraday": 1.0}, most)
    assert "day_ahead: 301.00 EUR, at most 300.00" in told
    assert breaches({"undelivered_penalty": 1.0}, most)  # a penalty that pays is a defect


def test_the_band_is_per_megawatt_and_month() -> None:
    low, high = BAND_EUR_MW_MONTH
    assert band_check(2 * low * 1.01, 2.0, MONTH_H).verdict == "within the published band"
    assert band_check(2 * low * 0.99, 2.0, MONTH_H).verdict == "below the published band"
    above = band_check(2 * high * 1.01 / 30.4375, 2.0, 24.0)
    assert above.eur_mw_month == pytest.approx(high * 1.01)
    assert above.verdict.startswith("ABOVE")


def test_months_hold_every_line_of_the_cash_once() -> None:
    lines = [line for held in PRODUCTS.values() for line in held]
    assert len(set(lines)) == len(lines)
    days = pd.DataFrame({"day": ["2024-04-29", "2024-04-30", "2024-05-01"], "hours": 24.0})
    for k, line in enumerate(lines):
        days[f"cash_{line}"] = [10.0 * k, 20.0, -5.0]
    found = monthly_products(days, power_mw=2.0)
    assert list(found["month"]) == ["2024-04", "2024-05"] and list(found["days"]) == [2, 1]
    april = days.iloc[:2].filter(like="cash_").to_numpy().sum()
    assert found["revenue"].iloc[0] == pytest.approx(april / 2.0 / 48 * MONTH_H)
    assert found["FCR"].iloc[1] == pytest.approx(-5.0 / 2.0 / 24 * MONTH_H)
