"""What the values say about the clock: the sun and a second series betray shifted labels.

The centre of a day's solar generation lies near solar noon, which in UTC depends on the longitude
and, by up to 16 min, on the day of the year. Longitudes are those of the reference city of the time
zone in the IANA time zone database; the equation of time is the usual two-term approximation
(J. A. Duffie, W. A. Beckman, Solar Engineering of Thermal Processes, ch. 1), good to a minute.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.market.problem import Findings, Problem
from stochbess.market.schema import SERIES, row_minutes

_MIN_DAYS = 14
_NOON_TOLERANCE_MIN = 40.0  # the centre of a zone's panels is not its reference city
_SEASON_TOLERANCE_MIN = 30.0
_DAY_MIN = 1440.0
_SOLAR = (("fundamentals", "solar_forecast_mw"), ("realised_15min", "solar_mw"))
_PAIRS = (
    (("day_ahead", "price_eur_mwh"), ("intraday_auction", "price_eur_mwh")),
    (("fundamentals", "solar_forecast_mw"), ("realised_15min", "solar_mw")),
    (("fundamentals", "load_mw"), ("realised_15min", "load_mw")),
)
_MAX_LAG_H = 2
_MARGIN = 0.01  # by how much a shifted correlation must win


@cache
def solar_noon_utc_min(timezone: str) -> float | None:
    """Mean solar noon [minute of the UTC day] at the city of the zone; None if it is not listed."""
    table = files("tzdata").joinpath("zoneinfo/zone.tab").read_text(encoding="utf-8")
    match = re.search(rf"^\S+\t[+-]\d+([+-]\d+)\t{re.escape(timezone)}(?:\t|$)", table, re.M)
    if match is None:
        return None
    text = match[1]
    degrees = 3 if len(text) in (6, 8) else 2  # DDDMM or DDDMMSS after the sign
    longitude = int(text[1 : 1 + degrees]) + int(text[1 + degrees : 3 + degrees]) / 60
    return 720.0 - 4.0 * (longitude if text[0] == "+" else -longitude)


def check_clock(frames: dict[str, pd.DataFrame], timezone: str) -> list[Problem]:
    """D501 solar generation away from solar noon, D502 clock changes in it, D503 shifted pairs."""
    problems: list[Problem] = []
    for stem, name in _SOLAR:
        if _has(frames, stem, name):
            problems += _check_sun(stem, frames[stem][name].dropna(), timezone)
    for first, second in _PAIRS:
        if _has(frames, *first) and _has(frames, *second):
            problems += _check_pair(frames, first, second)
    return problems


def _has(frames: dict[str, pd.DataFrame], stem: str, name: str) -> bool:
    return stem in frames and name in frames[stem].columns


def _sundial_min(index: pd.DatetimeIndex) -> npt.NDArray[np.float64]:
    """Minute of the UTC day corrected by the equation of time, shape (n,)."""
    b = 2 * np.pi * (index.day_of_year.to_numpy(dtype=np.float64) - 81) / 364
    equation_min = 9.87 * np.sin(2 * b) - 7.53 * np.cos(b) - 1.5 * np.sin(b)
    return np.asarray(index.hour * 60 + index.minute, np.float64) + equation_min


def _centre_min(values: npt.NDArray[np.float64], minute: npt.NDArray[np.float64]) -> float:
    """Circular mean of the time of day [min], weighted with generation."""
    angle = 2 * np.pi * minute / _DAY_MIN
    weight = np.clip(values, 0.0, None)
    centre = np.arctan2((weight * np.sin(angle)).sum(), (weight * np.cos(angle)).sum())
    return float(centre / (2 * np.pi) * _DAY_MIN % _DAY_MIN)


def _difference_min(a: float, b: float) -> float:
    """a - b on the clock face, between -720 and 720."""
    return (a - b + _DAY_MIN / 2) % _DAY_MIN - _DAY_MIN / 2


def _check_sun(stem: str, series: pd.Series, timezone: str) -> list[Problem]:
    found = Findings(stem)
    index = pd.DatetimeIndex(series.index)
    values = series.to_numpy(dtype=np.float64)
    if not len(index):
        return []
    step_min = float(row_minutes(SERIES[stem], index, timezone)[0])
    minute = _sundial_min(index) + step_min / 2
    rows_needed = _MIN_DAYS * _DAY_MIN / step_min
    where = str(series.name)
    noon = solar_noon_utc_min(timezone)
    if noon is not None and len(values) >= rows_needed and values.sum() > 0:
        away = _difference_min(_centre_min(values, minute), noon)
        if abs(away) > _NOON_TOLERANCE_MIN:
            found.error(
                "D501",
                where,
                f"solar generation is centred {away:+.0f} min from solar noon in {timezone}. "
                f"Expected within {_NOON_TOLERANCE_MIN:.0f} min: labels are shifted (local time "
                "passed as UTC, or interval ends). Import again with the right --naive-timezone "
                "and --label.",
            )
    local = index.tz_convert(timezone).tz_localize(None)
    offset_min = (local - index.tz_localize(None)).total_seconds() / 60
    summer = np.asarray(offset_min > offset_min.min())
    halves = [(values[half], minute[half]) for half in (summer, ~summer)]
    if all(len(half) >= rows_needed and half.sum() > 0 for half, _ in halves):
        change = _difference_min(_centre_min(*halves[0]), _centre_min(*halves[1]))
        if abs(change) > _SEASON_TOLERANCE_MIN:
            found.error(
                "D502",
                where,
                f"the sun moves by {change:+.0f} min when clocks change. In UTC it does not: the "
                "labels are local time passed as UTC. Import again with the right "
                "--naive-timezone.",
            )
    return found.problems


def _hourly(frame: pd.DataFrame, name: str) -> pd.Series:
    values = frame[name]
    return values.groupby(pd.DatetimeIndex(values.index).floor("h")).mean()


def _check_pair(
    frames: dict[str, pd.DataFrame], first: tuple[str, str], second: tuple[str, str]
) -> list[Problem]:
    """D503: two series that move together do so with a delay of whole hours."""
    a, b = _hourly(frames[first[0]], first[1]), _hourly(frames[second[0]], second[1])
    scores: dict[int, float] = {}
    for lag in range(-_MAX_LAG_H, _MAX_LAG_H + 1):
        earlier = b.set_axis(pd.DatetimeIndex(b.index) - pd.to_timedelta(lag, unit="h"), axis=0)
        joint = pd.concat([a, earlier], axis=1, join="inner").to_numpy(dtype=np.float64)
        if len(joint) < _MIN_DAYS * 24 or not (joint.std(axis=0) > 0).all():
            return []
        scores[lag] = float(np.corrcoef(joint.T)[0, 1])
    best = max(scores, key=lambda lag: scores[lag])
    found = Findings(second[0])
    if scores[best] > scores[0] + _MARGIN:
        found.warning(
            "D503",
            second[1],
            f"follows {first[0]}.{first[1]} best when moved by {-best:+d} h (correlation "
            f"{scores[best]:.3f}, as labelled {scores[0]:.3f}). Expected no shift: check the "
            "labels of both.",
        )
    return found.problems
