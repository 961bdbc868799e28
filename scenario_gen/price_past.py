"""What a day-ahead fit is made of: models, and predictions of the past that no model had seen.

The past is refitted on fixed calendar days (LEAR every Monday, the trees every fourth), each time
with what was known at the gate of that day, and predicts the days up to the next refit. A weekly
fit can therefore take the past predictions of the fit before it: they would come out the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stochbess.scenario_gen.day_panel import HOURS, DayPanel, complete
from stochbess.scenario_gen.price_baselines import naive_prices
from stochbess.scenario_gen.price_features import FeatureLags, PriceFeatures
from stochbess.scenario_gen.price_fit import (
    HISTORY_DAYS,
    LINEAR_HISTORY_DAYS,
    NAIVE_DAYS,
    DayAheadFit,
    extended,
)
from stochbess.scenario_gen.price_lear import (
    REFIT_DAYS,
    WINDOWS_DAYS,
    LearInputs,
    fit_lear,
    lear_inputs,
)
from stochbess.scenario_gen.price_lear import walk_forward as linear_walk
from stochbess.scenario_gen.price_trees import (
    BLOCK_DAYS,
    LEVELS,
    TreeInputs,
    fit_quantile_trees,
    tree_inputs,
)
from stochbess.scenario_gen.price_trees import walk_forward as tree_walk
from stochbess.scenario_gen.public_holidays import known_zone

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MONDAY = date(2018, 1, 1)  # refits of the past lie on the same days, whatever the target day
MIN_DAYS = {"naive": 14, "lear": 28, "trees": 42, "pool": 42}  # of past predictions


def fitted(fit: DayAheadFit, features: PriceFeatures, model: str) -> DayAheadFit | None:
    """The fit with its models and past predictions, or None with too little history."""
    panel, target = features.panel, features.panel.target
    fit = replace(fit, model=model)
    if model == "naive":
        rows = np.arange(max(target - NAIVE_DAYS, 0), target)
        error = (panel.price_eur_mwh - naive_prices(features))[rows]
        return fit if complete(error).sum() >= MIN_DAYS["naive"] else None
    inputs = lear_inputs(features)
    lear = fit_lear(inputs, target)
    if lear is None:
        return None
    fit = replace(fit, lear=lear, linear_eur_mwh=_past_linear(fit, inputs, panel))
    error = fit.linear_eur_mwh.mean(axis=1) - panel.price_eur_mwh
    if complete(error).sum() < MIN_DAYS["lear"]:
        return None
    if model == "lear":
        return fit
    with_target = np.array(fit.linear_eur_mwh)
    with_target[target] = lear.predict(inputs, np.array([target]))[0]
    inputs_of_trees = tree_inputs(features, with_target)
    trees = fit_quantile_trees(inputs_of_trees, target, fit.seed)
    quantiles = _past_quantiles(fit, inputs_of_trees, panel)
    if trees is None or (complete(quantiles[:, :, 0])).sum() < MIN_DAYS["trees"]:
        return None
    return replace(fit, trees=trees, quantiles_eur_mwh=quantiles)


def _past_linear(fit: DayAheadFit, inputs: LearInputs, panel: DayPanel) -> Array:
    first = panel.target - LINEAR_HISTORY_DAYS
    anchors = _anchors(panel, max(first, 0), REFIT_DAYS)
    return linear_walk(inputs, anchors, panel.target, np.array(fit.linear_eur_mwh))


def _past_quantiles(fit: DayAheadFit, inputs: TreeInputs, panel: DayPanel) -> Array:
    anchors = _anchors(panel, max(panel.target - HISTORY_DAYS - BLOCK_DAYS, 0), BLOCK_DAYS)
    return tree_walk(inputs, anchors, panel.target, fit.seed, np.array(fit.quantiles_eur_mwh))


def _anchors(panel: DayPanel, first: int, step: int) -> Ints:
    """Rows from `first` to the target at which the past is refitted: every `step` days."""
    offset = (panel.first_day - MONDAY).days
    rows = np.arange(first, panel.target)
    return np.asarray(rows[(rows + offset) % step == 0], np.int64)


def empty_fit(
    panel: DayPanel, lags: FeatureLags, seed: int, model: str, view: MarketData
) -> DayAheadFit:
    n_days = panel.target + 1
    return DayAheadFit(
        model=model,
        zone=panel.zone,
        timezone=panel.timezone,
        target_day=panel.target_day,
        first_day=panel.first_day,
        seed=seed,
        lags=lags,
        lear=None,
        trees=None,
        linear_eur_mwh=np.full((n_days, len(WINDOWS_DAYS), HOURS), np.nan),
        quantiles_eur_mwh=np.full((n_days, HOURS, len(LEVELS)), np.nan),
        panel_sha256=panel.sha256(panel.target, lags.for_hash()),
        provenance={"assumptions": "; ".join(view.assumptions)} if view.assumptions else {},
    )


def reusing(fit: DayAheadFit, panel: DayPanel, previous: DayAheadFit | None) -> DayAheadFit:
    """The past predictions of `previous`, if they are the ones that would be made now."""
    if (
        previous is None
        or previous.lags != fit.lags
        or previous.seed != fit.seed
        or previous.first_day != fit.first_day
        or not previous.target_day < fit.target_day
        or previous.panel_sha256
        != panel.sha256(panel.row(previous.target_day), fit.lags.for_hash())
    ):
        return fit
    n_days = panel.target + 1
    linear = extended(previous.linear_eur_mwh, n_days)
    quantiles = extended(previous.quantiles_eur_mwh, n_days)
    for table, days, step in (
        (linear, LINEAR_HISTORY_DAYS, REFIT_DAYS),
        (quantiles, HISTORY_DAYS + BLOCK_DAYS, BLOCK_DAYS),
    ):
        anchors = _anchors(panel, max(panel.target - days, 0), step)
        kept_from = int(anchors[0]) if len(anchors) else n_days
        table[:kept_from] = np.nan
    return replace(fit, linear_eur_mwh=linear, quantiles_eur_mwh=quantiles)


def told(fit: DayAheadFit, features: PriceFeatures, wanted: str) -> DayAheadFit:
    """The fit with what a report has to say of it."""
    lags, panel = features.lags, features.panel
    said = {
        **fit.provenance,
        "model": fit.model,
        "history": f"{panel.first_day} to {panel.day(panel.target - lags.price)}",
        "prices": f"up to D-{lags.price}",
    }
    if fit.model != "naive":
        said |= {
            "forecasts": _forecasts_said(panel, lags),
            "load": "none" if lags.load is None else f"realised, up to D-{lags.load}",
            "holidays": "nationwide" if known_zone(panel.zone) else "not known for this zone",
        }
    if fit.model != wanted:
        said["degraded"] = f"too little history for {wanted}: {fit.model} was fitted instead"
    return replace(fit, provenance=said)


def _forecasts_said(panel: DayPanel, lags: FeatureLags) -> str:
    if lags.forecast is None:
        return "none: prices only"
    day = f"D-{lags.forecast}" if lags.forecast else "D"
    return f"{' and '.join(sorted(panel.forecast_mw))} up to {day}"


def n_complete(panel: DayPanel) -> int:
    return int(complete(panel.price_eur_mwh).sum())
