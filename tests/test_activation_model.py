"""The pool of climatology, persistence, regression and trees, as plain arrays."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError
from stochbess.market.data import load_market
from stochbess.rng import stream
from stochbess.scenario_gen.activation_features import (
    DAY_QH,
    Features,
    GateRule,
    build_features,
)
from stochbess.scenario_gen.activation_model import (
    DAY_SETTINGS,
    MIN_POOL_DAYS,
    PARTS,
    ActivationModel,
    Array,
    fit_model,
    pool_weights,
)
from stochbess.scenario_gen.activation_paths import known_volumes
from tests.activation_case import BERLIN, SMALL, zone

FIRST_TEST_DAY = 56


@cache
def features(rule: GateRule) -> Features:
    market = zone()
    return build_features(market, known_volumes(market).index, rule)  # type: ignore[arg-type]


def part(found: Features, where: slice) -> Features:
    return replace(found, steps=found.steps[where], x=found.x[where])


@cache
def model(rule: GateRule, days: int = FIRST_TEST_DAY) -> ActivationModel:
    past = slice(0, days * DAY_QH)
    volume = known_volumes(zone())["up_mw"].to_numpy()[past]
    return fit_model([part(features(rule), past)], volume, "up", rule, BERLIN, SMALL, 3)


def log_loss(p: Array, y: Array) -> float:
    return float(-np.log(np.where(y > 0, p, 1 - p)).mean())


def test_25_minutes_ahead_persistent_volumes_are_predicted_better_than_by_climatology() -> None:
    rule, later = GateRule(), slice(FIRST_TEST_DAY * DAY_QH, None)
    now = part(features(rule), later)
    label = (known_volumes(zone())["up_mw"].to_numpy()[later] > 30).astype(float)
    parts = model(rule).part_probabilities(now)[:, :, 2]
    pooled = model(rule).predict(now).exceed[:, 2]
    assert log_loss(pooled, label) < 0.9 * log_loss(parts[0], label)
    assert abs(pooled.mean() - label.mean()) < 0.06


def test_probabilities_fall_along_the_thresholds_and_stay_inside_zero_and_one() -> None:
    exceed = model(GateRule()).predict(features(GateRule())).exceed
    assert (np.diff(exceed, axis=1) <= 0).all()
    assert (exceed > 0).all() and (exceed < 1).all()


def test_weights_of_every_threshold_are_a_pool() -> None:
    weight = model(GateRule()).weight
    assert weight.shape == (1, len(PARTS), 5)
    assert (weight >= 0).all() and weight.sum(axis=1) == pytest.approx(1.0)
    assert weight[0, 0].max() < 0.9  # others count too where volumes persist


def test_with_a_short_history_climatology_stands_alone() -> None:
    short = model(GateRule(), MIN_POOL_DAYS - 1)
    assert (short.weight[:, 0] == 1).all()
    found = short.predict(features(GateRule())).exceed
    assert found == pytest.approx(short.part_probabilities(features(GateRule()))[0])


def test_climatology_knows_quarter_hour_and_weekend_only() -> None:
    parts = model(GateRule()).part_probabilities(features(GateRule()))[0]
    cell = parts.reshape(-1, 5)
    week = 7 * DAY_QH
    assert np.array_equal(cell[:week], cell[week : 2 * week])
    assert np.array_equal(cell[4 * DAY_QH : 5 * DAY_QH], cell[5 * DAY_QH : 6 * DAY_QH])
    assert not np.array_equal(cell[DAY_QH : 2 * DAY_QH], cell[2 * DAY_QH : 3 * DAY_QH])


def test_the_pool_is_not_worse_than_climatology_where_it_was_weighted() -> None:
    rng = stream(2, "test.pool")
    truth = rng.random(4000)
    label = (rng.random(4000) < truth).astype(float)
    climatology = np.full(4000, label.mean())
    noise = rng.uniform(0.05, 0.95, 4000)
    weight = pool_weights(np.stack([climatology, noise, truth.clip(0.01, 0.99)]), label)
    assert weight.sum() == pytest.approx(1.0) and weight[2] > 0.9
    useless = pool_weights(np.stack([climatology, noise, noise[::-1]]), label)
    assert useless[0] > 0.95
    pooled = useless @ np.stack([climatology, noise, noise[::-1]])
    assert log_loss(pooled, label) <= log_loss(climatology, label) + 1e-6


def test_between_equal_parts_climatology_is_preferred() -> None:
    label = (np.arange(1000) % 3 == 0).astype(float)
    same = np.full((2, 1000), 1 / 3)
    weight = pool_weights(same, label)
    assert weight[0] > 0.5 > weight[1]


FALLEN_AFTER_DAY = 40  # the calls of the made-up zone then fall to a third
DAY_RULE = GateRule("D-1 08:00")


def fallen_calls() -> Array:
    volume = known_volumes(zone())["up_mw"].to_numpy(np.float64, copy=True)
    volume[FALLEN_AFTER_DAY * DAY_QH :] /= 3
    return volume


@cache
def model_of_fallen_calls(half_life: float, rate_half_life: float) -> ActivationModel:
    past = slice(0, FIRST_TEST_DAY * DAY_QH)
    small = replace(SMALL, half_life_days=half_life, rate_half_life_days=rate_half_life)
    rows = [part(features(DAY_RULE), past)]
    return fit_model(rows, fallen_calls()[past], "up", DAY_RULE, BERLIN, small, 3)


def test_rates_forget_with_a_half_life_of_their_own() -> None:
    slow, fast = (model_of_fallen_calls(60.0, days).parts for days in (60.0, 7.0))
    assert np.array_equal(slow.coefficient, fast.coefficient)
    assert np.array_equal(slow.trees[2].value, fast.trees[2].value)

    # By hand: calls above 30 MW where the latest known volume was between 25 and 60 MW.
    n = FIRST_TEST_DAY * DAY_QH
    latest = features(DAY_RULE).column("volume_up_0")
    all_rows = all_calls = rows = calls = 0.0
    for i, volume in enumerate(fallen_calls()[:n]):
        weight = 0.5 ** ((n - 1 - i) / DAY_QH / 7)
        all_rows, all_calls = all_rows + weight, all_calls + weight * (volume > 30)
        if 25 < latest[i] <= 60:
            rows, calls = rows + weight, calls + weight * (volume > 30)
    assert rows > 10
    assert fast.bin[4, 2] == pytest.approx((calls + 30 * all_calls / all_rows) / (rows + 30))


def test_the_regression_keeps_its_own_half_life() -> None:
    slow, fast = (model_of_fallen_calls(days, 60.0).parts for days in (60.0, 7.0))
    assert np.array_equal(slow.cell, fast.cell) and np.array_equal(slow.bin, fast.bin)
    assert not np.array_equal(slow.coefficient, fast.coefficient)


def test_a_day_ahead_rates_follow_a_fall_of_the_calls_sooner_than_the_regression_forgets() -> None:
    later = slice(FIRST_TEST_DAY * DAY_QH, None)
    now = part(features(DAY_RULE), later)
    happened = (fallen_calls()[later] > 30).mean()
    slow, own = (
        model_of_fallen_calls(60.0, days).part_probabilities(now)[:2, :, 2].mean(axis=1) - happened
        for days in (DAY_SETTINGS.half_life_days, DAY_SETTINGS.rate_half_life_days)
    )
    assert (own > 0).all() and (own < 0.8 * slow).all()


def test_arrays_there_and_back_predict_the_same_bits() -> None:
    first = model(GateRule("D-1 08:00"))
    stored = first.to_arrays("up.")
    assert not any(array.dtype.hasobject for array in stored.values())
    back = ActivationModel.from_arrays(stored, "up.")
    assert back.rule == first.rule and back.names == first.names
    rows = features(GateRule("D-1 08:00"))
    assert np.array_equal(back.predict(rows).exceed, first.predict(rows).exceed)
    del stored["up.parts.cell"]
    with pytest.raises(DataError, match="lacks the array"):
        ActivationModel.from_arrays(stored, "up.")


def test_an_event_that_never_happened_is_all_but_impossible() -> None:
    rows = part(features(GateRule()), slice(0, 50 * DAY_QH))
    none = np.zeros(len(rows.x))
    found = fit_model([rows], none, "up", GateRule(), BERLIN, SMALL, 3).predict(rows)
    assert found.exceed.max() < 0.001


def test_features_of_another_zone_and_volumes_of_another_length_are_refused() -> None:
    rows = features(GateRule())
    fewer = replace(rows, x=rows.x[:, 1:], names=rows.names[1:])
    with pytest.raises(DataError, match="hour"):
        model(GateRule()).part_probabilities(fewer)
    with pytest.raises(DataError, match="expected as many"):
        fit_model([rows], np.zeros(5), "up", GateRule(), BERLIN, SMALL, 3)


@pytest.mark.slow
@pytest.mark.market_data
def test_late_in_2024_calls_down_are_announced_less_too_often_than_with_long_memory(
    real_market: Path,
) -> None:
    market, rule = load_market(real_market, "DE_LU"), GateRule("D-1 12:00")
    volumes = known_volumes(market)
    steps = pd.DatetimeIndex(volumes.index)
    begin = int(steps.searchsorted(pd.Timestamp("2024-11-01", tz=BERLIN)))
    rows, volume = build_features(market, steps, rule), volumes["down_mw"].to_numpy(np.float64)
    past, later = slice(0, begin - 2 * DAY_QH), slice(begin, None)
    label = (volume[later] > 100).astype(float)
    small = replace(DAY_SETTINGS, trees=replace(DAY_SETTINGS.trees, n_trees=10))
    too_often, loss = [], []
    for days in (small.half_life_days, small.rate_half_life_days):
        settings = replace(small, rate_half_life_days=days)
        fit = fit_model([part(rows, past)], volume[past], "down", rule, BERLIN, settings, 0)
        found = fit.predict(part(rows, later)).exceedance(100.0)
        too_often.append(found.mean() - label.mean())
        loss.append(log_loss(found, label))
    assert abs(too_often[1]) < 0.8 * abs(too_often[0])
    assert loss[1] < loss[0]
