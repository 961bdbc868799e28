"""What the end of the day does to the year: rules for the energy left in the battery at midnight.

A battery trades at hourly day-ahead prices of one year that it knows within its horizon, and
carries its energy from day to day. Only the rule for the end of the horizon differs. The joint
solution of the whole year is the upper bound. The table of docs/adr/0004-terminal-value.md is the
output of

    python benchmarks/terminal_value.py MARKET_DATA/DE_LU 2024
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from scipy.optimize import linprog

Floats = npt.NDArray[np.float64]
Rule = Callable[[pd.Timestamp], Floats]  # values of the energy at the end of a day [EUR/MWh]
ENERGY_MWH, POWER_MW, EFFICIENCY_FRAC, CYCLING_EUR_MWH = 4.472, 2.236, 0.95, 15.0
HISTORY_DAYS = 28
N_SLICES = 4


def dispatch(
    price_eur_mwh: Floats, start_mwh: float, values_eur_mwh: Floats, end_mwh: float | None
) -> tuple[Floats, Floats]:
    """Best net sale [MW] and stored energy [MWh] by the hour; ties are the solver's.

    `values_eur_mwh` prices equal slices of the energy at the end, from empty to full; `end_mwh`
    fixes it.
    """
    n, k = len(price_eur_mwh), len(values_eur_mwh)
    # Variables: charge, discharge, energy at the hour's end, filled slices.
    cost = np.concatenate(
        [
            price_eur_mwh,
            -price_eur_mwh + CYCLING_EUR_MWH / EFFICIENCY_FRAC,
            np.zeros(n),
            -values_eur_mwh,
        ]
    )
    eye = sp.eye_array(n)
    step = eye - sp.eye_array(n, k=-1)
    balance = sp.hstack([-EFFICIENCY_FRAC * eye, eye / EFFICIENCY_FRAC, step, sp.csr_array((n, k))])
    rows, right = [balance], np.zeros(n)
    right[0] = start_mwh
    if k:
        last = sp.csr_array(([-1.0], ([0], [n - 1])), shape=(1, n))
        rows.append(sp.hstack([sp.csr_array((1, 2 * n)), last, np.ones((1, k))]))
        right = np.append(right, 0.0)
    upper = np.r_[
        np.full(2 * n, POWER_MW), np.full(n, ENERGY_MWH), np.full(k, ENERGY_MWH / max(k, 1))
    ]
    lower = np.zeros(3 * n + k)
    if end_mwh is not None:
        lower[3 * n - 1] = upper[3 * n - 1] = end_mwh
    found = linprog(
        cost, A_eq=sp.vstack(rows).tocsc(), b_eq=right, bounds=np.c_[lower, upper], method="highs"
    )
    if found.status != 0:
        raise SystemExit(f"the solver ended with: {found.message}")
    return found.x[n : 2 * n] - found.x[:n], found.x[2 * n : 3 * n]


def profit_eur(price_eur_mwh: Floats, net_mw: Floats) -> float:
    """Sales less cost of cycling."""
    discharged_mwh = np.maximum(net_mw, 0).sum() / EFFICIENCY_FRAC
    return float(price_eur_mwh @ net_mw - CYCLING_EUR_MWH * discharged_mwh)


def main(folder: Path, year: int) -> None:
    prices = pd.read_parquet(folder / "day_ahead.parquet")["price_eur_mwh"]
    zone = ZoneInfo("Europe/Berlin")
    local_days = prices.index.tz_convert(zone).normalize()
    begin = pd.Timestamp(year, 1, 1, tz=zone)
    days = [day for day in local_days.unique() if day.year == year]
    now = prices[local_days.isin(days)].to_numpy(float)

    def horizon(day: pd.Timestamp, n_days: int) -> Floats:
        last = min(day + pd.DateOffset(days=n_days - 1), days[-1])
        return prices[(local_days >= day) & (local_days <= last)].to_numpy(float)

    def quantiles(*shares: float) -> Rule:
        def values(day: pd.Timestamp) -> Floats:
            known = (local_days >= day - pd.DateOffset(days=HISTORY_DAYS)) & (local_days < day)
            return EFFICIENCY_FRAC * np.quantile(prices[known].to_numpy(float), shares)

        return values

    @cache
    def opening_profits(day: pd.Timestamp) -> Floats:
        """Profit of one known day by the energy it opens with, at the ends of the slices."""
        seen = horizon(min(day, days[-1]), 1)
        levels = np.linspace(0, ENERGY_MWH, N_SLICES + 1)
        return np.array(
            [profit_eur(seen, dispatch(seen, level, np.zeros(0), None)[0]) for level in levels]
        )

    def learned(*offsets_days: int) -> Rule:
        def values(day: pd.Timestamp) -> Floats:
            like = [opening_profits(day + pd.DateOffset(days=k)) for k in offsets_days]
            return np.diff(np.mean(like, axis=0)) / (ENERGY_MWH / N_SLICES)

        return values

    def nothing(day: pd.Timestamp) -> Floats:
        return np.zeros(0)

    half = ENERGY_MWH / 2
    rules: list[tuple[str, int, Rule, float | None]] = [
        ("end as at the start (half full)", 1, nothing, half),
        ("no value, free end", 1, nothing, None),
        ("concave, quantiles 50 40 30 20 %", 1, quantiles(0.5, 0.4, 0.3, 0.2), None),
        ("one value, quantile 35 %", 1, quantiles(0.35), None),
        ("concave, quantiles 10 5 2 1 %", 1, quantiles(0.1, 0.05, 0.02, 0.01), None),
        ("concave, from the 28 days before", 1, learned(*range(-HISTORY_DAYS, 0)), None),
        ("concave, from the next day itself", 1, learned(1), None),
        ("two days seen, no value", 2, nothing, None),
    ]
    leftover_eur_mwh = EFFICIENCY_FRAC * float(now.mean())  # what is left on the last evening
    started = time.monotonic()
    net, energy = dispatch(now, half, np.full(1, leftover_eur_mwh), None)
    bound = profit_eur(now, net) + (energy[-1] - half) * leftover_eur_mwh
    print(f"{datetime.now(UTC):%Y-%m-%d} {folder.name} {begin.year}, {len(days)} days")
    print(
        f"{'whole year at once':36s} {bound:9.0f} EUR  100.0 %  {time.monotonic() - started:6.1f} s"
    )
    for name, n_days, values, end_mwh in rules:
        started, stored, total = time.monotonic(), half, 0.0
        for day in days:
            seen = horizon(day, n_days)
            today = len(horizon(day, 1))
            net, energy = dispatch(seen, stored, values(day), end_mwh)
            total += profit_eur(seen[:today], net[:today])
            stored = float(energy[today - 1])
        total += (stored - half) * leftover_eur_mwh
        spent = time.monotonic() - started
        print(f"{name:36s} {total:9.0f} EUR  {100 * total / bound:5.1f} %  {spent:6.1f} s")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]))
