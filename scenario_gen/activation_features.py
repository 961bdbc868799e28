"""What is known of a quarter hour when its activation is predicted.

A row is one quarter hour, with its own *gate*: the instant at which the prediction is made. Every
value that enters the row must have become known strictly before that gate, also in the rows of the
past on which a model is fitted. So the rows of the past are as ignorant as the row that is
predicted, whatever the publication times of a zone are, and no lag is written down anywhere.

Every source but the day-ahead price and the volumes themselves may be absent; `Features.sources`
says what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import DataError
from stochbess.timegrid import gate_utc

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUARTER_HOUR = pd.Timedelta(minutes=15)
REACH = pd.Timedelta(hours=12)  # beyond the last row; no feature looks further ahead of its row
LEAD_MIN = 25  # aFRR energy bids close 25 min before the quarter hour (regelleistung.net)
DAY_QH, WEEK_QH = 96, 672
DIRECTIONS = ("up", "down")
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class GateRule:
    """When a quarter hour is predicted.

    Attributes
    ----------
    local : gate such as ``D-1 12:00`` (local time, D the delivery day), or None
    lead_min : minutes before the start of the quarter hour, where `local` is None
    """

    local: str | None = None
    lead_min: int = LEAD_MIN

    def gates(self, steps: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
        """Gate of each quarter hour, UTC."""
        if self.local is None:
            return pd.DatetimeIndex(steps - pd.Timedelta(minutes=self.lead_min))
        days = np.asarray(steps.tz_convert(timezone).date)
        unique, row = np.unique(days, return_inverse=True)
        found = [gate_utc(self.local, day, timezone) for day in unique]
        return pd.DatetimeIndex(found, tz="UTC").as_unit("us")[row]

    def __str__(self) -> str:
        return f"{self.local} local" if self.local else f"{self.lead_min} min before"


@dataclass(frozen=True)
class Features:
    """Rows of known values.

    Attributes
    ----------
    steps : quarter hours, UTC starts, length n
    x : shape (n, len(names)); NaN where a value was not known at the gate of the row
    names : of the columns
    sources : series that were used, and those that the zone lacks
    """

    steps: pd.DatetimeIndex
    x: Array
    names: tuple[str, ...]
    sources: str

    def column(self, name: str) -> Array:
        return np.asarray(self.x[:, self.names.index(name)], np.float64)


class FeatureGrid:
    """The known values of a view on one grid of quarter hours, and what a gate sees of them."""

    def __init__(self, view: MarketData, until: pd.Timestamp) -> None:
        volumes = pd.DatetimeIndex(view.column("afrr_activation", "up_mw").index)
        if len(volumes) == 0:
            raise DataError(
                f"zone {view.zone}: no activated volume was known at the gate. Choose a later "
                "gate, import earlier volumes, or take the shape of another zone."
            )
        self.view = view
        first = volumes[0] - pd.Timedelta(days=8)
        last = max(until, volumes[-1]) + REACH
        self.index = pd.date_range(first, last, freq=QUARTER_HOUR, unit="us")
        self._held: dict[tuple[str, str], tuple[Array, Ints]] = {}

    def has(self, stem: str, column: str) -> bool:
        series = self.view.series.get(stem)
        return series is not None and column in series.columns

    def values(self, stem: str, column: str) -> tuple[Array, Ints]:
        """Value and instant of publication [us] on the grid; hours and blocks are held."""
        key = (stem, column)
        if key not in self._held:
            known = self.view.column(stem, column)
            since = self.view.known_since(stem, column)
            start = pd.DatetimeIndex(known.index)
            end = self.view.series[stem].end_utc(column)
            row = start.searchsorted(self.index, side="right") - 1
            inside = row >= 0
            if len(start):
                inside &= np.asarray(self.index < end[np.maximum(row, 0)])
                row = np.where(inside, row, 0)
                value = np.where(inside, known.to_numpy(np.float64)[row], np.nan)
                since_us = pd.DatetimeIndex(since).as_unit("us").asi8
                when = np.where(inside, since_us[row], _NEVER)
            else:
                value = np.full(len(self.index), np.nan)
                when = np.full(len(self.index), _NEVER)
            self._held[key] = (value, when)
        return self._held[key]


@dataclass(frozen=True)
class Rows:
    """Rows on a grid, each with its gate; reads values as the gate of the row sees them."""

    grid: FeatureGrid
    position: Ints
    gate_us: Ints

    def at(self, stem: str, column: str, offset: int = 0) -> Array:
        """Value `offset` quarter hours after the row's own; NaN if unknown at its gate."""
        return self.at_position(stem, column, self.position + offset)

    def latest(self, stem: str, column: str) -> Ints:
        """Grid position of the latest value that the gate of each row sees; -1 for none."""
        _, when = self.grid.values(stem, column)
        held = np.flatnonzero(when < _NEVER)
        # Publication follows delivery for a realised series, so the instants are sorted.
        seen = np.searchsorted(when[held], self.gate_us, side="left") - 1
        return np.where(seen >= 0, held[np.maximum(seen, 0)], -1).astype(np.int64)

    def back(self, stem: str, column: str, steps: int) -> Array:
        """Value `steps` quarter hours before the latest one that the gate sees."""
        return self.at_position(stem, column, self.latest(stem, column) - steps)

    def at_position(self, stem: str, column: str, place: Ints) -> Array:
        """Value at a position of the grid for each row; NaN if unknown at the gate of the row."""
        value, when = self.grid.values(stem, column)
        inside = (place >= 0) & (place < len(value))
        place = np.where(inside, place, 0)
        return np.where(inside & (when[place] < self.gate_us), value[place], np.nan)

    def mean(self, stem: str, column: str, window: int, f: Callable[[Array], Array]) -> Array:
        """Mean of f(value) over the last `window` quarter hours that the gate sees."""
        value, _ = self.grid.values(stem, column)
        finite = np.isfinite(value)
        total = np.concatenate([[0.0], np.cumsum(np.where(finite, f(np.nan_to_num(value)), 0.0))])
        count = np.concatenate([[0], np.cumsum(finite)])
        end = self.latest(stem, column) + 1
        begin = np.maximum(end - window, 0)
        n = count[end] - count[begin]
        enough = (end > 0) & (n >= window // 2) & (n > 0)
        return np.where(enough, (total[end] - total[begin]) / np.maximum(n, 1), np.nan)

    @cached_property
    def steps(self) -> pd.DatetimeIndex:
        return self.grid.index[self.position]


def build_features(view: MarketData, steps: pd.DatetimeIndex, rule: GateRule) -> Features:
    """Rows for the quarter hours `steps`, each as ignorant as its own gate under `rule`.

    Parameters
    ----------
    view : market data cut at the gate of the decision; nothing else is looked at
    steps : UTC starts of quarter hours, ascending

    Raises
    ------
    DataError : the zone has no volumes, or none was known
    """
    grid = FeatureGrid(view, steps[-1])
    position = np.asarray(grid.index.get_indexer(steps), np.int64)
    gate_us = rule.gates(steps, view.timezone).as_unit("us").asi8
    rows = Rows(grid, position, gate_us)
    columns: dict[str, Array] = {}
    used, lacking = [], []
    for source, needed, build in _SOURCES:
        if all(grid.has(*name) for name in needed):
            columns |= build(rows)
            used.append(source)
        else:
            lacking.append(source)
    text = f"used: {', '.join(used)}" + (f"; absent: {', '.join(lacking)}" if lacking else "")
    x = np.column_stack(list(columns.values()))
    return Features(steps, x, tuple(columns), text)


def quarter_hour_of_day(steps: pd.DatetimeIndex, timezone: str) -> Ints:
    """Local wall-clock quarter hour 0..95, shape (n,)."""
    local = steps.tz_convert(timezone)
    return np.asarray(local.hour * 4 + local.minute // 15, np.int64)


def is_weekend(steps: pd.DatetimeIndex, timezone: str) -> Ints:
    """1 on Saturday and Sunday, shape (n,)."""
    return np.asarray(steps.tz_convert(timezone).day_of_week >= 5, np.int64)


def local_day_steps(day: date, timezone: str) -> pd.DatetimeIndex:
    """The 92, 96 or 100 quarter hours of a local delivery day."""
    first = gate_utc("D 00:00", day, timezone)
    last = gate_utc("D 00:00", day + timedelta(days=1), timezone)
    return pd.date_range(first, last, freq=QUARTER_HOUR, inclusive="left", unit="us")


def _calendar(rows: Rows) -> dict[str, Array]:
    local = rows.steps.tz_convert(rows.grid.view.timezone)
    hour = np.asarray(local.hour + local.minute / 60, np.float64)
    return {
        "hour": hour,
        "quarter": np.asarray(local.minute // 15, np.float64),
        "weekday": np.asarray(local.day_of_week, np.float64),
        "hour_cos": np.cos(2 * np.pi * hour / 24),
        "hour_sin": np.sin(2 * np.pi * hour / 24),
        "weekend": np.asarray(local.day_of_week >= 5, np.float64),
    }


def _day_ahead(rows: Rows) -> dict[str, Array]:
    name = ("day_ahead", "price_eur_mwh")
    now = rows.at(*name)
    before, after = rows.at(*name, -4), rows.at(*name, 4)
    return {
        "day_ahead": now,
        "day_ahead_rise": now - before,
        "day_ahead_next": after - now,
        "day_ahead_above_12h": now - _around(rows, name, range(-24, 25, 4)),
    }


def _intraday(rows: Rows) -> dict[str, Array]:
    name = ("intraday_auction", "price_eur_mwh")
    now, day_ahead = rows.at(*name), rows.at("day_ahead", "price_eur_mwh")
    return {
        "intraday": now,
        "intraday_spread": now - day_ahead,
        "intraday_rise": now - rows.at(*name, -1),
        "intraday_next": rows.at(*name, 1) - now,
        "intraday_in_2h": now - _around(rows, name, range(-4, 5)),
    }


def _around(rows: Rows, name: tuple[str, str], offsets: range) -> Array:
    """Mean of the known values at `offsets` from the row."""
    total, count = np.zeros(len(rows.position)), np.zeros(len(rows.position))
    for k in offsets:  # one by one: the order of a sum must not depend on the number of rows
        value = rows.at(*name, k)
        known = np.isfinite(value)
        total += np.where(known, value, 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _solar(rows: Rows) -> dict[str, Array]:
    return _forecast(rows, "solar_forecast_mw", "solar")


def _wind(rows: Rows) -> dict[str, Array]:
    return _forecast(rows, "wind_onshore_forecast_mw", "wind")


def _offshore(rows: Rows) -> dict[str, Array]:
    return _forecast(rows, "wind_offshore_forecast_mw", "offshore")


def _forecast(rows: Rows, column: str, label: str) -> dict[str, Array]:
    now = rows.at("fundamentals", column)
    change = rows.at("fundamentals", column, 4) - rows.at("fundamentals", column, -4)
    return {f"{label}_forecast": now, f"{label}_change": change}


def _load(rows: Rows) -> dict[str, Array]:
    name = ("fundamentals", "load_mw")
    return {
        "load_week_ago": rows.at(*name, -WEEK_QH),
        "load_change_week_ago": rows.at(*name, 4 - WEEK_QH) - rows.at(*name, -4 - WEEK_QH),
        "load_over_week_ago": rows.back(*name, 0) - rows.back(*name, WEEK_QH),
    }


def _temperature(rows: Rows) -> dict[str, Array]:
    return {"temperature": rows.back("fundamentals", "temperature_degc", 0)}


def _realised_solar(rows: Rows) -> dict[str, Array]:
    return _surprise(rows, "solar_mw", "solar_forecast_mw", "solar")


def _realised_wind(rows: Rows) -> dict[str, Array]:
    return _surprise(rows, "wind_onshore_mw", "wind_onshore_forecast_mw", "wind")


def _surprise(rows: Rows, realised: str, forecast: str, label: str) -> dict[str, Array]:
    """Realised less forecast at the latest quarter hour that is known, and its change."""
    name = ("realised_15min", realised)
    now = rows.back(*name, 0)
    predicted = rows.at_position("fundamentals", forecast, rows.latest(*name))
    return {f"{label}_error": now - predicted, f"{label}_recent_change": now - rows.back(*name, 3)}


def _realised_load(rows: Rows) -> dict[str, Array]:
    name = ("realised_15min", "load_mw")
    return {
        "load_recent_change": rows.back(*name, 0) - rows.back(*name, 3),
        "load_recent_over_week_ago": rows.back(*name, 0) - rows.back(*name, WEEK_QH),
    }


def _capacity(rows: Rows) -> dict[str, Array]:
    return {f"capacity_{d}": rows.at("afrr_capacity", f"{d}_eur_mw_h") for d in DIRECTIONS}


def _energy_price(rows: Rows) -> dict[str, Array]:
    found = {}
    for d in DIRECTIONS:
        name = ("afrr_energy", f"{d}_eur_mwh")
        level = rows.at_position("day_ahead", "price_eur_mwh", rows.latest(*name))
        found[f"energy_{d}"] = rows.back(*name, 0)
        found[f"energy_{d}_over_day_ahead"] = rows.back(*name, 0) - level
        found[f"energy_{d}_before"] = rows.back(*name, 1)
        found[f"energy_{d}_1h"] = rows.mean(*name, 4, lambda v: v)
    return found


def _volumes(rows: Rows) -> dict[str, Array]:
    found = {}
    for d in DIRECTIONS:
        name = ("afrr_activation", f"{d}_mw")
        for k in range(4):
            found[f"volume_{d}_{k}"] = rows.back(*name, k)
        for label, window in (("1h", 4), ("4h", 16), ("1d", 96), ("7d", 672), ("28d", 2688)):
            found[f"volume_{d}_{label}"] = rows.mean(*name, window, lambda v: v)
        found[f"called_{d}_7d"] = rows.mean(*name, WEEK_QH, lambda v: (v > 5.0).astype(float))
        yesterday = rows.at(*name, -DAY_QH)
        before = rows.at(*name, -2 * DAY_QH)
        found[f"volume_{d}_day_ago"] = np.where(np.isnan(yesterday), before, yesterday)
    found["net_latest"] = found["volume_up_0"] - found["volume_down_0"]
    found["net_1h"] = found["volume_up_1h"] - found["volume_down_1h"]
    return found


_F, _R = "fundamentals", "realised_15min"
_SOURCES: tuple[
    tuple[str, tuple[tuple[str, str], ...], Callable[[Rows], dict[str, Array]]], ...
] = (
    ("calendar", (), _calendar),
    ("day-ahead price", (("day_ahead", "price_eur_mwh"),), _day_ahead),
    ("intraday auction", (("intraday_auction", "price_eur_mwh"),), _intraday),
    ("solar forecast", ((_F, "solar_forecast_mw"),), _solar),
    ("wind forecast", ((_F, "wind_onshore_forecast_mw"),), _wind),
    ("offshore forecast", ((_F, "wind_offshore_forecast_mw"),), _offshore),
    ("load of a week ago", ((_F, "load_mw"),), _load),
    ("temperature", ((_F, "temperature_degc"),), _temperature),
    ("realised solar", ((_R, "solar_mw"), (_F, "solar_forecast_mw")), _realised_solar),
    ("realised wind", ((_R, "wind_onshore_mw"), (_F, "wind_onshore_forecast_mw")), _realised_wind),
    ("realised load", ((_R, "load_mw"),), _realised_load),
    ("aFRR capacity price", (("afrr_capacity", "up_eur_mw_h"),), _capacity),
    ("aFRR energy price", (("afrr_energy", "up_eur_mwh"),), _energy_price),
    ("volumes", (("afrr_activation", "up_mw"), ("afrr_activation", "down_mw")), _volumes),
)
