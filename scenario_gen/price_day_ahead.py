"""Day-ahead price scenarios: fit once a week, draw every day.

    fit = fit_day_ahead(market.as_of(gate), day, "Europe/Berlin", seed)
    draws = draw_day_ahead(fit, market.as_of(gate), day, 100, stream(seed, "scenarios.day_ahead"))

The default model ``pool`` draws one half from the errors of similar past days around the median of
the quantile trees, the other half from their quantiles with a recalibrated Gaussian copula. Every
draw names a past day, its *residual day*: what else happened on that day, in other markets, goes
with the draw. docs/price-models.md has the measurements.

LOOK-AHEAD: both functions read the view they are given and nothing else. It must have been cut with
``as_of`` at the gate of its target day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError, NotEnoughHistoryError, ScenarioError
from stochbess.scenario_gen.day_panel import day_panel, on_day
from stochbess.scenario_gen.price_draws import (
    DrawState,
    copula_draws,
    naive_draws,
    similar_draws,
)
from stochbess.scenario_gen.price_features import PriceFeatures, feature_lags
from stochbess.scenario_gen.price_fit import MODELS, DayAheadFit, PriceModel
from stochbess.scenario_gen.price_past import empty_fit, fitted, n_complete, reusing, told
from stochbess.scenario_gen.series import SERIES

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]

VALID_DAYS = 7  # a fit serves its target day and the six days after it
SIMPLER = {"pool": "lear", "trees": "lear", "lear": "naive"}
PRICE = SERIES["day_ahead_eur_mwh"]


@dataclass(frozen=True)
class DayAheadDraws:
    """Equally probable day-ahead prices of one delivery day.

    Attributes
    ----------
    values_eur_mwh : shape (n, hours of the day): 23, 24 or 25
    residual_day : the past day of each draw
    point_eur_mwh : point forecast (median model of the fit), shape (hours,)
    """

    values_eur_mwh: Array
    residual_day: tuple[date, ...]
    point_eur_mwh: Array


def fit_day_ahead(
    view: MarketData,
    target_day: date,
    timezone: str,
    seed: int,
    model: PriceModel = "pool",
    previous: DayAheadFit | None = None,
) -> DayAheadFit:
    """Fits a price model on what is known at the gate of `target_day`.

    Parameters
    ----------
    view : ``market.as_of(gate)``; not cut again here
    target_day : local delivery day; the fit serves it and the six days after it
    timezone : of the delivery days; must be that of the zone
    seed : of the trees
    model : ``naive``, ``lear``, ``trees`` or ``pool``; with too little history the next simpler
        one is fitted, and the provenance says so under ``degraded``
    previous : an earlier fit whose past predictions are used again. It saves time and nothing else:
        the result has the same bytes with it and without it, and a `previous` of other data is not
        used

    Raises
    ------
    NotEnoughHistoryError : too few days even for the naive model
    DataError : the clock of the zone is another, or the latest prices are a week old
    ScenarioError : no such model
    """
    if model not in MODELS:
        raise ScenarioError(f"unknown price model {model!r}. Known are: {', '.join(MODELS)}.")
    _require_clock(view, timezone)
    panel = day_panel(view, target_day)
    features = PriceFeatures(panel, feature_lags(panel))
    fit = empty_fit(panel, features.lags, seed, model, view)
    fit = reusing(fit, panel, previous)
    wanted, tried = model, str(model)
    while (made := fitted(fit, features, tried)) is None:
        if tried not in SIMPLER:
            raise NotEnoughHistoryError(
                f"zone {view.zone}, delivery {target_day}: {n_complete(panel)} complete days of "
                f"day-ahead prices are known, too few for the {tried} model. "
                "Choose a later delivery day, or import earlier data."
            )
        tried = SIMPLER[tried]
    return told(made, features, wanted)


def draw_day_ahead(
    fit: DayAheadFit, view: MarketData, target_day: date, n: int, rng: np.random.Generator
) -> DayAheadDraws:
    """`n` equally probable day-ahead prices of `target_day` by a model fitted up to 6 days before.

    Parameters
    ----------
    fit : made for `target_day` or one of the six days before it
    view : ``market.as_of(gate of target_day)``. If the price of the day is known in it, every draw
        is that price
    n : number of draws, >= 1; ``pool`` draws n - n // 2 from similar days, which come first

    Raises
    ------
    ScenarioError : n < 1, or `target_day` is outside the seven days of the fit
    DataError : an input of the model is not known in the view that was known when it was fitted
    """
    _require_drawable(fit, view, target_day, n)
    panel = day_panel(view, target_day, fit.first_day)
    features = PriceFeatures(panel, fit.lags)
    known = panel.price_eur_mwh[-1]
    state = DrawState.of(fit, features)
    if fit.model == "naive":
        values, rows, point = naive_draws(state, n, rng)
    elif fit.model == "lear":
        values, rows, point = similar_draws(state, state.linear, n, rng)
    elif fit.model == "trees":
        values, rows, point = copula_draws(state, n, rng)
    else:
        first = similar_draws(state, state.median, n - n // 2, rng)
        second = copula_draws(state, n // 2, rng)
        values = np.concatenate([first[0], second[0]])
        rows, point = np.concatenate([first[1], second[1]]), first[2]
    if np.isfinite(known).all():
        values, point = np.broadcast_to(known, values.shape), known
    return DayAheadDraws(
        on_day(np.clip(values, PRICE.low, PRICE.high), target_day, fit.timezone),
        tuple(panel.day(row) for row in rows),
        on_day(point, target_day, fit.timezone),
    )


def _require_clock(view: MarketData, timezone: str) -> None:
    if view.timezone != timezone:
        raise DataError(
            f"delivery days in {timezone}, but zone {view.zone} is in {view.timezone}. Delivery "
            "days are local days of the zone: give its time zone."
        )


def _require_drawable(fit: DayAheadFit, view: MarketData, target_day: date, n: int) -> None:
    if n < 1:
        raise ScenarioError(f"draws need n >= 1, got {n}")
    if view.zone != fit.zone:
        raise DataError(f"the model is of zone {fit.zone}, the market data are of {view.zone}")
    _require_clock(view, fit.timezone)
    last = fit.target_day + timedelta(days=VALID_DAYS - 1)
    if not fit.target_day <= target_day <= last:
        raise ScenarioError(
            f"the day-ahead model fitted for {fit.target_day} serves deliveries until {last}, not "
            f"{target_day}. Fit again at the gate of that day."
        )
