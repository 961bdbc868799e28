"""A time axis in local time that is right on the days when the clocks change.

Positions are hours since the start of the horizon in UTC; labels are the local clock as the bids
tell it, so that no time zone has to be guessed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.reports.material import Material

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICK_HOURS = {1: ("00", "04", "08", "12", "16", "20"), 2: ("00", "06", "12", "18")}
_MOST_DAYS_WITH_HOURS = 3


class TimeAxis:
    """Horizon, local labels and midnights of one run."""

    def __init__(self, material: Material) -> None:
        steps = pd.DatetimeIndex(material.frames["soc"]["delivery_start_utc"])
        self.start = steps[0]
        step = steps[1] - steps[0] if len(steps) > 1 else pd.Timedelta(minutes=15)
        self.n_hours = float((steps[-1] + step - self.start) / pd.Timedelta(hours=1))
        self.n_days = material.n_days
        self._local: list[tuple[float, str]] = []
        if not material.bids.empty:
            starts = material.bids.drop_duplicates("start_utc").sort_values("start_utc")
            at = self.hours(pd.DatetimeIndex(starts["start_utc"]))
            clocks = starts["start_local"].astype(str)
            self._local = list(zip(at.tolist(), clocks, strict=True))
        self.zone = "local time" if self._local else "UTC"
        if not self._local:
            whole = pd.date_range(self.start, steps[-1], freq="h")
            self._local = list(
                zip(self.hours(whole).tolist(), whole.strftime("%Y-%m-%d %H:%M"), strict=True)
            )

    def hours(self, stamps: pd.DatetimeIndex) -> npt.NDArray[np.float64]:
        """Positions on the axis."""
        return np.asarray((stamps - self.start) / pd.Timedelta(hours=1), np.float64)

    def edges(self, stamps: pd.DatetimeIndex) -> npt.NDArray[np.float64]:
        """Positions of the starts of intervals and of the end of the last one."""
        at = self.hours(stamps)
        end = self.n_hours if len(at) < 2 or at[-1] < self.n_hours else at[-1] + at[-1] - at[-2]
        return np.append(at, end)

    def apply(self, axes: Axes, *, label: bool = True, narrow: bool = False) -> None:
        """Ticks, limits and lines between days."""
        axes.set_xlim(0, self.n_hours)
        if self.n_days <= _MOST_DAYS_WITH_HOURS:
            hours = _TICK_HOURS[1 if self.n_days == 1 and not narrow else 2]
            ticks = [(at, text[11:]) for at, text in self._local if self._is_tick(text, hours)]
            if self.n_days > 1:
                ticks = [
                    (at, f"{text}\n{self._day(at)}" if text == "00:00" else text)
                    for at, text in ticks
                ]
        else:
            every = -(-self.n_days // (7 if narrow else 14))
            midnights = [(at, text[5:10]) for at, text in self._local if text.endswith("00:00")]
            ticks = midnights[::every]
        if self.n_days == 1 and self.zone == "local time":
            ticks.append((self.n_hours, "24:00"))
        axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
        if label:
            axes.set_xlabel(self.zone)
        for at, text in self._local:
            if text.endswith("00:00") and 0 < at < self.n_hours:
                axes.axvline(at, color="#9aa3ad", linewidth=0.6, zorder=0.5)

    @staticmethod
    def _is_tick(text: str, hours: tuple[str, ...]) -> bool:
        return text[11:13] in hours and text[14:] == "00"

    def _day(self, at: float) -> str:
        return next(text[5:10] for position, text in self._local if position == at)
