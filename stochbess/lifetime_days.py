"""Days that stand for a year: realised day-ahead days, strata of equal size by their spread.

What a battery earns and how it wears follow the spread of a day far more than anything else. The
days of a year are put in order of their spread and cut into strata. Of each stratum one day stands
for all: of those with a spread near the mean the one whose price profile is nearest to the profiles
of the stratum. So the distribution of spreads is kept. Medoids of the whole year thin it out: with
12 days their revenue is 12 to 19 % below that of the year (docs/lifetime.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import ConfigError, DataError
from stochbess.market.data import MarketData
from stochbess.scenario_gen.distance import ground_distances

Floats = npt.NDArray[np.float64]
DAYS_OF_A_YEAR = 365.25
_NEAR_PART = 4  # one in so many days of a stratum may stand for it
_SPREAD_HOURS = 4  # hours of a day in which a battery of two hours charges, and discharges


@dataclass(frozen=True, eq=False)
class RepresentativeDays:
    """Days with the number of days of a year that each stands for.

    Attributes
    ----------
    day : local delivery days, in their order
    days_per_year : (n,) sum 365.25
    n_year : days that they were chosen from
    spread_error_frac : weighted mean spread over that of all days, less one
    """

    day: tuple[date, ...]
    days_per_year: Floats
    n_year: int
    spread_error_frac: float


def day_prices(market: MarketData, year: int | None = None) -> tuple[list[date], Floats]:
    """Day-ahead prices (D, units) of the ordinary days of `year`, or of the last 365 days.

    Days on which the clock changes, incomplete days, and days with other market time units than
    most are left out.

    Raises
    ------
    DataError : there is no such day
    """
    prices = market.column("day_ahead", "price_eur_mwh")
    local = pd.DatetimeIndex(prices.index).tz_convert(market.timezone)
    frame = pd.DataFrame({"day": local.date, "price": prices.to_numpy()})
    if year is not None:
        frame = frame[local.year == year]
    units = frame.groupby("day", sort=True)["price"].count()
    if units.empty:
        span = f"{local[0]:%Y-%m-%d} to {local[-1]:%Y-%m-%d}" if len(local) else "none"
        raise DataError(
            f"day_ahead of {market.zone}: no prices of {year}; there are {span}. Name another year."
        )
    usual = int(units.mode().iloc[0])
    days = units.index[units == usual].tolist()
    days = days if year is not None else days[-365:]
    rows = frame[frame["day"].isin(days)]["price"].to_numpy(np.float64)
    return days, rows.reshape(len(days), usual)


def spread_eur_mwh(prices: Floats) -> Floats:
    """(D,) mean of the dearest less mean of the cheapest four hours of days of 24 hours."""
    per_hour = max(1, prices.shape[1] // 24)
    k = min(_SPREAD_HOURS * per_hour, max(1, prices.shape[1] // 2))
    ordered = np.sort(prices, axis=1)
    return np.asarray(ordered[:, -k:].mean(axis=1) - ordered[:, :k].mean(axis=1), np.float64)


def representative_days(market: MarketData, n: int, year: int | None = None) -> RepresentativeDays:
    """`n` days that stand for a year; the same data give the same days.

    Raises
    ------
    ConfigError : fewer than 1 day, or more than there are
    """
    days, prices = day_prices(market, year)
    if not 1 <= n <= len(days):
        raise ConfigError(
            f"--days {n}: expected 1 to {len(days)}, the ordinary days of {market.zone}"
            f"{f' in {year}' if year else ''}."
        )
    spread = spread_eur_mwh(prices)
    order = np.lexsort((np.arange(len(days)), spread))
    shape = prices - prices.mean(axis=1, keepdims=True)
    chosen, weight = [], []
    for stratum in np.array_split(order, n):
        off = np.abs(spread[stratum] - spread[stratum].mean())
        near = stratum[np.argsort(off, kind="stable")[: max(1, len(stratum) // _NEAR_PART)]]
        distance = ground_distances(shape[stratum], shape[near]).sum(axis=0)
        chosen.append(int(near[int(distance.argmin())]))
        weight.append(len(stratum))
    at = np.argsort(chosen)
    kept = np.array(chosen)[at]
    share = np.array(weight, np.float64)[at] / len(days)
    mean = float(spread.mean())
    return RepresentativeDays(
        day=tuple(days[i] for i in kept),
        days_per_year=DAYS_OF_A_YEAR * share,
        n_year=len(days),
        spread_error_frac=float(share @ spread[kept]) / mean - 1.0 if mean > 0 else 0.0,
    )
