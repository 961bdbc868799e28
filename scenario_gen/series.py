"""The series that a scenario may hold: unit, labels and accepted range of each.

Nothing else in the package knows these by heart; docs/scenarios.md repeats the table for people.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import ScenarioError
from stochbess.timegrid import BLOCK_HOURS_LOCAL, Horizon

Array = npt.NDArray[np.float64]
Grid = Literal["day_ahead", "step", "block"]


@dataclass(frozen=True)
class SeriesSpec:
    """Meaning of one scenario series.

    Attributes
    ----------
    unit : unit of every value
    grid : which labels of a `Horizon` the series lives on
    low, high : accepted range, both ends included; market limits where there are any, else a bound
        that catches a wrong unit (kW given as MW, EUR/kWh given as EUR/MWh)
    meaning : one line for messages and documentation
    """

    unit: str
    grid: Grid
    low: float
    high: float
    meaning: str


SERIES: dict[str, SeriesSpec] = {
    "day_ahead_eur_mwh": SeriesSpec(
        "EUR/MWh", "day_ahead", -500.0, 4000.0, "day-ahead auction price"
    ),
    "intraday_eur_mwh": SeriesSpec("EUR/MWh", "step", -9999.0, 9999.0, "intraday price"),
    "fcr_eur_mw": SeriesSpec(
        "EUR/MW per 4-h block", "block", 0.0, 20_000.0, "FCR capacity price, symmetric product"
    ),
    "afrr_up_eur_mw_h": SeriesSpec(
        "EUR/MW per hour", "block", 0.0, 20_000.0, "aFRR capacity price, upward"
    ),
    "afrr_down_eur_mw_h": SeriesSpec(
        "EUR/MW per hour", "block", 0.0, 20_000.0, "aFRR capacity price, downward"
    ),
    "afrr_energy_up_eur_mwh": SeriesSpec(
        "EUR/MWh", "step", -15_000.0, 15_000.0, "aFRR energy price, upward, paid to the provider"
    ),
    "afrr_energy_down_eur_mwh": SeriesSpec(
        "EUR/MWh", "step", -15_000.0, 15_000.0, "aFRR energy price, downward, paid by the provider"
    ),
    "activation_up_mw": SeriesSpec(
        "MW", "step", 0.0, 20_000.0, "activated aFRR of the system, upward, mean of the step"
    ),
    "activation_down_mw": SeriesSpec(
        "MW", "step", 0.0, 20_000.0, "activated aFRR of the system, downward, mean of the step"
    ),
    "fcr_activation_frac": SeriesSpec(
        "fraction of the FCR bid", "step", -1.0, 1.0, "mean FCR response of the step, > 0 = upward"
    ),
    "imbalance_eur_mwh": SeriesSpec(
        "EUR/MWh", "step", -99_999.0, 99_999.0, "imbalance price, one price for long and short"
    ),
}


def require_known(names: Iterable[str]) -> None:
    """Raise `ScenarioError` for the first name that is not a scenario series."""
    for name in names:
        if name not in SERIES:
            near = difflib.get_close_matches(name, SERIES, n=2)
            hint = (
                f"Did you mean {' or '.join(near)}?" if near else f"Known are: {', '.join(SERIES)}."
            )
            raise ScenarioError(f"unknown scenario series {name!r}. {hint}")


def labels_of(horizon: Horizon, series: str) -> pd.DatetimeIndex:
    """Labels (UTC interval starts) that the scenario series `series` must have on `horizon`."""
    grid = SERIES[series].grid
    if grid == "day_ahead":
        return horizon.day_ahead_steps
    return horizon.steps if grid == "step" else horizon.block_starts


def label_minutes(series: str, horizon: Horizon) -> int:
    """Length of a label of `series` on `horizon` [min]; blocks count 240 on every day."""
    grid = SERIES[series].grid
    if grid == "block":
        return 60 * BLOCK_HOURS_LOCAL
    return horizon.day_ahead_min if grid == "day_ahead" else horizon.step_min
