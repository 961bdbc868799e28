"""Statistics of samples: intervals against scipy's, coverage, and extrapolation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from stochbess.errors import ConfigError
from stochbess.evaluate.sampling import GapBound, gap_bound, mean_interval, scenarios_needed

Floats = npt.NDArray[np.float64]


def test_the_interval_of_a_mean_is_that_of_the_t_test() -> None:
    values = np.random.default_rng(1).gamma(2.0, 30.0, 25)
    found = mean_interval(values, 0.9)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert (found.low_eur, found.high_eur) == pytest.approx((expected.low, expected.high))
    assert found.mean_eur == pytest.approx(values.mean())
    assert (found.n, found.level) == (25, 0.9)


def test_the_bound_of_a_gap_is_that_of_the_one_sided_t_test() -> None:
    gaps = np.random.default_rng(2).gamma(2.0, 30.0, 12)
    found = gap_bound(gaps, 0.95, np.full(12, 3.0))
    test = stats.ttest_1samp(gaps, 0.0, alternative="less")
    assert found.upper_eur == pytest.approx(test.confidence_interval(0.95).high)
    assert found.unproven_eur == pytest.approx(3.0)
    assert found.replications == 12


def test_a_gap_below_zero_is_a_rounding_and_lowers_nothing() -> None:
    assert gap_bound(np.array([-1e-9, 2.0, 4.0])) == gap_bound(np.array([0.0, 2.0, 4.0]))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        gap_bound(np.array([1.0, 2.0]), level)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        mean_interval(np.array([1.0, 2.0]), level)


def test_one_sample_has_no_spread() -> None:
    with pytest.raises(ConfigError, match=r"1 replication\(s\) have no spread"):
        gap_bound(np.array([1.0]))


# -- how many scenarios ---------------------------------------------------------------------------
def bound_at(bound: GapBound, n_scenarios: int, n: int, rate: float) -> float:
    """(31f): bias to the power `rate` of n_scenarios / n, spread to the power 1/2."""
    u = n_scenarios / n
    bias = bound.mean_eur - bound.unproven_eur
    spread = (bound.upper_eur - bound.mean_eur) * float(np.sqrt(u))
    return bound.unproven_eur + bias * float(u**rate) + spread


@pytest.mark.parametrize("target_eur", [1.0, 7.0, 15.0])
def test_the_recommended_number_is_the_first_that_meets_the_target(target_eur: float) -> None:
    bound = gap_bound(np.array([8.0, 20.0, 14.0, 11.0]), 0.95, np.full(4, 0.5))
    needed = scenarios_needed(bound, 20, target_eur)
    for n, rate in ((needed.slow, 0.5), (needed.fast, 1.0)):
        assert n is not None
        assert bound_at(bound, 20, n, rate) <= target_eur * (1 + 1e-9)
        assert bound_at(bound, 20, n - 1, rate) > target_eur
    assert needed.slow is not None and needed.fast is not None
    assert needed.slow > needed.fast > 20


def test_fewer_scenarios_than_were_tried_are_not_recommended() -> None:
    bound = gap_bound(np.array([8.0, 20.0, 14.0, 11.0]))
    needed = scenarios_needed(bound, 20, bound.upper_eur)
    assert (needed.slow, needed.fast) == (20, 20)


def test_no_number_of_scenarios_makes_up_for_the_solver() -> None:
    bound = gap_bound(np.array([8.0, 9.0]), 0.95, np.array([4.0, 6.0]))
    assert scenarios_needed(bound, 20, 5.0).slow is None
    assert scenarios_needed(bound, 20, 5.1).slow is not None
    with pytest.raises(ConfigError, match="above 0"):
        scenarios_needed(bound, 20, 0.0)


# -- coverage -------------------------------------------------------------------------------------
PRICE_EUR, COST_EUR = 5.0, 2.0


def newsvendor(order: float, demand: Floats) -> Floats:
    """Profit of `order` for every demand: sold at 5, bought at 2."""
    return PRICE_EUR * np.minimum(order, demand) - COST_EUR * order


def best_profit(demand: Floats) -> float:
    """Of the order at the quantile 3/5 of the sample, which is the best there is."""
    order = float(np.quantile(demand, 1 - COST_EUR / PRICE_EUR, method="inverted_cdf"))
    return float(newsvendor(order, demand).mean())


def true_gap(order: float) -> float:
    """Demand is uniform on [0, 100]: profit 5 (q - q^2 / 200) - 2 q, best at q = 60."""

    def profit(q: float) -> float:
        return PRICE_EUR * (q - q * q / 200) - COST_EUR * q

    return profit(60.0) - profit(order)


@pytest.mark.parametrize("order", [60.0, 50.0, 25.0])
def test_the_bound_covers_the_true_gap_as_often_as_it_says(order: float) -> None:
    """At the optimum it always does, since its gap is zero; far from it, as often as it says."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):
        demand = rng.uniform(0.0, 100.0, (10, 20))
        gaps = [best_profit(d) - float(newsvendor(order, d).mean()) for d in demand]
        covered += gap_bound(np.array(gaps), 0.95).upper_eur >= true_gap(order)
    assert covered / 1000 >= 0.93


def test_the_interval_of_a_value_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    truth = PRICE_EUR * (50 - 50 * 50 / 200) - COST_EUR * 50
    hits = 0
    for _ in range(1000):
        found = mean_interval(newsvendor(50.0, rng.uniform(0.0, 100.0, 40)), 0.9)
        hits += found.low_eur <= truth <= found.high_eur
    assert 0.87 <= hits / 1000 <= 0.93


def test_a_sample_flatters_the_decision_that_it_made_and_a_fresh_one_does_not() -> None:
    """The best order of all earns 90, which the best on a sample exceeds in expectation."""
    rng = np.random.default_rng(7)
    demand = rng.uniform(0.0, 100.0, (2, 2000, 5))
    orders = np.quantile(demand[0], 1 - COST_EUR / PRICE_EUR, axis=1, method="inverted_cdf")
    on_its_own = np.array([newsvendor(q, d).mean() for q, d in zip(orders, demand[0], strict=True)])
    on_fresh = np.array([newsvendor(q, d).mean() for q, d in zip(orders, demand[1], strict=True)])
    assert mean_interval(on_its_own, 0.99).low_eur > 90.0
    assert mean_interval(on_fresh, 0.99).high_eur < 90.0
