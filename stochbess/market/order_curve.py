"""Price-quantity orders of the day-ahead auction: where the prices stand, what clears at a price.

A curve order of the single day-ahead coupling is a list of points with quantities that rise with
the price for a seller; between two points the accepted quantity is interpolated linearly, outside
them it is that of the nearest point (EUPHEMIA Public Description, aggregated orders, linear
piecewise curves). Exchanges that take stepwise orders instead need other points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError

Floats = npt.NDArray[np.float64]


def price_points(
    price_eur_mwh: Floats, probability: Floats, n_points: int, tick_eur_mwh: float
) -> Floats:
    """Prices of the points of every unit's curve (N, J), strictly rising, on the price tick.

    They are the quantiles (j + 1/2) / J of the scenarios' prices, so that every part of a curve is
    as likely to be used. Points that would coincide are a tick apart.

    Parameters
    ----------
    price_eur_mwh : (S, N) price of each unit in every scenario
    probability : (S,)

    Raises
    ------
    DataError : fewer than one point, or a tick that is not positive
    """
    if n_points < 1 or not tick_eur_mwh > 0:
        raise DataError(
            f"a curve of {n_points} points on a tick of {tick_eur_mwh:g} EUR/MWh; expected one "
            "point or more and a positive tick"
        )
    levels = (np.arange(n_points) + 0.5) / n_points
    reached = np.empty((price_eur_mwh.shape[1], n_points))
    for n, column in enumerate(price_eur_mwh.T):
        order = np.argsort(column, kind="stable")
        share = np.cumsum(probability[order]) / probability.sum()
        at = np.minimum(np.searchsorted(share, levels - 1e-12), len(order) - 1)
        reached[n] = column[order[at]]
    ticks = np.round(reached / tick_eur_mwh)
    apart = np.arange(n_points)
    ticks = np.maximum.accumulate(ticks - apart, axis=1) + apart
    return np.asarray(np.round(ticks * tick_eur_mwh, 9))


def curve_shares(points_eur_mwh: Floats, price_eur_mwh: Floats) -> Floats:
    """(137) Share of every point in the quantity that clears at each scenario's price.

    Parameters
    ----------
    points_eur_mwh : (N, J) strictly rising prices of the points
    price_eur_mwh : (S, N)

    Returns
    -------
    (S, N * J), unit after unit; the J shares of a unit are >= 0 and sum to one
    """
    n_units, n_points = points_eur_mwh.shape
    out = np.zeros((len(price_eur_mwh), n_units, n_points))
    rows = np.arange(len(price_eur_mwh))
    for n, points in enumerate(points_eur_mwh):
        price = np.clip(price_eur_mwh[:, n], points[0], points[-1])
        right = np.clip(np.searchsorted(points, price), 1, max(1, n_points - 1))
        if n_points == 1:
            out[:, n, 0] = 1.0
            continue
        share = (price - points[right - 1]) / (points[right] - points[right - 1])
        out[rows, n, right] = share
        out[rows, n, right - 1] = 1.0 - share
    return out.reshape(len(price_eur_mwh), n_units * n_points)
