"""Distribution functions from quantiles, and draws recalibrated by past out-of-sample errors.

Equations 53 to 55. Between the predicted quantiles the distribution function is linear; beyond
the outer ones it decays exponentially at the rate of the outer pair, so that nothing is impossible.
The place of a past price in the distribution that had been predicted for it (its level, or PIT)
tells what the predictions were worth: too many levels near 0 and 1 mean too narrow quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL_FLOOR = 1e-4  # levels are kept that far from 0 and 1
MIN_GAP = 1e-3  # of the outer pair of quantiles, in the unit of the values
SHRINKAGE = 0.02  # of correlations towards none: 24 hours from half a year of days


def values_at(quantiles: Array, levels: Sequence[float], u: Array) -> Array:
    """Values at the levels `u` (n, labels) of the quantiles (labels, levels); shape (n, labels)."""
    level = np.asarray(levels)
    lower_gap, upper_gap = _outer_gaps(quantiles, level)
    below = np.log(np.minimum(u, level[0]) / level[0])
    above = -np.log(np.minimum(1.0 - u, 1.0 - level[-1]) / (1.0 - level[-1]))
    inner = np.stack(
        [np.interp(u[:, k], level, quantiles[k]) for k in range(len(quantiles))], axis=1
    )
    return np.asarray(inner + lower_gap * below + upper_gap * above, np.float64)


def levels_of(quantiles: Array, levels: Sequence[float], values: Array) -> Array:
    """Levels of `values` (..., labels) in the quantiles (..., labels, levels), within (0, 1)."""
    level = np.asarray(levels)
    flat, x = quantiles.reshape(-1, len(level)), values.ravel()
    lower_gap, upper_gap = _outer_gaps(flat, level)
    found = np.array([np.interp(v, q, level) for v, q in zip(x, flat, strict=True)])
    low = np.minimum(x - flat[:, 0], 0.0) / lower_gap
    high = np.minimum(flat[:, -1] - x, 0.0) / upper_gap
    found = np.where(low < 0, level[0] * np.exp(low), found)
    found = np.where(high < 0, 1.0 - (1.0 - level[-1]) * np.exp(high), found)
    found = np.where(np.isfinite(x) & np.isfinite(flat).all(axis=1), found, np.nan)
    bounded = np.clip(found, LEVEL_FLOOR, 1.0 - LEVEL_FLOOR)
    return np.asarray(bounded.reshape(values.shape), np.float64)


def recalibrated_copula_draws(past_levels: Array, n: int, rng: np.random.Generator) -> Array:
    """`n` draws of levels with the dependence *and* the spread of past levels, shape (n, labels).

    A Gaussian copula of the normal scores of past levels. Their standard deviation is not set to
    one: where past predictions were too narrow it exceeds one, and the draws reach further out.

    Parameters
    ----------
    past_levels : levels of past out-of-sample prices, shape (days, labels), no NaN
    """
    score = ndtri(past_levels)
    second = score.T @ score / len(score)
    spread = np.sqrt(np.diag(second))
    correlation = (1.0 - SHRINKAGE) * second / np.outer(spread, spread)
    correlation[np.diag_indices_from(correlation)] = 1.0
    root = np.linalg.cholesky(correlation)
    z = rng.standard_normal((n, len(spread))) @ root.T * spread
    return np.asarray(np.clip(ndtr(z), LEVEL_FLOOR, 1.0 - LEVEL_FLOOR), np.float64)


def nearest_days(drawn_levels: Array, past_levels: Array) -> Ints:
    """Row of `past_levels` whose normal scores are nearest to each draw, shape (n,).

    It gives a draw of the copula the identity of a past day on which prices erred alike.
    """
    a, b = ndtri(drawn_levels), ndtri(past_levels)
    distance = (a**2).sum(1)[:, None] - 2.0 * a @ b.T + (b**2).sum(1)
    return np.asarray(distance.argmin(axis=1), np.int64)


def _outer_gaps(quantiles: Array, level: Array) -> tuple[Array, Array]:
    """Growth of the value for each factor e in the level, below and above the outer pair."""
    lower = (quantiles[..., 1] - quantiles[..., 0]) / np.log(level[1] / level[0])
    upper = (quantiles[..., -1] - quantiles[..., -2]) / np.log((1 - level[-2]) / (1 - level[-1]))
    return np.maximum(lower, MIN_GAP), np.maximum(upper, MIN_GAP)
