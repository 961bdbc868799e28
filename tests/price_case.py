"""A made-up zone for the price models: prices follow wind, solar and the day of the week."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import pandas as pd

from stochbess.market.data import MarketData, SeriesMeta, build_series
from stochbess.rng import stream
from stochbess.timegrid import Horizon

BERLIN = "Europe/Berlin"
FIRST_DAY = date(2023, 10, 2)
KNOWN_SINCE = {
    "day_ahead": "D-1 12:45 local",
    "intraday_auction": "D-1 15:30 local",
    "fcr_capacity": "D-1 08:30 local",
    "afrr_capacity": "D-1 09:30 local",
    "afrr_energy": "delivery end",
    "fundamentals": "forecasts D-1 18:00 local; realised values delivery end",
}


@cache
def price_market(n_days: int = 200, fundamentals: bool = True) -> MarketData:
    """`n_days` local days from 2023-10-02; the clock changes on 2023-10-29 and 2024-03-31."""
    h = Horizon(FIRST_DAY, n_days, BERLIN, 15, 60)
    rng = stream(1, "test.prices")
    quarters = np.bincount(h.day_of_step)
    local = h.steps.tz_convert(BERLIN)
    hour = np.asarray(local.hour + local.minute / 60, float)
    wind = np.repeat(rng.gamma(2.0, 6.0, n_days), quarters)
    sun = np.repeat(rng.uniform(0.2, 1.0, n_days), quarters)
    solar = 30 * sun * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0)
    load = 50 + 8 * np.sin((hour - 5) / 24 * 2 * np.pi) - 8 * (np.asarray(local.day_of_week) > 4)
    residual = load - wind - solar
    price = 60 + 2 * (residual - 35) + 0.03 * np.maximum(residual - 35, 0) ** 2
    price = price + np.repeat(rng.normal(0, 8, n_days), quarters) + rng.normal(0, 4, len(price))
    hourly = price.reshape(-1, 4).mean(axis=1)
    blocks = len(h.block_starts)
    level = np.repeat(np.cumsum(rng.normal(0, 0.1, n_days)), 6)
    frames = {
        "day_ahead": ({"price_eur_mwh": hourly}, h.day_ahead_steps),
        "intraday_auction": (
            {"price_eur_mwh": np.repeat(hourly, 4) + rng.normal(0, 9, len(price))},
            h.steps,
        ),
        "fcr_capacity": (
            {"price_eur_mw": 60 * np.exp(level + rng.normal(0, 0.2, blocks))},
            h.block_starts,
        ),
        "afrr_capacity": (
            {
                "up_eur_mw_h": 8 * np.exp(level + rng.normal(0, 0.3, blocks)),
                "down_eur_mw_h": 6 * np.exp(-level + rng.normal(0, 0.3, blocks)),
            },
            h.block_starts,
        ),
        "afrr_energy": (
            {
                "up_eur_mwh": np.clip(price + 30, 0, 600),
                "down_eur_mwh": np.clip(price - 40, 0, 600),
            },
            h.steps,
        ),
        "fundamentals": (
            {
                "solar_forecast_mw": 1000 * solar[::4],
                "wind_onshore_forecast_mw": 900 * wind[::4],
                "wind_offshore_forecast_mw": 100 * wind[::4],
                "load_mw": 1000 * load[::4],
            },
            h.day_ahead_steps,
        ),
    }
    series = {
        stem: build_series(
            stem,
            pd.DataFrame(columns, index=index),
            SeriesMeta("test", "test", "made up", KNOWN_SINCE[stem]),
            BERLIN,
        )
        for stem, (columns, index) in frames.items()
        if fundamentals or stem != "fundamentals"
    }
    return MarketData("DE_LU", BERLIN, True, "0" * 64, series)
