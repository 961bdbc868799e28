"""Weather, generation and demand of the reference market: latent Gaussian processes, 15 min.

Everything here is made up. A handful of means, standard deviations, time constants and shapes was
fitted to summary statistics of a large central European zone (docs/reference-market.md); no
observation of any real day enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from stochbess.rng import stream
from stochbess.timegrid import Horizon

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

WORKDAY, SATURDAY, SUNDAY = 0, 1, 2
LATITUDE_RAD, LONGITUDE_DEG = np.radians(50.5), 12.5
SOLAR_MW, SOLAR_GROWTH_MW = 46_000.0, 21_000.0  # clear-sky output at zenith, first day and growth
ONSHORE_MW, OFFSHORE_MW = 50_000.0, 6_300.0


def ou(
    rng: np.random.Generator, n: int, step_h: float, tau_h: float, smooth_h: float = 0.0
) -> FloatArray:
    """Stationary Gaussian process of zero mean and unit variance, shape (n,).

    An Ornstein-Uhlenbeck process of time constant `tau_h` [h] sampled every `step_h` [h]; with
    `smooth_h` > 0 it drives a second one of that time constant, so that the path is smooth.
    """
    a = np.exp(-step_h / tau_h)
    b = np.exp(-step_h / smooth_h) if smooth_h > 0 else 0.0
    variance = (1 + a * b) / ((1 - a * b) * ((1 + a * b) ** 2 - (a + b) ** 2))
    burn_in = int(np.ceil(6 * max(tau_h, smooth_h) / step_h))
    path = lfilter([1.0], [1.0, -(a + b), a * b], rng.standard_normal(n + burn_in))
    return np.asarray(path[burn_in:] / np.sqrt(variance), np.float64)


def sigmoid(x: FloatArray) -> FloatArray:
    """Logistic function, elementwise."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)), np.float64)


def bump(hour: FloatArray, centre_h: float | FloatArray, width_h: float) -> FloatArray:
    """Gaussian of the hour of the day, 1 at `centre_h`, wrapped at midnight."""
    away_h = (hour - centre_h + 12.0) % 24.0 - 12.0
    return np.asarray(np.exp(-0.5 * (away_h / width_h) ** 2), np.float64)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm, Nature 13, 487, 1876)."""
    a, (b, c) = year % 19, divmod(year, 100)
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return date(year, month, day + 1)


def holidays(year: int) -> frozenset[date]:
    """The public holidays of all of Germany."""
    fixed = {date(year, m, d) for m, d in ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))}
    return frozenset(fixed | {easter(year) + timedelta(days=k) for k in (-2, 1, 39, 50)})


@dataclass(frozen=True)
class Clock:
    """Local time on the 15-min grid of `horizon`; arrays of shape (T,) unless stated."""

    horizon: Horizon

    @property
    def n(self) -> int:
        return len(self.horizon.steps)

    @cached_property
    def hour(self) -> FloatArray:
        """Local clock at the middle of the step [h]."""
        local = self.horizon.steps.tz_convert(self.horizon.timezone)
        return np.asarray(local.hour + local.minute / 60 + self.horizon.dt_h / 2, np.float64)

    @cached_property
    def hour_utc(self) -> FloatArray:
        """UTC clock at the middle of the step [h]."""
        steps = self.horizon.steps
        return np.asarray(steps.hour + steps.minute / 60 + self.horizon.dt_h / 2, np.float64)

    @cached_property
    def summer_by_day(self) -> FloatArray:
        """-1 in the third week of January, +1 half a year later; one value a day."""
        day_of_year = np.array([day.timetuple().tm_yday for day in self.horizon.days])
        return np.asarray(-np.cos(2 * np.pi * (day_of_year - 20) / 365.25), np.float64)

    @cached_property
    def late_by_day(self) -> FloatArray:
        """+1 in early September, -1 half a year apart; one value a day."""
        day_of_year = np.array([day.timetuple().tm_yday for day in self.horizon.days])
        return np.asarray(-np.cos(2 * np.pi * (day_of_year - 65) / 365.25), np.float64)

    @cached_property
    def type_by_day(self) -> IntArray:
        """WORKDAY, SATURDAY or SUNDAY (holidays count as Sundays); one value a day."""
        free = {day for year in {d.year for d in self.horizon.days} for day in holidays(year)}
        kinds = [
            SUNDAY if day.weekday() == 6 or day in free else day.weekday() // 5
            for day in self.horizon.days
        ]
        return np.array(kinds, np.int64)

    @cached_property
    def work_by_day(self) -> FloatArray:
        """Industrial activity, 1 on an ordinary workday; one value a day."""
        work = np.array([1.0, 0.23, 0.0])[self.type_by_day]
        for i, day in enumerate(self.horizon.days):
            if (day.month == 12 and day.day >= 24) or (day.month == 1 and day.day <= 5):
                work[i] *= 0.45
            elif day.weekday() in (0, 4):
                work[i] *= 0.94
        return work

    def per_step(self, by_day: FloatArray) -> FloatArray:
        """A daily array on the 15-min grid."""
        return by_day[self.horizon.day_of_step]

    @cached_property
    def summer(self) -> FloatArray:
        return self.per_step(self.summer_by_day)

    @cached_property
    def late(self) -> FloatArray:
        return self.per_step(self.late_by_day)


@dataclass(frozen=True)
class Fundamentals:
    """15-min forecast and outcome of each quantity, shape (T,) [MW]; `temperature_degc` in degC."""

    solar_forecast_mw: FloatArray
    onshore_forecast_mw: FloatArray
    offshore_forecast_mw: FloatArray
    load_forecast_mw: FloatArray
    solar_mw: FloatArray
    onshore_mw: FloatArray
    offshore_mw: FloatArray
    load_mw: FloatArray
    temperature_degc: FloatArray

    @property
    def residual_forecast_mw(self) -> FloatArray:
        wind_mw = self.onshore_forecast_mw + self.offshore_forecast_mw
        return self.load_forecast_mw - self.solar_forecast_mw - wind_mw

    @property
    def residual_mw(self) -> FloatArray:
        return self.load_mw - self.solar_mw - self.onshore_mw - self.offshore_mw


def clear_sky_frac(clock: Clock) -> FloatArray:
    """Clear-sky solar output relative to a sun at the zenith, from the solar elevation."""
    day_of_year = np.array([day.timetuple().tm_yday for day in clock.horizon.days], np.float64)
    n = clock.per_step(day_of_year)
    declination = np.radians(23.44) * np.sin(2 * np.pi * (n - 80) / 365.25)
    hour_angle = np.radians(15 * (clock.hour_utc + LONGITUDE_DEG / 15 - 12))
    high = np.sin(LATITUDE_RAD) * np.sin(declination)
    elevation = high + np.cos(LATITUDE_RAD) * np.cos(declination) * np.cos(hour_angle)
    # a country is wide: the first and last light of the day is smeared out
    return np.asarray((0.03 * np.logaddexp(0.0, elevation / 0.03)) ** 1.3, np.float64)


def _solar(clock: Clock, seed: int) -> tuple[FloatArray, FloatArray]:
    rng, n, dt_h = stream(seed, "reference.solar"), clock.n, clock.horizon.dt_h
    grown_mw = SOLAR_MW + SOLAR_GROWTH_MW * np.arange(n) / n
    sky_mw = grown_mw * clear_sky_frac(clock)
    sky_mw[sky_mw < 1.0] = 0.0
    cloud = (1.0 - 0.15 * clock.summer) * ou(rng, n, dt_h, 28.0, 5.0)
    cloud += 0.20 * ou(rng, n, dt_h, 2.0, 1.0)
    cloud += 0.92 + 0.20 * clock.summer + 0.42 * clock.late
    error = 0.38 * ou(rng, n, dt_h, 5.0, 0.7)
    return sky_mw * sigmoid(cloud), sky_mw * sigmoid(cloud + error)


def _wind(clock: Clock, seed: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    rng, n, dt_h = stream(seed, "reference.wind"), clock.n, clock.horizon.dt_h
    shared = 0.90 * ou(rng, n, dt_h, 21.0, 3.0) + 0.44 * ou(rng, n, dt_h, 120.0, 6.0)
    coast = ou(rng, n, dt_h, 15.0, 2.5)
    on = -1.42 + 1.16 * shared - 0.80 * clock.summer
    off = -0.30 + 1.35 * shared + 1.00 * coast - 0.60 * clock.summer
    on_error = 0.17 * ou(rng, n, dt_h, 5.0, 0.7) + 0.07 * ou(rng, n, dt_h, 60.0)
    off_error = 0.55 * ou(rng, n, dt_h, 6.0, 0.7) + 0.07 * ou(rng, n, dt_h, 0.3)
    off_available = 1.0 + 0.13 * ou(rng, n, dt_h, 6.0, 0.7)
    return (
        ONSHORE_MW * sigmoid(on),
        ONSHORE_MW * sigmoid(on + on_error),
        OFFSHORE_MW * sigmoid(off),
        OFFSHORE_MW * sigmoid(off + off_error) * off_available,
    )


def _temperature(clock: Clock, seed: int) -> FloatArray:
    rng = stream(seed, "reference.temperature")
    swing = (2.7 + 1.3 * clock.summer) * np.cos(2 * np.pi * (clock.hour - 15.7) / 24)
    weather = 3.5 * ou(rng, clock.n, clock.horizon.dt_h, 80.0, 5.0)
    return np.asarray(11.5 + 8.7 * clock.summer + swing + weather, np.float64)


def _load(clock: Clock, seed: int, temperature_degc: FloatArray) -> tuple[FloatArray, FloatArray]:
    rng, hour, dt_h = stream(seed, "reference.load"), clock.hour, clock.horizon.dt_h
    # the night of 00-04 h leads from the activity of one day to that of the next
    work = lfilter([1 / 16] * 16, [1.0], clock.per_step(clock.work_by_day))
    shift = sigmoid((hour - 5.9) / 0.47) - sigmoid((hour - 20.4) / 1.6)
    work_mw = work * (5_250 + 9_500 * shift + 3_200 * bump(hour, 8.3, 1.2))
    home_mw = 12_400 * bump(hour, 12.0, 3.4) + 8_100 * bump(hour, 18.6, 1.75)
    home_mw += 7_200 * bump(hour, 21.7, 2.05) - 2_900 * bump(hour, 6.9, 1.5) * (1 - work)
    dark_mw = -clock.summer * (2_550 + 2_250 * bump(hour, 17.5, 1.9))
    cold_mw = 330 * np.maximum(14.0 - temperature_degc, 0.0)
    drift_mw = 1_300 * ou(rng, clock.n, dt_h, 60.0, 4.0) + 1_100 * ou(rng, clock.n, dt_h, 600.0)
    mean_mw = 35_950 + work_mw + home_mw + dark_mw + cold_mw + drift_mw
    error_mw = 1_100 * ou(rng, clock.n, dt_h, 7.0, 1.0) + 90 * ou(rng, clock.n, dt_h, 0.25)
    return mean_mw, mean_mw + error_mw


def simulate_fundamentals(clock: Clock, seed: int) -> Fundamentals:
    """Weather, wind and solar generation and load with their day-ahead forecasts.

    Parameters
    ----------
    clock : the 15-min grid
    seed : root seed; the named streams ``reference.*`` of this module depend on nothing else
    """
    solar_forecast_mw, solar_mw = _solar(clock, seed)
    on_forecast_mw, on_mw, off_forecast_mw, off_mw = _wind(clock, seed)
    temperature_degc = _temperature(clock, seed)
    load_forecast_mw, load_mw = _load(clock, seed, temperature_degc)
    return Fundamentals(
        solar_forecast_mw=solar_forecast_mw,
        onshore_forecast_mw=on_forecast_mw,
        offshore_forecast_mw=off_forecast_mw,
        load_forecast_mw=load_forecast_mw,
        solar_mw=solar_mw,
        onshore_mw=on_mw,
        offshore_mw=off_mw,
        load_mw=load_mw,
        temperature_degc=temperature_degc,
    )
