"""Parts of the price models: distribution functions, copula, lasso, holidays, SARIMAX."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from stochbess.errors import NotEnoughHistoryError
from stochbess.scenario_gen.conformal import (
    levels_of,
    nearest_days,
    recalibrated_copula_draws,
    values_at,
)
from stochbess.scenario_gen.day_panel import day_panel, lagged
from stochbess.scenario_gen.price_baselines import naive_prices, sarimax_point
from stochbess.scenario_gen.price_features import PriceFeatures, feature_lags
from stochbess.scenario_gen.price_lear import WINDOWS_DAYS, fit_lear, lear_inputs
from stochbess.scenario_gen.price_lear import walk_forward as linear_walk
from stochbess.scenario_gen.price_trees import LEVELS as TREE_LEVELS
from stochbess.scenario_gen.price_trees import tree_inputs
from stochbess.scenario_gen.price_trees import walk_forward as tree_walk
from stochbess.scenario_gen.public_holidays import easter_sunday, holidays
from stochbess.timegrid import gate_utc
from tests.price_case import BERLIN, price_market

LEVELS = (0.05, 0.2, 0.5, 0.8, 0.95)
TARGET = date(2024, 1, 24)


def features(day: date = TARGET) -> PriceFeatures:
    panel = day_panel(price_market().as_of(gate_utc("D-1 12:00", day, BERLIN)), day)
    return PriceFeatures(panel, feature_lags(panel))


# ----------------------------------------------------------------------------- distributions


def test_levels_and_values_are_inverse_of_each_other_also_in_the_tails() -> None:
    rng = np.random.default_rng(1)
    quantiles = np.sort(rng.normal(50, 20, (24, 5)), axis=1)
    u = rng.uniform(0.001, 0.999, (40, 24))
    values = values_at(quantiles, LEVELS, u)
    back = levels_of(np.broadcast_to(quantiles, (40, 24, 5)), LEVELS, values)
    np.testing.assert_allclose(back, u, atol=1e-9)
    assert (
        np.diff(
            values_at(quantiles, LEVELS, np.linspace(0.01, 0.99, 99)[:, None] * np.ones(24)), axis=0
        )
        > 0
    ).all()


def test_quantiles_that_are_equal_still_give_finite_values() -> None:
    values = values_at(np.full((2, 5), 7.0), LEVELS, np.array([[0.001, 0.5], [0.999, 0.9]]))
    assert np.isfinite(values).all() and abs(values - 7.0).max() < 0.01
    assert np.isfinite(levels_of(np.full((2, 5), 7.0), LEVELS, np.array([6.0, 8.0]))).all()


@pytest.mark.parametrize(("spread", "low", "high"), [(1.0, 0.87, 0.93), (1.5, 0.68, 0.78)])
def test_draws_reach_out_as_far_as_past_levels_did(spread: float, low: float, high: float) -> None:
    """Where the past predictions were too narrow, fewer draws lie within their 90 % band."""
    from scipy.special import ndtr

    rng = np.random.default_rng(3)
    common = rng.standard_normal((400, 1))
    score = spread * (0.8 * common + 0.6 * rng.standard_normal((400, 6)))
    draws = recalibrated_copula_draws(np.clip(ndtr(score), 1e-4, 1 - 1e-4), 4000, rng)
    inside = ((draws > 0.05) & (draws < 0.95)).mean()
    assert low < inside < high
    assert 0.5 < np.asarray(np.corrcoef(draws.T))[0, 1:].mean() < 0.75


def test_a_past_vector_of_levels_is_nearest_to_itself() -> None:
    past = np.random.default_rng(4).uniform(0.01, 0.99, (50, 24))
    np.testing.assert_array_equal(nearest_days(past[[7, 31]], past), [7, 31])


# ----------------------------------------------------------------------------- models


def test_the_linear_model_predicts_days_that_it_has_not_seen() -> None:
    market = price_market().assume_forecasts_known("D-1 07:00")
    panel = day_panel(market.as_of(gate_utc("D-1 12:00", TARGET, BERLIN)), TARGET)
    inputs = lear_inputs(PriceFeatures(panel, feature_lags(panel)))
    model = fit_lear(inputs, panel.target - 10)
    assert model is not None
    rows = np.arange(panel.target - 10, panel.target)
    price = panel.price_eur_mwh[rows]
    error = np.abs(model.predict(inputs, rows).mean(axis=1) - price).mean()
    assert error < 0.6 * np.abs(price - price.mean(axis=0)).mean()


def test_an_input_unlike_any_before_does_not_blow_the_prediction_up() -> None:
    made = features()
    inputs = lear_inputs(made)
    model = fit_lear(inputs, made.panel.target)
    assert model is not None
    wild = inputs.values.copy()
    wild[:, -1] *= 1000
    inputs = type(inputs)(
        wild,
        inputs.is_price,
        inputs.has_residual_load,
        inputs.day_type,
        inputs.price_eur_mwh,
        inputs.price_lag,
    )
    found = model.predict(inputs, np.array([made.panel.target]))
    seen = made.panel.price_eur_mwh[:-1]
    assert found.max() < 2 * seen.max() and found.min() > seen.min() - 2 * np.ptp(seen)


def test_predictions_of_the_past_were_made_without_the_days_they_predict() -> None:
    """The view holds the prices that followed: past predictions must not depend on them."""
    made = features()
    anchor = made.panel.target - 21
    price = np.array(made.panel.price_eur_mwh)
    price[anchor:] = 999.0
    other = PriceFeatures(replace(made.panel, price_eur_mwh=price), made.lags)
    linear, levels = [], []
    for known in (made, other):
        inputs = lear_inputs(known)
        shape = (made.panel.target + 1, len(WINDOWS_DAYS), 24)
        anchors = np.arange(anchor - 42, anchor + 1, 7)
        past = linear_walk(inputs, anchors, anchor + 1, np.full(shape, np.nan))
        linear.append(past)
        of_trees = tree_inputs(known, past)
        into = np.full((shape[0], 24, len(TREE_LEVELS)), np.nan)
        levels.append(tree_walk(of_trees, np.array([anchor]), anchor + 1, 1, into)[anchor])
    assert np.isfinite(linear[0][anchor]).all() and np.isfinite(levels[0]).all()
    np.testing.assert_array_equal(linear[0], linear[1])
    np.testing.assert_array_equal(levels[0], levels[1])


def test_a_day_that_lacks_an_input_has_no_prediction() -> None:
    made = features()
    inputs = lear_inputs(made)
    inputs.values[3, -1, 5] = np.nan
    model = fit_lear(inputs, made.panel.target - 1)
    assert model is not None
    found = model.predict(inputs, np.array([made.panel.target - 2, made.panel.target]))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_the_similar_day_is_yesterday_in_the_week_and_last_week_at_its_ends() -> None:
    made = features()
    price, naive = made.panel.price_eur_mwh, naive_prices(made)
    for row in range(20, 27):
        weekday = made.panel.day(row).weekday()
        back = 1 if weekday in (1, 2, 3, 4) else 7
        np.testing.assert_array_equal(naive[row], price[row - back])


@pytest.mark.slow
def test_sarimax_forecasts_a_day_and_needs_eight_weeks() -> None:
    made = features()
    point = sarimax_point(made.panel)
    recent = made.panel.price_eur_mwh[-15:-1]
    assert point.shape == (24,)
    assert recent.min() - 50 < point.min() and point.max() < recent.max() + 50
    with pytest.raises(NotEnoughHistoryError, match="of 56 days"):
        sarimax_point(features(date(2023, 11, 1)).panel)


# ----------------------------------------------------------------------------- tables


def test_lags_are_those_of_the_gate_and_the_same_for_every_day() -> None:
    lags = features().lags
    assert (lags.price, lags.forecast, lags.load) == (1, 1, 2)
    view = price_market().as_of(gate_utc("D-1 19:00", TARGET, BERLIN))
    evening = feature_lags(day_panel(view, TARGET))
    assert (evening.price, evening.forecast, evening.load) == (1, 0, 2)
    table = np.arange(12.0).reshape(4, 3)
    assert np.isnan(lagged(table, 2)[:2]).all()
    np.testing.assert_array_equal(lagged(table, 2)[2:], table[:2])
    assert np.isnan(lagged(table, 9)).all() and lagged(table, 9).shape == table.shape


@pytest.mark.parametrize(
    ("year", "easter"), [(2023, (4, 9)), (2024, (3, 31)), (2025, (4, 20)), (2038, (4, 25))]
)
def test_easter_and_the_days_that_hang_on_it(year: int, easter: tuple[int, int]) -> None:
    assert easter_sunday(year) == date(year, *easter)


def test_holidays_of_a_zone_are_those_of_the_whole_country() -> None:
    german, austrian = holidays("DE_LU", [2024]), holidays("AT", [2024])
    assert date(2024, 3, 29) in german and date(2024, 3, 29) not in austrian
    assert date(2024, 10, 3) in german and date(2024, 10, 26) in austrian
    assert date(2024, 5, 30) in austrian and date(2024, 5, 30) not in german
    assert len(german) == 9 and len(austrian) == 13
    assert holidays("HU", [2024]) == frozenset()


def test_a_holiday_counts_as_a_sunday() -> None:
    panel = features(date(2024, 1, 3)).panel
    assert panel.day_type[panel.row(date(2023, 12, 25))] == 6
    assert panel.day_type[panel.row(date(2023, 12, 27))] == 2
