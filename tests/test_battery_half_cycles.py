"""Means of half cycles: every bit of the path belongs to one of them, in one window or many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stochbess.battery.half_cycle_stress import (
    CellPath,
    OpenCycles,
    RatedHalfCycles,
    carry_open,
    rated_half_cycles,
)
from stochbess.errors import DataError

FloatArray = npt.NDArray[np.float64]
# a coarse grid forces plateaus and equal ranges
LEVELS = st.one_of(st.floats(0.0, 1.0), st.integers(0, 8).map(lambda i: i / 8))


def path_of(soc: npt.ArrayLike, degc: npt.ArrayLike = 25.0, dt_h: float = 0.25) -> CellPath:
    levels = np.asarray(soc, np.float64)
    return CellPath(dt_h, levels, np.broadcast_to(np.asarray(degc, float), levels.size - 1).copy())


def total(cycles: RatedHalfCycles) -> FloatArray:
    """Something that depends on depth, C-rate and temperature in no linear way."""
    law = cycles.depth_frac**1.7 * (1 + cycles.c_rate_per_h) ** 2 * (cycles.temperature_degc + 5)
    return np.array([cycles.weight @ law, cycles.weight @ cycles.depth_frac])


def test_a_cycle_on_the_way_does_not_count_towards_the_half_cycle_around_it() -> None:
    # up 0.4 in one step, a cycle of depth 0.1 in two steps, up another 0.4 in two steps
    path = path_of([0.1, 0.5, 0.4, 0.5, 0.7, 0.9], [20, 30, 40, 50, 60])
    cycles = rated_half_cycles(path, OpenCycles())
    order = np.argsort(cycles.depth_frac, kind="stable")
    assert cycles.depth_frac[order] == pytest.approx([0.1, 0.1, 0.8])
    # 0.4 at 1.6 per h and 0.4 at 0.8 per h; temperatures 20, 50, 60 weighted with 0.4, 0.2, 0.2
    assert cycles.c_rate_per_h[order] == pytest.approx([0.4, 0.4, 1.2])
    assert cycles.temperature_degc[order] == pytest.approx([30.0, 40.0, 37.5])


def test_a_closing_half_ends_where_the_level_is_reached_again_inside_a_step() -> None:
    # the fall from 0.5 to 0.4 is made good in the first third of the last step
    cycles = rated_half_cycles(path_of([0.1, 0.5, 0.4, 0.7], [10, 20, 40]), OpenCycles())
    up = np.flatnonzero(~cycles.is_discharge & (cycles.depth_frac < 0.2))
    assert cycles.c_rate_per_h[up] == pytest.approx([1.2])
    assert cycles.temperature_degc[up] == pytest.approx([40.0])
    whole = cycles.depth_frac > 0.5
    assert cycles.temperature_degc[whole] == pytest.approx([(10 * 0.4 + 40 * 0.2) / 0.6])


def test_a_rest_changes_neither_depth_nor_mean() -> None:
    moving = rated_half_cycles(path_of([0.1, 0.5, 0.9, 0.2]), OpenCycles())
    resting = rated_half_cycles(path_of([0.1, 0.1, 0.5, 0.5, 0.5, 0.9, 0.9, 0.2]), OpenCycles())
    assert total(resting) == pytest.approx(total(moving), rel=1e-12)


@given(st.lists(LEVELS, min_size=2, max_size=30), st.integers(0, 2**32 - 1))
def test_lengths_and_sums_of_all_half_cycles_add_up_to_those_of_the_path(
    soc: list[float], seed: int
) -> None:
    degc = np.random.default_rng(seed).uniform(-5, 45, len(soc) - 1)
    path = path_of(soc, degc)
    cycles = rated_half_cycles(path, OpenCycles())
    moved = np.abs(path.change_frac)
    energy = cycles.weight * cycles.depth_frac
    assert energy.sum() == pytest.approx(moved.sum(), abs=1e-8)
    # half cycles of rounding size have no mean of their own
    slack = 2e-7 * len(soc)
    assert energy @ cycles.c_rate_per_h == pytest.approx(moved @ moved / 0.25, abs=slack)
    assert energy @ cycles.temperature_degc == pytest.approx(moved @ degc, abs=slack)


@given(
    st.lists(st.lists(LEVELS, min_size=1, max_size=12), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_windows_with_carried_cycles_add_up_to_the_joined_path(
    pieces: list[list[float]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    joined, degc_joined = [0.5], []
    sums, past = np.zeros(2), OpenCycles()
    for piece in pieces:
        soc = [joined[-1], *(round(level, 6) for level in piece)]
        degc = rng.uniform(-5, 45, len(piece))
        window = path_of(soc, degc)
        sums += total(rated_half_cycles(window, past))
        past = carry_open(window, past)
        joined += soc[1:]
        degc_joined += degc.tolist()
    once = total(rated_half_cycles(path_of(joined, degc_joined), OpenCycles()))
    assert sums == pytest.approx(once, rel=1e-9, abs=1e-9)


def test_a_year_of_days_adds_up_to_the_year() -> None:
    rng = np.random.default_rng(3)
    soc = np.clip(0.5 + np.cumsum(rng.normal(0, 0.06, 96 * 60 + 1)), 0, 1)
    degc = 25 + 5 * rng.normal(size=96 * 60)
    past, sums = OpenCycles(), np.zeros(2)
    for day in range(60):
        at = slice(96 * day, 96 * day + 97)
        window = path_of(soc[at], degc[96 * day : 96 * day + 96])
        sums += total(rated_half_cycles(window, past))
        past = carry_open(window, past)
        assert past.levels.size < 20
    assert sums == pytest.approx(total(rated_half_cycles(path_of(soc, degc), OpenCycles())))


def test_a_half_cycle_belongs_to_the_step_in_which_it_is_complete() -> None:
    cycles = rated_half_cycles(path_of([0.1, 0.5, 0.4, 0.45, 0.7, 0.6]), OpenCycles())
    table = sorted(zip(cycles.step.tolist(), cycles.depth_frac.round(9).tolist(), strict=True))
    assert table == [(1, 0.1), (3, 0.1), (3, 0.6), (4, 0.1)]


def test_what_was_booked_earlier_goes_with_its_replacement() -> None:
    first = path_of([0.2, 0.5])
    second = path_of([0.5, 0.5, 0.6, 0.8, 0.7])
    cycles = rated_half_cycles(second, carry_open(first, OpenCycles()))
    table = sorted(zip(cycles.step.tolist(), cycles.weight.tolist(), strict=True))
    assert table == [(2, -1.0), (2, 1.0), (3, 1.0)]


def test_a_loop_inside_a_step_is_a_cycle_of_its_own() -> None:
    path = CellPath(0.25, np.array([0.5, 0.6]), np.array([30.0]), np.array([0.05]), np.array([0.4]))
    cycles = rated_half_cycles(path, OpenCycles())
    assert cycles.depth_frac == pytest.approx([0.1, 0.05, 0.05])
    assert cycles.c_rate_per_h == pytest.approx([0.4, 0.4, 0.4])
    assert cycles.is_discharge.tolist() == [False, False, True]


def test_bare_turning_points_get_the_assumed_means() -> None:
    past = OpenCycles.assumed([0.1, 0.9], 0.5, c_rate_per_h=0.5, temperature_degc=30.0)
    cycles = rated_half_cycles(path_of([0.5, 0.45], 40.0), past)
    booked = cycles.weight < 0
    assert cycles.c_rate_per_h[booked] == pytest.approx([0.5])
    assert cycles.temperature_degc[~booked] == pytest.approx([(0.4 * 30 + 0.05 * 40) / 0.45])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"soc_frac has shape \(3,\)"):
        CellPath(0.25, np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="dt_h = 0"):
        CellPath(0.0, np.zeros(2), np.zeros(1))
    with pytest.raises(DataError, match=r"temperature_degc .* 1 values that are not finite"):
        CellPath(1.0, np.zeros(2), np.array([np.nan]))
    with pytest.raises(DataError, match=r"OpenCycles\.assumed"):
        OpenCycles(np.zeros(2))
