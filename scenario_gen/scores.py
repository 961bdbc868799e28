"""Scores of probabilistic forecasts: how good a set of weighted scenarios was, after the fact.

Scenarios come first in every array: `values` has shape (S, ...) and `observed` the shape (...) that
is left. `probability` has shape (S,), is not negative and sums to 1; None means equal weights. All
scores are negatively oriented (smaller is better) and proper, those of an event included. They are
the plug-in forms, scores of the distribution that puts the weights on the scenarios: a set of fewer
scenarios scores worse than a larger one of the same quality, so compare sets of equal size or say
the sizes. NaN and infinite values are refused everywhere. The equations stand in docs/math.md;
calibration (rank histogram, coverage, reliability) is in `calibration`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from stochbess.errors import DataError

Array = npt.NDArray[np.float64]
PROBABILITY_TOLERANCE = 1e-9


def crps_ensemble(
    values: npt.ArrayLike, observed: npt.ArrayLike, probability: npt.ArrayLike | None = None
) -> Array:
    """Continuous ranked probability score (70), in the unit of the values, shape (...).

    Plug-in form, E|X - y| - E|X - X'| / 2, computed in O(S log S) from the sorted values as the
    mean quantile score, a sum in which no term is negative (Gneiting & Raftery 2007, doi
    10.1198/016214506000001437; the quantile form is that of Laio & Tamea 2007, doi
    10.5194/hess-11-1267-2007).

    Parameters
    ----------
    values : shape (S, ...)
    observed : shape (...)
    probability : shape (S,), or None for equal weights

    Raises
    ------
    DataError : shapes that do not fit, NaN or infinite values, weights that do not sum to 1
    """
    x, y, p = checked(values, observed, probability)
    order = np.argsort(x, axis=0, kind="stable")
    error = np.take_along_axis(x, order, axis=0) - y
    weight = p[order]
    middle = np.cumsum(weight, axis=0) - weight / 2
    return np.asarray(2 * np.sum(weight * ((error > 0) - middle) * error, axis=0), np.float64)


def energy_score(
    values: npt.ArrayLike, observed: npt.ArrayLike, probability: npt.ArrayLike | None = None
) -> Array:
    """Energy score (71) of vectors with the Euclidean norm, in the unit of the values.

    E||X - y|| - E||X - X'|| / 2 (Gneiting & Raftery 2007, doi 10.1198/016214506000001437). Works
    on S (S - 1) / 2 distances at a time.

    Parameters
    ----------
    values : shape (S, ..., D); the last axis is the vector, axes between are scored one by one
    observed : shape (..., D)

    Returns
    -------
    shape (...); a 0-d array for a single vector
    """
    x, y, p = checked(values, observed, probability, min_axes=2)
    first, second = np.triu_indices(len(p), 1)
    pair = p[first] * p[second]
    score = np.empty(y.shape[:-1])
    for at in np.ndindex(score.shape):
        part = x[(slice(None), *at)]
        nearness = p @ np.linalg.norm(part - y[at], axis=1)
        score[at] = nearness - (pair @ pdist(part) if len(p) > 1 else 0.0)
    return score


def variogram_score(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    probability: npt.ArrayLike | None = None,
    p: float = 0.5,
) -> Array:
    """Variogram score (72) of order `p`: mean over the pairs of components, equally weighted.

    Sees wrong dependence between the hours, which the energy score hardly does, and nothing of a
    level that all components share (Scheuerer & Hamill 2015, doi 10.1175/MWR-D-14-00269.1). The sum
    over ordered pairs that others report is D (D - 1) times this.

    Parameters
    ----------
    values : shape (S, ..., D) with D >= 2
    observed : shape (..., D)
    p : order > 0 of the absolute differences

    Returns
    -------
    shape (...), in the unit of the values to the power 2 p
    """
    x, y, weight = checked(values, observed, probability, min_axes=2)
    n = y.shape[-1]
    if n < 2 or not p > 0:
        raise DataError(
            f"variogram_score: {n} components and order {p}; expected at least two components "
            "and an order above 0"
        )
    total = np.zeros(y.shape[:-1])
    for i in range(n - 1):  # one row of pairs at a time: S x D numbers, not S x D x D
        expected = np.tensordot(weight, np.abs(x[..., i + 1 :] - x[..., i, None]) ** p, axes=1)
        found = np.abs(y[..., i + 1 :] - y[..., i, None]) ** p
        total += np.sum((found - expected) ** 2, axis=-1)
    return np.asarray(total / (n * (n - 1) / 2), np.float64)


def daily_spread(prices: npt.ArrayLike, labels_per_hour: int = 1) -> Array:
    """Mean of the two dearest hours less the mean of the two cheapest (75), over the last axis.

    What a two-hour battery can earn a day per MWh without losses, if the order of the hours were
    free. `prices` has shape (..., labels of one day); `labels_per_hour` is 4 for quarter hours, of
    which the 8 dearest and the 8 cheapest count.
    """
    array = finite(prices, "prices")
    n = 2 * labels_per_hour
    if labels_per_hour < 1 or array.ndim == 0 or array.shape[-1] < 2 * n:
        raise DataError(
            f"daily_spread: prices of shape {array.shape} with {labels_per_hour} labels an hour; "
            "expected the labels of one day on the last axis, at least four hours"
        )
    ordered = np.sort(array, axis=-1)
    return np.asarray(ordered[..., -n:].mean(axis=-1) - ordered[..., :n].mean(axis=-1), np.float64)


def spread_crps(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    probability: npt.ArrayLike | None = None,
    labels_per_hour: int = 1,
) -> Array:
    """CRPS (70) of the daily spread (75): whether the scenarios know what arbitrage is worth.

    `values` (S, ..., labels of one day), `observed` (..., labels of one day); result (...).
    """
    x, y, p = checked(values, observed, probability, min_axes=2)
    return crps_ensemble(daily_spread(x, labels_per_hour), daily_spread(y, labels_per_hour), p)


def brier(forecast_frac: npt.ArrayLike, outcome: npt.ArrayLike) -> float:
    """Brier score (76): mean squared error of event probabilities (Brier 1950).

    Parameters
    ----------
    forecast_frac : probabilities in [0, 1], any shape
    outcome : 0/1 or booleans of the same shape
    """
    forecast, happened = checked_event(forecast_frac, outcome)
    return float(np.mean((forecast - happened) ** 2))


def log_score(
    forecast_frac: npt.ArrayLike, outcome: npt.ArrayLike, floor_frac: float = 0.0
) -> float:
    """Logarithmic score (77): mean of -log of the probability given to what happened, in nats.

    Infinite when something happened that was called impossible. `floor_frac` moves probabilities
    into [floor, 1 - floor] first; a result that rests on it has to say so.

    Parameters
    ----------
    forecast_frac : probabilities in [0, 1], any shape
    outcome : 0/1 or booleans of the same shape
    floor_frac : in [0, 0.5)
    """
    forecast, happened = checked_event(forecast_frac, outcome)
    if not 0 <= floor_frac < 0.5:
        raise DataError(f"log_score: floor_frac is {floor_frac}; expected a number in [0, 0.5)")
    forecast = np.clip(forecast, floor_frac, 1 - floor_frac)
    given = np.where(happened > 0, forecast, 1 - forecast)
    with np.errstate(divide="ignore"):
        return float(np.mean(-np.log(given))) + 0.0


def checked(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    probability: npt.ArrayLike | None,
    min_axes: int = 1,
) -> tuple[Array, Array, Array]:
    """Values (S, ...), observations (...) and weights (S,) as float64, or DataError."""
    x, y = finite(values, "values"), finite(observed, "observed")
    if x.ndim < min_axes or x.shape[1:] != y.shape or x.size == 0:
        raise DataError(
            f"scores: values of shape {x.shape} and observed of shape {y.shape}; expected "
            f"(scenarios, ...) and the same (...) with at least {min_axes - 1} axes, none empty"
        )
    return x, y, weights(probability, len(x))


def weights(probability: npt.ArrayLike | None, n: int) -> Array:
    """Weights of `n` scenarios, equal if None; DataError unless >= 0 with sum 1 (1e-9)."""
    if probability is None:
        return np.full(n, 1.0 / n)
    p = finite(probability, "probability")
    if p.shape != (n,) or (p < 0).any() or abs(float(p.sum()) - 1) > PROBABILITY_TOLERANCE:
        raise DataError(
            f"probability has shape {p.shape}, smallest {p.min(initial=np.inf):g}, sum "
            f"{float(p.sum())!r}; expected {n} weights >= 0 that sum to 1"
        )
    return p


def checked_event(forecast_frac: npt.ArrayLike, outcome: npt.ArrayLike) -> tuple[Array, Array]:
    """Probabilities and 0/1 outcomes as flat float64 arrays, or DataError."""
    forecast, happened = finite(forecast_frac, "forecast_frac"), finite(outcome, "outcome")
    if forecast.shape != happened.shape or forecast.size == 0:
        raise DataError(
            f"scores: forecast_frac of shape {forecast.shape} and outcome of shape "
            f"{happened.shape}; expected the same shape, not empty"
        )
    if (forecast < 0).any() or (forecast > 1).any():
        raise DataError(
            f"forecast_frac lies between {forecast.min():g} and {forecast.max():g}; expected "
            "probabilities in [0, 1], not per cent"
        )
    if not np.isin(happened, (0.0, 1.0)).all():
        raise DataError("outcome holds values other than 0 and 1; expected what happened as 0/1")
    return forecast.ravel(), happened.ravel()


def finite(numbers: npt.ArrayLike, what: str) -> Array:
    """`numbers` as a float64 array; DataError that counts what is NaN or infinite."""
    try:
        array = np.asarray(numbers, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is not a rectangular array of numbers: {error}") from error
    bad = ~np.isfinite(array)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{what} holds {int(bad.sum())} NaN or infinite values, the first at {at}. Scores "
            "are of complete data: leave the days or labels out that lack a value, and say so."
        )
    return array
