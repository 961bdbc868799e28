"""Market data of one zone, with the time at which each value became known.

`load_market` reads a market data directory (docs/market-data.md) and refuses it when a check finds
an error. `MarketData.as_of(gate)` is the only door to the past: what a decision may look at is
decided by `known_since_utc` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import DataError
from stochbess.market.known_since import Clause, parse_known_since
from stochbess.market.schema import FORECAST, SERIES, row_end

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeriesMeta:
    """What the manifest says of a series; all texts, `known_since` in the grammar of its module."""

    product: str
    unit: str
    source: str
    known_since: str
    licence: str = ""


@dataclass(frozen=True)
class ColumnGroup:
    """Columns that become known together.

    Attributes
    ----------
    name : "forecast" or "value"
    frame : float64 columns in the units of their names, no NaN; index `delivery_start_utc`
    known_since_utc : instant at which each row became known; same index as `frame`
    """

    name: str
    frame: pd.DataFrame
    known_since_utc: pd.Series

    def as_of(self, gate: pd.Timestamp) -> ColumnGroup:
        known = (self.known_since_utc < gate).to_numpy()
        return replace(
            self, frame=self.frame.loc[known], known_since_utc=self.known_since_utc.loc[known]
        )


@dataclass(frozen=True)
class Series:
    """One series of a zone.

    Attributes
    ----------
    name : file stem, e.g. ``day_ahead``
    meta : what the manifest says
    timezone : IANA name of the zone's local time
    groups : one group of columns, or two where forecasts and realised values differ in time
    """

    name: str
    meta: SeriesMeta
    timezone: str
    groups: tuple[ColumnGroup, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(str(name) for group in self.groups for name in group.frame.columns)

    @cached_property
    def _joined(self) -> pd.DataFrame:
        frames = [group.frame for group in self.groups]
        return pd.concat(frames, axis=1, join="inner") if len(frames) > 1 else frames[0]

    @property
    def frame(self) -> pd.DataFrame:
        """All columns over the rows in which *every* column is known; no NaN.

        After `as_of` the forecasts of a series can reach further than its realised values; use
        `MarketData.column` for everything that is known of one column.
        """
        return self._joined.copy(deep=False)

    @cached_property
    def known_since_utc(self) -> pd.DataFrame:
        """Instant at which each cell of `frame` became known; same index and columns."""
        index = self._joined.index
        return pd.DataFrame(
            {
                name: group.known_since_utc.loc[index]
                for group in self.groups
                for name in group.frame.columns
            },
            index=index,
        )

    def dated(self, group: ColumnGroup, clause: Clause) -> pd.Series:
        """When each row of `group` is known under `clause`."""
        return clause.times(SERIES[self.name], pd.DatetimeIndex(group.frame.index), self.timezone)

    def group_of(self, column: str) -> ColumnGroup:
        """The group that holds `column`; DataError names the columns there are."""
        for group in self.groups:
            if column in group.frame.columns:
                return group
        raise DataError(
            f"{self.name} has no column {column!r}. It has: {', '.join(self.columns)}. "
            "Import the column or choose one of these."
        )

    def end_utc(self, column: str) -> pd.DatetimeIndex:
        """End of delivery of every row of `column`."""
        index = pd.DatetimeIndex(self.group_of(column).frame.index)
        return row_end(SERIES[self.name], index, self.timezone)


@dataclass(frozen=True)
class MarketData:
    """All series of one zone.

    Attributes
    ----------
    zone, timezone : bidding zone and IANA name of its local time
    synthetic : True when the data are made up (reference market), to be printed with every result
    sha256 : hash of identity, units, publication times and files as loaded; `as_of` keeps it
    series : by file stem; a zone may lack any of them but `day_ahead`
    assumptions : texts to be printed wherever results are, e.g. a forecast assumed known earlier
    warnings : findings of the checks that did not stop the load
    """

    zone: str
    timezone: str
    synthetic: bool
    sha256: str
    series: Mapping[str, Series]
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def column(self, series: str, column: str) -> pd.Series:
        """Every known value of one column: float64, index `delivery_start_utc`, no NaN.

        Raises
        ------
        DataError : the zone has no such series or column; the message names what there is
        """
        if series not in self.series:
            raise DataError(
                f"zone {self.zone} has no series {series!r}. It has: {', '.join(self.series)}. "
                "Import the series, or close the market that needs it (markets.*.enabled)."
            )
        return self.series[series].group_of(column).frame[column]

    def values_at(self, series: str, column: str, starts: pd.DatetimeIndex) -> FloatArray:
        """Values of one column at the interval starts `starts`, shape (len(starts),), no NaN.

        Raises
        ------
        DataError : no such column, or values missing at some of `starts`; says how many and where
        """
        values = self.column(series, column)
        missing = starts.difference(pd.DatetimeIndex(values.index))
        if len(missing):
            day = missing[0].tz_convert(self.timezone).date()
            reach = f"{values.index[0]} to {values.index[-1]}" if len(values) else "no row at all"
            raise DataError(
                f"{series}.{column} of {self.zone}: {len(missing)} of {len(starts)} values missing "
                f"(first {missing[0]:%Y-%m-%dT%H:%MZ}, local day {day}); known: {reach}. Choose "
                "another day or import data that cover it."
            )
        return values.loc[starts].to_numpy(dtype=np.float64)

    def known_since(self, series: str, column: str) -> pd.Series:
        """Instant at which each row of `column(series, column)` became known."""
        self.column(series, column)
        return self.series[series].group_of(column).known_since_utc

    def as_of(self, gate_utc: datetime) -> MarketData:
        """What was known strictly before `gate_utc`: all other rows are dropped, not blanked.

        A series of which nothing was known stays, empty.

        Raises
        ------
        ValueError : `gate_utc` is not timezone-aware
        """
        if gate_utc.tzinfo is None:
            raise ValueError(f"gate {gate_utc} has no time zone; expected an aware UTC datetime")
        gate = pd.Timestamp(gate_utc).tz_convert("UTC")
        kept = {
            name: replace(series, groups=tuple(group.as_of(gate) for group in series.groups))
            for name, series in self.series.items()
        }
        return replace(self, series=kept)

    def assume_forecasts_known(self, rule_local: str) -> MarketData:
        """Forecast columns known at e.g. ``"D-1 07:00"`` local instead of when published.

        The assumption is appended to `assumptions`; apply it before `as_of`.

        Raises
        ------
        DataError : `rule_local` is not of the form ``D-1 HH:MM``
        """
        text = f"{rule_local} local"
        clause = parse_known_since(text)[FORECAST]
        kept = dict(self.series)
        for name, series in self.series.items():
            kept[name] = replace(
                series,
                groups=tuple(
                    replace(group, known_since_utc=series.dated(group, clause))
                    if group.name == FORECAST
                    else group
                    for group in series.groups
                ),
            )
        note = f"forecasts assumed known {text} instead of as published"
        return replace(self, series=kept, assumptions=(*self.assumptions, note))


def build_series(name: str, frame: pd.DataFrame, meta: SeriesMeta, timezone: str) -> Series:
    """A `Series` from a checked frame: splits the column groups and dates every row.

    Raises
    ------
    DataError : `name` is no known series, or `meta.known_since` cannot be read
    """
    if name not in SERIES:
        raise DataError(f"series {name!r} is unknown. Known: {', '.join(SERIES)}.")
    spec = SERIES[name]
    clauses = parse_known_since(meta.known_since)
    index = pd.DatetimeIndex(frame.index)
    groups = []
    for group in spec.groups:
        columns = [c.name for c in spec.columns if c.group == group and c.name in frame.columns]
        if columns:
            times = clauses[group].times(spec, index, timezone)
            groups.append(ColumnGroup(group, frame[columns].astype("float64"), times))
    return Series(name, meta, timezone, tuple(groups))


def load_market(directory: Path, zone: str | None = None) -> MarketData:
    """Reads the market data of one zone.

    Parameters
    ----------
    directory : the folder with manifest.json, or its parent when `zone` is given
    zone : bidding zone; must agree with the manifest

    Raises
    ------
    DataError : the directory or manifest is unusable, a file does not match its hash, or a check of
        severity error found something; the message quotes the first findings
    """
    from stochbess.market.check import inspect  # checks read the files once, here and in the CLI

    found = inspect(Path(directory), zone)
    found.raise_errors()
    series = {
        entry.stem: build_series(
            entry.stem,
            found.frames[entry.stem],
            SeriesMeta(entry.product, entry.unit, entry.source, entry.known_since, entry.licence),
            found.manifest.timezone,
        )
        for entry in found.manifest.entries
        if entry.stem in found.frames
    }
    manifest = found.manifest
    return MarketData(
        manifest.zone,
        manifest.timezone,
        manifest.synthetic,
        manifest.sha256(),
        series,
        warnings=tuple(str(problem) for problem in found.problems),
    )
