"""Scenario reduction: enumeration, hand cases, the table of real days, cost-aware reduction."""

from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.cost_space import cost_dissimilarity, regret_dissimilarity
from stochbess.scenario_gen.distance import (
    distance_to_kept,
    ground_distances,
    kantorovich_distance,
)
from stochbess.scenario_gen.reduction import (
    METHODS,
    Method,
    backward_reduction,
    best_by_enumeration,
    forward_selection,
    improve_by_swaps,
    reduce_scenarios,
    scaled_vectors,
    select,
)
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import Array, labels_of
from stochbess.timegrid import Horizon

DAY = Horizon(date(2024, 6, 26), 1, "Europe/Berlin", 15, 60)


def some_set(seed: int = 0, n: int = 12, **values: Array) -> ScenarioSet:
    """Random scenarios of prices, capacity prices and volumes, or `values`, unequally likely."""
    rng = np.random.default_rng(seed)
    given_values = values or {
        "day_ahead_eur_mwh": rng.normal(60, 30, (n, 24)),
        "fcr_eur_mw": rng.gamma(3, 20, (n, 6)),
        "activation_up_mw": rng.gamma(0.5, 200, (n, 96)),
    }
    size = len(next(iter(given_values.values())))
    return ScenarioSet(
        tuple(f"s{i}" for i in range(size)),
        rng.dirichlet(np.full(size, 3.0)) if seed else np.full(size, 1 / size),
        given_values,
        {s: labels_of(DAY, s) for s in given_values},
        {"source": "test"},
    )


def matrix_of(seed: int, n: int, dimension: int = 2) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(n, dimension)), seed % 3)  # rounding makes ties and twins
    return ground_distances(x, x), rng.dirichlet(np.ones(n))


# -- the algorithms -------------------------------------------------------------------------------
@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=60)
def test_up_to_twelve_scenarios_are_reduced_to_the_optimum(seed: int, size: int) -> None:
    matrix, p = matrix_of(seed, size)
    n = 1 + seed % (size - 1)
    best = min(
        distance_to_kept(matrix, p, np.array(kept))
        for kept in itertools.combinations(range(size), n)
    )
    assert distance_to_kept(matrix, p, select(matrix, p, n)) == pytest.approx(best, abs=1e-12)


def test_swaps_alone_miss_the_optimum_of_small_cases_rarely() -> None:
    missed = 0
    for seed in range(100):
        matrix, p = matrix_of(3 * seed, 10)
        starts = forward_selection(matrix, p, 3), backward_reduction(matrix, p, 3)
        found = [distance_to_kept(matrix, p, improve_by_swaps(matrix, p, s)) for s in starts]
        best = distance_to_kept(matrix, p, best_by_enumeration(matrix, p, 3))
        assert min(found) >= best - 1e-12
        missed += min(found) > best + 1e-9
    assert missed <= 3


def test_few_scenarios_are_enumerated_where_swaps_would_miss_the_optimum() -> None:
    matrix, p = matrix_of(146, 10)
    starts = forward_selection(matrix, p, 3), backward_reduction(matrix, p, 3)
    found = [distance_to_kept(matrix, p, improve_by_swaps(matrix, p, s)) for s in starts]
    assert distance_to_kept(matrix, p, select(matrix, p, 3)) < 0.95 * min(found)


def test_forward_selection_never_picks_a_scenario_twice() -> None:
    assert forward_selection(np.zeros((4, 4)), np.full(4, 0.25), 3).tolist() == [0, 1, 2]


def test_swaps_are_never_worse_than_the_greedy_rules() -> None:
    for seed in range(20):
        matrix, p = matrix_of(3 * seed, 40)
        reached = [distance_to_kept(matrix, p, select(matrix, p, 5, m)) for m in METHODS]
        assert reached[0] <= min(reached) + 1e-12


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_no_single_exchange_improves_what_swaps_return(seed: int) -> None:
    matrix, p = matrix_of(seed, 15)
    kept = improve_by_swaps(matrix, p, np.array([0, 1, 2, 3]))
    reached = distance_to_kept(matrix, p, kept)
    for out, new in itertools.product(range(4), range(15)):
        other = kept.copy()
        other[out] = new
        assert distance_to_kept(matrix, p, other) >= reached - 1e-9


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_greedy_rules_take_at_every_step_what_their_definition_says(seed: int) -> None:
    matrix, p = matrix_of(3 * seed, 9)
    picks = forward_selection(matrix, p, 4).tolist()
    for k in range(4):
        rest = [j for j in range(9) if j not in picks[:k]]
        totals = [distance_to_kept(matrix, p, np.array([*picks[:k], j])) for j in rest]
        assert rest[int(np.argmin(totals))] == picks[k]
    before = list(range(9))
    for n in range(8, 2, -1):
        totals = [distance_to_kept(matrix, p, np.delete(before, i)) for i in range(n + 1)]
        before.pop(int(np.argmin(totals)))
        assert backward_reduction(matrix, p, n).tolist() == before


def test_ties_go_to_the_scenario_that_stands_first() -> None:
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    matrix, p = ground_distances(corners, corners), np.full(4, 0.25)
    assert forward_selection(matrix, p, 2).tolist() == [0, 1]
    assert backward_reduction(matrix, p, 2).tolist() == [2, 3]
    assert select(matrix, p, 1).tolist() == [0]


def test_the_three_best_points_of_a_normal_distribution_are_found() -> None:
    """Points -a, 0, a with a the median beyond a/2: the closed form of the 1-d problem."""
    a = brentq(lambda a: norm.cdf(a) - (1 + norm.cdf(a / 2)) / 2, 0.5, 3)
    x = norm.ppf((np.arange(601) + 0.5) / 601)[:, None]
    kept = select(ground_distances(x, x), np.full(601, 1 / 601), 3)
    assert x[kept, 0] == pytest.approx([-a, 0, a], abs=0.02)


# -- sets -----------------------------------------------------------------------------------------
def test_weights_go_to_the_nearest_kept_scenario() -> None:
    """Ten points in a row, two of them kept: {2, 6} would get one half each."""
    line = np.arange(10.0)[:, None] * np.ones(24)
    matrix = np.full((10, 10), 9.0)
    points = ground_distances(np.arange(10.0)[:, None], np.arange(10.0)[:, None])
    matrix[:, [2, 6]] = points[:, [2, 6]]
    np.fill_diagonal(matrix, 0)
    found = reduce_scenarios(some_set(day_ahead_eur_mwh=line), 2, dissimilarity=matrix)
    assert found.kept.tolist() == [2, 6]
    assert found.set.probability == pytest.approx([0.5, 0.5])  # 4 is as near to 2: the first
    assert found.assigned.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert found.distance == pytest.approx((2 + 1 + 0 + 1 + 2 + 1 + 0 + 1 + 2 + 3) / 10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_certificate_is_the_transport_distance_to_the_full_set(
    method: Method, seed: int
) -> None:
    full = some_set(seed)
    found = reduce_scenarios(full, 4, method)
    vectors = scaled_vectors(full)
    exact = kantorovich_distance(
        vectors, vectors[found.kept], full.probability, found.set.probability
    )
    assert found.distance == pytest.approx(exact, abs=1e-9)
    assert found.set.names == tuple(full.names[i] for i in found.kept)
    assert found.set.values["fcr_eur_mw"] == pytest.approx(full.values["fcr_eur_mw"][found.kept])
    assert found.set.provenance["reduction_distance"] == f"{found.distance:.6g}"
    assert found.set.provenance["source"] == "test"
    assert 0 < found.relative < 1


def test_keeping_all_changes_nothing_and_keeping_one_gives_the_median() -> None:
    full = some_set(1)
    everything = reduce_scenarios(full, len(full))
    assert everything.distance == 0 and everything.set.sha256 == full.sha256
    one = reduce_scenarios(full, 1)
    assert one.relative == pytest.approx(1) and one.set.probability == pytest.approx([1.0])


def test_the_distance_falls_as_more_scenarios_are_kept() -> None:
    full = some_set(3, 30)
    distances = [reduce_scenarios(full, n).distance for n in range(1, 31)]
    assert all(np.diff(distances) < 0)


def test_a_scenario_that_is_almost_sure_is_kept() -> None:
    full = some_set(4, 8)
    p = np.full(8, 0.001)
    p[5] = 0.993
    likely = ScenarioSet(full.names, p, full.values, full.index)
    assert reduce_scenarios(likely, 1).kept.tolist() == [5]


@pytest.mark.parametrize("metric", ["euclidean", "l1"])
def test_units_do_not_decide_which_scenarios_are_kept(metric: str) -> None:
    full = some_set(5, 20)
    prices = {**full.values, "fcr_eur_mw": full.values["fcr_eur_mw"] / 50}
    other = ScenarioSet(full.names, full.probability, prices, full.index)
    for n in (2, 5, 9):
        first = reduce_scenarios(full, n, metric=metric)  # type: ignore[arg-type]
        second = reduce_scenarios(other, n, metric=metric)  # type: ignore[arg-type]
        assert first.kept.tolist() == second.kept.tolist()
        assert first.distance == pytest.approx(second.distance)


def test_every_series_counts_alike_whatever_its_number_of_labels() -> None:
    full = some_set(6, 2000)
    vectors = scaled_vectors(full)
    mean = full.probability @ vectors
    parts = np.split((full.probability @ (vectors - mean) ** 2), [24, 30])
    assert [part.sum() for part in parts] == pytest.approx([1.0, 1.0, 1.0])


def test_a_series_that_is_known_counts_nothing() -> None:
    full = some_set(7)
    known = {**full.values, "day_ahead_eur_mwh": np.full((12, 24), 71.3)}
    vectors = scaled_vectors(ScenarioSet(full.names, full.probability, known, full.index))
    assert not vectors[:, :24].any() and vectors[:, 24:].any()


def test_factors_of_ones_own_choose_and_weigh_the_series() -> None:
    full = some_set(8)
    vectors = scaled_vectors(full, {"day_ahead_eur_mwh": 2.0})
    assert vectors == pytest.approx(2 * full.values["day_ahead_eur_mwh"])


def test_what_cannot_be_compared_or_kept_is_refused() -> None:
    full = some_set(9)
    with pytest.raises(ScenarioError, match="would add EUR/MW per 4-h block and EUR/MWh and MW"):
        reduce_scenarios(full, 3, scale="none")
    with pytest.raises(ScenarioError, match="expected factors >= 0"):
        reduce_scenarios(full, 3, scale={"intraday_eur_mwh": 1.0})
    with pytest.raises(ScenarioError, match="unknown scale"):
        reduce_scenarios(full, 3, scale="unit")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="unknown method"):
        reduce_scenarios(full, 3, "greedy")  # type: ignore[arg-type]
    for n in (0, 13):
        with pytest.raises(ScenarioError, match=f"cannot keep {n} of 12"):
            reduce_scenarios(full, n)
    for matrix in (np.zeros((11, 11)), np.ones((12, 12)), np.eye(12) - 1):
        with pytest.raises(ScenarioError, match="diagonal of zeros"):
            reduce_scenarios(full, 3, dissimilarity=matrix)


def test_the_full_set_is_left_as_it_was_and_the_result_is_the_same_again() -> None:
    full = some_set(10, 40)
    before = full.sha256
    first, second = reduce_scenarios(full, 7), reduce_scenarios(full, 7)
    assert full.sha256 == before and first.set.sha256 == second.set.sha256


# -- real days ------------------------------------------------------------------------------------
def days_2024(folder: Path) -> tuple[Array, list[date]]:
    """Day-ahead prices of 366 local days in 24 hours.

    The hour that the spring day lacks is the mean of its neighbours, the two that share a name in
    autumn are averaged.
    """
    prices = pd.read_parquet(folder / "DE_LU" / "day_ahead.parquet")["price_eur_mwh"]
    local = pd.DatetimeIndex(prices.index).tz_convert("Europe/Berlin")
    table = prices.groupby([local.date, local.hour]).mean().unstack()
    table = table.loc[[day.year == 2024 for day in table.index]].interpolate(axis=1)
    return table.to_numpy(np.float64), list(table.index)


@pytest.mark.market_data
def test_the_table_of_366_real_days_is_reproduced_and_beaten(real_market: Path) -> None:
    x, days = days_2024(real_market)
    matrix, p = ground_distances(x, x), np.full(366, 1 / 366)
    single = distance_to_kept(matrix, p, select(matrix, p, 1))
    assert single == pytest.approx(188.397, abs=1e-3)
    first = [str(days[i]) for i in forward_selection(matrix, p, 5)]
    assert first == ["2024-03-19", "2024-04-20", "2024-01-09", "2024-07-25", "2024-02-29"]
    bars = {  # n: forward, swaps as measured before, swaps here, backward
        3: (143.047, 141.12, 138.936, 143.636),
        5: (125.966, 118.555, 118.555, 121.026),
        10: (99.738, 97.44, 97.195, 99.772),
        20: (80.311, 78.50, 78.060, 80.856),
        30: (69.563, 68.72, 68.611, 70.442),
        50: (58.088, 57.49, 57.240, 59.166),
    }
    for n, (forward, bar, swapped, backward) in bars.items():
        reached = {m: distance_to_kept(matrix, p, select(matrix, p, n, m)) for m in METHODS}
        assert reached["forward"] == pytest.approx(forward, abs=1e-3)
        assert reached["backward"] == pytest.approx(backward, abs=1e-3)
        assert reached["swap"] == pytest.approx(swapped, abs=1e-3)
        assert reached["swap"] <= bar


# -- cost-aware -----------------------------------------------------------------------------------
def arbitrage_days(seed: int, n: int) -> tuple[Array, Array]:
    """Prices whose level is wild and whose shape is calm, and profits [EUR] of trades in them.

    The trade buys one MWh in some hour and sells it in another; the level of the day is nothing to
    it, and most of the Euclidean distance between the days.
    """
    rng = np.random.default_rng(seed)
    peak = rng.integers(0, 3, n)  # morning, noon or evening peak
    hours = np.arange(24)
    shape = 30 * np.exp(-((hours - np.array([8, 13, 19])[peak][:, None]) ** 2) / 8)
    prices = rng.normal(80, 60, (n, 1)) + shape + rng.normal(0, 2, (n, 24))
    trades = [(b, s) for b in range(24) for s in range(24) if b != s]
    profit = np.stack([prices[:, s] - prices[:, b] for b, s in trades], axis=1)
    return prices, profit


@pytest.mark.parametrize("seed", range(4))
def test_reduction_by_cost_loses_less_profit_than_by_distance(seed: int) -> None:
    prices, profit = arbitrage_days(seed, 60)
    full = some_set(day_ahead_eur_mwh=np.clip(prices, -500, 4000))
    best = profit.argmax(axis=1)
    by_regret = regret_dissimilarity(-profit[:, best].T)
    by_cost = cost_dissimilarity(-profit)

    def lost_eur(dissimilarity: Array | None) -> float:
        """Worst over kinds of day: profit that the decisions of the kept days lose on all days."""
        found = reduce_scenarios(full, 3, dissimilarity=dissimilarity)
        decision = best[found.kept][found.assigned]
        return float(np.mean(profit.max(axis=1) - profit[np.arange(60), decision]))

    assert lost_eur(by_regret) < 0.5 * lost_eur(None)
    assert lost_eur(by_cost) < 0.5 * lost_eur(None)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_no_priced_decision_moves_by_more_than_the_reduction_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = some_set(1 + seed)
    cost = rng.normal(size=(12, 5)) * rng.gamma(1, 100, 5)
    found = reduce_scenarios(full, 3, dissimilarity=cost_dissimilarity(cost))
    before, after = full.probability @ cost, found.set.probability @ cost[found.kept]
    assert (np.abs(before - after) <= found.distance + 1e-9).all()
    assert before[after.argmin()] <= before.min() + 2 * found.distance + 1e-9


def test_regret_by_hand() -> None:
    # the decision of 0 costs 1 in 0 and 5 in 1; that of 1 costs 4 in 0 and 2 in 1
    assert regret_dissimilarity([[1.0, 5.0], [4.0, 2.0]]).tolist() == [[0, 6], [6, 0]]


def test_profits_given_as_costs_are_noticed() -> None:
    with pytest.raises(Exception, match="change the sign or transpose"):
        regret_dissimilarity([[5.0, 1.0], [2.0, 6.0]])
    with pytest.raises(Exception, match=r"expected \(S, S\)"):
        regret_dissimilarity(np.zeros((2, 3)))
    with pytest.raises(Exception, match=r"expected \(S, K\)"):
        cost_dissimilarity(np.zeros(3))
