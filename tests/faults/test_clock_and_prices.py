"""Days of unusual length and prices at the legal limit are decided, not only read."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import stochbess as sb
from stochbess.errors import ConfigError
from stochbess.run import Run
from stochbess.timegrid import Horizon
from tests.test_market_check import day_ahead, write_market

# One market, one future, no integers: a decision takes a tenth of a second.
DAY_AHEAD_ONLY = (
    "scenarios.source=realised",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "markets.intraday.enabled=false",
    "terminal.mode=equal_start",
    "solver.threads=1",
)


def decided(*overrides: str) -> Run:
    return sb.solve(
        None, "deterministic", overrides=[*DAY_AHEAD_ONLY, *overrides], worth=False, store=False
    )


def number(run: Run, name: str) -> float:
    value = run.fact(name).value
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "Europe/Vienna", "Europe/London"])
@pytest.mark.parametrize(("day", "steps"), [(date(2025, 3, 30), 92), (date(2025, 10, 26), 100)])
def test_clock_changes_leave_every_quarter_hour_once(timezone: str, day: date, steps: int) -> None:
    horizon = Horizon(day, 1, timezone, 15, 60)
    assert len(horizon.steps) == steps and horizon.steps.is_unique
    assert set(horizon.steps.to_series().diff().dropna()) == {pd.Timedelta(minutes=15)}
    local = horizon.steps.tz_convert(timezone)
    assert set(local.date) == {day}
    assert local.tz_convert("UTC").equals(horizon.steps)
    assert horizon.block_hours.sum() == steps / 4
    assert sorted(set(horizon.block_hours)) == ([3.0, 4.0] if steps == 92 else [4.0, 5.0])


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ("2024-03-31", 23),
        ("2024-10-27", 25),
        ("2024-02-29", 24),
        ("2023-12-31", 24),
        ("2024-01-01", 24),
    ],
)
def test_a_delivery_day_of_any_length_is_decided(day: str, hours: int) -> None:
    run = decided(f"market.day={day}")
    starts = pd.DatetimeIndex(run.schedule["delivery_start_utc"])
    assert len(starts) == hours == len(run.bids) and starts.is_unique
    assert np.isfinite(number(run, "profit")) and number(run, "profit") > 0
    assert number(run, "certificate") <= 1e-6


def test_the_horizon_is_never_empty_and_one_market_time_unit_is_no_horizon() -> None:
    with pytest.raises(ValueError, match="at least one delivery day"):
        Horizon(date(2024, 6, 26), 0, "Europe/Berlin", 15, 60)
    with pytest.raises(ConfigError, match=r"market\.n_days"):
        decided("market.n_days=0")


def test_a_day_at_the_lowest_legal_price_is_decided_without_loops(tmp_path: Path) -> None:
    """Six hours pay 500 EUR for taking energy: the temptation to burn it is greatest here."""
    prices = day_ahead()
    prices.iloc[30:36] = -500.0
    home = write_market(tmp_path, {"day_ahead": prices})
    run = decided(f"market.data_dir={home}", "market.day=2024-06-15")
    charge = run.schedule["charge_mw"].to_numpy()
    discharge = run.schedule["discharge_mw"].to_numpy()
    assert np.minimum(charge, discharge).max() <= 1e-6
    burnt = charge[6:12] * 0.95 - discharge[6:12] / 0.95
    assert burnt.sum() <= 4.472 + 1e-6 and charge[6:12].sum() > discharge[6:12].sum()
    assert number(run, "profit") <= number(run, "profit_bound") + 1e-6
