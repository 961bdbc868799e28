"""Rainflow counting: check values, the oracle on PyPI, carried turning points, gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import rainflow as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stochbess.battery.rainflow import (
    carry,
    cost_gradient,
    cycle_cost,
    discharge_cycle_cost,
    half_cycles,
)
from stochbess.errors import DataError

FloatArray = npt.NDArray[np.float64]
CHECK_PATH = [0.5, 1.0, 0.2, 0.6, 0.4, 0.9, 0.1, 0.5]
# levels on a coarse grid force plateaus and equal ranges; arbitrary floats do not
LEVELS = st.one_of(
    st.floats(0.0, 1.0), st.integers(0, 8).map(lambda i: i / 8), st.integers(0, 3).map(float)
)
PATHS = st.lists(LEVELS, min_size=1, max_size=30)


def histogram(depth: FloatArray, weight: FloatArray) -> dict[float, float]:
    table: dict[float, float] = {}
    for d, w in zip(np.round(depth, 9).tolist(), weight.tolist(), strict=True):
        table[d] = table.get(d, 0.0) + w
    return {d: w for d, w in sorted(table.items()) if abs(w) > 1e-9}


def square_half(depth: FloatArray) -> FloatArray:
    return depth**2 / 2


def identity(depth: FloatArray) -> FloatArray:
    return depth


def hull_like(depth: FloatArray) -> FloatArray:
    """A convex cost with cost(0) = 0 and a positive slope at 0."""
    return 0.05 * depth + depth**3


def hull_like_slope(depth: FloatArray) -> FloatArray:
    return 0.05 + 3 * depth**2


def test_the_published_check_path_gives_its_half_cycles_and_gradient() -> None:
    cycles = half_cycles(CHECK_PATH)
    assert histogram(cycles.depth, cycles.weight) == {
        0.2: 2.0, 0.4: 1.0, 0.5: 1.0, 0.7: 2.0, 0.9: 1.0
    }  # fmt: skip
    gradient = cost_gradient(CHECK_PATH, (), identity)
    assert gradient == pytest.approx([-0.5, 1.4, -1.4, 0.4, -0.4, 1.4, -1.3, 0.4], rel=1e-6)


def test_the_example_of_the_astm_standard_is_counted_as_printed_there() -> None:
    cycles = half_cycles([-2.0, 1, -3, 5, -1, 3, -4, 4, -2])
    assert histogram(cycles.depth, cycles.weight) == {3: 1, 4: 3, 6: 1, 8: 2, 9: 1}


def test_a_half_cycle_is_a_discharge_exactly_when_the_path_falls() -> None:
    cycles = half_cycles(CHECK_PATH)
    path = np.asarray(CHECK_PATH)
    change = path[cycles.end_index] - path[cycles.start_index]
    assert np.array_equal(cycles.is_discharge, change < 0)
    assert np.abs(change) == pytest.approx(cycles.depth)
    # every closed cycle has one half of each direction: 0.2 and 0.7, plus 1.0 -> 0.1
    assert np.sort(cycles.depth[cycles.is_discharge]) == pytest.approx([0.2, 0.7, 0.9])


@settings(max_examples=300, deadline=None)
@example([0.0, 0.5, 1.0])
@given(PATHS.filter(lambda path: len(path) > 2))  # the package counts nothing in two points
def test_weights_per_depth_equal_the_rainflow_package(path: list[float]) -> None:
    path = [round(level, 6) for level in path]  # its products of differences may underflow
    cycles = half_cycles(path)
    theirs = [(depth, 2 * count) for depth, _, count, _, _ in oracle.extract_cycles(path)]
    depths, weights = np.array(theirs or np.zeros((0, 2)), np.float64).reshape(-1, 2).T
    for power in (1, 2, 3.7):
        mine = float(cycles.weight @ cycles.depth**power)
        assert mine == pytest.approx(float(weights @ depths**power), abs=1e-9)


def test_long_random_paths_equal_the_rainflow_package_cycle_by_cycle() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        path = np.clip(np.cumsum(rng.normal(0, 0.1, 300)) + 0.5, 0, 1)
        cycles = half_cycles(path)
        theirs = [(depth, 2 * count) for depth, _, count, _, _ in oracle.extract_cycles(path)]
        depths, weights = np.array(theirs).T
        assert histogram(cycles.depth, cycles.weight) == pytest.approx(histogram(depths, weights))


@settings(max_examples=300, deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=6), st.booleans())
def test_daily_increments_with_carried_points_sum_to_the_concatenated_rainflow(
    pieces: list[list[float]], repeat_start: bool
) -> None:
    prefix: tuple[float, ...] = ()
    total = down = 0.0
    start = pieces[0][0]
    whole: list[float] = []
    for piece in pieces:
        day = [start, *piece]
        given_prefix = (*prefix, start) if repeat_start and whole else prefix
        cycles = half_cycles(day, given_prefix)
        total += float(cycles.weight @ cycles.depth**2.03)
        down += float((cycles.weight * cycles.is_discharge) @ cycles.depth**2.03)
        prefix = carry(day, given_prefix)
        whole += day
        start = day[-1]
    once = half_cycles(whole)
    assert total == pytest.approx(float(once.weight @ once.depth**2.03), abs=1e-9)
    expected_down = float((once.weight * once.is_discharge) @ once.depth**2.03)
    assert down == pytest.approx(expected_down, abs=1e-9)


def test_sixty_carried_days_equal_one_long_path_to_1e_9() -> None:
    rng = np.random.default_rng(2)
    prefix: tuple[float, ...] = ()
    total, whole, start = 0.0, [0.5], 0.5
    for _ in range(60):
        day = np.clip(start + np.cumsum(np.append(0.0, rng.normal(0, 0.12, 96))), 0, 1)
        day[0] = start
        total += cycle_cost(day, prefix, hull_like)
        prefix = carry(day, prefix)
        assert len(prefix) <= 20
        whole += day.tolist()
        start = float(day[-1])
    assert total == pytest.approx(cycle_cost(whole, (), hull_like), rel=1e-9)


def test_without_carried_points_the_daily_sum_misses_cycles_across_midnight() -> None:
    first, second = [0.0, 1.0, 0.5], [0.5, 0.0, 0.2]
    separate = cycle_cost(first, (), square_half) + cycle_cost(second, (), square_half)
    carried = cycle_cost(first, (), square_half) + cycle_cost(second, carry(first), square_half)
    assert carried == pytest.approx(cycle_cost(first + second, (), square_half))
    # one fall from 1 to 0 (1/2) was priced as two falls of one half (1/4)
    assert carried - separate == pytest.approx(0.25)


def test_only_points_that_can_still_change_the_count_are_carried() -> None:
    assert carry([0.5, 0.5, 0.5]) == ()
    assert carry([0.2, 0.8]) == (0.2,)
    assert carry([0.5, 0.2, 0.8, 0.1, 0.4]) == (0.8, 0.1)
    assert carry(CHECK_PATH) == (1.0, 0.1)
    assert carry((), (0.9, 0.1)) == (0.9, 0.1)
    # cycles between equal levels close: a regular daily pattern leaves nothing growing behind
    assert carry([0.0, 1.0] * 50) == (0.0,)
    assert carry([1.0, 0.0] * 50) == (1.0,)
    assert carry([0.0, 1.0, 0.5] * 50) == (0.0, 1.0)
    assert carry([1.0, 0.0, 0.5] * 50) == (1.0, 0.0)


def test_an_untouched_half_cycle_of_the_past_does_not_appear_in_the_window() -> None:
    cycles = half_cycles([0.5, 0.6, 0.4], prefix=(0.1, 0.9))
    # 0.9 -> 0.5 is deepened to 0.9 -> 0.4, the cycle 0.5 -> 0.6 closes, 0.1 -> 0.9 is as booked
    table = sorted(zip(cycles.depth.round(9), cycles.weight, cycles.is_discharge, strict=True))
    assert table == [(0.1, 1, False), (0.1, 1, True), (0.4, -1, True), (0.5, 1, True)]
    assert set(cycles.start_index.tolist()) >= {-1}


@settings(max_examples=150, deadline=None)
@given(PATHS, st.lists(st.floats(0, 1), max_size=5), st.integers(0, 2**32 - 1))
def test_the_gradient_equals_finite_differences_at_distinct_levels(
    path: list[float], prefix: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(np.asarray(path), 2) + rng.permutation(len(path)) * 1e-4
    past = np.round(np.asarray(prefix), 2) + 0.00005
    gradient = cost_gradient(x, past, hull_like_slope)
    h = 1e-6
    for i in range(x.size):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slope = (cycle_cost(up, past, hull_like) - cycle_cost(down, past, hull_like)) / (2 * h)
        assert gradient[i] == pytest.approx(slope, abs=1e-5)


def test_cost_is_convex_and_the_gradient_a_subgradient_on_three_thousand_pairs() -> None:
    rng = np.random.default_rng(3)
    for trial in range(3000):
        n = int(rng.integers(2, 14))
        prefix = tuple(rng.random(int(rng.integers(0, 4))))
        a, b = rng.random(n), rng.random(n)
        if trial % 2:  # ties and plateaus
            a, b = np.round(a * 4) / 4, np.round(b * 4) / 4
        b[0] = a[0]  # the start is data
        at_a, at_b = (cycle_cost(x, prefix, hull_like) for x in (a, b))
        middle = cycle_cost((a + b) / 2, prefix, hull_like)
        assert middle <= (at_a + at_b) / 2 + 1e-12
        tangent = at_a + cost_gradient(a, prefix, hull_like_slope) @ (b - a)
        assert at_b >= tangent - 1e-12


class Square:
    def cost_eur(self, depth_frac: npt.ArrayLike) -> FloatArray:
        return 100.0 * np.asarray(depth_frac, np.float64) ** 2


def test_discharge_cycle_cost_charges_each_full_cycle_once_and_charging_nothing() -> None:
    # falls of 0.2, 0.7 and 0.9
    assert discharge_cycle_cost(CHECK_PATH, (), Square()) == pytest.approx(4 + 49 + 81)
    assert discharge_cycle_cost([0.1, 0.9], (), Square()) == 0.0
    # the fall from 0.9 had reached 0.4 before; now it reaches 0.1: 0.8^2 - 0.5^2
    assert discharge_cycle_cost([0.4, 0.1], (0.9,), Square()) == pytest.approx(64 - 25)


@settings(max_examples=100, deadline=None)
@given(PATHS, st.integers(0, 29))
def test_standing_still_changes_nothing(path: list[float], at: int) -> None:
    at = min(at, len(path) - 1)
    longer = [*path[: at + 1], path[at], *path[at + 1 :]]
    assert cycle_cost(longer, (), square_half) == pytest.approx(
        cycle_cost(path, (), square_half), abs=1e-12
    )


def test_nan_is_refused_with_its_position() -> None:
    with pytest.raises(DataError, match=r"series: value nan at position 1 of 3"):
        half_cycles([0.5, float("nan"), 0.1])
    with pytest.raises(DataError, match="prefix"):
        carry([0.5], [float("inf")])
    with pytest.raises(DataError, match="one dimension"):
        half_cycles(np.zeros((2, 2)))


def test_an_empty_window_adds_nothing() -> None:
    assert half_cycles((), (0.2, 0.8, 0.4)).depth.size == 0
    assert half_cycles(()).depth.size == 0
