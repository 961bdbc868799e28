"""Kantorovich and nested distance: cases by hand, an independent library, axioms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from stochbess.errors import DataError
from stochbess.scenario_gen.distance import (
    Metric,
    NumberTree,
    distance_to_kept,
    ground_distances,
    kantorovich_distance,
    nearest_kept,
    nested_distance,
    transport_cost,
)
from stochbess.scenario_gen.scores import Array


def number_tree(branching: list[list[int]], vectors: list[Array], p: Array) -> NumberTree:
    """Tree from the numbers of children of the nodes, stage by stage, and leaf probabilities."""
    parent, first = [-1], 0
    for counts in branching:
        above = range(first, first + len(counts))
        first += len(counts)
        parent += [node for node, n in zip(above, counts, strict=True) for _ in range(n)]
    probability = np.zeros(len(parent))
    probability[-len(p) :] = p
    for node in range(len(parent) - 1, 0, -1):
        probability[parent[node]] += probability[node]
    return NumberTree(np.array(parent, np.int64), probability, tuple(vectors))


def column(*numbers: float) -> Array:
    return np.array(numbers, np.float64)[:, None]


def early_and_late(eps: float) -> tuple[NumberTree, NumberTree]:
    """The same paths up to eps; in the first tree the last value is known one stage earlier."""
    half = np.full(2, 0.5)
    early = number_tree([[2], [1, 1]], [column(2), column(2 + eps, 2), column(3, 1)], half)
    late = number_tree([[1], [2]], [column(2), column(2), column(3, 1)], half)
    return early, late


def random_tree(seed: int, branching: tuple[int, ...] = (2, 3)) -> NumberTree:
    rng = np.random.default_rng(seed)
    sizes = np.cumprod([1, *branching])
    counts = [[n] * size for n, size in zip(branching, sizes, strict=False)]
    vectors = [rng.normal(size=(size, 2)) for size in sizes]
    return number_tree(counts, vectors, rng.dirichlet(np.ones(sizes[-1])))


# -- Kantorovich ----------------------------------------------------------------------------------
def test_moving_weight_costs_weight_times_distance() -> None:
    assert kantorovich_distance([[0.0]], [[3.0], [-1.0]], q=[0.25, 0.75]) == pytest.approx(1.5)
    # half of 0 stays, half goes to 10
    assert kantorovich_distance([[0.0], [20.0]], [[0.0], [10.0]], p=[0.8, 0.2], q=[0.5, 0.5]) == (
        pytest.approx(0.3 * 10 + 0.2 * 10)
    )


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=40)
def test_in_one_dimension_it_is_the_area_between_the_distribution_functions(
    seed: int, n: int, m: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y, p, q = rng.normal(size=n), rng.normal(size=m), rng.random(n), rng.random(m)
    p, q = p / p.sum(), q / q.sum()
    expected = wasserstein_distance(x, y, p, q)
    assert kantorovich_distance(x[:, None], y[:, None], p, q) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("metric", "theirs"), [("euclidean", "euclidean"), ("l1", "cityblock")])
def test_it_agrees_with_an_independent_library(metric: Metric, theirs: str) -> None:
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 24)), rng.normal(0.3, 2, (12, 24))
    p, q = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(12))
    expected = float(ot.emd2(p, q, ot.dist(x, y, metric=theirs)))
    assert kantorovich_distance(x, y, p, q, metric) == pytest.approx(expected, rel=1e-9)


def test_the_best_weights_of_kept_scenarios_reach_the_closed_form() -> None:
    rng = np.random.default_rng(4)
    x, p = rng.normal(size=(14, 3)), rng.dirichlet(np.ones(14))
    kept = np.array([1, 6, 9])
    matrix = ground_distances(x, x)
    q = np.bincount(nearest_kept(matrix, kept), p, 3)
    closed = distance_to_kept(matrix, p, kept)
    assert transport_cost(matrix[:, kept], p, q) == pytest.approx(closed, abs=1e-9)
    for other in (rng.dirichlet(np.ones(3)), np.full(3, 1 / 3)):
        assert transport_cost(matrix[:, kept], p, other) > closed


def test_kept_twins_keep_their_own_weight() -> None:
    matrix = ground_distances([[0.0], [0.0], [5.0]], [[0.0], [0.0], [5.0]])
    assert nearest_kept(matrix, np.array([0, 1])).tolist() == [0, 1, 0]


# -- nested ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.3])
def test_nested_distance_sees_that_one_tree_knows_earlier(eps: float) -> None:
    early, late = early_and_late(eps)
    values_only = kantorovich_distance(early.paths, late.paths, metric="l1")
    assert values_only == pytest.approx(eps / 2, abs=1e-9)
    assert nested_distance(early, late) == pytest.approx(1 + eps / 2, abs=1e-9)


def test_nested_distance_by_hand_of_two_unequal_trees() -> None:
    # children of the roots: {0: 1/2, 4: 1/2} and {1: 3/4, 4: 1/4}, with leaves that add 1 or 0
    half = np.full(2, 0.5)
    a = number_tree([[2], [1, 1]], [column(0), column(0, 4), column(1, 0)], half)
    b = number_tree([[2], [1, 1]], [column(0), column(1, 4), column(1, 0)], np.array([0.75, 0.25]))
    # 0 -> 1 costs 1 + 0, 4 -> 4 nothing, 4 -> 1 costs 3 + 1
    assert nested_distance(a, b) == pytest.approx(0.5 * 1 + 0.25 * 0 + 0.25 * 4)


@given(st.integers(0, 3000))
@settings(max_examples=6)
def test_nested_distance_is_a_distance_and_not_below_kantorovich(seed: int) -> None:
    a, b = random_tree(seed), random_tree(seed + 1, (3, 2))
    c = random_tree(seed + 2)
    metric: Metric = "l1" if seed % 2 else "euclidean"
    ab = nested_distance(a, b, metric)
    assert nested_distance(a, a, metric) == pytest.approx(0.0, abs=1e-9)
    assert nested_distance(b, a, metric) == pytest.approx(ab, abs=1e-9)
    via_c = nested_distance(a, c, metric) + nested_distance(c, b, metric)
    assert ab <= via_c + 1e-9
    leaf_p, leaf_q = a.probability[-6:], b.probability[-6:]
    assert ab >= kantorovich_distance(a.paths, b.paths, leaf_p, leaf_q, metric) - 1e-9


def test_the_shortcut_for_stages_without_branching_is_the_program() -> None:
    a = random_tree(5, (2, 3))
    sizes = [1, 4, 4]
    rng = np.random.default_rng(6)
    fan = number_tree(
        [[4], [1] * 4], [rng.normal(size=(n, 2)) for n in sizes], rng.dirichlet(np.ones(4))
    )
    leaf = ground_distances(a.paths, fan.paths, "l1")
    p = a.probability[a.first[2] :].reshape(2, 3)
    middle = np.stack([(row / row.sum()) @ leaf[3 * i : 3 * i + 3] for i, row in enumerate(p)])
    expected = transport_cost(middle, p.sum(axis=1), fan.probability[-4:])
    assert nested_distance(a, fan) == pytest.approx(expected, abs=1e-9)
    assert nested_distance(fan, a) == pytest.approx(expected, abs=1e-9)


def test_trees_of_other_heights_or_dimensions_are_refused() -> None:
    with pytest.raises(DataError, match="expected trees over the same stages"):
        nested_distance(random_tree(1), random_tree(1, (2,)))


@pytest.mark.parametrize(
    ("cost", "p", "word"),
    [
        ([[1.0, -1.0]], None, ">= 0"),
        ([1.0], None, "shape"),
        ([[np.nan]], None, "NaN"),
        ([[1.0], [1.0]], [0.5, 0.6], "sum"),
    ],
)
def test_costs_and_weights_that_are_none_are_refused(cost: object, p: object, word: str) -> None:
    with pytest.raises(DataError, match=word):
        transport_cost(cost, p)  # type: ignore[arg-type]


def test_vectors_of_other_lengths_and_unknown_metrics_are_refused() -> None:
    with pytest.raises(DataError, match="same D"):
        ground_distances(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(DataError, match="metric 'cosine'"):
        ground_distances(np.zeros((2, 3)), np.zeros((2, 3)), "cosine")  # type: ignore[arg-type]
