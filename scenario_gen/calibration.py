"""Calibration: do things happen as often as the scenarios say?

Arrays as in `scores`: scenarios first, `probability` None for equal weights, NaN refused. Functions
return plain numbers and arrays, also those that a figure needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from stochbess.errors import DataError
from stochbess.scenario_gen.scores import Array, checked, checked_event, finite, weights


def pit(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    probability: npt.ArrayLike | None = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Probability integral transform (73) of the observations, in (0, 1), shape (...).

    With S scenarios the observation has S + 1 places. It gets a point of its place, the middle, or
    with `rng` a uniform one; ties widen the place. For equal weights and an observation that is
    exchangeable with the scenarios, the uniform point makes the result exactly uniform (Gneiting,
    Balabdaoui & Raftery 2007, doi 10.1111/j.1467-9868.2007.00587.x). With unequal weights the place
    is that of 1 / sum p^2 effective scenarios, an approximation.
    """
    x, y, p = checked(values, observed, probability)
    below = np.tensordot(p, x < y, axes=1)
    tied = np.tensordot(p, x == y, axes=1)
    n_effective = 1 / float(p @ p)
    point = np.full(y.shape, 0.5) if rng is None else rng.random(y.shape)
    found = (n_effective * below + point * (n_effective * tied + 1)) / (n_effective + 1)
    return np.asarray(found, np.float64)


@dataclass(frozen=True, eq=False)
class RankHistogram:
    """Counts of the probability integral transform in equal bins.

    Attributes
    ----------
    counts : observations per bin of [0, 1], shape (bins,); a U is underdispersion, a hill over-
        dispersion, a slope bias
    expected : the count of every bin if the scenarios were calibrated
    chi2 : flatness statistic (79); 0 is flat
    p_value : chance of a larger statistic if the observations were *independent* and calibrated.
        The hours of a day are not independent: thin them, or use the statistic to compare only
    """

    counts: npt.NDArray[np.int64]
    expected: float
    chi2: float
    p_value: float


def rank_histogram(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    probability: npt.ArrayLike | None = None,
    n_bins: int = 10,
    rng: np.random.Generator | None = None,
) -> RankHistogram:
    """Histogram of the ranks of the observations among the scenarios, with its flatness (79).

    Without `rng` take `n_bins` that divides S + 1, else bins hold different numbers of ranks and
    even a calibrated set is not flat.
    """
    return histogram_of_pit(pit(values, observed, probability, rng), n_bins)


def histogram_of_pit(transform: npt.ArrayLike, n_bins: int = 10) -> RankHistogram:
    """`rank_histogram` of transforms that were collected before, e.g. day by day."""
    u = finite(transform, "transform").ravel()
    if n_bins < 2 or u.size == 0 or (u < 0).any() or (u > 1).any():
        raise DataError(
            f"rank histogram: {u.size} transforms in {n_bins} bins; expected some in [0, 1] and at "
            "least two bins"
        )
    counts = np.histogram(u, bins=n_bins, range=(0.0, 1.0))[0].astype(np.int64)
    expected = u.size / n_bins
    statistic = float(((counts - expected) ** 2).sum() / expected)
    return RankHistogram(counts, expected, statistic, float(chi2.sf(statistic, n_bins - 1)))


def quantiles(
    values: npt.ArrayLike, levels: Sequence[float], probability: npt.ArrayLike | None = None
) -> Array:
    """Quantiles of the scenarios (74a), shape (levels, ...): bands of a fan, for instance.

    Linear between the middles of the steps of the distribution function, so that levels 0 and 1 are
    the smallest and the largest value; with equal weights this is numpy's default.
    """
    x, level = finite(values, "values"), finite(levels, "levels")
    if x.ndim == 0 or x.size == 0 or level.ndim != 1 or (level < 0).any() or (level > 1).any():
        raise DataError(
            f"quantiles: values of shape {x.shape} at levels {level.tolist()}; expected "
            "(scenarios, ...) and levels in [0, 1]"
        )
    p = weights(probability, len(x))
    if np.ptp(p) == 0:
        return np.asarray(np.quantile(x, level, axis=0), np.float64)
    x, p = x[p > 0], p[p > 0]
    flat = x.reshape(len(x), -1)
    found = np.empty((len(level), flat.shape[1]))
    for column in range(flat.shape[1]):
        order = np.argsort(flat[:, column], kind="stable")
        middle = np.cumsum(p[order]) - p[order] / 2
        span = middle[-1] - middle[0]
        place = (middle - middle[0]) / span if span > 0 else np.zeros(1)
        found[:, column] = np.interp(level, place, flat[order, column])
    return found.reshape(len(level), *x.shape[1:])


def central_interval(
    values: npt.ArrayLike, level: float = 0.9, probability: npt.ArrayLike | None = None
) -> tuple[Array, Array]:
    """Lower and upper end of the central interval of `level`, each of shape (...); see (74a)."""
    if not 0 < level < 1:
        raise DataError(f"central_interval: level is {level}; expected a number between 0 and 1")
    low, high = quantiles(values, ((1 - level) / 2, (1 + level) / 2), probability)
    return low, high


def coverage(
    values: npt.ArrayLike,
    observed: npt.ArrayLike,
    level: float = 0.9,
    probability: npt.ArrayLike | None = None,
) -> float:
    """Share of all observations inside the central interval (74b), ends included.

    Calibrated scenarios reach `level` only as S grows: with S equally weighted ones the share is
    about level (S - 1) / (S + 1), which is 0.865 for S = 50 and level 0.9.
    """
    x, y, p = checked(values, observed, probability)
    low, high = central_interval(x, level, p)
    return float(np.mean((low <= y) & (y <= high)))


def interval_width(
    values: npt.ArrayLike, level: float = 0.9, probability: npt.ArrayLike | None = None
) -> float:
    """Mean width of the central interval (74b) over all labels, in the unit of the values."""
    low, high = central_interval(values, level, probability)
    return float(np.mean(high - low))


@dataclass(frozen=True, eq=False)
class ReliabilityTable:
    """Event probabilities in bins against what happened; empty bins are left out.

    Attributes
    ----------
    low, high : ends of the bins, [low, high) and the last one closed
    count : forecasts in the bin
    forecast_frac : mean forecast in the bin
    observed_frac : share of the forecasts in the bin whose event happened
    """

    low: Array
    high: Array
    count: npt.NDArray[np.int64]
    forecast_frac: Array
    observed_frac: Array


def reliability(
    forecast_frac: npt.ArrayLike, outcome: npt.ArrayLike, n_bins: int = 10
) -> ReliabilityTable:
    """Points of the reliability diagram over `n_bins` bins of equal width in [0, 1].

    Parameters
    ----------
    forecast_frac : probabilities in [0, 1], any shape
    outcome : 0/1 or booleans of the same shape
    """
    forecast, happened = checked_event(forecast_frac, outcome)
    if n_bins < 1:
        raise DataError(f"reliability: {n_bins} bins; expected at least one")
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    bin_of = np.minimum(np.searchsorted(edges, forecast, side="right") - 1, n_bins - 1)
    count = np.bincount(bin_of, minlength=n_bins)
    full = count > 0
    return ReliabilityTable(
        low=edges[:-1][full],
        high=edges[1:][full],
        count=count[full].astype(np.int64),
        forecast_frac=np.bincount(bin_of, forecast, n_bins)[full] / count[full],
        observed_frac=np.bincount(bin_of, happened, n_bins)[full] / count[full],
    )


def expected_calibration_error(
    forecast_frac: npt.ArrayLike, outcome: npt.ArrayLike, n_bins: int = 10
) -> float:
    """Mean distance between forecast and observed share over the bins (78), in [0, 1].

    Never 0 for a finite sample even if calibrated, and it grows with the number of bins.
    """
    table = reliability(forecast_frac, outcome, n_bins)
    gap = np.abs(table.forecast_frac - table.observed_frac)
    return float(table.count @ gap / table.count.sum())
