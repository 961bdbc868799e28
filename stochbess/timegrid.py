"""Market time units, local delivery days, 4-hour blocks and gate closures.

Every timestamp that leaves this module is timezone-aware UTC and labels the *start* of an
interval. Local time exists here and in report text only. A delivery day is a local civil day of the
zone: 92, 96 or 100 quarter hours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

_GATE = re.compile(r"^D(?:-(\d+))? (\d{2}):(\d{2})$")
BLOCK_HOURS_LOCAL = 4


def local_midnight_utc(day: date, timezone: str) -> datetime:
    """UTC instant at which the local civil `day` begins."""
    return datetime.combine(day, time(0), tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def day_hours(day: date, timezone: str) -> int:
    """Length of the delivery day in hours: 23, 24 or 25."""
    span = local_midnight_utc(day + timedelta(days=1), timezone) - local_midnight_utc(day, timezone)
    return int(span.total_seconds() // 3600)


def gate_utc(rule: str, day: date, timezone: str) -> datetime:
    """UTC instant of a gate closure such as ``"D-1 08:00"`` (local time) for delivery `day`.

    Raises
    ------
    ValueError : the rule is not of the form ``D[-n] HH:MM``
    """
    match = _GATE.match(rule)
    if match is None:
        raise ValueError(f"gate {rule!r} is not of the form 'D-1 08:00'")
    back, hour, minute = int(match[1] or 0), int(match[2]), int(match[3])
    local = datetime.combine(
        day - timedelta(days=back), time(hour, minute), tzinfo=ZoneInfo(timezone)
    )
    return local.astimezone(UTC)


@dataclass(frozen=True)
class Horizon:
    """Consecutive delivery days on a regular grid of steps.

    Attributes
    ----------
    first_day : first local delivery day
    n_days : number of delivery days, at least 1
    timezone : IANA name of the zone's local time
    step_min : length of a step [min]: the finest market time unit in use (15 or 60)
    day_ahead_min : day-ahead market time unit [min]; a multiple of `step_min`
    """

    first_day: date
    n_days: int
    timezone: str
    step_min: int
    day_ahead_min: int

    def __post_init__(self) -> None:
        if self.n_days < 1:
            raise ValueError(f"a horizon needs at least one delivery day, got {self.n_days}")
        if 60 % self.step_min or self.day_ahead_min % self.step_min:
            raise ValueError(
                f"step of {self.step_min} min does not divide the hour and the day-ahead unit "
                f"of {self.day_ahead_min} min"
            )

    @cached_property
    def days(self) -> tuple[date, ...]:
        return tuple(self.first_day + timedelta(days=i) for i in range(self.n_days))

    @cached_property
    def start_utc(self) -> datetime:
        return local_midnight_utc(self.first_day, self.timezone)

    @cached_property
    def end_utc(self) -> datetime:
        return local_midnight_utc(self.first_day + timedelta(days=self.n_days), self.timezone)

    @property
    def dt_h(self) -> float:
        return self.step_min / 60

    def _index(self, minutes: int) -> pd.DatetimeIndex:
        import pandas as pd

        return pd.date_range(
            self.start_utc,
            self.end_utc,
            freq=f"{minutes}min",
            inclusive="left",
            unit="us",
            name="delivery_start_utc",
        )

    @cached_property
    def steps(self) -> pd.DatetimeIndex:
        """Start of every step, UTC; length T."""
        return self._index(self.step_min)

    @cached_property
    def day_ahead_steps(self) -> pd.DatetimeIndex:
        """Start of every day-ahead market time unit, UTC."""
        return self._index(self.day_ahead_min)

    @cached_property
    def block_starts(self) -> pd.DatetimeIndex:
        """Start of every 4-hour block (local 00, 04, ..., 20 h), UTC; six a day."""
        import pandas as pd

        zone = ZoneInfo(self.timezone)
        starts = [
            datetime.combine(day, time(hour), tzinfo=zone).astimezone(UTC)
            for day in self.days
            for hour in range(0, 24, BLOCK_HOURS_LOCAL)
        ]
        return pd.DatetimeIndex(starts, name="delivery_start_utc").as_unit("us")

    @cached_property
    def block_of_step(self) -> npt.NDArray[np.int64]:
        """Index into `block_starts` for every step, shape (T,)."""
        return np.asarray(self.block_starts.searchsorted(self.steps, side="right") - 1, np.int64)

    @cached_property
    def day_ahead_of_step(self) -> npt.NDArray[np.int64]:
        """Index into `day_ahead_steps` for every step, shape (T,)."""
        return np.arange(len(self.steps), dtype=np.int64) // (self.day_ahead_min // self.step_min)

    @cached_property
    def day_of_step(self) -> npt.NDArray[np.int64]:
        """Index of the local delivery day for every step, shape (T,)."""
        return self.block_of_step // (24 // BLOCK_HOURS_LOCAL)

    @cached_property
    def block_hours(self) -> npt.NDArray[np.float64]:
        """Length of every block [h]; 3 or 5 on the night of a clock change."""
        steps = np.bincount(self.block_of_step, minlength=len(self.block_starts))
        return np.asarray(steps * self.dt_h, np.float64)
