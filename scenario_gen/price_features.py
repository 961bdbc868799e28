"""Inputs of the day-ahead price models, by delivery day and hour.

Every input of row r is what was known at the gate of day r: tables are seen through lags that are
found at the target day (`FeatureLags`) and held for all past days, so that a model is trained on
what it will be used with. The lags follow the literature on the linear model (prices of D-1, D-2,
D-3, D-7, forecasts of D, D-1, D-7, load of D-2, D-7: Lago, Marcjasz, De Schutter & Weron 2021,
doi:10.1016/j.apenergy.2021.116983); hours are seen with their neighbours and the mean of the day
instead of all 24 at once, which needs far fewer coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError
from stochbess.scenario_gen.day_panel import HOURS, DayPanel, lag_days, lagged

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

WEEK = 7


@dataclass(frozen=True)
class FeatureLags:
    """Days back to the latest complete day of each table, as seen from the target day.

    Attributes
    ----------
    price : at least 1, also if the price of the target day is known
    forecast : 0 if the forecasts of the target day are known; None if the zone has none
    load : at least 1; None if the zone has none
    """

    price: int
    forecast: int | None
    load: int | None

    def for_hash(self) -> tuple[int, int, int]:
        return (self.price, self.forecast or 0, self.load or 0)


def feature_lags(panel: DayPanel) -> FeatureLags:
    """Lags of `panel`; a table whose latest complete day is a week old or older is left out.

    Raises
    ------
    DataError : no complete day of prices within a week before the target day
    """
    price = lag_days(panel.price_eur_mwh, 1)
    if price is None or price >= WEEK:
        raise DataError(
            f"day_ahead of {panel.zone}: the latest complete day known at the gate of "
            f"{panel.target_day} is {'none' if price is None else f'{price} days old'}; expected "
            "one less than 7 days old. Import the missing days, or choose another delivery day."
        )
    forecast = [lag_days(table) for table in panel.forecast_mw.values()]
    known = [lag for lag in forecast if lag is not None and lag < WEEK]
    load = None if panel.load_mw is None else lag_days(panel.load_mw, 1)
    return FeatureLags(
        price,
        max(known) if known and len(known) == len(forecast) else None,
        load if load is not None and load < WEEK else None,
    )


@dataclass(frozen=True)
class HourFeatures:
    """Inputs of one hour for every row.

    Attributes
    ----------
    values : shape (days, features)
    is_price : columns that are prices (transformed by asinh), shape (features,)
    residual_load : column from which hinges are made, or -1
    """

    values: Array
    is_price: Flags
    residual_load: int


@dataclass(frozen=True)
class PriceFeatures:
    """Inputs of all price models for one panel.

    Attributes
    ----------
    panel : tables of the days
    lags : through which they are seen
    """

    panel: DayPanel
    lags: FeatureLags

    @cached_property
    def price_days(self) -> list[Array]:
        """Prices of the latest three known days and of the same weekday a week ago."""
        first = self.lags.price
        days = dict.fromkeys((first, first + 1, first + 2, WEEK))
        return [lagged(self.panel.price_eur_mwh, k) for k in days]

    @cached_property
    def forecasts(self) -> list[Array]:
        """Latest known forecast of solar and of wind, each (days, 24); empty if there is none."""
        if self.lags.forecast is None:
            return []
        tables = self.panel.forecast_mw
        return [lagged(tables[name], self.lags.forecast) for name in sorted(tables)]

    @cached_property
    def residual_load(self) -> Array | None:
        """Load a week ago less the latest wind and solar forecasts [MW], shape (days, 24)."""
        if self.lags.load is None or not self.forecasts or self.panel.load_mw is None:
            return None
        return np.asarray(lagged(self.panel.load_mw, WEEK) - np.sum(self.forecasts, axis=0))

    def hour(self, hour: int) -> HourFeatures:
        """Inputs of the linear model of one hour."""
        prices, others = self._prices(hour), self._fundamentals(hour)
        columns = [*prices, *others]
        residual = self.residual_load
        at = -1
        if residual is not None:
            at = len(columns)
            columns.append(residual[:, hour])
        values = np.stack(columns, axis=1)
        is_price = np.arange(values.shape[1]) < len(prices)
        return HourFeatures(values, is_price, at)

    def _prices(self, hour: int) -> list[Array]:
        latest = self.price_days[0]
        same_hour = [table[:, hour] for table in self.price_days]
        means = [table.mean(axis=1) for table in (*self.price_days[:2], self.price_days[-1])]
        return [*same_hour, *means, latest[:, -1], latest.min(axis=1), latest.max(axis=1)]

    def _fundamentals(self, hour: int) -> list[Array]:
        columns: list[Array] = []
        for now in self.forecasts:
            before, week = lagged(now, 1), lagged(now, WEEK)
            columns += [now[:, k] for k in (hour, max(hour - 1, 0), min(hour + 1, HOURS - 1))]
            columns += [now.mean(axis=1), before[:, hour], before.mean(axis=1), week[:, hour]]
        if self.lags.load is not None and self.panel.load_mw is not None:
            for days in (max(self.lags.load, 1), WEEK):
                load = lagged(self.panel.load_mw, days)
                columns += [load[:, hour], load.mean(axis=1)]
        return columns
