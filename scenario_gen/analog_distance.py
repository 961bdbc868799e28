"""How much a past day resembles the target day, with the eyes of the gate.

Every feature of a past day is what was known of it as long before it as the latest known value lies
before the target day. Means and standard deviations are those of the candidates, all of them past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from stochbess.scenario_gen.analog_levels import CAPACITY
from stochbess.scenario_gen.day_history import (
    DAY_AHEAD,
    DayHistory,
    Ints,
    forecast_means,
    lag_days,
    lagged,
)
from stochbess.scenario_gen.series import Array

# Weights of the standardised distances. Chosen on days that are not the reported ones;
# docs/scenarios.md has the numbers and says what they are worth.
WEIGHT_LEVEL = 1.0
WEIGHT_SPREAD = 0.5
WEIGHT_CAPACITY = 0.5
WEIGHT_SEASON = 1.0
WEIGHT_WEEKDAY = 1.5  # distance added by another kind of day (working day, Saturday, Sunday)
WEIGHT_FORECAST = 1.5  # forecasts of the delivery day itself
WEIGHT_PAST_FORECAST = 1.0  # forecasts of the latest day that has any


@dataclass(frozen=True)
class Feature:
    """One number per day: what is known of day r - `lag` at the gate that belongs to day r.

    Attributes
    ----------
    value : shape (target + 1,), the target day last; NaN where not known
    lag : days from the latest known day to the target, the same for every day
    weight : weight of the standardised distance
    forecast : True for a forecast of generation or load
    """

    label: str
    value: Array
    lag: int
    weight: float
    forecast: bool = False


def day_features(history: DayHistory) -> list[Feature]:
    """What the target day and every past day look like from their own gate."""
    mean = history.day_mean(DAY_AHEAD)
    spread = np.sqrt(np.maximum(history.day_mean(DAY_AHEAD, 2) - mean**2, 0.0))
    measured = [
        ("day-ahead mean", mean, WEIGHT_LEVEL),
        ("day-ahead standard deviation", spread, WEIGHT_SPREAD),
    ]
    for series in (s for s in CAPACITY if s in history.sources):
        measured.append((f"{series} mean", history.day_mean(series), WEIGHT_CAPACITY))
    target = history.target
    found = []
    for label, value, weight in measured:
        lag = lag_days(value, target)
        found.append(Feature(label, lagged(value, lag, target), lag, weight))
    for label, value in forecast_means(history).items():
        lag = lag_days(value, target)
        weight = WEIGHT_PAST_FORECAST if lag else WEIGHT_FORECAST
        found.append(
            Feature(f"{label} forecast", lagged(value, lag, target), lag, weight, forecast=True)
        )
    return [f for f in found if np.isfinite(f.value[-1])]


def distances(history: DayHistory, features: Sequence[Feature], starts: Ints) -> Array:
    """Distance of every candidate from the target, in standard deviations of the candidates.

    A candidate of which a feature is unknown gets the mean of the candidates.
    """
    squared = np.zeros(len(starts))
    for feature in features:
        values = feature.value[starts]
        known = np.isfinite(values)
        scale = float(values[known].std()) if known.any() else 0.0
        if scale > 0:
            values = np.where(known, values, values[known].mean())
            squared += (feature.weight * (values - feature.value[-1]) / scale) ** 2
    season = np.array([_season_distance(history.day(r), history.horizon.first_day) for r in starts])
    squared += (WEIGHT_SEASON * season) ** 2
    for k, day in enumerate(history.horizon.days):
        other = np.array([_kind(history.day(r + k)) != _kind(day) for r in starts])
        squared += WEIGHT_WEEKDAY**2 * other / history.horizon.n_days
    return np.sqrt(squared)


def _season_distance(a: date, b: date) -> float:
    """Chord between two days on the circle of the year: 0 for the same day, 2 for half a year."""
    turn = (a.timetuple().tm_yday - b.timetuple().tm_yday) / 365.25
    return abs(2.0 * float(np.sin(np.pi * turn)))


def _kind(day: date) -> int:
    """0 for Monday to Friday, 1 for Saturday, 2 for Sunday; holidays are not known here."""
    return max(0, day.weekday() - 4)
