"""Point forecasts that a price model has to beat: the similar day, and SARIMAX.

Both are textbook methods (Weron 2014, doi:10.1016/j.ijforecast.2014.08.008).
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from stochbess.errors import NotEnoughHistoryError
from stochbess.scenario_gen.day_panel import HOURS, DayPanel, complete, lagged
from stochbess.scenario_gen.price_features import PriceFeatures

Array = npt.NDArray[np.float64]

TUESDAY, FRIDAY = 1, 4
SARIMAX_DAYS = 56


def naive_prices(features: PriceFeatures) -> Array:
    """Price of the similar day for every row [EUR/MWh], shape (days, 24).

    The latest known day for Tuesday to Friday, the same weekday of last week otherwise.
    """
    panel = features.panel
    latest = lagged(panel.price_eur_mwh, features.lags.price)
    week = lagged(panel.price_eur_mwh, 7)
    weekday = np.array([panel.day(row).weekday() for row in range(panel.target + 1)])
    working = (weekday >= TUESDAY) & (weekday <= FRIDAY) & (features.lags.price == 1)
    return np.where(working[:, None], latest, week)


def sarimax_point(panel: DayPanel, price_lag: int = 1, n_days: int = SARIMAX_DAYS) -> Array:
    """SARIMAX(2,0,1)(1,0,1) of period 24 with a weekly profile, one fit; shape (24,) [EUR/MWh].

    The hourly series of the latest `n_days` complete days, less its mean by hour and weekend. Where
    the price is older than D-1, the forecast reaches further.

    Raises
    ------
    NotEnoughHistoryError : a gap in those days
    """
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    stop = panel.target - price_lag + 1
    table = panel.price_eur_mwh[max(stop - n_days, 0) : stop]
    if len(table) < n_days or not complete(table).all():
        raise NotEnoughHistoryError(
            f"SARIMAX for {panel.target_day}: {int(complete(table).sum())} of {n_days} days before "
            "it have complete prices. Choose a later delivery day, or import the missing days."
        )
    free = panel.day_type >= FRIDAY + 1
    past = free[stop - n_days : stop]
    profile = np.stack([table[~past].mean(axis=0), table[past].mean(axis=0)])
    series = (table - profile[past.astype(int)]).ravel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels warns of starting values and of convergence
        fitted = SARIMAX(
            series, order=(2, 0, 1), seasonal_order=(1, 0, 1, HOURS), enforce_stationarity=False
        ).fit(disp=False, maxiter=30, method="lbfgs")
    ahead = np.asarray(fitted.forecast(HOURS * price_lag), np.float64)[-HOURS:]
    return np.asarray(ahead + profile[int(free[-1])], np.float64)
