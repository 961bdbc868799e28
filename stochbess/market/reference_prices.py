"""Day-ahead, intraday and reserve capacity prices of the reference market.

The day-ahead price is a convex supply curve of the *forecast* residual load plus the pull of the
neighbours; the intraday auction follows the ramp inside the hour; capacity prices follow season,
day-ahead price and solar forecast. docs/reference-market.md has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stochbess.market.reference_fundamentals import (
    WORKDAY,
    Clock,
    FloatArray,
    Fundamentals,
    bump,
    ou,
)
from stochbess.rng import stream

DAY_AHEAD_LIMITS_EUR_MWH = (-500.0, 4000.0)
INTRADAY_LIMITS_EUR_MWH = (-9999.0, 9999.0)
SCARCITY_EUR_MWH = 850.0  # scarcity levels off here
BLOCKS_PER_DAY = 6

# Log capacity price per 4-h block (00-04, ..., 20-24 h): mean, loading on the summer curve (peak in
# July) and on the late-summer curve (peak in September); then the loadings on solar and day-ahead.
FCR_MEAN = (3.74, 4.01, 4.23, 4.31, 4.29, 3.90)
FCR_SUMMER = (0.00, 0.07, 0.58, 0.72, 0.24, 0.48)
FCR_LATE = (0.00, 0.13, 0.00, 0.10, 0.15, 0.00)
UP_MEAN = (1.08, 1.65, 2.15, 1.65, 2.34, 1.98)
UP_SUMMER = (0.54, 0.42, 0.45, 0.40, 0.00, 0.83)
UP_LATE = (-0.28, 0.15, 0.12, 0.29, 0.29, 0.00)
DOWN_MEAN = (2.30, 2.28, 2.75, 3.05, 2.21, 1.48)
DOWN_SUMMER = (-0.63, -0.35, 0.90, 0.88, 1.25, -0.20)
DOWN_LATE = (0.36, 0.27, 0.00, 0.00, -0.12, 0.06)


@dataclass(frozen=True)
class DayAhead:
    """Hourly day-ahead price and the scarcity part in it [EUR/MWh], shape (T/4,)."""

    price_eur_mwh: FloatArray
    scarcity_eur_mwh: FloatArray


def hourly(x: FloatArray) -> FloatArray:
    """Hourly means of a 15-min array."""
    return np.asarray(x.reshape(-1, 4).mean(axis=1), np.float64)


def softplus(x: FloatArray, width: float) -> FloatArray:
    """max(x, 0) with a corner rounded over `width`."""
    return np.asarray(width * np.logaddexp(0.0, x / width), np.float64)


def _tension_gw(clock: Clock) -> FloatArray:
    """Pull of neighbours and of inflexible plant on the price, as extra residual load, hourly."""
    hour, summer, late = hourly(clock.hour), hourly(clock.summer), hourly(clock.late)
    evening = np.maximum(4.3 + 4.5 * late + 2.0 * summer, 0.0)
    pull = 2.5 * bump(hour, 7.6, 1.0) + evening * bump(hour, 19.3 + 1.1 * summer, 1.5)
    return pull - 1.5 * bump(hour, 4.0, 2.2)


def simulate_day_ahead(clock: Clock, f: Fundamentals, seed: int) -> DayAhead:
    """Hourly day-ahead prices [EUR/MWh] within the harmonised limits, shape (T/4,)."""
    rng, n_days = stream(seed, "reference.day_ahead"), clock.horizon.n_days
    n = clock.n // 4
    day = clock.horizon.day_of_step[::4]
    fuel = np.exp(0.18 * ou(rng, n, 1.0, 60 * 24.0) + 0.06 * ou(rng, n, 1.0, 60.0, 6.0))
    neighbours_gw = 2.3 * ou(rng, n, 1.0, 30.0, 3.0) + 0.8 * ou(rng, n, 1.0, 2.0)
    r_gw = hourly(f.residual_forecast_mw) / 1000 + _tension_gw(clock) + neighbours_gw
    above_gw = softplus(r_gw - 10.0, 2.2)
    thermal = fuel * (57.0 * (1 - np.exp(-above_gw / 8.0)) + 1.70 * above_gw)
    tight = np.exp(0.6 * ou(rng, n_days, 24.0, 60.0))[day]
    scarcity = 7.0 * fuel * tight * np.exp(np.minimum((r_gw - 52.0) / 4.6, 4.2))
    jump = rng.random(n_days) < 0.012
    size = jump * (60.0 + 150.0 * rng.standard_exponential(n_days))
    peak_h = 18.5 + 1.0 * clock.summer_by_day
    scarcity += size[day] * bump(hourly(clock.hour), peak_h[day], 0.9)
    scarcity = SCARCITY_EUR_MWH * np.tanh(scarcity / SCARCITY_EUR_MWH)
    below_gw = softplus(3.5 - r_gw, 1.5)
    surplus = np.exp(0.6 * rng.standard_normal(n_days))[day] * (0.9 * below_gw + 0.07 * below_gw**2)
    noise = (1.5 + 0.05 * thermal) * (0.7 * ou(rng, n, 1.0, 4.0) + 0.5 * rng.standard_normal(n))
    noise *= np.minimum(0.15 + above_gw / 15.0, 1.0)
    price = np.clip(thermal + scarcity - surplus + noise, *DAY_AHEAD_LIMITS_EUR_MWH)
    return DayAhead(np.asarray(price, np.float64), scarcity)


def simulate_intraday(clock: Clock, f: Fundamentals, da: DayAhead, seed: int) -> FloatArray:
    """Prices of the 15-min intraday auction [EUR/MWh], shape (T,)."""
    rng, n = stream(seed, "reference.intraday"), clock.n
    level = np.repeat(np.abs(da.price_eur_mwh), 4)
    scarcity = np.repeat(da.scarcity_eur_mwh, 4)
    unrest = np.exp(0.42 * ou(rng, n, 0.25, 60.0) - 0.08) * (1 + scarcity / 150.0)
    # hourly part: what changed between the two auctions, and scarcity that was overpriced
    news_gw = hourly(f.residual_mw - f.residual_forecast_mw) / 1000
    shift = np.repeat(9.5 * ou(rng, n // 4, 1.0, 3.0) + 0.4 * news_gw, 4)
    shift = shift * unrest * (0.65 + level / 250.0) - 0.22 * scarcity
    # inside the hour: the ramp that hourly products cannot follow
    ramp_gw = _inside_hour(f.residual_forecast_mw) / 1000
    tooth = np.tile(np.array([1.5, 0.5, -0.5, -1.5]), n // 4)
    uneven = np.repeat(ou(rng, n // 4, 1.0, 4.0), 4)
    inside = ramp_gw * (19.5 + 4.0 * uneven) + 6.0 * tooth * np.repeat(ou(rng, n // 4, 1.0, 3.0), 4)
    inside += 9.0 * rng.standard_t(5.0, n)
    inside = _inside_hour(inside * unrest * (0.8 + level / 400.0))
    price = np.repeat(da.price_eur_mwh, 4) + shift + inside
    return np.asarray(np.clip(price, *INTRADAY_LIMITS_EUR_MWH), np.float64)


def _inside_hour(x: FloatArray) -> FloatArray:
    """Deviation of a 15-min array from its hourly mean."""
    return np.asarray(x - np.repeat(hourly(x), 4), np.float64)


@dataclass(frozen=True)
class Capacity:
    """Per local 4-h block: FCR [EUR/MW per block], aFRR up and down [EUR/MW/h]; shape (6 days,)."""

    fcr_eur_mw: FloatArray
    up_eur_mw_h: FloatArray
    down_eur_mw_h: FloatArray


def _block_mean(clock: Clock, x: FloatArray) -> FloatArray:
    """Mean of a 15-min array per local 4-h block."""
    block = clock.horizon.block_of_step
    return np.asarray(np.bincount(block, x) / np.bincount(block), np.float64)


def simulate_capacity(clock: Clock, f: Fundamentals, da: DayAhead, seed: int) -> Capacity:
    """Capacity prices of the six local 4-h blocks of every day."""
    rng, n_days = stream(seed, "reference.capacity"), clock.horizon.n_days
    summer, late = clock.summer_by_day, clock.late_by_day
    price = (
        np.clip(_block_mean(clock, np.repeat(da.price_eur_mwh, 4)), -100, 300).reshape(n_days, -1)
        / 100
    )
    # bids are due before the day-ahead auction: they look at yesterday's price as well
    price[1:] = 0.5 * (price[1:] + price[:-1])
    sun = _block_mean(clock, f.solar_forecast_mw).reshape(n_days, -1) / 10_000
    workday = (clock.type_by_day == WORKDAY)[:, None]
    shared = ou(rng, n_days, 24.0, 170.0)

    def series(
        tables: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]],
        loadings: tuple[float, float, float],
        noise: tuple[float, float, float],
        spike: float,
        ceiling: float,
    ) -> FloatArray:
        mean, on_summer, on_late = (np.array(t) for t in tables)
        (on_price, on_sun, on_work), (by_day, by_block, tau_h) = loadings, noise
        own = 0.7 * shared + 0.714 * ou(rng, n_days, 24.0, 170.0)
        block = np.stack([ou(rng, n_days, 24.0, tau_h) for _ in range(BLOCKS_PER_DAY)], axis=1)
        log_price = mean + np.outer(summer, on_summer) + np.outer(late, on_late)
        log_price = log_price + on_price * price + on_sun * sun + on_work * workday
        log_price += by_day * own[:, None] + by_block * block
        jump = (rng.random(log_price.shape) < 0.015) * rng.random(log_price.shape)
        return np.asarray(ceiling * np.tanh(np.exp(log_price + spike * jump) / ceiling)).ravel()

    fcr_tables, fcr_loadings = (FCR_MEAN, FCR_SUMMER, FCR_LATE), (-0.16, 0.08, 0.0)
    up_tables, up_loadings = (UP_MEAN, UP_SUMMER, UP_LATE), (0.46, 0.03, 0.24)
    down_tables, down_loadings = (DOWN_MEAN, DOWN_SUMMER, DOWN_LATE), (-0.70, 0.08, 0.05)
    return Capacity(
        fcr_eur_mw=series(fcr_tables, fcr_loadings, (0.25, 0.23, 45.0), 0.9, 450.0),
        up_eur_mw_h=series(up_tables, up_loadings, (0.29, 0.23, 90.0), 1.8, 300.0),
        down_eur_mw_h=series(down_tables, down_loadings, (0.26, 0.22, 90.0), 0.4, 110.0),
    )
