"""The one table of the market series that stochbess understands.

A *market data directory* holds one Parquet file per series, named after the series. This table says
what a series is: its columns with unit and plausible range, its native resolution, whether a zone
must have it, and which columns are published as forecasts. Nothing else in the package knows a
column name by heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.timegrid import Horizon

INDEX_NAME = "delivery_start_utc"
FIRST_QUARTER_HOUR_DAY = date(2025, 10, 1)  # first delivery day of the 15-min day-ahead unit

# Two groups of columns become known at different times; a series without forecasts has only values.
FORECAST = "forecast"
VALUE = "value"
_MICROSECONDS_PER_MIN = 60_000_000


class Resolution(StrEnum):
    """Native granularity of a series; blocks are 00-04, ..., 20-24 h local time."""

    HOUR = "hourly"
    QUARTER_HOUR = "15 min"
    BLOCK = "local 4-h block"
    DAY_AHEAD = "hourly, or 15 min for deliveries since 2025-10-01"


@dataclass(frozen=True)
class ColumnSpec:
    """One column: `low` and `high` are plausibility limits in `unit`, `limits_source` says whose.

    `group` is FORECAST or VALUE. `zeros_suspicious` marks prices whose runs of exact zeros are more
    often placeholders of unpublished values than prices.
    """

    name: str
    unit: str
    low: float
    high: float
    limits_source: str
    group: str = VALUE
    zeros_suspicious: bool = False


@dataclass(frozen=True)
class SeriesSpec:
    """One series (file stem).

    Attributes
    ----------
    unit : what the manifest must say, up to its first semicolon
    required : a zone without this series is not usable
    columns_optional : a zone may lack some of the columns, but not all
    gaps_allowed : a missing row means that the auction of that block had no result
    ex_post : values are measured, so they cannot be known before their delivery has ended
    """

    stem: str
    description: str
    unit: str
    resolution: Resolution
    columns: tuple[ColumnSpec, ...]
    required: bool = False
    columns_optional: bool = False
    gaps_allowed: bool = False
    ex_post: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of columns in the order of the table."""
        return tuple(dict.fromkeys(column.group for column in self.columns))

    def column(self, name: str) -> ColumnSpec:
        return next(column for column in self.columns if column.name == name)


_SDAC = "harmonised day-ahead limits -500/+4000 EUR/MWh (upper one can step up; unverified)"
_SIDC = "technical limits of the intraday market (unverified)"
_PICASSO = "technical limit of aFRR energy bids (unverified)"
_SANE = "plausibility: no European zone comes near"


def _mw(name: str, high: float = 200_000.0, low: float = 0.0, group: str = VALUE) -> ColumnSpec:
    return ColumnSpec(name, "MW", low, high, _SANE, group)


def _price(name: str, unit: str, limits: tuple[float, float, str], zeros: bool) -> ColumnSpec:
    return ColumnSpec(name, unit, *limits, zeros_suspicious=zeros)


_ENERGY, _BLOCK, _HOURLY = "EUR/MWh", "EUR/MW per 4-h block", "EUR/MW per hour"

_TABLE = (
    SeriesSpec(
        "day_ahead",
        "day-ahead auction price",
        _ENERGY,
        Resolution.DAY_AHEAD,
        (_price("price_eur_mwh", _ENERGY, (-500.0, 4000.0, _SDAC), True),),
        required=True,
    ),
    SeriesSpec(
        "intraday_auction",
        "15-min intraday auction price",
        _ENERGY,
        Resolution.QUARTER_HOUR,
        (_price("price_eur_mwh", _ENERGY, (-9999.0, 9999.0, _SIDC), True),),
    ),
    SeriesSpec(
        "fcr_capacity",
        "FCR capacity price, symmetric product",
        _BLOCK,
        Resolution.BLOCK,
        (_price("price_eur_mw", _BLOCK, (0.0, 20_000.0, _SANE), True),),
        gaps_allowed=True,
    ),
    SeriesSpec(
        "afrr_capacity",
        "aFRR capacity price per direction",
        _HOURLY,
        Resolution.BLOCK,
        (
            _price("up_eur_mw_h", _HOURLY, (0.0, 20_000.0, _SANE), True),
            _price("down_eur_mw_h", _HOURLY, (0.0, 20_000.0, _SANE), True),
        ),
        gaps_allowed=True,
    ),
    SeriesSpec(
        "afrr_energy",
        "aFRR energy price; up is paid to the provider, down is paid by the provider",
        _ENERGY,
        Resolution.QUARTER_HOUR,
        (
            _price("up_eur_mwh", _ENERGY, (-15_000.0, 15_000.0, _PICASSO), False),
            _price("down_eur_mwh", _ENERGY, (-15_000.0, 15_000.0, _PICASSO), False),
        ),
        ex_post=True,
    ),
    SeriesSpec(
        "afrr_activation",
        "activated aFRR of the control block, quarter-hour mean",
        "MW",
        Resolution.QUARTER_HOUR,
        (_mw("up_mw", 20_000.0), _mw("down_mw", 20_000.0)),
        ex_post=True,
    ),
    SeriesSpec(
        "fundamentals",
        "day-ahead forecasts of generation, realised load, net export and temperature",
        "MW, degC",
        Resolution.HOUR,
        (
            _mw("solar_forecast_mw", group=FORECAST),
            _mw("wind_onshore_forecast_mw", group=FORECAST),
            _mw("wind_offshore_forecast_mw", group=FORECAST),
            _mw("generation_forecast_mw", group=FORECAST),
            _mw("load_forecast_mw", group=FORECAST),
            _mw("load_mw"),
            _mw("net_export_mw", 100_000.0, -100_000.0),
            ColumnSpec("temperature_degc", "degC", -60.0, 60.0, _SANE),
        ),
        columns_optional=True,
        ex_post=True,
    ),
    SeriesSpec(
        "realised_15min",
        "realised generation and load",
        "MW",
        Resolution.QUARTER_HOUR,
        (
            _mw("solar_mw", low=-1000.0),
            _mw("wind_onshore_mw", low=-1000.0),
            _mw("wind_offshore_mw", low=-1000.0),
            _mw("load_mw"),
            _mw("residual_load_mw", low=-200_000.0),
        ),
        columns_optional=True,
        ex_post=True,
    ),
    SeriesSpec(
        "imbalance",
        "imbalance price, one price for both directions",
        _ENERGY,
        Resolution.QUARTER_HOUR,
        (_price("price_eur_mwh", _ENERGY, (-99_999.0, 99_999.0, _SANE), False),),
        ex_post=True,
    ),
)

SERIES: dict[str, SeriesSpec] = {spec.stem: spec for spec in _TABLE}


def local_days(index: pd.DatetimeIndex, timezone: str) -> npt.NDArray[Any]:
    """Local delivery day of every label, as datetime64[D]; shape (n,)."""
    return index.tz_convert(timezone).tz_localize(None).to_numpy().astype("datetime64[D]")


def row_minutes(spec: SeriesSpec, index: pd.DatetimeIndex, timezone: str) -> npt.NDArray[np.int64]:
    """Nominal length of every row [min], shape (n,); blocks count 240 also on a clock change.

    A day-ahead delivery day counts as 15-min when most of its labels are at quarters past.
    """
    if spec.resolution is not Resolution.DAY_AHEAD:
        minutes = {Resolution.HOUR: 60, Resolution.QUARTER_HOUR: 15, Resolution.BLOCK: 240}
        return np.full(len(index), minutes[spec.resolution], np.int64)
    _, day = np.unique(local_days(index, timezone), return_inverse=True)
    past = np.bincount(day, weights=np.asarray(index.minute.isin((15, 30, 45)), float))
    return np.where(2 * past > np.bincount(day), 15, 60)[day]


def row_end(spec: SeriesSpec, index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """End of every row, UTC; a block on the night of a clock change has 3 or 5 hours."""
    if index.empty:
        return index
    if spec.resolution is not Resolution.BLOCK:
        minutes = row_minutes(spec, index, timezone)
        return pd.DatetimeIndex(index + pd.to_timedelta(minutes, unit="min"))
    horizon = _horizon(index, timezone)
    edges = horizon.block_starts.append(pd.DatetimeIndex([horizon.end_utc]).as_unit("us"))
    return pd.DatetimeIndex(edges[edges.searchsorted(index, side="right")])


def row_start(spec: SeriesSpec, ends: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """Start of every row whose label marks its *end*, UTC; `ends` ascending and not empty.

    A day-ahead row is as long as the distance to the label before it: 15 or 60 min. An end that is
    no block edge stays as it is, for the check of the grid to find.
    """
    ends = ends.as_unit("us")
    if spec.resolution is Resolution.BLOCK:
        edges = _horizon(ends, timezone, days_before=1).block_starts
        starts = edges[edges.searchsorted(ends, side="left") - 1]
        return pd.DatetimeIndex(starts.where(ends.isin(edges), ends))
    if spec.resolution is Resolution.DAY_AHEAD:
        apart_min = np.diff(ends.asi8) // _MICROSECONDS_PER_MIN
        apart_min = np.concatenate((apart_min[:1], apart_min)) if len(ends) > 1 else np.array([60])
        minutes = np.where(apart_min <= 15, 15, 60)
    else:
        minutes = np.full(len(ends), 60 if spec.resolution is Resolution.HOUR else 15)
    return pd.DatetimeIndex(ends - pd.to_timedelta(minutes, unit="min"))


def _horizon(index: pd.DatetimeIndex, timezone: str, days_before: int = 0) -> Horizon:
    """The complete delivery days that hold all labels of a non-empty `index`."""
    days = local_days(index, timezone)
    first, last = days.min().astype(object), days.max().astype(object)
    first -= timedelta(days=days_before)
    return Horizon(first, (last - first).days + 1, timezone, step_min=15, day_ahead_min=60)


def expected_starts(spec: SeriesSpec, index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """Labels of complete delivery days from the day of the first label to that of the last."""
    horizon = _horizon(index, timezone)
    if spec.resolution is Resolution.BLOCK:
        return horizon.block_starts
    if spec.resolution is Resolution.HOUR:
        return horizon.day_ahead_steps
    if spec.resolution is Resolution.QUARTER_HOUR:
        return horizon.steps
    days = local_days(index, timezone)
    quarter_hour_days = np.unique(days[row_minutes(spec, index, timezone) == 15])
    fine = np.isin(local_days(horizon.steps, timezone), quarter_hour_days)
    return horizon.steps[fine | (horizon.steps.minute == 0)]
