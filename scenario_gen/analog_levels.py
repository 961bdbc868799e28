"""Values of analog days, moved part of the way to today's price level.

An analog from a dearer month carries that month's level. The latest known level of the target and
that of the analog, seen through the same gate, say how far apart the two are.
"""

from __future__ import annotations

import numpy as np

from stochbess.scenario_gen.day_history import DAY_AHEAD, DayHistory, Ints, latest_level
from stochbess.scenario_gen.series import SERIES, Array

# Strengths chosen on measurements; docs/scenarios.md has the numbers and says what they are worth.
ENERGY_LEVEL_DAYS = 7
ENERGY_SHIFT_FRAC = 0.25
CAPACITY_SCALE_EXPONENT = 0.6
CAPACITY_RATIO_LIMIT = 4.0
LEVEL_FLOOR_EUR_MWH = 20.0  # lowest price level that the energy shift is tapered over
CAPACITY = ("fcr_eur_mw", "afrr_up_eur_mw_h", "afrr_down_eur_mw_h")
INTRADAY = "intraday_eur_mwh"


def moved_values(history: DayHistory, chosen: Ints) -> tuple[dict[str, Array], str]:
    """Values of the chosen days on the labels of the horizon, and a note of what was known."""
    shift = _energy_shift(history, chosen)
    values, notes = {}, []
    for series, source in history.sources.items():
        drawn = history.on_horizon(series, chosen)
        if series == DAY_AHEAD:
            drawn = drawn + shift
        elif series == INTRADAY:
            drawn = drawn + shift[:, history.horizon.day_ahead_of_step]
        elif series in CAPACITY:
            drawn = drawn * _capacity_ratio(history, series, chosen)[:, None]
        drawn = np.clip(drawn, SERIES[series].low, SERIES[series].high)
        known = history.known(series)
        if np.isfinite(known).any() and not source.borrowed:
            drawn = np.where(np.isfinite(known), known, drawn)
            notes.append(f"{series} {int(np.isfinite(known).sum())} of {len(known)}")
        values[series] = drawn
    return values, "; ".join(notes) or "nothing of the delivery days"


def _energy_shift(history: DayHistory, chosen: Ints) -> Array:
    """What to add to the day-ahead price of each chosen day [EUR/MWh], shape (n, day-ahead steps).

    A part of the difference between the latest 7-day levels, tapered to nothing at a price of zero:
    negative prices stay as they happened, and no price changes its sign unless a level is negative.
    Where the day-ahead price is known at the gate, the full difference to it. The intraday price
    moves with its day-ahead step, so the spread between the two is the observed one.
    """
    day_ahead = history.on_horizon(DAY_AHEAD, chosen)
    level = latest_level(history.day_mean(DAY_AHEAD), history.target, ENERGY_LEVEL_DAYS)
    own = level[chosen][:, None]
    move = np.nan_to_num(ENERGY_SHIFT_FRAC * (level[-1] - own))
    taper = np.clip(day_ahead / np.fmax(own, LEVEL_FLOOR_EUR_MWH), 0.0, 1.0)
    known = history.known(DAY_AHEAD)
    return np.asarray(np.where(np.isfinite(known), known - day_ahead, move * taper), np.float64)


def _capacity_ratio(history: DayHistory, series: str, chosen: Ints) -> Array:
    """Factor on the capacity price of each chosen day, shape (n,)."""
    level = latest_level(history.day_mean(series), history.target, 1)
    usable = (level[chosen] > 0) & (level[-1] > 0)
    ratio = np.where(usable, level[-1] / np.where(usable, level[chosen], 1.0), 1.0)
    bounded = np.clip(ratio, 1 / CAPACITY_RATIO_LIMIT, CAPACITY_RATIO_LIMIT)
    return np.asarray(bounded**CAPACITY_SCALE_EXPONENT)
