"""Linear day-ahead price model: one lasso per hour, four calibration windows (equations 50, 51).

LEAR, the lasso-estimated autoregressive model with exogenous inputs, is the standard linear
benchmark of day-ahead price forecasting (Lago, Marcjasz, De Schutter & Weron 2021,
doi:10.1016/j.apenergy.2021.116983). Prices are transformed by asinh of their standardised value
(Uniejewski, Weron & Ziel 2018, doi:10.1109/TPWRS.2017.2734563). One path of coordinate descent per
hour (Friedman, Hastie & Tibshirani 2010, doi:10.18637/jss.v033.i01), the penalty chosen by the
corrected Akaike criterion with the number of non-zero coefficients as degrees of freedom (Zou,
Hastie & Tibshirani 2007, doi:10.1214/009053607000000127).

What keeps it stable on days that are unlike any other: inputs are held within the range seen in
training, a tenth of it beyond, and so is the transformed price.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path

from stochbess.scenario_gen.day_panel import HOURS, complete
from stochbess.scenario_gen.price_features import PriceFeatures
from stochbess.scenario_gen.series import SERIES

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WINDOWS_DAYS = (56, 84, 182, 730)  # the last one is weighted by age
MEMORY_DAYS = 300.0
MIN_ROWS = 42
REFIT_DAYS = 7
PENALTIES, PENALTY_RATIO = 30, 3e-3
MAX_SHARE_OF_ROWS = 0.6  # non-zero coefficients over rows
MARGIN_FRAC = 0.1
HINGES = (-1.0, 0.0, 1.0)
MAD_TO_SD = 1.4826
PRICE = SERIES["day_ahead_eur_mwh"]


@dataclass(frozen=True)
class LearInputs:
    """Inputs of all hours, stacked: what training and prediction read.

    Attributes
    ----------
    values : shape (24, days, features), the residual load last if there is one
    is_price : columns that are transformed by asinh, shape (features,)
    has_residual_load : whether hinges are made of the last column
    day_type : 0 to 6, shape (days,)
    price_eur_mwh : shape (days, 24), NaN where not known
    price_lag : days from the latest known price to the target
    """

    values: Array
    is_price: npt.NDArray[np.bool_]
    has_residual_load: bool
    day_type: Ints
    price_eur_mwh: Array
    price_lag: int

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Rows of which every input is known, shape (days,)."""
        return np.asarray(np.isfinite(self.values).all(axis=(0, 2)))

    def training_rows(self, anchor: int, days: int) -> Ints:
        """Rows of the latest `days` days whose price was known at the gate of row `anchor`."""
        rows = np.arange(max(anchor - days, 0), max(anchor - self.price_lag + 1, 0))
        return rows[self.usable[rows] & complete(self.price_eur_mwh[rows])]


def lear_inputs(features: PriceFeatures) -> LearInputs:
    """The inputs of every hour as one array."""
    hours = [features.hour(hour) for hour in range(HOURS)]
    return LearInputs(
        np.stack([hour.values for hour in hours]),
        hours[0].is_price,
        hours[0].residual_load >= 0,
        features.panel.day_type,
        features.panel.price_eur_mwh,
        features.lags.price,
    )


@dataclass(frozen=True)
class LearModel:
    """Coefficients for W windows, 24 hours, F inputs, T transformed inputs and 7 kinds of day.

    Attributes
    ----------
    median, spread : of the inputs, shape (W, 24, F)
    low, high : limits of the transformed inputs, shape (W, 24, T)
    centre, scale : of transformed inputs and kinds of day, shape (W, 24, T + 7)
    coefficient : shape (W, 24, T + 7)
    intercept : shape (W, 24)
    price : centre, scale, lowest and highest transformed price, shape (W, 4)
    """

    median: Array
    spread: Array
    low: Array
    high: Array
    centre: Array
    scale: Array
    coefficient: Array
    intercept: Array
    price: Array

    def predict(self, inputs: LearInputs, rows: Ints) -> Array:
        """Day-ahead price [EUR/MWh], shape (rows, W, 24); NaN where an input is not known."""
        found = np.full((len(rows), len(self.price), HOURS), np.nan)
        known = inputs.usable[rows]
        use = rows[known]
        for w, (centre, scale, low, high) in enumerate(self.price):
            z = _transformed(inputs, use, self.median[w], self.spread[w])
            z = np.clip(z, self.low[w][:, None], self.high[w][:, None])
            z = _with_day_type(z, inputs.day_type[use])
            z = (z - self.centre[w][:, None]) / self.scale[w][:, None]
            y = np.einsum("hnf,hf->nh", z, self.coefficient[w]) + self.intercept[w]
            price = centre + scale * np.sinh(np.clip(y, low, high))
            found[known, w] = np.clip(price, PRICE.low, PRICE.high)
        return found

    def to_arrays(self, prefix: str = "lear_") -> dict[str, npt.NDArray[Any]]:
        return {f"{prefix}{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "lear_"
    ) -> LearModel:
        return cls(**{f.name: np.asarray(arrays[f"{prefix}{f.name}"]) for f in fields(cls)})


def fit_lear(inputs: LearInputs, anchor: int) -> LearModel | None:
    """The model as it could be fitted at the gate of row `anchor`; None with too little history."""
    parts = []
    for days in WINDOWS_DAYS:
        rows = inputs.training_rows(anchor, days)
        if len(rows) < MIN_ROWS:
            return None
        weight = np.ones(len(rows))
        if days == WINDOWS_DAYS[-1]:
            weight = np.exp((rows - anchor) / MEMORY_DAYS)
        parts.append(_fit_window(inputs, rows, weight / weight.mean()))
    return LearModel(**{name: np.stack([part[name] for part in parts]) for name in parts[0]})


def walk_forward(inputs: LearInputs, anchors: Ints, until: int, into: Array) -> Array:
    """Out-of-sample predictions: rows from each anchor to the next, by the model fitted there.

    `into` (days, W, 24) is filled and returned; rows that are no NaN in it are kept.
    """
    for anchor in anchors.tolist():
        rows = np.arange(anchor, min(anchor + REFIT_DAYS, until))
        rows = rows[np.isnan(into[rows]).any(axis=(1, 2))]
        model = fit_lear(inputs, anchor) if len(rows) else None
        if model is not None:
            into[rows] = model.predict(inputs, rows)
    return into


def _fit_window(inputs: LearInputs, rows: Ints, weight: Array) -> dict[str, Array]:
    x = inputs.values[:, rows]
    median = np.median(x, axis=1)
    spread = MAD_TO_SD * np.median(np.abs(x - median[:, None]), axis=1)
    deviation = x.std(axis=1)
    spread = np.where(spread > 1e-9 * (1.0 + deviation), spread, deviation)
    spread = np.where(spread > 0, spread, 1.0)
    z = _transformed(inputs, rows, median, spread)
    low, high = z.min(axis=1), z.max(axis=1)
    margin = MARGIN_FRAC * (high - low)
    z = _with_day_type(z, inputs.day_type[rows])
    centre = np.einsum("n,hnf->hf", weight, z) / len(rows)
    z = z - centre[:, None]
    scale = np.sqrt(np.einsum("n,hnf->hf", weight, z**2) / len(rows))
    scale = np.where(scale > 1e-9, scale, 1.0)
    z = z / scale[:, None]
    price = inputs.price_eur_mwh[rows]
    level, width = float(np.median(price)), max(float(price.std()), 1e-6)
    y = np.arcsinh((price - level) / width)
    reach = MARGIN_FRAC * float(np.ptp(y))
    intercept = weight @ y / len(rows)
    root = np.sqrt(weight)
    return {
        "median": median,
        "spread": spread,
        "low": low - margin,
        "high": high + margin,
        "centre": centre,
        "scale": scale,
        "coefficient": np.stack(
            [_lasso(z[h] * root[:, None], (y[:, h] - intercept[h]) * root) for h in range(HOURS)]
        ),
        "intercept": np.asarray(intercept),
        "price": np.array([level, width, float(y.min()) - reach, float(y.max()) + reach]),
    }


def _lasso(z: Array, y: Array) -> Array:
    """Coefficients on the lasso path at which the corrected Akaike criterion is least."""
    n = len(y)
    if not np.any(np.abs(z.T @ y) > 1e-12):
        return np.zeros(z.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a loose end of the path is not chosen
        _, path, _ = lasso_path(
            z,
            y,
            eps=PENALTY_RATIO,
            alphas=PENALTIES,
            precompute=np.ascontiguousarray(z.T @ z),
            Xy=np.ascontiguousarray(z.T @ y),
            tol=1e-3,
            max_iter=200,
            check_input=False,
        )
    residual = ((y[:, None] - z @ path) ** 2).sum(axis=0)
    used = (path != 0).sum(axis=0)
    free = np.maximum(n - used - 1.0, 1.0)
    criterion = n * np.log(np.maximum(residual, 1e-12) / n) + 2.0 * used * (1 + (used + 1) / free)
    criterion = np.where(used > MAX_SHARE_OF_ROWS * n, np.inf, criterion)
    return np.asarray(path[:, int(criterion.argmin())], np.float64)


def _transformed(inputs: LearInputs, rows: Ints, median: Array, spread: Array) -> Array:
    """asinh of standardised prices, the other inputs standardised, hinges of the residual load."""
    z = (inputs.values[:, rows] - median[:, None]) / spread[:, None]
    made = np.where(inputs.is_price, np.arcsinh(z), z)
    if not inputs.has_residual_load:
        return made
    hinges = [np.maximum(z[:, :, -1:] - knot, 0.0) for knot in HINGES]
    return np.concatenate([made, *hinges], axis=2)


def _with_day_type(z: Array, day_type: Ints) -> Array:
    one_hot = np.eye(7)[day_type]
    return np.concatenate([z, np.broadcast_to(one_hot, (len(z), *one_hot.shape))], axis=2)
