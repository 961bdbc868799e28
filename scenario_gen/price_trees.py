"""Quantiles of the day-ahead price: boosted trees stacked on the linear model (equation 52).

One ensemble per quantile level predicts the *error* of the linear model from its own forecast
profile, the disagreement of its calibration windows, its recent errors, wind, solar and the
residual load. Trees find what a linear model cannot say: when it errs, and by how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stochbess.scenario_gen.boosted_trees import TreeEnsemble, TreeSettings, fit_trees
from stochbess.scenario_gen.day_panel import HOURS, complete, lagged
from stochbess.scenario_gen.price_features import PriceFeatures

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
MEDIAN = LEVELS.index(0.5)
SETTINGS = TreeSettings(60, 0.08, 12, 40, 1.0)
ERROR_DAYS = 14
MIN_DAYS = 28
TRAINING_DAYS = 546
BLOCK_DAYS = 28  # refits of the past, for errors that no fit has seen


@dataclass(frozen=True)
class TreeInputs:
    """Inputs of the trees, shape (days, 24, features), and the linear forecast (days, 24)."""

    values: Array
    linear_eur_mwh: Array
    price_eur_mwh: Array
    price_lag: int

    def training_rows(self, anchor: int) -> Ints:
        rows = np.arange(max(anchor - TRAINING_DAYS, 0), max(anchor - self.price_lag + 1, 0))
        known = complete(self.linear_eur_mwh[rows]) & complete(self.price_eur_mwh[rows])
        known &= np.isfinite(self.values[rows]).all(axis=(1, 2))
        return rows[known]


def tree_inputs(features: PriceFeatures, linear: Array) -> TreeInputs:
    """Inputs from the linear predictions by window, shape (days, W, 24).

    Errors of the linear model enter through the lag of the price: those known at each row's gate.
    """
    price = features.panel.price_eur_mwh
    mean = linear.mean(axis=1)
    lag = features.lags.price
    error = lagged(price - mean, lag)
    absolute = np.abs(error)
    recent = np.mean([lagged(absolute, k) for k in range(ERROR_DAYS)], axis=0)
    day_mean = mean.mean(axis=1, keepdims=True)
    hours = np.clip(np.arange(HOURS) + np.array([[-1], [1]]), 0, HOURS - 1)
    columns = [
        np.arange(HOURS, dtype=np.float64),
        features.panel.day_type[:, None].astype(np.float64),
        mean,
        linear[:, 0] - mean,
        linear[:, -1] - mean,
        linear.std(axis=1),
        mean - day_mean,
        day_mean,
        np.ptp(mean, axis=1, keepdims=True),
        mean[:, hours[0]] - mean,
        mean[:, hours[1]] - mean,
        features.price_days[0],
        features.price_days[-1],
        error,
        error.mean(axis=1, keepdims=True),
        recent,
        recent.mean(axis=1, keepdims=True),
        *features.forecasts,
    ]
    if features.residual_load is not None:
        columns += [features.residual_load, features.residual_load.mean(axis=1, keepdims=True)]
    values = np.stack([np.broadcast_to(c, mean.shape) for c in columns], axis=2)
    return TreeInputs(np.ascontiguousarray(values), mean, price, lag)


@dataclass(frozen=True)
class QuantileTrees:
    """One ensemble per level of `LEVELS`."""

    ensembles: tuple[TreeEnsemble, ...]

    def predict(self, inputs: TreeInputs, rows: Ints) -> Array:
        """Quantiles of the price [EUR/MWh], rising, shape (rows, 24, levels); NaN where unknown."""
        x = inputs.values[rows]
        flat = x.reshape(-1, x.shape[-1])
        error = np.stack([e.raw(flat) for e in self.ensembles], axis=1)
        error = error.reshape(len(rows), HOURS, len(LEVELS))
        quantiles = np.sort(inputs.linear_eur_mwh[rows][:, :, None] + error, axis=2)
        known = np.asarray(np.isfinite(x).all(axis=(1, 2)))
        return np.where(known[:, None, None], quantiles, np.nan)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays: dict[str, npt.NDArray[Any]] = {}
        for i, ensemble in enumerate(self.ensembles):
            arrays |= ensemble.to_arrays(f"trees{i:02d}_")
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> QuantileTrees:
        return cls(
            tuple(TreeEnsemble.from_arrays(arrays, f"trees{i:02d}_") for i in range(len(LEVELS)))
        )


def fit_quantile_trees(inputs: TreeInputs, anchor: int, seed: int) -> QuantileTrees | None:
    """The trees as they could be fitted at the gate of row `anchor`; None with too little history.

    They are trained on errors of the linear model out of its own sample.
    """
    rows = inputs.training_rows(anchor)
    if len(rows) < MIN_DAYS:
        return None
    x = inputs.values[rows].reshape(-1, inputs.values.shape[-1])
    y = (inputs.price_eur_mwh - inputs.linear_eur_mwh)[rows].ravel()
    return QuantileTrees(
        tuple(fit_trees(x, y, "quantile", SETTINGS, seed, quantile=level) for level in LEVELS)
    )


def walk_forward(inputs: TreeInputs, anchors: Ints, until: int, seed: int, into: Array) -> Array:
    """Out-of-sample quantiles of the rows from each anchor to the next; see `price_lear`."""
    for anchor in anchors.tolist():
        rows = np.arange(anchor, min(anchor + BLOCK_DAYS, until))
        rows = rows[np.isnan(into[rows]).any(axis=(1, 2))]
        model = fit_quantile_trees(inputs, anchor, seed) if len(rows) else None
        if model is not None:
            into[rows] = model.predict(inputs, rows)
    return into
