"""Scores and calibration of scenarios: cases by hand, closed forms, an independent library."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from stochbess.errors import DataError
from stochbess.scenario_gen.calibration import (
    central_interval,
    coverage,
    expected_calibration_error,
    histogram_of_pit,
    interval_width,
    pit,
    quantiles,
    rank_histogram,
    reliability,
)
from stochbess.scenario_gen.scores import (
    Array,
    brier,
    crps_ensemble,
    daily_spread,
    energy_score,
    log_score,
    spread_crps,
    variogram_score,
)


def some(seed: int, n: int, *shape: int) -> tuple[Array, Array, Array]:
    """Scenarios with ties among them, an observation, and unequal weights."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(40, 30, (n, *shape)), 1 if seed % 2 else -1)
    return values, np.round(rng.normal(40, 30, shape), 1), rng.dirichlet(np.ones(n))


# -- CRPS -----------------------------------------------------------------------------------------
def test_crps_of_two_points_is_what_a_hand_computes() -> None:
    # E|X-y| = (3 + 1)/2 = 2, E|X-X'| = 4/2 = 2
    assert crps_ensemble([0.0, 4.0], 3.0) == pytest.approx(2 - 1)
    # weights 1/4, 3/4: E|X-y| = 3/4 + 3/4, E|X-X'|/2 = 1/4 * 3/4 * 4
    assert crps_ensemble([0.0, 4.0], 3.0, [0.25, 0.75]) == pytest.approx(1.5 - 0.75)


def test_crps_of_one_scenario_is_the_absolute_error() -> None:
    values, observed, _ = some(1, 1, 5, 3)
    assert crps_ensemble(values, observed) == pytest.approx(np.abs(values[0] - observed))


def test_crps_of_many_gaussian_draws_is_the_closed_form() -> None:
    draws = np.random.default_rng(0).normal(2.0, 3.0, 200_000)
    for observed in (-4.0, 2.0, 6.5):
        z = (observed - 2) / 3
        exact = 3 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
        assert crps_ensemble(draws, observed) == pytest.approx(exact, abs=0.02)


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(max_examples=60)
def test_crps_is_the_double_sum_of_its_definition(seed: int, n: int) -> None:
    x, y, p = some(seed, n, 4)
    near = np.tensordot(p, np.abs(x - y), 1)
    apart = np.einsum("i,j,ijt->t", p, p, np.abs(x[:, None] - x[None]))
    assert crps_ensemble(x, y, p) == pytest.approx(near - apart / 2, abs=1e-9)


def test_crps_does_not_change_when_a_scenario_is_halved_or_scenarios_change_places() -> None:
    x, y, p = some(3, 8, 6)
    order = np.array([5, 2, 7, 0, 1, 6, 3, 4])
    twice, halves = np.concatenate([x, x[:1]]), np.append(p, p[0] / 2)
    halves[0] /= 2
    assert crps_ensemble(x[order], y, p[order]) == pytest.approx(crps_ensemble(x, y, p))
    assert crps_ensemble(twice, y, halves) == pytest.approx(crps_ensemble(x, y, p))


def test_an_unlikely_scenario_far_away_counts_by_its_weight() -> None:
    near = crps_ensemble([0.0, 1.0], 0.0, [1.0, 0.0])
    assert near == pytest.approx(0.0, abs=1e-15)
    assert crps_ensemble([0.0, 1000.0], 0.0, [0.999, 0.001]) == pytest.approx(0.001**2 * 1000)


# -- multivariate scores --------------------------------------------------------------------------
def test_energy_score_in_one_dimension_is_the_crps() -> None:
    x, y, p = some(5, 9, 7)
    assert energy_score(x[..., None], y[..., None], p) == pytest.approx(crps_ensemble(x, y, p))


def test_energy_score_of_two_vectors_is_what_a_hand_computes() -> None:
    # distances to the origin 5 and 0, between them 5: 2.5 - 5/4
    assert energy_score([[3.0, 4.0], [0.0, 0.0]], [0.0, 0.0]) == pytest.approx(1.25)


def test_variogram_score_of_two_vectors_is_what_a_hand_computes() -> None:
    # |x1-x2|^.5 = 2 and 0 with weights 1/4, 3/4: 0.5; observed 3: (3 - .5)^2, one pair
    found = variogram_score([[0.0, 4.0], [7.0, 7.0]], [1.0, 10.0], [0.25, 0.75])
    assert found == pytest.approx(2.5**2)


def test_variogram_score_is_the_mean_over_the_pairs() -> None:
    x, y, p = some(11, 6, 5)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    terms = [
        (abs(y[i] - y[j]) ** 0.5 - sum(p * np.abs(x[:, i] - x[:, j]) ** 0.5)) ** 2 for i, j in pairs
    ]
    assert variogram_score(x, y, p) == pytest.approx(np.mean(terms))


def test_vectors_of_several_days_are_scored_one_by_one() -> None:
    x, y, p = some(7, 6, 3, 5)
    for score in (energy_score, variogram_score):
        together = score(x, y, p)
        assert together.shape == (3,)
        assert together == pytest.approx([float(score(x[:, d], y[d], p)) for d in range(3)])


def test_variogram_score_sees_lost_dependence_that_the_crps_does_not() -> None:
    rng = np.random.default_rng(1)
    walks = np.cumsum(rng.normal(size=(400, 24)), axis=1)
    shuffled = np.stack([rng.permutation(hour) for hour in walks.T], axis=1)
    observed = np.cumsum(rng.normal(size=24))
    assert crps_ensemble(shuffled, observed) == pytest.approx(crps_ensemble(walks, observed))
    assert variogram_score(shuffled, observed) > 1.5 * variogram_score(walks, observed)


def test_the_scores_agree_with_an_independent_library() -> None:
    other = pytest.importorskip("scoringrules")
    x, y, p = some(13, 40, 24)
    crps = other.crps_ensemble(y, x.T, estimator="nrg")
    assert crps_ensemble(x, y) == pytest.approx(np.asarray(crps), abs=1e-9)
    weighted = other.crps_ensemble(y, x.T, estimator="nrg", ens_w=np.tile(p, (24, 1)))
    assert crps_ensemble(x, y, p) == pytest.approx(np.asarray(weighted), abs=1e-9)
    assert energy_score(x, y) == pytest.approx(float(other.es_ensemble(y, x)), abs=1e-9)
    variogram = float(other.vs_ensemble(y, x, p=0.5))
    assert variogram_score(x, y) * 24 * 23 == pytest.approx(variogram, rel=1e-9)
    forecast = np.clip(np.random.default_rng(0).random(50), 0.01, 0.99)
    happened = (np.arange(50) % 3 == 0).astype(float)
    assert brier(forecast, happened) == pytest.approx(
        float(np.mean(other.brier_score(happened, forecast)))
    )
    assert log_score(forecast, happened) == pytest.approx(
        float(np.mean(other.log_score(happened, forecast)))
    )


def test_a_thousand_scenarios_need_little_memory() -> None:
    x, y, p = some(2, 1000, 96)
    tracemalloc.start()
    crps_ensemble(x, y, p), energy_score(x, y, p), variogram_score(x, y, p)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # 1000 x 1000 x 96 numbers would be 768 MB


# -- spread ---------------------------------------------------------------------------------------
def test_daily_spread_is_the_two_dearest_hours_less_the_two_cheapest() -> None:
    day = np.array([5.0, 1, 9, 3, 7, 2, 4, 6])
    assert daily_spread(day) == pytest.approx((9 + 7) / 2 - (1 + 2) / 2)
    assert daily_spread(np.repeat(day, 4), labels_per_hour=4) == pytest.approx(6.5)


def test_spread_crps_of_one_scenario_is_the_error_of_its_spread() -> None:
    x, y, _ = some(4, 1, 2, 24)
    assert spread_crps(x, y) == pytest.approx(np.abs(daily_spread(x[0]) - daily_spread(y)))


# -- events ---------------------------------------------------------------------------------------
def test_scores_of_events_are_what_a_hand_computes() -> None:
    forecast, happened = [0.8, 0.3, 0.5], [True, False, True]
    assert brier(forecast, happened) == pytest.approx((0.04 + 0.09 + 0.25) / 3)
    assert log_score(forecast, happened) == pytest.approx(-math.log(0.8 * 0.7 * 0.5) / 3)


def test_an_impossible_event_that_happens_scores_infinity_unless_a_floor_is_named() -> None:
    assert log_score([0.0], [1]) == math.inf
    assert log_score([0.0], [1], floor_frac=0.01) == pytest.approx(-math.log(0.01))
    assert log_score([1.0], [1]) == 0.0


def test_reliability_puts_forecasts_in_bins_and_leaves_empty_ones_out() -> None:
    forecast = [0.05, 0.1, 0.15, 1.0, 0.95]
    table = reliability(forecast, [0, 1, 0, 1, 1])
    assert table.low == pytest.approx([0.0, 0.1, 0.9])
    assert table.high == pytest.approx([0.1, 0.2, 1.0])
    assert table.count.tolist() == [1, 2, 2]
    assert table.forecast_frac == pytest.approx([0.05, 0.125, 0.975])
    assert table.observed_frac == pytest.approx([0.0, 0.5, 1.0])
    gap = (0.05 + 2 * 0.375 + 2 * 0.025) / 5
    assert expected_calibration_error(forecast, [0, 1, 0, 1, 1]) == pytest.approx(gap)


# -- calibration ----------------------------------------------------------------------------------
def test_pit_is_the_middle_of_the_place_among_the_scenarios() -> None:
    values = np.array([1.0, 2.0, 3.0])
    for observed, rank in ((0.0, 0), (1.5, 1), (2.5, 2), (9.0, 3)):
        assert pit(values, observed) == pytest.approx((rank + 0.5) / 4)
    assert pit(values, 2.0) == pytest.approx((1 + 0.5 * 2) / 4)  # a tie widens the place
    equal = np.full(3, 1 / 3)
    assert pit(values, 2.0, equal) == pytest.approx(0.5)


def test_the_weighted_pit_moves_with_the_weights() -> None:
    p = np.array([0.7, 0.2, 0.1])
    n = 1 / (p @ p)
    assert pit([1.0, 2.0, 3.0], 1.5, p) == pytest.approx((n * 0.7 + 0.5) / (n + 1))


@pytest.mark.parametrize(("spread", "flat"), [(1.0, True), (0.6, False), (1.8, False)])
def test_the_rank_histogram_is_flat_only_for_calibrated_scenarios(
    spread: float, flat: bool
) -> None:
    rng = np.random.default_rng(5)
    values, observed = spread * rng.normal(size=(49, 3000)), rng.normal(size=3000)
    found = rank_histogram(values, observed)
    assert found.counts.sum() == 3000 and found.expected == 300
    assert (found.p_value > 0.01) == flat
    middle, edges = found.counts[4:6].sum(), found.counts[[0, -1]].sum()
    if not flat:
        assert (edges > middle) == (spread < 1)


def test_a_random_point_makes_any_number_of_bins_flat_even_with_ties() -> None:
    rng = np.random.default_rng(6)
    values, observed = rng.integers(0, 4, (30, 4000)), rng.integers(0, 4, 4000)
    assert rank_histogram(values, observed, n_bins=7, rng=rng).p_value > 0.01
    assert rank_histogram(values, observed, n_bins=7).p_value < 1e-6


def test_the_flatness_statistic_is_what_a_hand_computes() -> None:
    found = histogram_of_pit([0.1, 0.2, 0.3, 0.9], n_bins=2)
    assert found.counts.tolist() == [3, 1]
    assert found.chi2 == pytest.approx((1 + 1) / 2)
    assert found.p_value == pytest.approx(0.3173, abs=1e-4)


def test_quantiles_with_equal_weights_are_those_of_numpy() -> None:
    x, _, _ = some(9, 11, 4)
    found = quantiles(x, (0.0, 0.05, 0.5, 1.0))
    assert found == pytest.approx(np.quantile(x, (0.0, 0.05, 0.5, 1.0), axis=0))


def test_quantiles_come_to_the_same_by_both_formulas_as_weights_become_equal() -> None:
    x, _, _ = some(9, 11, 2, 3)
    nearly = np.full(11, 1 / 11)
    nearly[0] += 1e-10
    levels = (0.0, 0.13, 0.5, 0.95, 1.0)
    assert quantiles(x, levels, nearly) == pytest.approx(quantiles(x, levels), abs=1e-6)


def test_weighted_quantiles_follow_the_weights() -> None:
    x = np.array([0.0, 10.0, 20.0])
    # middles of the steps .05 .5 .95 -> places 0 .5 1; a weight of 0 is no scenario
    assert quantiles(x, (0.25, 0.5), [0.1, 0.8, 0.1]) == pytest.approx([5.0, 10.0])
    assert quantiles(x, (0.0, 1.0), [0.4, 0.6, 0.0]) == pytest.approx([0.0, 10.0])
    assert quantiles(x, (0.2, 0.9), [0.0, 1.0, 0.0]) == pytest.approx([10.0, 10.0])


def test_coverage_counts_what_lies_inside_with_both_ends() -> None:
    values = np.arange(11.0)[:, None] * np.ones(4)
    observed = np.array([0.4, 0.5, 9.5, 9.6])
    low, high = central_interval(values, 0.9)
    assert low == pytest.approx(0.5) and high == pytest.approx(9.5)
    assert coverage(values, observed, 0.9) == pytest.approx(0.5)
    assert interval_width(values, 0.9) == pytest.approx(9.0)


def test_calibrated_scenarios_cover_a_little_less_than_the_level() -> None:
    rng = np.random.default_rng(8)
    found = coverage(rng.random((50, 40_000)), rng.random(40_000), 0.9)
    assert found == pytest.approx(0.9 * 49 / 51, abs=0.006)


# -- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize("score", [crps_ensemble, energy_score, variogram_score, pit, coverage])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_and_infinite_values_are_refused(score: object, bad: float) -> None:
    assert callable(score)
    values, observed, _ = some(1, 5, 6)
    with pytest.raises(DataError, match=r"observed holds 1 NaN or infinite values.* \(2,\)"):
        score(values, np.where(np.arange(6) == 2, bad, observed))
    values[3, 1] = bad
    with pytest.raises(DataError, match=r"values holds 1 NaN or infinite values.* \(3, 1\)"):
        score(values, observed)


@pytest.mark.parametrize(
    "probability", [[0.5, 0.4], [1.5, -0.5], [1.0], [[0.5, 0.5]], [np.nan, 1.0]]
)
def test_weights_that_are_none_are_refused(probability: object) -> None:
    with pytest.raises(DataError, match="probability"):
        crps_ensemble([1.0, 2.0], 1.0, probability)  # type: ignore[arg-type]


def test_shapes_that_do_not_fit_are_refused_and_not_broadcast() -> None:
    with pytest.raises(DataError, match=r"shape \(3, 4\) and observed of shape \(1,\)"):
        crps_ensemble(np.zeros((3, 4)), np.zeros(1))
    with pytest.raises(DataError, match="at least two components"):
        variogram_score(np.zeros((3, 1)), np.zeros(1))
    with pytest.raises(DataError, match="expected"):
        energy_score(np.zeros(3), 0.0)
    with pytest.raises(DataError, match="at least four hours"):
        daily_spread(np.zeros(3))


def test_per_cent_and_numbers_that_are_no_outcome_are_refused() -> None:
    with pytest.raises(DataError, match="not per cent"):
        brier([50.0], [1])
    with pytest.raises(DataError, match="other than 0 and 1"):
        brier([0.5], [2])
    with pytest.raises(DataError, match="same shape"):
        log_score([0.5], [1, 0])
    with pytest.raises(DataError, match="floor_frac"):
        log_score([0.5], [1], floor_frac=0.5)
