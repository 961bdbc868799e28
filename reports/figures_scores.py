"""Scenarios as fans with what happened, and the ranks of what happened: drawn from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import ReportError
from stochbess.reports.material import Floats
from stochbess.reports.style import (
    ALERT,
    INK,
    LOOKS,
    SOFT,
    drawing,
    new_figure,
    quiet_grid,
    standalone,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HOUR = pd.Timedelta(hours=1)
_PALE = {"day-ahead": "#9fb4c4", "": "#c9ced4"}  # bands of dark markets leave the line visible
_MOST_DAYS_WITH_HOURS = 3


@dataclass(frozen=True)
class Fan:
    """One series of the scenarios over consecutive intervals.

    Attributes
    ----------
    title, unit, kind : heading, axis label, market (a key of `style.LOOKS`)
    start_utc : n starts of intervals, increasing
    end_utc : end of the last one
    quantiles : values at 5, 25, 50, 75 and 95 %, shape (5, n)
    observed : what happened (n,); NaN or None where it is not known
    ranks : counts of the rank histogram, None to leave it out
    """

    title: str
    unit: str
    kind: str
    start_utc: pd.DatetimeIndex
    end_utc: pd.Timestamp
    quantiles: Floats
    observed: Floats | None = None
    ranks: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class ScenarioPicture:
    """What the figure names as its source."""

    zone: str
    timezone: str
    synthetic: bool
    source_line: str


def fan_picture(source: ScenarioPicture, fans: Sequence[Fan], form: str) -> bytes:
    """A panel for each series; on its right the rank histogram where there is one.

    Parameters
    ----------
    form : "svg", "png" or "pdf"

    Raises
    ------
    ReportError : there is nothing to draw
    """
    if not fans:
        raise ReportError("the scenarios have no series to draw.")
    ranked = any(fan.ranks is not None for fan in fans)
    with drawing():
        figure = new_figure(0.55 + 1.35 * len(fans))
        grid = figure.add_gridspec(
            len(fans), 2 if ranked else 1, width_ratios=[3.4, 1] if ranked else [1]
        )
        for i, fan in enumerate(fans):
            last = i == len(fans) - 1
            axes = figure.add_subplot(grid[i, 0])
            _draw_fan(axes, fan, source.timezone, label=last)
            if i == 0:  # on the line of the title, where it covers nothing
                axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.1,
                            columnspacing=1.0)  # fmt: skip
            if fan.ranks is not None:
                _draw_ranks(figure.add_subplot(grid[i, 1]), fan.ranks, title=i == 0, label=last)
        return standalone(figure, source, f"Scenarios of {source.zone}", form)


def _draw_fan(axes: Axes, fan: Fan, timezone: str, *, label: bool) -> None:
    look = LOOKS[fan.kind]
    begin = fan.start_utc[0]
    starts = np.asarray((fan.start_utc - begin) / _HOUR, np.float64)
    edges = np.append(starts, (fan.end_utc - begin) / _HOUR)

    def stretched(values: Floats) -> Floats:
        return np.append(values, values[-1])

    pale = _PALE.get(fan.kind, look.fill)
    for (low, high), alpha, name in (((0, 4), 0.35, "90 %"), ((1, 3), 0.6, "50 %")):
        axes.fill_between(edges, stretched(fan.quantiles[low]), stretched(fan.quantiles[high]),
                          step="post", facecolor=pale, alpha=alpha, linewidth=0,
                          label=f"{name} of the scenarios")  # fmt: skip
    axes.step(edges, stretched(fan.quantiles[2]), where="post", color=look.ink, linewidth=1.2,
              label="median")  # fmt: skip
    if fan.observed is not None:
        axes.step(edges, stretched(fan.observed), where="post", color=ALERT, linewidth=0.9,
                  linestyle=(0, (3, 1)), label="what happened")  # fmt: skip
    low_value, high_value = axes.get_ylim()
    if low_value < 0 < high_value:
        axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_title(fan.title)
    axes.set_ylabel(fan.unit)
    axes.yaxis.set_major_formatter(thousands)
    quiet_grid(axes)
    _local_axis(axes, begin, fan.end_utc, timezone)
    axes.tick_params(labelbottom=label)
    if label:
        axes.set_xlabel(f"local time, {timezone}")


def _local_axis(axes: Axes, begin: pd.Timestamp, end: pd.Timestamp, timezone: str) -> None:
    """Ticks at local hours of few days, at local midnights of many; right when clocks change."""
    hours = pd.date_range(begin, end, freq="h").tz_convert(timezone)
    n_days = max(1, round((end - begin) / pd.Timedelta(days=1)))
    every = 4 if n_days == 1 else 12 if n_days <= _MOST_DAYS_WITH_HOURS else 24
    at = hours[(hours.hour % every == 0) & (hours.minute == 0)]
    at = at[:: max(1, -(-n_days // 10))] if every == 24 else at
    words = [f"{t:%d %b}" if n_days > 1 and t.hour == 0 else f"{t:%H:%M}" for t in at]
    if n_days == 1 and at[-1] == end and len(at) > 1:
        words[-1] = "24:00"
    axes.set_xticks(list(np.asarray((at - begin) / _HOUR, float)), words)
    axes.set_xlim(0, float((end - begin) / _HOUR))


def _draw_ranks(axes: Axes, ranks: npt.NDArray[np.int64], *, title: bool, label: bool) -> None:
    share = ranks / ranks.sum() * len(ranks)
    axes.bar(np.arange(len(ranks)) + 0.5, share, width=0.92, facecolor=SOFT, linewidth=0)
    axes.axhline(1.0, color=ALERT, linewidth=0.8)
    axes.set_xlim(0, len(ranks))
    axes.set_xticks([0, len(ranks) / 2, len(ranks)], ["low", "", "high"])
    axes.yaxis.set_major_formatter(thousands)
    axes.tick_params(labelbottom=label)
    quiet_grid(axes)
    if title:
        axes.set_title("Ranks of what happened")
    if label:
        axes.set_xlabel("flat = calibrated")
