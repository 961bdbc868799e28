"""Segment costs: check values of the law, the hull, and the equality with rainflow by an LP."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from stochbess.battery.cycle_curve import (
    SegmentCurve,
    extrapolation_note,
    fill_from_turning_points,
    hulled_cycle_increment,
    loss_to_eur,
    lower_convex_hull,
    naumann_cycle_increment,
    naumann_half_cycle_loss,
    naumann_half_cycle_w,
    segment_costs_eur_mwh,
)
from stochbess.battery.rainflow import carry, discharge_cycle_cost
from stochbess.errors import ConfigError

FloatArray = npt.NDArray[np.float64]


def curve(n_segments: int = 8, **changes: float) -> SegmentCurve:
    settings_: dict[str, float] = {
        "energy_mwh": 4.472,
        "discharge_efficiency_frac": 0.95,
        "replacement_cost_eur_kwh": 200.0,
        "usable_fade_frac": 0.2,
        "cycle_loss_frac": 0.05,
        "c_rate_per_h": 0.5,
    }
    return segment_costs_eur_mwh(n_segments=n_segments, **(settings_ | changes))


def test_the_law_reproduces_its_check_values() -> None:
    assert naumann_half_cycle_loss(0.8, 0.5, 0.0) == pytest.approx(9.14600324e-4, rel=1e-6)
    assert naumann_half_cycle_loss(0.8, 0.5, 0.05) == pytest.approx(8.36423792e-6, rel=1e-6)
    # 1000 full equivalent cycles of depth 0.8 are 2500 half cycles; squared losses add up
    total_w = 2500 * naumann_half_cycle_w(0.8, 0.5)
    assert np.sqrt(total_w) == pytest.approx(0.0457300162, rel=1e-6)


def test_the_linearised_cycle_lies_above_the_exact_one_by_a_quarter_of_dw_over_q_squared() -> None:
    half = float(naumann_cycle_increment(0.8, 0.5, 0.05)) / 2
    exact = float(naumann_half_cycle_loss(0.8, 0.5, 0.05))
    assert half == pytest.approx(9.14600324e-4**2 / 0.1, rel=1e-6)  # 8.3649375e-6
    assert half / exact - 1 == pytest.approx(8.364e-5, rel=1e-3)
    fresh = float(naumann_cycle_increment(0.8, 0.5, 0.001)) / 2
    assert fresh / float(naumann_half_cycle_loss(0.8, 0.5, 0.001)) == pytest.approx(1.18, abs=0.01)


def test_a_fresh_cell_has_no_linearised_increment() -> None:
    with pytest.raises(ConfigError, match=r"aging\.cycle_loss_frac = 0\.0"):
        naumann_cycle_increment(0.8, 0.5, 0.0)


def test_an_idle_fresh_cell_loses_nothing() -> None:
    assert naumann_half_cycle_loss(0.0, 0.5, 0.0) == 0.0


def test_the_hull_is_the_chord_from_0_214_to_0_704_and_at_most_6_6_percent_below() -> None:
    depth = np.linspace(0, 1, 1001)
    law = naumann_cycle_increment(depth, 0.5, 0.05)
    hull = hulled_cycle_increment(depth, 0.5, 0.05)
    assert (hull <= law + 1e-18).all()
    assert (np.diff(hull, 2) >= -1e-15).all()
    below = 1 - hull[1:] / law[1:]
    touching = np.flatnonzero(below > 1e-4) + 1
    assert depth[touching[0]] == pytest.approx(0.214, abs=0.01)
    assert depth[touching[-1]] == pytest.approx(0.704, abs=0.02)
    assert below.max() == pytest.approx(0.066, abs=0.001)
    assert depth[1:][below.argmax()] == pytest.approx(0.42, abs=0.01)


def test_the_lower_hull_of_a_zigzag_keeps_its_lowest_points() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    hull = lower_convex_hull(x, np.array([0.0, 3.0, 1.0, 5.0, 4.0]))
    assert hull[0].tolist() == [0.0, 2.0, 4.0]


def test_losses_cost_44_720_eur_per_percent_of_the_reference_battery() -> None:
    assert loss_to_eur(0.01, 4.472, 200.0, 0.2) == pytest.approx(44_720.0)


@pytest.mark.parametrize("n_segments", [1, 2, 3, 8, 10, 40])
def test_partial_sums_of_the_segments_are_the_hulled_cost_of_full_cycles(n_segments: int) -> None:
    c = curve(n_segments)
    depth = np.arange(n_segments + 1) / n_segments
    expected = loss_to_eur(hulled_cycle_increment(depth, 0.5, 0.05), 4.472, 200.0, 0.2)
    assert c.cost_eur(depth) == pytest.approx(expected, rel=1e-9)
    assert (np.diff(c.cost_eur_mwh) >= 0).all()
    assert c.width_mwh * n_segments == pytest.approx(4.472)
    assert c.cost_eur_mwh.shape == (n_segments,)


def test_a_full_cycle_of_the_reference_battery_costs_what_the_formula_says_by_hand() -> None:
    k_c, k_d = 0.0630 * 0.5 + 0.0971, 4.0253 * 0.4**3 + 1.0923
    by_hand = 2 * (k_c * k_d / 100) ** 2 / 2 / (2 * 0.05) * 200 * 4472 / 0.2
    assert float(curve().cost_eur(1.0)) == pytest.approx(by_hand, rel=1e-9)  # 134.8 EUR
    assert float(curve(1).cost_eur_mwh[0]) == pytest.approx(by_hand / 4.472)
    assert float(curve(1).cost_at_connection_eur_mwh[0]) == pytest.approx(by_hand / 4.472 / 0.95)


def test_cost_between_nodes_is_linear_and_goes_on_beyond_a_full_cycle() -> None:
    c = curve(4)
    middle = (c.cost_eur(0.25) + c.cost_eur(0.5)) / 2
    assert c.cost_eur(0.375) == pytest.approx(middle)
    last = c.cost_eur(1.0) - c.cost_eur(0.75)
    assert c.cost_eur(1.25) == pytest.approx(c.cost_eur(1.0) + last)


def test_more_segments_never_price_a_cycle_higher() -> None:
    depth = np.linspace(0, 1, 201)
    assert (curve(40).cost_eur(depth) <= curve(10).cost_eur(depth) + 1e-9).all()
    assert (curve(10).cost_eur(depth) <= curve(5).cost_eur(depth) + 1e-9).all()


def test_leaving_the_tested_range_is_said() -> None:
    assert extrapolation_note([0.8, 1.0], 0.5) is None
    assert extrapolation_note([], 0.5) is None
    assert extrapolation_note([0.8, 1.0], 1.0, 20.0) is None
    assert extrapolation_note([0.9], 1.0, 40.0) is None
    assert "(tested 20 to 40)" in (extrapolation_note([0.9], 1.0, 40.5) or "")
    assert "1 charging, 2 discharging" in (extrapolation_note([0.9], 1.01) or "")
    note = extrapolation_note([0.1, 0.9], 1.5, 10.0)
    assert note is not None
    for words in ("depths 0.1 to 0.9", "C-rate 1.5", "temperature 10 degC"):
        assert words in note
    assert "depths 0.12 to 1 " in (curve(8).extrapolated or "")
    assert curve(1).extrapolated is None


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"energy_mwh": 0.0}, "battery.energy_mwh"),
        ({"energy_mwh": float("inf")}, "battery.energy_mwh"),
        ({"usable_fade_frac": 1.1}, "aging.usable_fade_frac"),
        ({"cycle_loss_frac": 1.1}, "aging.cycle_loss_frac"),
        ({"c_rate_per_h": 0.0}, "aging.c_rate_per_h"),
        ({"discharge_efficiency_frac": 0.0}, "battery.discharge_efficiency_frac"),
        ({"replacement_cost_eur_kwh": float("nan")}, "battery.replacement_cost_eur_kwh"),
        ({"energy_mwh": float("nan")}, "battery.energy_mwh"),
        ({"usable_fade_frac": 0.0}, "aging.usable_fade_frac"),
        ({"discharge_efficiency_frac": 1.2}, "battery.discharge_efficiency_frac"),
        ({"c_rate_per_h": -1.0}, "aging.c_rate_per_h"),
        ({"replacement_cost_eur_kwh": -1.0}, "battery.replacement_cost_eur_kwh"),
        ({"cycle_loss_frac": float("inf")}, "aging.cycle_loss_frac"),
    ],
)
def test_a_meaningless_parameter_is_refused_by_name(change: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        curve(8, **change)


def test_a_free_replacement_makes_every_cycle_free() -> None:
    assert not curve(replacement_cost_eur_kwh=0.0).cost_eur_mwh.any()
    half_price = curve(replacement_cost_eur_kwh=0.5).cost_eur(1.0)
    assert half_price == pytest.approx(curve(replacement_cost_eur_kwh=1.0).cost_eur(1.0) / 2)


def test_no_segment_is_refused() -> None:
    with pytest.raises(ConfigError, match="n_segments"):
        curve(0)


def test_history_fills_the_shallow_segments_first_and_empties_them_first() -> None:
    assert fill_from_turning_points([], 0.5, 4).tolist() == [1, 1, 0, 0]
    assert fill_from_turning_points([], 0.3, 4) == pytest.approx([1, 0.2, 0, 0])
    # full, then half discharged: the deep half is left
    assert fill_from_turning_points([1.0], 0.5, 4) == pytest.approx([0, 0, 1, 1])
    # 0.75 up, down to 0.25, up to 0.5
    assert fill_from_turning_points([0.75, 0.25], 0.5, 4) == pytest.approx([1, 0, 1, 0])


def test_the_rounding_of_a_solver_is_not_a_state_outside_the_window() -> None:
    assert fill_from_turning_points([1.0 + 1e-8], -1e-9, 4).tolist() == [0, 0, 0, 0]
    assert fill_from_turning_points([-1e-8], 1.0 + 1e-9, 4).tolist() == [1, 1, 1, 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 1), st.integers(1, 12))
def test_the_mean_fill_is_the_state_of_charge(points: list[float], soc: float, n: int) -> None:
    fill = fill_from_turning_points(points, soc, n)
    assert fill.mean() == pytest.approx(soc, abs=1e-9)
    assert ((fill >= 0) & (fill <= 1)).all()


@pytest.mark.parametrize("bad", [1.1, -0.1, float("nan")])
def test_a_state_outside_the_window_is_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match=r"battery\.state"):
        fill_from_turning_points([bad], 0.5, 4)
    with pytest.raises(ConfigError, match=r"battery\.state"):
        fill_from_turning_points([], bad, 4)


def segment_lp_cost_eur(path: FloatArray, start_fill: FloatArray, c: SegmentCurve) -> float:
    """Cheapest way of a segment model to follow a fixed path of stored energy."""
    n_steps, k = path.size - 1, c.n_segments
    n = n_steps * k  # per step and segment: filled, withdrawn, level at the step's end
    balance = np.zeros((n + n_steps, 3 * n))
    right = np.zeros(n + n_steps)
    for t in range(n_steps):
        for j in range(k):
            i = t * k + j
            balance[i, [i, n + i, 2 * n + i]] = [-1.0, 1.0, 1.0]
            if t:
                balance[i, 2 * n + i - k] = -1.0
            else:
                right[i] = start_fill[j] * c.width_mwh
        balance[n + t, 2 * n + t * k : 2 * n + (t + 1) * k] = 1.0
        right[n + t] = path[t + 1] * c.width_mwh * k
    cost = np.concatenate([np.zeros(n), np.tile(c.cost_eur_mwh, n_steps), np.zeros(n)])
    bounds = [(0.0, None)] * (2 * n) + [(0.0, c.width_mwh)] * n
    answer = linprog(cost, A_eq=balance, b_eq=right, bounds=bounds, method="highs")
    assert answer.status == 0, answer.message
    return float(answer.fun or 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=12),
    st.lists(st.floats(0, 1), max_size=6),
    st.integers(1, 6),
)
def test_segment_cost_of_a_fixed_path_is_the_rainflow_cost_of_its_discharges(
    path: list[float], points: list[float], n_segments: int
) -> None:
    x = np.round(np.asarray(path), 3)  # away from the solver's tolerance
    past = np.round(np.asarray(points), 3)
    c = curve(n_segments)
    lp = segment_lp_cost_eur(x, fill_from_turning_points(past, float(x[0]), n_segments), c)
    assert lp == pytest.approx(discharge_cycle_cost(x, past, c), abs=1e-5)


def test_segment_cost_day_by_day_equals_one_long_path_when_the_fill_is_carried() -> None:
    rng = np.random.default_rng(5)
    c = curve(8)
    days = [np.round(rng.random(13), 3) for _ in range(4)]
    prefix: tuple[float, ...] = ()
    total = 0.0
    for before, day in zip([None, *days[:-1]], days, strict=True):
        if before is not None:
            day[0] = before[-1]
        fill = fill_from_turning_points(prefix, float(day[0]), 8)
        total += segment_lp_cost_eur(day, fill, c)
        prefix = carry(day, prefix)
    whole = np.concatenate(days)
    assert total == pytest.approx(discharge_cycle_cost(whole, (), c), abs=1e-5)
    once = segment_lp_cost_eur(whole, fill_from_turning_points([], float(whole[0]), 8), c)
    assert once == pytest.approx(total, abs=1e-5)
