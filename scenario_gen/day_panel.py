"""Delivery days as rows of a table: what a price model reads of a market cut at a gate.

Row r is the local day `first_day + r`, the last row the target day. Columns are the 24 hours of the
local wall clock (or its 96 quarter hours). On the day of 23 hours the skipped hour is the mean of
its neighbours, on the day of 25 hours the repeated one the mean of its two occurrences; `on_day`
goes back to the 23 or 25 hours that the day has. A value that was not known is NaN.

LOOK-AHEAD: the panel is made of a view, ``market.as_of(gate)``. Every table says how many days
before the target its latest complete day lies (`lag_days`), and models look at past days through
the same lag: the row of a past day then holds what was known at that day's own gate.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import NotEnoughHistoryError
from stochbess.scenario_gen.day_history import day_and_slot
from stochbess.scenario_gen.public_holidays import holidays
from stochbess.scenario_gen.realised import Source, on_labels
from stochbess.timegrid import Horizon

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOURS = 24
SUNDAY = 6
YEARS_BACK = 2
# Published before the auction clears, or made of the weather alone. The forecast of *total*
# generation is left out on purpose: it is made of schedules, which follow the auction.
FORECASTS = {
    "solar": ("solar_forecast_mw",),
    "wind": ("wind_onshore_forecast_mw", "wind_offshore_forecast_mw"),
}
LOAD = "load_mw"


@dataclass(frozen=True)
class DayPanel:
    """Tables of local days by hour, all of the same rows.

    Attributes
    ----------
    zone, timezone : of the view
    first_day, target_day : local days of the first and the last row
    price_eur_mwh : day-ahead price, shape (days, 24); NaN where not known
    forecast_mw : ``solar`` and ``wind``, where the zone has them, each (days, 24)
    load_mw : realised load (days, 24), or None
    """

    zone: str
    timezone: str
    first_day: date
    target_day: date
    price_eur_mwh: Array
    forecast_mw: dict[str, Array]
    load_mw: Array | None

    @property
    def target(self) -> int:
        """Row of the target day."""
        return len(self.price_eur_mwh) - 1

    def row(self, day: date) -> int:
        return (day - self.first_day).days

    def day(self, row: int) -> date:
        return self.first_day + timedelta(days=int(row))

    @cached_property
    def day_type(self) -> Ints:
        """0 Monday to 6 Sunday for every row; a public holiday counts as a Sunday."""
        days = [self.day(row) for row in range(len(self.price_eur_mwh))]
        free = holidays(self.zone, range(days[0].year, days[-1].year + 1))
        return np.array([SUNDAY if d in free else d.weekday() for d in days], np.int64)

    def sha256(self, until: int, lags: tuple[int, int, int]) -> str:
        """Hash of what rows up to `until` may look at: price, forecasts, load by their lags."""
        digest = hashlib.sha256(f"{self.zone} {self.first_day}".encode())
        tables = [
            (self.price_eur_mwh, lags[0]),
            *((self.forecast_mw[name], lags[1]) for name in sorted(self.forecast_mw)),
            *([] if self.load_mw is None else [(self.load_mw, lags[2])]),
        ]
        for table, lag in tables:
            digest.update(np.ascontiguousarray(table[: max(until - lag + 1, 0)]).tobytes())
        return digest.hexdigest()


def day_panel(view: MarketData, target_day: date, first_day: date | None = None) -> DayPanel:
    """The tables of `view` up to `target_day`.

    Parameters
    ----------
    view : market data already cut with ``as_of`` at the gate of the decision
    target_day : local delivery day; its own price is in the table if it was known at the gate
    first_day : first row; by default the day of the first day-ahead price, but not before the
        January of two years ago

    Raises
    ------
    NotEnoughHistoryError : no day-ahead price of a day before `target_day` was known
    """
    index = pd.DatetimeIndex(view.column("day_ahead", "price_eur_mwh").index)
    first = index[0].tz_convert(view.timezone).date() if len(index) else target_day
    if first >= target_day:
        raise NotEnoughHistoryError(
            f"zone {view.zone}: no day-ahead price of a day before {target_day} was known at the "
            "gate. Choose a later delivery day, or import earlier data."
        )
    first = first_day or max(first, date(target_day.year - YEARS_BACK, 1, 1))

    def table(stem: str, column: str) -> Array:
        return wall_clock_table(view, stem, column, first, target_day)

    series = view.series.get("fundamentals")
    columns = series.columns if series else ()
    forecasts = {}
    for name, parts in FORECASTS.items():
        found = [part for part in parts if part in columns]
        if found:
            forecasts[name] = np.sum([table("fundamentals", part) for part in found], axis=0)
    return DayPanel(
        view.zone,
        view.timezone,
        first,
        target_day,
        table("day_ahead", "price_eur_mwh"),
        forecasts,
        table("fundamentals", LOAD) if LOAD in columns else None,
    )


def wall_clock_table(
    view: MarketData, stem: str, column: str, first_day: date, last_day: date, minutes: int = 60
) -> Array:
    """Known values of one column by local day and wall-clock slot, shape (days, 1440 / minutes).

    Finer values are averaged over the slot, coarser ones held. NaN unless all of a slot is known.
    """
    n_days = (last_day - first_day).days + 1
    span = Horizon(first_day, n_days, view.timezone, minutes, minutes)
    labels = span.steps
    values = on_labels(Source(view, stem, column), labels, minutes, view.timezone)
    day, slot = day_and_slot(labels, minutes, span)
    total = np.zeros((n_days, 24 * 60 // minutes))
    count = np.zeros_like(total)
    np.add.at(total, (day, slot), values)
    np.add.at(count, (day, slot), 1.0)
    table = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    for row in np.flatnonzero((count == 0).any(axis=1)):
        table[row] = _bridged(table[row], count[row] == 0)
    return table


def _bridged(values: Array, skipped: npt.NDArray[np.bool_]) -> Array:
    """Slots that the clock skipped, interpolated between the ones before and after."""
    at = np.flatnonzero(skipped)
    before, after = int(at[0]) - 1, int(at[-1]) + 1
    if before < 0 or after >= len(values):
        return values
    filled = values.copy()
    filled[at] = np.interp(at, [before, after], values[[before, after]])
    return filled


def on_day(values: Array, day: date, timezone: str) -> Array:
    """Wall-clock values (..., slots) on the labels that `day` has, shape (..., labels).

    On the day of 23 hours the skipped hour is dropped, on that of 25 hours the repeated one is
    repeated.
    """
    minutes = 24 * 60 // values.shape[-1]
    span = Horizon(day, 1, timezone, minutes, minutes)
    _, slot = day_and_slot(span.steps, minutes, span)
    return np.asarray(values[..., slot], np.float64)


def to_wall_clock(values: Array, day: date, timezone: str) -> Array:
    """Values on the labels of a day (n, 23 to 25) as the 24 hours of the wall clock.

    The inverse of `on_day`: the skipped hour is bridged, of a repeated one the mean is taken.
    """
    span = Horizon(day, 1, timezone, 60, 60)
    _, hour = day_and_slot(span.steps, 60, span)
    count = np.bincount(hour, minlength=HOURS)
    found = np.zeros((len(values), HOURS))
    np.add.at(found.T, hour, values.T)
    found /= np.maximum(count, 1)
    return np.array([_bridged(row, count == 0) for row in found]) if (count == 0).any() else found


def complete(table: Array) -> npt.NDArray[np.bool_]:
    """Rows without NaN, shape (days,)."""
    return np.asarray(np.isfinite(table).all(axis=1), np.bool_)


def lag_days(table: Array, at_least: int = 0) -> int | None:
    """Days from the last row back to the latest complete one, at least `at_least`; None if none."""
    rows = np.flatnonzero(complete(table[: len(table) - at_least]))
    return len(table) - 1 - int(rows[-1]) if len(rows) else None


def lagged(table: Array, days: int) -> Array:
    """`table` of `days` days before each row, of the same shape; NaN where there is none."""
    if days == 0:
        return table
    gap = np.full((min(days, len(table)), *table.shape[1:]), np.nan)
    return np.concatenate([gap, table])[: len(table)]


def block_table(view: MarketData, stem: str, column: str, first_day: date, last_day: date) -> Array:
    """Known values of a capacity price by local day and 4-h block, shape (days, 6)."""
    span = Horizon(first_day, (last_day - first_day).days + 1, view.timezone, 60, 60)
    known = view.column(stem, column).reindex(span.block_starts)
    return known.to_numpy(np.float64).reshape(span.n_days, -1)
