"""What was known at a gate, arranged as a table of delivery days.

Row r is the local day `first_day + r`; the first delivery day of the horizon is row `target`. A
value that was not known is NaN; the market is cut with `as_of` before it comes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.scenario_gen.realised import Source, on_labels, source_of
from stochbess.scenario_gen.series import Array, label_minutes, labels_of
from stochbess.timegrid import Horizon

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

DAY_AHEAD = "day_ahead_eur_mwh"  # every zone has it: the level of prices is measured on it


@dataclass(frozen=True)
class DayHistory:
    """Known values by day.

    Attributes
    ----------
    view : market data cut at the gate
    horizon : delivery days to generate for
    first_day : local day of row 0; not after the first delivery day
    sources : where each needed series comes from, cut at the gate
    """

    view: MarketData
    horizon: Horizon
    first_day: date
    sources: dict[str, Source]

    @property
    def target(self) -> int:
        return (self.horizon.first_day - self.first_day).days

    def day(self, row: int) -> date:
        return self.first_day + timedelta(days=int(row))

    @cached_property
    def span(self) -> Horizon:
        """Every day from row 0 to the last of the horizon, in the steps of the horizon."""
        h = self.horizon
        n_days = self.target + h.n_days
        return Horizon(self.first_day, n_days, h.timezone, h.step_min, h.day_ahead_min)

    @cached_property
    def ordinary(self) -> Flags:
        """Days of 24 hours, shape (days,)."""
        steps = np.bincount(self.span.day_of_step)
        return np.asarray(steps * self.span.step_min == 24 * 60, np.bool_)

    @cached_property
    def complete(self) -> Flags:
        """Ordinary days before the target on which everything that is needed is known."""
        known = np.array(self.ordinary)
        known[self.target :] = False
        for series in dict.fromkeys((*self.sources, DAY_AHEAD)):
            known &= self.full(series)
        return known

    def source(self, series: str) -> Source:
        return self.sources.get(series) or source_of(series, self.view, self.horizon)

    def flat(self, series: str) -> Array:
        """Known values on every label of `span`."""
        if series not in self._read:
            labels, minutes = labels_of(self.span, series), label_minutes(series, self.span)
            self._read[series] = on_labels(self.source(series), labels, minutes, self.span.timezone)
        return self._read[series]

    def table(self, series: str) -> Array:
        """Known values, shape (days, wall-clock slots); NaN on days of 23 or 25 hours."""
        labels, minutes = labels_of(self.span, series), label_minutes(series, self.span)
        day, slot = day_and_slot(labels, minutes, self.span)
        table = np.full((len(self.ordinary), 24 * 60 // minutes), np.nan)
        keep = self.ordinary[day]
        table[day[keep], slot[keep]] = self.flat(series)[keep]
        return table

    def full(self, series: str) -> Flags:
        """Ordinary days on which every value of `series` is known, shape (days,)."""
        return np.asarray(np.isfinite(self.table(series)).all(axis=1), np.bool_)

    def on_horizon(self, series: str, starts: Ints) -> Array:
        """Wall-clock values of the runs of days from `starts`, shape (starts, horizon labels).

        On a clock-change target the skipped hour is dropped and the repeated one repeated.
        """
        labels = labels_of(self.horizon, series)
        day, slot = day_and_slot(labels, label_minutes(series, self.horizon), self.horizon)
        return np.asarray(self.table(series)[starts[:, None] + day, slot], np.float64)

    def known(self, series: str) -> Array:
        """Values of the horizon itself that are known at the gate, shape (labels,)."""
        return self.flat(series)[-len(labels_of(self.horizon, series)) :]

    def day_mean(self, series: str, power: int = 1) -> Array:
        """Mean of value**power per complete day (also of 23 or 25 hours), shape (days,)."""
        labels, minutes = labels_of(self.span, series), label_minutes(series, self.span)
        day, _ = day_and_slot(labels, minutes, self.span)
        return mean_by_day(self.flat(series) ** power, day, len(self.ordinary))

    @cached_property
    def _read(self) -> dict[str, Array]:
        return {}


def day_and_slot(labels: pd.DatetimeIndex, minutes: int, span: Horizon) -> tuple[Ints, Ints]:
    """Row of the local day in `span`, and wall-clock slot within the day, of every label."""
    local = labels.tz_convert(span.timezone)
    day = (local.tz_localize(None).normalize() - pd.Timestamp(span.first_day)).days
    slot = (local.hour * 60 + local.minute) // minutes
    return np.asarray(day, np.int64), np.asarray(slot, np.int64)


def mean_by_day(values: Array, day: Ints, n_days: int) -> Array:
    """Mean of the values of each day; NaN if one of them is NaN, shape (n_days,)."""
    total = np.bincount(day, weights=values, minlength=n_days)
    return np.asarray(total / np.bincount(day, minlength=n_days), np.float64)


def forecast_means(history: DayHistory) -> dict[str, Array]:
    """Daily means of the known forecasts of wind, solar and load [MW]; each shape (days,)."""
    series = history.view.series.get("fundamentals")
    if series is None:
        return {}
    span = history.span
    hours = Horizon(span.first_day, span.n_days, span.timezone, 60, 60).steps
    day, _ = day_and_slot(hours, 60, span)
    means = {}
    for label in ("wind", "solar", "load"):
        names = [c for c in sorted(series.columns) if c.startswith(label)]
        names = [c for c in names if c.endswith("_forecast_mw")]
        if names:
            known = [history.view.column("fundamentals", c).reindex(hours) for c in names]
            total = np.sum([k.to_numpy(np.float64) for k in known], axis=0)
            means[label] = mean_by_day(total, day, span.n_days)
    return means


def lag_days(value: Array, target: int) -> int:
    """Days from the latest known day to the target; 0 when the target day itself is known."""
    known = np.flatnonzero(np.isfinite(value[: target + 1]))
    return target - int(known[-1]) if len(known) else 0


def lagged(value: Array, lag: int, target: int) -> Array:
    """`value` of `lag` days before each day up to the target, shape (target + 1,)."""
    return np.concatenate([np.full(lag, np.nan), value])[: target + 1]


def latest_level(day_mean: Array, target: int, n_days: int) -> Array:
    """Mean of the latest `n_days` known days as seen from each day, shape (target + 1,).

    Every day sees as far as the target does: its values end as many days before it as the known
    ones end before the target.
    """
    latest = lagged(day_mean, lag_days(day_mean, target), target)
    window = np.stack([lagged(latest, k, target) for k in range(n_days)])
    count = np.isfinite(window).sum(axis=0)
    total = np.nansum(window, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
