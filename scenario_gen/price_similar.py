"""Past days whose forecast looked like that of the target day (equation 56).

Nearest neighbours on the *forecast*: on such days the model may err as it did then. All hours of a
day are taken together, so the dependence between them is an observed one (Lall & Sharma 1996,
doi:10.1029/95WR02966).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stochbess.scenario_gen.price_features import PriceFeatures

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SATURDAY = 5


def similar_days(
    forecast_eur_mwh: Array,
    features: PriceFeatures,
    rows: Ints,
    n: int,
    neighbours: int,
    rng: np.random.Generator,
) -> Ints:
    """`n` of the `neighbours` rows nearest to the last row of the forecast (days, 24).

    Level and shape of the forecast, residual load and kind of day count alike. Drawn without
    replacement with tricube weights (Efraimidis & Spirakis 2006, doi:10.1016/j.ipl.2005.11.003), or
    with replacement where there are fewer days.
    """
    squared = _squared_distance(forecast_eur_mwh, features, rows)
    nearest = np.lexsort((-rows, squared))[:neighbours]
    distance = np.sqrt(squared[nearest])
    bandwidth = max(float(distance.max()), np.finfo(float).tiny) * 1.001
    weight = (1.0 - (distance / bandwidth) ** 3) ** 3
    if n > len(nearest):
        return np.asarray(rows[nearest[rng.choice(len(nearest), n, p=weight / weight.sum())]])
    keys = np.log1p(-rng.random(len(nearest))) / weight
    return np.asarray(rows[nearest[np.argsort(-keys, kind="stable")[:n]]], np.int64)


def _squared_distance(forecast: Array, features: PriceFeatures, rows: Ints) -> Array:
    """In variances of the candidates, shape (rows,)."""
    level = forecast.mean(axis=1)
    shape = forecast - level[:, None]
    level_sd = max(float(level[rows].std()), 1e-9)
    shape_sd = max(float(np.sqrt((shape[rows] ** 2).mean())), 1e-9)
    apart = ((shape[rows] - shape[-1]) ** 2).mean(axis=1) / shape_sd**2
    squared = ((level[rows] - level[-1]) / level_sd) ** 2 + apart
    if features.residual_load is not None:
        residual = features.residual_load.mean(axis=1)
        spread = max(float(residual[rows].std()), 1e-9)
        squared = squared + ((residual[rows] - residual[-1]) / spread) ** 2
    kind = np.maximum(features.panel.day_type - (SATURDAY - 1), 0)
    return np.asarray(squared + (kind[rows] != kind[-1]), np.float64)
