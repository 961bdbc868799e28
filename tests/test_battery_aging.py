"""Aging laws: their check values, additive states, flags, and the band of several laws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stochbess.battery.aging import (
    Band,
    Ensemble,
    advance,
    arrhenius,
    capacity_loss_frac,
    effects,
    fresh,
    members,
    merge_flags,
    resistance_growth_frac,
    state_of_loss,
)
from stochbess.battery.half_cycle_stress import CellPath, OpenCycles, carry_open
from stochbess.battery.large_prismatic import LargePrismatic
from stochbess.battery.naumann import Naumann, NaumannCalendar
from stochbess.battery.plant import all_models
from stochbess.battery.schimpe import Schimpe, anode_potential_v
from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
YEAR_H = 8760.0
MODELS = (Naumann(), Schimpe(), LargePrismatic())


def storage(soc: float, degc: float, hours: float, n: int = 4) -> CellPath:
    return CellPath(hours / n, np.full(n + 1, soc), np.full(n, degc))


def cycling(n_cycles: int, depth: float, c_rate: float, degc: float = 25.0) -> CellPath:
    """Cycles between 0.5 - depth/2 and 0.5 + depth/2 without rest, in steps of half cycles."""
    low, high = 0.5 - depth / 2, 0.5 + depth / 2
    soc = np.tile([low, high], n_cycles + 1)[: 2 * n_cycles + 1]
    return CellPath(depth / c_rate, soc, np.full(2 * n_cycles, degc))


# -- check values -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("soc", "degc", "hours", "expected"),
    [
        (0.5, 25.0, YEAR_H, 0.0425157592),
        (0.0, 25.0, YEAR_H, 0.0173001548),
        (0.5, 10.0, YEAR_H, 0.0294852773),
        (0.5, 25.0, 0.25, 2.271265e-4),
    ],
)
def test_naumann_storage_has_its_check_values(
    soc: float, degc: float, hours: float, expected: float
) -> None:
    model = Naumann()
    aged = advance(model, fresh(model), storage(soc, degc, hours))
    assert effects(model, aged.state)[0] == pytest.approx(expected, rel=1e-6)


def test_naumann_storage_at_two_levels_is_the_same_in_either_order() -> None:
    model = Naumann()
    start = state_of_loss(model, [0.05, 0.0, 0.0, 0.0])
    for order in ((0.9, 0.1), (0.1, 0.9)):
        state = start
        for soc in order:
            state = advance(model, state, storage(soc, 30.0, 12.0)).state
        grown = effects(model, state)[0] - 0.05
        assert grown == pytest.approx(6.7887659e-5, rel=1e-6)


def test_naumann_cycling_has_its_check_values() -> None:
    model = Naumann()
    half = CellPath(1.6, np.array([0.1, 0.9]), np.array([25.0]))
    aged = advance(model, fresh(model), half)
    assert effects(model, aged.state)[1] == pytest.approx(9.14600324e-4, rel=1e-6)
    worn = state_of_loss(model, [0.0, 0.05, 0.0, 0.0])
    grown = effects(model, advance(model, worn, half).state)[1] - 0.05
    assert grown == pytest.approx(8.36423792e-6, rel=1e-6)
    # 1000 full equivalent cycles are 1250 cycles of depth 0.8
    aged = advance(model, fresh(model), cycling(1250, 0.8, 0.5))
    assert effects(model, aged.state)[1] == pytest.approx(0.0457300162, rel=1e-6)


def test_the_two_published_resistance_laws_agree_in_the_middle_and_differ_at_the_ends() -> None:
    squared, cubed = NaumannCalendar(), NaumannCalendar(resistance_soc_exponent=3)
    year = [
        [float(law.resistance_rate_per_h(soc, 25.0) * YEAR_H) for soc in (0.5, 1.0)]
        for law in (squared, cubed)
    ]
    assert year[0][0] == year[1][0] == pytest.approx(0.01683, abs=5e-6)
    assert year[0][1] == pytest.approx(0.0077, abs=5e-5)
    assert year[1][1] == pytest.approx(0.0123, abs=5e-5)


def test_resistance_by_cycling_is_that_of_the_formula_by_hand() -> None:
    model = Naumann()
    aged = advance(model, fresh(model), cycling(1250, 0.8, 0.5))
    by_hand = (-0.0020 * 0.5 + 0.0021) * (6.8477 * 0.3**3 + 0.9182) * 1000 / 100
    assert effects(model, aged.state)[3] == pytest.approx(by_hand, rel=1e-9)
    assert resistance_growth_frac(model, aged.state) > by_hand  # storage adds to it


def test_the_anode_potential_and_the_storage_rate_of_schimpe_have_their_check_values() -> None:
    assert anode_potential_v(0.5) == pytest.approx(0.123304, abs=5e-7)
    assert Schimpe().calendar_rate_per_sqrt_h(0.5, 25.0) == pytest.approx(4.2018190e-4, rel=1e-6)


@pytest.mark.parametrize(("degc", "expected"), [(10.0, 0.0192), (25.0, 0.0059)])
def test_schimpe_plating_after_1000_cycles_at_half_c(degc: float, expected: float) -> None:
    model = Schimpe()
    aged = advance(model, fresh(model), cycling(1000, 1.0, 0.5, degc))
    assert effects(model, aged.state)[2] == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("degc", [25.0, 40.0])
def test_schimpe_losses_that_rise_with_temperature_are_those_of_the_formulas_by_hand(
    degc: float,
) -> None:
    model = Schimpe()
    aged = advance(model, fresh(model), cycling(1000, 1.0, 0.5, degc))
    over = (1 / 298.15 - 1 / (degc + 273.15)) / 8.314
    high = 1.456e-4 * np.exp(32699 * over) * np.sqrt(6000.0)
    assert effects(model, aged.state)[1] == pytest.approx(high, rel=1e-9)
    stored = advance(model, fresh(model), storage(0.5, degc, YEAR_H))
    calendar = 4.2018190e-4 * np.exp(20592 * over) * np.sqrt(YEAR_H)
    assert effects(model, stored.state)[0] == pytest.approx(calendar, rel=1e-6)


def test_storage_gets_dearer_with_soc_along_the_staircase_of_the_anode() -> None:
    rate = Schimpe().calendar_rate_per_sqrt_h(np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), 25.0)
    step = np.diff(rate) / rate[:-1]
    # small steps on the two plateaus of graphite, large ones between them
    assert (step > 0).all() and step[[0, 4]].max() < 0.07 < 0.14 < step[[1, 2]].min()


def test_schimpe_plates_at_high_soc_only_for_what_is_charged_above_82_percent() -> None:
    model = Schimpe()
    path = CellPath(1.0, np.array([0.5, 0.92, 0.5]), np.array([5.0, 5.0]))
    grown = advance(model, fresh(model), path).increments[:, 3]
    cold = np.exp(2.33e5 / 8.314 * (1 / 278.15 - 1 / 298.15))
    expected = 2.031e-6 * cold * np.exp(7.84 * (0.42 - 1.0)) * 0.10 * 3.0
    assert grown == pytest.approx([expected, 0.0], rel=1e-9)


def test_arrhenius_has_its_check_value() -> None:
    assert arrhenius(38_000.0, 40.0, 8.3144598) == pytest.approx(2.083952, rel=1e-6)


# BLAST-Lite 1.1.1 on numpy 1.26: Lfp_Gr_250AhPrismatic.update_battery_state over one day in steps
# of 0.1 h, printed in full. Storage: (SOC, degC) -> loss after a day.
BLAST_STORAGE = {
    (0.5, 25.0): 0.0004946233097081542,
    (0.9, 35.0): 0.0013724807570320117,
    (0.1, 12.0): 5.284711589652736e-05,
}
# One triangle from SOC 0.1 to 0.9 and back without rest: degC -> cycle loss after a day. It has no
# rest, so the daily mean C-rate of that program is that of the half cycles, but for the first of
# its 240 steps, which its integral leaves out.
BLAST_TRIANGLE = {
    25.0: 8.67239639854981e-05,
    12.0: 0.00012121945581974745,
    40.0: 6.100085444308513e-05,
}


@pytest.mark.parametrize(("conditions", "expected"), BLAST_STORAGE.items())
def test_storage_of_the_large_cell_equals_blast_lite(
    conditions: tuple[float, float], expected: float
) -> None:
    model = LargePrismatic()
    aged = advance(model, fresh(model), storage(*conditions, 24.0))
    assert effects(model, aged.state)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("degc", "expected"), BLAST_TRIANGLE.items())
def test_cycling_of_the_large_cell_equals_blast_lite(degc: float, expected: float) -> None:
    model = LargePrismatic()
    path = triangle(1)
    path = CellPath(path.dt_h, path.soc_frac, np.full(path.n_steps, degc))
    aged = advance(model, fresh(model), path)
    rates = [float(model.cycle_rate(0.8, c, degc)) for c in (0.8 / 12, 0.8 / 12 * 239 / 240)]
    same_rate = effects(model, aged.state)[1] * rates[1] / rates[0]
    assert same_rate == pytest.approx(expected, rel=1e-9)


def test_the_daily_c_rate_counts_rests_and_that_of_half_cycles_does_not() -> None:
    hour = np.linspace(0, 48, 961)
    soc = np.interp(hour % 24, [0, 2, 3.6, 10.6, 12.2, 24], [0.1, 0.1, 0.9, 0.9, 0.1, 0.1])
    path = CellPath(0.05, soc, np.full(960, 25.0))
    own, daily = LargePrismatic(), LargePrismatic(daily_c_rate=True)
    losses = [effects(model, advance(model, fresh(model), path).state)[1] for model in (own, daily)]
    at = [float(own.cycle_rate(0.8, c_rate, 25.0)) for c_rate in (0.5, 1.6 / 24)]
    assert losses == pytest.approx([k * 1.6**0.828 for k in at], rel=1e-9)
    assert losses[0] > 2.0 * losses[1]
    assert own.name != daily.name
    n = 96
    loops = CellPath(0.25, np.full(n + 1, 0.5), np.full(n, 25.0), np.full(n, 0.01), np.full(n, 0.9))
    grown = advance(daily, fresh(daily), loops).state[1]
    rate = float(own.cycle_rate(0.01, 2 * n * 0.01 / 24, 25.0))
    assert grown == pytest.approx(rate ** (1 / 0.828) * n * 0.01, rel=1e-9)


def test_the_daily_c_rate_adds_up_over_windows_that_are_days() -> None:
    hour = np.arange(49.0)
    soc = np.interp(hour, [0, 4, 8, 26, 28, 30, 32, 48], [0.1, 0.9, 0.1, 0.1, 0.3, 0.2, 0.6, 0.6])
    model, state, past = LargePrismatic(daily_c_rate=True), np.zeros(2), OpenCycles()
    for day in (slice(0, 25), slice(24, 49)):
        window = CellPath(1.0, soc[day], np.full(24, 25.0))
        state = advance(model, state, window, past).state
        past = carry_open(window, past)
    whole = advance(model, fresh(model), CellPath(1.0, soc, np.full(48, 25.0))).state
    assert state == pytest.approx(whole, rel=1e-9)


def test_blast_lite_itself_agrees_where_it_is_installed() -> None:
    blast = pytest.importorskip("blast.models.lfp_gr_250AhPrismatic_2019")
    if not hasattr(np, "trapz"):
        pytest.skip("BLAST-Lite needs numpy before 2.4")
    program = blast.Lfp_Gr_250AhPrismatic()
    seconds = np.arange(241) * 360.0
    program.update_battery_state(seconds, np.full(241, 0.7), np.full(241, 20.0))
    model = LargePrismatic()
    aged = advance(model, fresh(model), storage(0.7, 20.0, 24.0))
    assert effects(model, aged.state)[0] == pytest.approx(program.states["qLoss_t"][-1], rel=1e-9)


def triangle(n_days: int, dt_h: float = 0.1) -> CellPath:
    n = round(24 / dt_h)
    day = 0.1 + 1.6 * np.minimum(np.arange(n), n - np.arange(n)) / n
    soc = np.append(np.tile(day, n_days), 0.1)
    return CellPath(dt_h, soc, np.full(soc.size - 1, 25.0))


# -- additivity -------------------------------------------------------------------------------
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 39))
def test_two_windows_age_like_one(
    model: Naumann | Schimpe | LargePrismatic, seed: int, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    soc, degc = rng.random(41), rng.uniform(5, 40, 40)
    whole = advance(model, fresh(model), CellPath(0.25, soc, degc))
    first = CellPath(0.25, soc[: cut + 1], degc[:cut])
    second = CellPath(0.25, soc[cut:], degc[cut:])
    state = advance(model, fresh(model), first).state
    both = advance(model, state, second, carry_open(first, OpenCycles())).state
    assert both == pytest.approx(whole.state, rel=1e-9, abs=1e-18)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_states_add_up_in_any_order_but_losses_do_not(
    model: Naumann | Schimpe | LargePrismatic,
) -> None:
    hot, cold = cycling(40, 0.8, 0.5, 40.0), cycling(40, 0.3, 0.2, 12.0)
    one, other = fresh(model), fresh(model)
    for path in (hot, cold):
        one = advance(model, one, path).state
    for path in (cold, hot):
        other = advance(model, other, path).state
    assert one == pytest.approx(other, rel=1e-12)
    alone = [capacity_loss_frac(model, advance(model, fresh(model), p).state) for p in (hot, cold)]
    assert capacity_loss_frac(model, one) < 0.99 * sum(alone)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_state_of_loss_is_the_inverse_of_effects(
    model: Naumann | Schimpe | LargePrismatic,
) -> None:
    loss = np.linspace(0.01, 0.04, len(model.mechanisms))
    assert effects(model, state_of_loss(model, loss)) == pytest.approx(loss, rel=1e-12)


def test_increments_by_step_lie_where_the_aging_happens() -> None:
    model = Naumann()
    path = CellPath(1.0, np.array([0.5, 0.5, 0.9, 0.9, 0.2]), np.full(4, 25.0))
    grown = advance(model, fresh(model), path).increments[:, 1]
    assert (grown[[0, 2]] == 0).all() and (grown[[1, 3]] > 0).all()


def test_a_loop_inside_a_step_ages_every_law_that_sees_cycles() -> None:
    still = CellPath(0.25, np.array([0.5, 0.5]), np.array([25.0]))
    loop = CellPath(0.25, np.array([0.5, 0.5]), np.array([25.0]), np.array([0.05]), np.array([0.4]))
    model = all_models()
    more = advance(model, fresh(model), loop).state - advance(model, fresh(model), still).state
    grown = [m.name for m, w in zip(model.mechanisms, more, strict=True) if w > 0]
    assert grown == [
        "Naumann: cycling",
        "Naumann: resistance, cycling",
        "Schimpe: cycling, high temperature",
        "Schimpe: cycling, low temperature",
        "BLAST 250 Ah: cycling",
    ]
    # in and out count: the same throughput as a visible cycle of that depth and rate
    seen = CellPath(0.125, np.array([0.5, 0.55, 0.5]), np.full(2, 25.0))
    shown = advance(model, fresh(model), seen).increments.sum(axis=0)
    assert more[[1, 3, 5, 6, 9]] == pytest.approx(shown[[1, 3, 5, 6, 9]], rel=1e-9)


def test_a_loop_plates_where_the_cell_is_nearly_full() -> None:
    model = Schimpe()
    loop = [np.array([0.05]), np.array([0.4])]
    grown = [
        advance(model, fresh(model), CellPath(0.25, np.full(2, soc), np.array([2.0]), *loop)).state[
            3
        ]
        for soc in (0.7, 0.9)
    ]
    rate = float(model.low_high_soc_rate_per_ah(2.0, 0.4))
    assert grown == pytest.approx([0.0, rate * 0.05 * 3.0])


# -- tested ranges ----------------------------------------------------------------------------
def test_a_path_inside_all_tests_raises_no_flag() -> None:
    model = all_models()
    assert advance(model, fresh(model), cycling(3, 0.8, 0.5)).flags == ()


def test_each_way_out_of_the_tests_is_said_in_words() -> None:
    model = Naumann()
    texts = [flag.text for flag in advance(model, fresh(model), cycling(3, 0.3, 1.2, 45.0)).flags]
    assert texts == [
        "Naumann cycle aging: depth of half cycles 0.3 to 0.3, tested 0.8 to 1 (100 % of the "
        "energy moved outside)",
        "Naumann cycle aging: C-rate of charging 1.2 to 1.2 per h, tested 0 to 1 (100 % of the "
        "energy moved outside)",
        "Naumann cycle aging: cell temperature while cycling 45 to 45 degC, tested 20 to 40 "
        "(100 % of the energy moved outside)",
    ]


def test_the_share_outside_is_weighted_with_energy_and_time() -> None:
    model = Naumann()
    soc = np.array([0.1, 0.9, 0.5, 0.6, 0.1])
    (flag,) = advance(model, fresh(model), CellPath(1.6, soc, np.full(4, 25.0))).flags
    assert flag.quantity == "depth of half cycles"
    assert (flag.outside, flag.total) == pytest.approx((0.2, 1.8))
    cold = CellPath(1.0, np.full(5, 0.5), np.array([-5.0, 20.0, 20.0, 20.0]))
    (flag,) = advance(model, fresh(model), cold).flags
    assert flag.text == (
        "Naumann calendar aging: cell temperature -5 to 20 degC, tested 0 to 60 (25 % of the time "
        "outside)"
    )


def test_charging_and_discharging_have_their_own_limits() -> None:
    model = Naumann()
    for soc, word in (([0.1, 0.9, 0.9], "charging"), ([0.9, 0.1, 0.1], "discharging")):
        (flag,) = advance(
            model, fresh(model), CellPath(0.32, np.array(soc), np.full(2, 25.0))
        ).flags
        assert flag.quantity == f"C-rate of {word}"
        assert flag.found == pytest.approx((2.5, 2.5))
    path = CellPath(0.5, np.array([0.9, 0.1, 0.1]), np.full(2, 25.0))  # 1.6 per h down: tested
    assert advance(model, fresh(model), path).flags == ()


def test_what_an_earlier_window_booked_is_not_flagged_again() -> None:
    model = Naumann()
    first = CellPath(1.6, np.array([0.1, 0.5]), np.array([25.0]))
    second = CellPath(1.6, np.array([0.5, 0.9]), np.array([25.0]))
    done = advance(model, fresh(model), first)
    assert len(done.flags) == 1
    assert advance(model, done.state, second, carry_open(first, OpenCycles())).flags == ()


def test_a_state_below_zero_by_rounding_is_no_loss() -> None:
    assert effects(LargePrismatic(), [-1e-25, 0.0]).tolist() == [0.0, 0.0]


def test_soc_outside_zero_to_one_is_flagged_by_every_law() -> None:
    for model in MODELS:
        quantities = [
            f.quantity for f in advance(model, fresh(model), storage(1.05, 25.0, 1)).flags
        ]
        assert quantities == ["SOC"]


def test_a_rounding_beyond_the_edge_is_no_flag() -> None:
    model = Naumann()
    path = CellPath(1.0, np.array([0.1, 0.9 - 1e-8, 0.1]), np.full(2, 25.0))
    assert advance(model, fresh(model), path).flags == ()


def test_flags_of_many_windows_merge_into_one_per_law_and_quantity() -> None:
    model = Naumann()
    some = advance(model, fresh(model), cycling(2, 0.3, 0.5)).flags
    more = advance(model, fresh(model), cycling(4, 0.2, 0.5)).flags
    (flag,) = merge_flags([*some, *more])
    assert flag.found == pytest.approx((0.2, 0.3))
    assert flag.outside == pytest.approx(4 * 0.3 + 8 * 0.2)


# -- the ensemble -----------------------------------------------------------------------------
def test_the_ensemble_ages_each_member_as_it_would_alone() -> None:
    path = cycling(20, 0.6, 0.4, 31.0)
    model = all_models()
    aged = advance(model, fresh(model), path)
    parts = model.split(aged.state)
    for member in members(model):
        alone = advance(member, fresh(member), path)
        assert parts[member.name].tolist() == alone.state.tolist()
    band = model.band(aged.state)
    losses = list(band.by_model.values())
    assert (band.low, band.high) == (min(losses), max(losses))
    assert band.low < band.mean < band.high
    assert members(Naumann()) == (Naumann(),)


def test_opinions_are_compared_and_never_added() -> None:
    model = all_models()
    aged = advance(model, fresh(model), cycling(20, 0.8, 0.5))
    with pytest.raises(ConfigError, match="which do not add up"):
        capacity_loss_frac(model, aged.state)
    growth = model.band(aged.state, "resistance")
    alone = resistance_growth_frac(Naumann(), model.split(aged.state)["Naumann"])
    assert growth.by_model == {"Naumann": float(alone)}
    with pytest.raises(ConfigError, match="no member of Schimpe has a law of resistance"):
        Ensemble((Schimpe(),)).band(fresh(Schimpe()), "resistance")


def test_a_band_of_one_law_has_no_width() -> None:
    band = Band({"only": 0.1})
    assert band.low == band.mean == band.high == 0.1


def test_the_same_law_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="each only once"):
        Ensemble((Naumann(), Naumann()))


def test_a_state_of_another_model_is_refused() -> None:
    with pytest.raises(DataError, match=r"aging state of Schimpe: .* expected 4 finite numbers"):
        advance(Schimpe(), np.zeros(2), storage(0.5, 25.0, 1.0))


def test_laws_without_resistance_say_so_with_nan() -> None:
    assert np.isnan(resistance_growth_frac(Schimpe(), fresh(Schimpe())))
