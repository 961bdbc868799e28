"""The pool of climatology, persistence, regression and trees, as plain arrays."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from stochbess.errors import DataError
from stochbess.rng import stream
from stochbess.scenario_gen.activation_features import (
    DAY_QH,
    Features,
    GateRule,
    build_features,
)
from stochbess.scenario_gen.activation_model import (
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
