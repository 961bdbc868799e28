"""A made-up zone for the tests of activation: persistent volumes, prices that go with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.market.data import ColumnGroup, MarketData, Series, SeriesMeta, build_series
from stochbess.rng import stream
from stochbess.scenario_gen.activation_model import ModelSettings
from stochbess.scenario_gen.boosted_trees import TreeSettings
from stochbess.timegrid import Horizon

Array = npt.NDArray[np.float64]
BERLIN = "Europe/Berlin"
FIRST_DAY, N_DAYS = date(2024, 2, 1), 66  # holds the clock change of 31 March
TARGET = date(2024, 3, 27)
SMALL = ModelSettings(
    TreeSettings(4, 0.3, 4, 40, max_bins=24), 0.02, 60.0, 60.0, (0.0, 5.0, 30.0, 60.0, 100.0)
)
KNOWN_SINCE = {
    "day_ahead": "D-1 12:45 local",
    "intraday_auction": "D-1 15:30 local",
    "afrr_capacity": "D-1 09:30 local",
    "afrr_energy": "delivery end",
    "afrr_activation": "delivery end + 15 min",
    "fundamentals": "forecasts D-1 18:00 local; realised values delivery end",
    "realised_15min": "delivery end",
}


@cache
def zone(
    name: str = "DE_LU", seed: int = 1, without: tuple[str, ...] = (), n_days: int = N_DAYS
) -> MarketData:
    """Volumes follow a slow hidden imbalance; energy prices rise with it; capacity prices drift."""
    h = Horizon(FIRST_DAY, n_days, BERLIN, 15, 60)
    rng = stream(seed, f"test.activation.{name}")
    n = len(h.steps)
    hidden = np.zeros(n)
    shock = rng.normal(0, 1, n)
    for t in range(1, n):
        hidden[t] = 0.93 * hidden[t - 1] + 0.37 * shock[t]
    hour = np.asarray(h.steps.tz_convert(BERLIN).hour, float)
    level = (
        60 + 25 * np.sin(hour / 4) + np.repeat(rng.normal(0, 8, n_days), np.bincount(h.day_of_step))
    )
    up = np.maximum(70 * (hidden + 0.5 * rng.normal(0, 1, n)), 0)
    down = np.maximum(-70 * (hidden + 0.5 * rng.normal(0, 1, n)) + 10, 0)
    drift = np.exp(np.cumsum(rng.normal(0, 0.1, n_days)))
    block = np.repeat(drift, 6) * rng.uniform(6, 12, len(h.block_starts))
    frames: dict[str, dict[str, Array]] = {
        "day_ahead": {"price_eur_mwh": level[::4]},
        "intraday_auction": {"price_eur_mwh": level + 5 * hidden},
        "afrr_capacity": {"up_eur_mw_h": block, "down_eur_mw_h": block[::-1].copy()},
        "afrr_energy": {
            "up_eur_mwh": np.clip(level + 30 + 25 * hidden, 0, 600),
            "down_eur_mwh": np.clip(level - 30 + 25 * hidden, 0, 600),
        },
        "afrr_activation": {"up_mw": up, "down_mw": down},
        "fundamentals": {
            "wind_onshore_forecast_mw": rng.uniform(1, 30, n)[::4] * 1000,
            "solar_forecast_mw": np.maximum(np.sin(hour[::4] / 4), 0) * 9000,
            "load_mw": rng.uniform(40, 60, n)[::4] * 1000,
        },
        "realised_15min": {
            "solar_mw": rng.uniform(0, 9000, n),
            "load_mw": rng.uniform(4e4, 6e4, n),
        },
    }
    index = {"day_ahead": h.day_ahead_steps, "fundamentals": h.day_ahead_steps}
    index["afrr_capacity"] = h.block_starts
    series = {
        stem: build_series(
            stem,
            pd.DataFrame(columns, index=index.get(stem, h.steps)),
            SeriesMeta("test", "test", "made up", KNOWN_SINCE[stem]),
            BERLIN,
        )
        for stem, columns in frames.items()
        if stem not in without
    }
    return MarketData(name, BERLIN, False, "0" * 64, series)


def altered(market: MarketData, change: Callable[[ColumnGroup], pd.DataFrame]) -> MarketData:
    """The market with the values of every group replaced by `change`; publication stays."""

    def alter(series: Series) -> Series:
        groups = tuple(replace(group, frame=change(group)) for group in series.groups)
        return replace(series, groups=groups)

    return replace(market, series={name: alter(s) for name, s in market.series.items()})


def corrupted_from(market: MarketData, gate: pd.Timestamp) -> MarketData:
    """Everything that became known at or after `gate` is noise of another size and sign."""

    def change(group: ColumnGroup) -> pd.DataFrame:
        unknown = (group.known_since_utc >= gate).to_numpy()
        frame = group.frame.copy()
        noise = 777.0 + np.arange(unknown.sum()) % 13
        frame.loc[unknown, :] = noise[:, None] * np.ones(frame.shape[1])
        return frame

    return altered(market, change)


def deleted_from(market: MarketData, gate: pd.Timestamp) -> MarketData:
    """Nothing that became known at or after `gate` is there at all."""
    return market.as_of(gate.to_pydatetime())
