"""aFRR activation and energy prices of the reference market.

Two latent Gaussian processes, one for the direction of the control block's imbalance and one for
its unrest, are driven by forecast errors, by the ramp inside the hour and by noise on four time
scales. A power law above a threshold maps them to activated volumes; prices depend on the volume,
on the day-ahead price and on their own persistent noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stochbess.market.reference_fundamentals import Clock, FloatArray, Fundamentals, bump, ou
from stochbess.market.reference_prices import hourly
from stochbess.rng import stream

# volume = SCALE_MW * max(0, z - THRESHOLD) ** EXPONENT + TRICKLE_MW * max(0, z - FIRST), z standard
UP_SCALE_MW, UP_THRESHOLD, UP_EXPONENT, UP_FIRST = 58.0, -0.31, 2.45, -0.72
DOWN_SCALE_MW, DOWN_THRESHOLD, DOWN_EXPONENT, DOWN_FIRST = 49.0, -0.47, 2.34, -0.85
TRICKLE_MW = 2.4
OPPOSITION = 0.83  # share of the variance of each direction that the other one mirrors
PROXY_LIMITS_EUR_MWH = (0.0, 600.0)


@dataclass(frozen=True)
class Activation:
    """15-min arrays: activated volumes [MW] and price proxies [EUR/MWh], up and down."""

    up_mw: FloatArray
    down_mw: FloatArray
    up_eur_mwh: FloatArray
    down_eur_mwh: FloatArray


def _standardise(x: FloatArray) -> FloatArray:
    return np.asarray((x - x.mean()) / x.std(), np.float64)


def _direction(clock: Clock, f: Fundamentals, seed: int) -> FloatArray:
    """Latent direction of the imbalance, standard; positive means that power is missing."""
    rng, n = stream(seed, "reference.activation.direction"), clock.n
    error = _standardise(f.residual_mw - f.residual_forecast_mw)
    ramp = _standardise(f.residual_mw - np.repeat(hourly(f.residual_mw), 4))
    hour = clock.hour
    habit = 0.9 * bump(hour, 7.2, 1.0) + 0.5 * bump(hour, 18.2, 1.8)
    habit -= 0.45 * bump(hour, 23.7, 2.0) + 0.2 * bump(hour, 12.0, 2.5)
    x = 0.22 * np.clip(error, -3.0, 3.0) + 0.20 * np.clip(ramp, -3.0, 3.0) + 0.40 * habit
    x += 0.10 * _standardise(f.residual_forecast_mw)
    x += 0.76 * ou(rng, n, 0.25, 0.65) + 0.12 * ou(rng, n, 0.25, 2.5)
    tooth = np.tile(np.array([1.5, 0.5, -0.5, -1.5]) / 1.118, n // 4)
    x += 0.15 * tooth * np.repeat(ou(rng, n // 4, 1.0, 6.0), 4)
    x += 0.15 * ou(rng, n, 0.25, 200.0) + 0.34 * _recurring(clock, rng)
    return _standardise(x)


def _unrest(clock: Clock, seed: int) -> FloatArray:
    """Latent unrest, standard; positive means much activation in both directions."""
    rng, n = stream(seed, "reference.activation.unrest"), clock.n
    x = 0.80 * ou(rng, n, 0.25, 0.6) + 0.40 * ou(rng, n, 0.25, 5.0) + 0.45 * ou(rng, n, 0.25, 500.0)
    return _standardise(x + 0.30 * bump(clock.hour, 15.0, 6.0))


def _recurring(clock: Clock, rng: np.random.Generator) -> FloatArray:
    """A daily pattern that itself drifts from day to day, roughly standard."""
    angle = 2 * np.pi * clock.hour / 24
    waves = [wave(k * angle) for k in (1, 2, 3) for wave in (np.sin, np.cos)]
    paths = [clock.per_step(ou(rng, clock.horizon.n_days, 24.0, 120.0)) for _ in waves]
    return np.asarray(
        sum(w * p for w, p in zip(waves, paths, strict=True)) / np.sqrt(3), np.float64
    )


def simulate_activation(
    clock: Clock, f: Fundamentals, day_ahead_eur_mwh: FloatArray, seed: int
) -> Activation:
    """Activated volumes and price proxies on the 15-min grid.

    Parameters
    ----------
    day_ahead_eur_mwh : hourly price, shape (T/4,)
    """
    price_eur_mwh = np.repeat(day_ahead_eur_mwh, 4)
    direction = _direction(clock, f, seed)
    unrest = _unrest(clock, seed)
    a, b = np.sqrt(OPPOSITION), np.sqrt(1 - OPPOSITION)
    up, down = a * direction + b * unrest, -a * direction + b * unrest
    up_mw = UP_SCALE_MW * np.maximum(up - UP_THRESHOLD, 0.0) ** UP_EXPONENT
    up_mw += TRICKLE_MW * np.maximum(up - UP_FIRST, 0.0)
    down_mw = DOWN_SCALE_MW * np.maximum(down - DOWN_THRESHOLD, 0.0) ** DOWN_EXPONENT
    down_mw += TRICKLE_MW * np.maximum(down - DOWN_FIRST, 0.0)
    rng = stream(seed, "reference.activation.price")
    return Activation(up_mw, down_mw, *_prices(rng, up_mw, down_mw, price_eur_mwh))


def _heavy(rng: np.random.Generator, n: int) -> FloatArray:
    """Persistent noise with heavy tails, roughly unit scale."""
    x = 0.80 * ou(rng, n, 0.25, 1.2) + 0.45 * ou(rng, n, 0.25, 40.0) + 0.40 * rng.standard_normal(n)
    return np.asarray(np.sinh(1.25 * x) / 1.25, np.float64)


def _prices(
    rng: np.random.Generator, up_mw: FloatArray, down_mw: FloatArray, price_eur_mwh: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Proxies of the marginal price up and down [EUR/MWh], clipped as the real ones are."""
    n, price = len(price_eur_mwh), price_eur_mwh
    shared, rarely = _heavy(rng, n), rng.random((2, n))
    crisis = 700.0 * np.maximum(ou(rng, n, 0.25, 1.0) - 2.6, 0.0)
    level = 56.0 + 0.27 * price + 0.0013 * np.maximum(price, 0.0) ** 2
    up = level + 12.5 * np.log1p(up_mw / 4.0) + 0.03 * up_mw - 4.5 * np.log1p(down_mw / 5.0)
    up += (9.0 + 0.05 * up_mw) * (0.5 * shared + 0.87 * _heavy(rng, n)) + crisis
    level = 33.0 + 0.52 * np.minimum(price, 120.0)
    down = level - 20.0 * np.log1p(down_mw / 10.0)
    down += 14.0 * (0.2 * shared + 0.98 * _heavy(rng, n)) + crisis
    down = np.minimum(down, up - 3.0)
    # without activation a quarter hour often has no price at all: the proxy is 0
    up[(up_mw <= 0.0) & (rarely[0] < 0.22)] = 0.0
    down[(down_mw <= 0.0) & (rarely[1] < 0.34)] = 0.0
    return np.clip(up, *PROXY_LIMITS_EUR_MWH), np.clip(down, *PROXY_LIMITS_EUR_MWH)
