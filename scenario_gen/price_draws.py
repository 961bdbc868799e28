"""Draws of the day-ahead price around the predictions of a fit (equations 53 to 56)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError
from stochbess.scenario_gen.conformal import (
    levels_of,
    nearest_days,
    recalibrated_copula_draws,
    values_at,
)
from stochbess.scenario_gen.day_panel import HOURS, complete
from stochbess.scenario_gen.price_baselines import naive_prices
from stochbess.scenario_gen.price_features import PriceFeatures
from stochbess.scenario_gen.price_fit import (
    HISTORY_DAYS,
    LINEAR_HISTORY_DAYS,
    NAIVE_DAYS,
    DayAheadFit,
    extended,
)
from stochbess.scenario_gen.price_lear import lear_inputs
from stochbess.scenario_gen.price_similar import similar_days
from stochbess.scenario_gen.price_trees import LEVELS, MEDIAN, tree_inputs

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEIGHBOURS = 60


@dataclass(frozen=True)
class DrawState:
    """History of a fit, carried on to the target day of a draw; rows are those of the panel."""

    features: PriceFeatures
    naive: Array
    linear: Array  # mean over the windows (days, 24)
    median: Array  # of the trees (days, 24)
    levels: Array  # of past prices in their predicted distributions (days, 24)
    quantiles: Array  # of the target day (24, levels), empty without trees

    @property
    def target(self) -> int:
        return self.features.panel.target

    @property
    def price(self) -> Array:
        return self.features.panel.price_eur_mwh

    @classmethod
    def of(cls, fit: DayAheadFit, features: PriceFeatures) -> DrawState:
        panel = features.panel
        n_days, new = panel.target + 1, np.arange(panel.row(fit.target_day), panel.target + 1)
        naive = naive_prices(features)
        empty = np.full((n_days, HOURS), np.nan)
        if fit.lear is None:
            return cls(features, naive, empty, empty, empty, np.empty((0, 0)))
        windows = extended(fit.linear_eur_mwh, n_days)
        windows[new] = fit.lear.predict(lear_inputs(features), new)
        linear = windows.mean(axis=1)
        if not np.isfinite(linear[-1]).all():
            raise DataError(
                f"day-ahead model of {fit.zone}: an input of {panel.target_day} is not known in "
                f"the view, though its like was for {fit.target_day}. Draw at the gate for which "
                "the model was fitted, or fit again."
            )
        if fit.trees is None:
            return cls(features, naive, linear, empty, empty, np.empty((0, 0)))
        quantiles = extended(fit.quantiles_eur_mwh, n_days)
        quantiles[new] = fit.trees.predict(tree_inputs(features, windows), new)
        levels = levels_of(quantiles, LEVELS, panel.price_eur_mwh)
        return cls(features, naive, linear, quantiles[:, :, MEDIAN], levels, quantiles[-1])

    def past(self, centre: Array, days: int) -> Ints:
        """Rows of the latest `days` days with a known price and a prediction `centre`."""
        rows = np.arange(max(self.target - days, 0), self.target)
        return rows[complete(centre[rows]) & complete(self.price[rows])]


def naive_draws(state: DrawState, n: int, rng: np.random.Generator) -> tuple[Array, Ints, Array]:
    """Price of the similar day plus the errors of as many past days."""
    rows = state.past(state.naive, NAIVE_DAYS)
    drawn = rng.choice(rows, n, replace=n > len(rows))
    point = state.naive[-1]
    return point + (state.price - state.naive)[drawn], drawn, point


def similar_draws(
    state: DrawState, centre: Array, n: int, rng: np.random.Generator
) -> tuple[Array, Ints, Array]:
    """Prediction plus the errors of similar days, all hours of a day together (equation 56)."""
    rows = state.past(centre, LINEAR_HISTORY_DAYS)
    drawn = similar_days(
        state.linear, state.features, rows, n, max(NEIGHBOURS, -(-6 * n // 5)), rng
    )
    return centre[-1] + (state.price - centre)[drawn], drawn, centre[-1]


def copula_draws(state: DrawState, n: int, rng: np.random.Generator) -> tuple[Array, Ints, Array]:
    rows = state.past(state.levels, HISTORY_DAYS)
    levels = recalibrated_copula_draws(state.levels[rows], n, rng)
    values = values_at(state.quantiles, LEVELS, levels)
    near = nearest_days(levels, state.levels[rows])
    return values, rows[near], state.quantiles[:, MEDIAN]
