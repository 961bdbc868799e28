"""Market data in one picture: what is covered, where it has gaps, and how prices behave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stochbess.errors import ReportError
from stochbess.reports.material import Floats
from stochbess.reports.style import (
    ALERT,
    INK,
    LOOKS,
    SOFT,
    Look,
    drawing,
    new_figure,
    quiet_grid,
    standalone,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOK_OF = {
    "day_ahead": "day-ahead",
    "intraday_auction": "intraday",
    "fcr_capacity": "fcr",
    "afrr_up": "afrr-up",
    "afrr_down": "afrr-down",
}
_LEAST_GAP = 0.004  # a gap is drawn at least this wide, as a share of the time shown
_BAND = (0.1, 0.9)


@dataclass(frozen=True)
class Column:
    """One column of market data: `values` (n,) of the intervals from `start_utc` to `end_utc`.

    A gap is where an interval ends before the next one starts; values are finite.
    """

    series: str
    name: str
    unit: str
    start_utc: pd.DatetimeIndex
    end_utc: pd.DatetimeIndex
    values: Floats

    @property
    def is_price(self) -> bool:
        return self.unit.startswith("EUR")

    @property
    def kind(self) -> str:
        """Which market it belongs to, "" for none."""
        part = self.name.partition("_")[0]
        return _LOOK_OF.get(self.series, _LOOK_OF.get(f"afrr_{part}", ""))

    @property
    def title(self) -> str:
        return f"{self.series}: {self.name}"

    def gaps(self) -> tuple[Floats, Floats]:
        """Starts and ends of the times without a value between the first and the last [days]."""
        ends, starts = _days(self.end_utc)[:-1], _days(self.start_utc)[1:]
        late = np.asarray(self.end_utc[:-1] < self.start_utc[1:])
        return ends[late], starts[late]


@dataclass(frozen=True)
class MarketSeries:
    """The market data of one zone as this picture reads them."""

    zone: str
    timezone: str
    synthetic: bool
    sha256: str
    columns: tuple[Column, ...]

    @property
    def source_line(self) -> str:
        return f"{self.zone} · data {self.sha256[:12]}"


def market_picture(market: MarketSeries, form: str) -> bytes:
    """Coverage of every series on top; below, each price by day and over the local day.

    Parameters
    ----------
    form : "svg", "png" or "pdf"

    Raises
    ------
    ReportError : there is nothing to draw
    """
    if not market.columns:
        raise ReportError(f"zone {market.zone} has no series to draw. Import one.")
    rows = _coverage_rows(market.columns)
    prices = [column for column in market.columns if column.is_price]
    heights = [0.55 + 0.17 * len(rows), 0.35 + 0.92 * len(prices)][: 2 if prices else 1]
    span = (
        min(_days(column.start_utc)[0] for column in market.columns),
        max(_days(column.end_utc)[-1] for column in market.columns),
    )
    with drawing():
        figure = new_figure(sum(heights))
        outer = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        _coverage(figure.add_subplot(outer[0].subgridspec(1, 1)[0]), rows, span)
        figure.axes[0].set_title(f"Market data of {market.zone}: coverage")
        if prices:
            inner = outer[1].subgridspec(len(prices), 2, width_ratios=[2.4, 1])
        for i, column in enumerate(prices):
            left, right = (figure.add_subplot(inner[i, j]) for j in (0, 1))
            _draw_days(left, column, market.timezone, span)
            _draw_profile(right, column, market.timezone)
            if i == len(prices) - 1:
                left.set_xlabel(
                    f"mean of the day in {market.timezone}; band: its least to greatest value"
                )
                right.set_xlabel("mean by local hour; band: 8 of 10 days")
            else:
                for axes in (left, right):
                    axes.tick_params(labelbottom=False)
        return standalone(figure, market, f"Market data of {market.zone}", form)


# ------------------------------------------------------------------------------------- coverage


def _coverage_rows(columns: Sequence[Column]) -> list[tuple[str, Column]]:
    """A row for each series; one for each column where they do not cover the same."""
    rows: list[tuple[str, Column]] = []
    for name in dict.fromkeys(column.series for column in columns):
        own = [column for column in columns if column.series == name]
        same = all(
            column.start_utc.equals(own[0].start_utc) and column.end_utc.equals(own[0].end_utc)
            for column in own
        )
        rows += [(name, own[0])] if same else [(column.title, column) for column in own]
    return rows


def _coverage(axes: Axes, rows: Sequence[tuple[str, Column]], span: tuple[float, float]) -> None:
    least = (span[1] - span[0]) * _LEAST_GAP
    for i, (_, column) in enumerate(rows):
        begin, end = _days(column.start_utc)[0], _days(column.end_utc)[-1]
        axes.barh(i, end - begin, left=begin, height=0.56, facecolor=LOOKS[column.kind].ink,
                  linewidth=0)  # fmt: skip
        gaps = column.gaps()
        for start, stop in zip(*gaps, strict=True):
            wide = max(stop - start, least)
            axes.barh(i, wide, left=(start + stop - wide) / 2, height=0.9, facecolor="white",
                      edgecolor=ALERT, linewidth=0.8, zorder=3)  # fmt: skip
        hours = thousands(round(24 * float((gaps[1] - gaps[0]).sum()), 2))
        many = len(gaps[0])
        axes.annotate(
            f"{many} gap{'s' * (many != 1)}, {hours} h" if many else "no gaps", (1, i),
            xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=7.2, color=ALERT if many else SOFT, weight=600 if many else 400,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    _time_axis(axes, span)
    quiet_grid(axes, "x")


def _days(stamps: pd.DatetimeIndex) -> Floats:
    """Days since 1970 in UTC, as matplotlib counts them."""
    return np.asarray((stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1), np.float64)


def _time_axis(axes: Axes, span: tuple[float, float]) -> None:
    from matplotlib import dates

    locator = dates.AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        dates.ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    )
    axes.set_xlim(*span)


# --------------------------------------------------------------------------------------- prices


def by_day(column: Column, timezone: str) -> pd.DataFrame:
    """Columns min, mean, max of every local day from the first to the last; NaN without values."""
    local = column.start_utc.tz_convert(timezone)
    days = pd.Series(column.values, local.normalize()).groupby(level=0).agg(["min", "mean", "max"])
    return days.reindex(pd.date_range(days.index[0], days.index[-1], freq="D"))


def by_local_time(column: Column, timezone: str) -> pd.DataFrame:
    """Columns low, mean, high by local time of day [h]: the mean, and the quantiles 0.1 and 0.9.

    Times that only the days have on which clocks change are left out.
    """
    local = column.start_utc.tz_convert(timezone)
    groups = pd.Series(column.values).groupby(np.asarray(local.hour + local.minute / 60))
    low, high = (groups.quantile(level) for level in _BAND)
    found = pd.DataFrame({"low": low, "mean": groups.mean(), "high": high})
    return found[groups.count() > 0.05 * groups.count().max()]


def _draw_days(axes: Axes, column: Column, timezone: str, span: tuple[float, float]) -> None:
    look = LOOKS[column.kind]
    days = by_day(column, timezone)
    at = _days(pd.DatetimeIndex(days.index)) + 0.5
    axes.fill_between(at, days["min"], days["max"], facecolor=_paler(look), alpha=0.55,
                      linewidth=0)  # fmt: skip
    axes.plot(at, days["mean"], color=look.ink, linewidth=0.8)
    if float(days["min"].min()) < 0 < float(days["max"].max()):
        axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_title(column.title)
    unit = column.unit.partition(";")[0]
    axes.set_ylabel(unit.replace(" per ", "/").replace("/hour", "/h").replace("/4-h", "\nper 4-h"))
    axes.yaxis.set_major_formatter(thousands)
    _time_axis(axes, span)
    quiet_grid(axes)


def _draw_profile(axes: Axes, column: Column, timezone: str) -> None:
    look = LOOKS[column.kind]
    found = by_local_time(column, timezone)
    edges = np.append(found.index.to_numpy(np.float64), 24.0)

    def stretched(name: str) -> Floats:
        values = found[name].to_numpy(np.float64)
        return np.append(values, values[-1])

    axes.fill_between(edges, stretched("low"), stretched("high"), step="post",
                      facecolor=_paler(look), alpha=0.55, linewidth=0)  # fmt: skip
    axes.step(edges, stretched("mean"), where="post", color=look.ink, linewidth=1.4)
    axes.set_xlim(0, 24)
    axes.set_xticks([0, 6, 12, 18, 24])
    axes.yaxis.set_major_formatter(thousands)
    quiet_grid(axes)


def _paler(look: Look) -> str:
    """The colour of a band: dark markets get a grey blue that leaves the line visible."""
    return "#9fb4c4" if look.fill == LOOKS["day-ahead"].fill else look.fill
