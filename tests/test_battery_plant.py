"""The plant: circuit, inverter, temperature, and a schedule that is followed or said not to be."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.battery.aging import capacity_loss_frac
from stochbess.battery.cell import current_a, sony_lfp
from stochbess.battery.efficiency import (
    NOTTON_2,
    SUNGROW_CHARGE,
    SUNGROW_DISCHARGE,
    Circuit,
    ConstantEfficiency,
    Efficiency,
    PartLoad,
)
from stochbess.battery.naumann import Naumann
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import Trajectory, simulate
from stochbess.battery.thermal import ThermalModel
from stochbess.errors import ConfigError, DataError
from tests.small_case import arr, best, everything, series_of

FloatArray = npt.NDArray[np.float64]
ENERGY_MWH, POWER_MW, DT_H = 4.472, 2.236, 0.25
CIRCUIT = Circuit(ENERGY_MWH, POWER_MW)
UNEVEN = Circuit(ENERGY_MWH, POWER_MW, charge=SUNGROW_CHARGE, discharge=SUNGROW_DISCHARGE)
EFFICIENCIES: tuple[Efficiency, ...] = (ConstantEfficiency(), CIRCUIT)


def kind(efficiency: Efficiency) -> str:
    return type(efficiency).__name__


def random_schedule(n: int, seed: int = 0, share: float = 0.6) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(-1.1, 1.1, n) * POWER_MW * (rng.random(n) < share))


# -- cell -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("charging", "expected"), [(True, 0.9801), (False, 0.9783)])
def test_a_cell_at_half_c_has_its_one_way_efficiency(charging: bool, expected: float) -> None:
    cell = sony_lfp()
    ocv = float(cell.ocv_at(0.5))
    drop = float(cell.resistance_at(0.5, 25.0, charging=charging)) * cell.capacity_ah / 2
    efficiency = ocv / (ocv + drop) if charging else (ocv - drop) / ocv
    assert efficiency == pytest.approx(expected, abs=5e-5)
    # the same from the power: the current comes back
    terminal_w = (-1.5 * (ocv + drop)) if charging else 1.5 * (ocv - drop)
    ohm = cell.resistance_at(0.5, 25.0, charging=charging)
    assert abs(float(current_a(terminal_w, ocv, ohm))) == pytest.approx(1.5, rel=1e-12)


def test_resistance_is_that_of_the_table_at_its_nodes_and_held_outside() -> None:
    cell = sony_lfp()
    degc = np.array([10.0, 25.0, 40.0])
    ch = cell.resistance_at(0.5, degc, charging=True) * 1000
    dis = cell.resistance_at(0.5, degc, charging=False) * 1000
    assert ch == pytest.approx([62.6, 44.8, 35.2], abs=0.06)
    assert dis == pytest.approx([69.4, 47.8, 38.4], abs=0.06)
    assert cell.resistance_at(0.35, 17.5, charging=True) == pytest.approx(
        np.mean([cell.charge_ohm[i, j] for i in (3, 4) for j in (0, 1)])
    )
    for degc_out, edge in ((-10.0, 10.0), (60.0, 40.0)):
        held = cell.resistance_at(0.5, degc_out, charging=True)
        assert held == cell.resistance_at(0.5, edge, charging=True)


def test_the_open_circuit_voltage_rises_and_energy_soc_is_near_charge_soc() -> None:
    cell = sony_lfp()
    assert (np.diff(cell.ocv_v) > 0).all()
    at = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95]
    volt = [3.0647, 3.1967, 3.2343, 3.2703, 3.2995, 3.3108, 3.3345, 3.3425, 3.3447]
    assert cell.ocv_at(at).tolist() == volt
    charge = np.linspace(0, 1, 2001)
    ocv = cell.ocv_at(charge)
    energy = np.concatenate([[0.0], np.cumsum((ocv[1:] + ocv[:-1]) / 2)])
    assert np.abs(energy / energy[-1] - charge).max() < 0.011


def test_a_power_beyond_all_currents_is_nan() -> None:
    assert np.isnan(current_a(3.3**2 / (4 * 0.05) * 1.001, 3.3, 0.05))
    assert current_a(3.3**2 / (4 * 0.05) * 0.999999999, 3.3, 0.05) == pytest.approx(33.0, rel=1e-3)


# -- inverter ---------------------------------------------------------------------------------
def test_part_load_efficiency_has_its_check_value() -> None:
    assert NOTTON_2.efficiency_frac(0.25) == pytest.approx(0.963925, rel=1e-6)


@pytest.mark.parametrize("inverter", [NOTTON_2, SUNGROW_CHARGE, SUNGROW_DISCHARGE])
def test_output_is_the_inverse_of_input_and_both_rise(inverter: PartLoad) -> None:
    out = np.linspace(0.001, 1.2, 500)
    taken = inverter.input_frac(out)
    assert inverter.output_frac(taken) == pytest.approx(out, rel=1e-12)
    assert (np.diff(taken) > 0).all() and (taken > out).all()
    assert inverter.input_frac(0.0) == 0.0 and inverter.output_frac(inverter.no_load_frac) == 0.0


# -- power flow -------------------------------------------------------------------------------
@pytest.mark.parametrize("efficiency", EFFICIENCIES, ids=kind)
@given(net=st.floats(-POWER_MW, POWER_MW), soc=st.floats(0, 1), degc=st.floats(-10, 60))
def test_power_is_conserved_and_no_part_gives_power(
    efficiency: Efficiency, net: float, soc: float, degc: float
) -> None:
    flow = efficiency.power_flow(net, soc, degc)
    balance = flow.net_mw - (flow.stored_mw - flow.cell_loss_mw - flow.inverter_loss_mw)
    assert abs(float(balance)) < 1e-12
    assert flow.cell_loss_mw >= -1e-15 and flow.inverter_loss_mw >= -1e-15


@pytest.mark.parametrize("soc", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("degc", [5.0, 25.0, 45.0])
def test_more_power_at_the_connection_is_more_power_out_of_the_store(
    soc: float, degc: float
) -> None:
    net = np.linspace(-POWER_MW, POWER_MW, 401)
    flow = CIRCUIT.power_flow(net, soc, degc)
    step = np.diff(flow.stored_mw)
    off = (net <= 0) & (net >= -NOTTON_2.no_load_frac * POWER_MW)
    assert (step[~off[1:]] > 0).all() and (step >= 0).all()
    assert 0 < off.sum() < 5


@given(power=st.floats(0.05, 1.0), soc=st.floats(0.05, 0.95), degc=st.floats(0, 45))
def test_a_round_trip_never_gains(power: float, soc: float, degc: float) -> None:
    put_in = CIRCUIT.power_flow(-power * POWER_MW, soc, degc).stored_mw
    back = CIRCUIT.conversion().to_grid(-float(put_in), soc, degc)[0]
    assert 0.5 < back / (power * POWER_MW) < 1.0


def test_the_efficiency_of_the_circuit_is_that_of_its_parts() -> None:
    flow = CIRCUIT.power_flow(POWER_MW, 0.5, 25.0)
    dc_mw = POWER_MW / float(NOTTON_2.efficiency_frac(1.0))
    inside = float(flow.stored_mw)
    cell = CIRCUIT.cell
    current = inside * 1e6 / CIRCUIT.n_cells / 3.2995
    terminal_v = 3.2995 - 0.04783 * current
    assert dc_mw / inside == pytest.approx(terminal_v / 3.2995, rel=1e-9)
    assert CIRCUIT.n_cells * cell.energy_wh == pytest.approx(ENERGY_MWH * 1e6)


def test_the_loss_curve_is_convex_on_each_side_and_jumps_where_the_inverter_switches_on() -> None:
    for side in (np.linspace(0.02, 1, 99), -np.linspace(0.02, 1, 99)):
        loss = CIRCUIT.loss_curve(side * POWER_MW, 0.6, 20.0)
        assert (np.diff(loss, 2) > 0).all()
        assert (np.diff(loss) > 0).all()
    off, on = CIRCUIT.loss_curve(np.array([0.0, 1e-9]), 0.6, 20.0)
    assert off == 0.0
    assert on == pytest.approx(0.0072 * POWER_MW, rel=1e-3)


def test_losses_rise_with_resistance_and_in_the_cold() -> None:
    base = CIRCUIT.loss_curve(np.array([-1.0, 1.0]), 0.5, 25.0)
    assert (CIRCUIT.loss_curve(np.array([-1.0, 1.0]), 0.5, 25.0, 0.2) > base).all()
    assert (CIRCUIT.loss_curve(np.array([-1.0, 1.0]), 0.5, 12.0) > base).all()
    better = Circuit(ENERGY_MWH, POWER_MW, resistance_scale=0.5)
    assert (better.loss_curve(np.array([-1.0, 1.0]), 0.5, 25.0) < base).all()


@pytest.mark.parametrize("efficiency", (*EFFICIENCIES, UNEVEN), ids=kind)
def test_step_by_step_use_equals_the_arrays_and_its_own_inverse(efficiency: Efficiency) -> None:
    rng = np.random.default_rng(5)
    net = rng.uniform(-POWER_MW, POWER_MW, 500)
    soc, degc = rng.uniform(-0.01, 1.01, 500), rng.uniform(-5, 50, 500)
    flow = efficiency.power_flow(net, soc, degc, 0.1)
    use = efficiency.conversion(0.1)
    for i in range(500):
        stored, loss = use.to_store(net[i], soc[i], degc[i])
        assert stored == pytest.approx(flow.stored_mw[i], rel=1e-12, abs=1e-15)
        assert loss == pytest.approx(flow.cell_loss_mw[i], rel=1e-9, abs=1e-15)
        if stored:
            back = use.to_grid(stored, soc[i], degc[i])
            assert back[0] == pytest.approx(net[i], rel=1e-12)
            assert back[2] == pytest.approx(loss, rel=1e-9, abs=1e-12)


def test_a_power_that_no_current_delivers_is_refused_by_the_arrays_and_short_in_a_run() -> None:
    weak = Circuit(ENERGY_MWH, POWER_MW, resistance_scale=20.0)
    with pytest.raises(DataError, match="more than the cells can deliver"):
        weak.power_flow(2.0, 0.5, 25.0)
    plant = Plant(efficiency=weak)
    ran = simulate(plant, np.array([2.0, -2.0, 0.3]), DT_H, PlantState.new(plant))
    most = weak.conversion().most_mw(0.5, 25.0)
    assert 0 < most < 2.0
    assert ran.discharge_mw[0] == pytest.approx(most)
    assert ran.discharge_shortfall_mw[0] == pytest.approx(2.0 - most)
    # what goes both ways is at most that much at once
    both = simulate(plant, GrossSchedule(arr(0.2), arr(2.0)), DT_H, PlantState.new(plant))
    assert both.charge_mw[0] == 0.2
    assert both.discharge_mw[0] == pytest.approx(most - 0.2)
    for soc in np.linspace(0.0, 1.0, 101).tolist():
        use = weak.conversion()
        stored, _ = use.to_store(use.most_mw(soc, 25.0), soc, 25.0)
        assert math.isfinite(stored)


# -- temperature ------------------------------------------------------------------------------
def test_56_kw_warm_the_reference_asset_by_14_k() -> None:
    model = ThermalModel()
    degc, _ = model.path(np.full(400, 0.056), DT_H, 25.0, 25.0)
    assert degc[-1] == pytest.approx(39.0, abs=1e-9)
    assert model.time_constant_h == pytest.approx(1.8725)


def test_temperature_follows_the_closed_form_whatever_the_step() -> None:
    model = ThermalModel(wall_kw_k=0.5)
    around = (4.0 * 25.0 + 0.5 * 5.0) / 4.5
    steady = around + 40.0 / 4.5
    hours = 3.0
    exact = steady + (20.0 - steady) * math.exp(-hours * 4.5 / 7.49)
    means = []
    for n in (1, 4, 12, 180):
        degc, mean = model.path(np.full(n, 0.04), hours / n, 20.0, np.full(n, 5.0))
        assert degc[-1] == pytest.approx(exact, rel=1e-12)
        means.append(mean.mean())
    fine, _ = model.path(np.full(30_000, 0.04), hours / 30_000, 20.0, 5.0)
    assert means == pytest.approx([means[0]] * 4, rel=1e-12)
    assert means[0] == pytest.approx((fine[:-1] + fine[1:]).mean() / 2, rel=1e-8)


def test_cooling_draws_heat_over_cop_and_an_air_cooled_asset_draws_nothing() -> None:
    mean = np.array([39.0, 25.0, 15.0])
    drawn_kw = ThermalModel().auxiliary_mw(mean, 10.0) * 1000
    assert drawn_kw == pytest.approx([56.0 / 3.0, 0.0, 40.0 / 2.5])
    air = ThermalModel(coolant_degc=None)
    assert not air.auxiliary_mw(mean, 10.0).any()
    assert air.surroundings_degc(10.0) == pytest.approx(10.0)


def test_a_plant_without_a_way_out_for_heat_is_refused() -> None:
    with pytest.raises(ConfigError, match="warm up without end"):
        ThermalModel(cooling_kw_k=0.0)
    with pytest.raises(ConfigError, match="heat_capacity_kwh_k"):
        ThermalModel(heat_capacity_kwh_k=0.0)
    with pytest.raises(DataError, match="ambient_degc"):
        ThermalModel(wall_kw_k=1.0).surroundings_degc([math.nan])


# -- the plant --------------------------------------------------------------------------------
def test_constant_efficiency_is_the_energy_balance_of_the_decision_model() -> None:
    plant = Plant(efficiency=ConstantEfficiency(0.95, 0.93), self_discharge_per_h=0.004)
    rng = np.random.default_rng(1)
    charge, discharge = rng.uniform(0, 0.4, 200), rng.uniform(0, 0.4, 200)
    charge[::3], discharge[1::3] = 0.0, 0.0
    ran = simulate(plant, GrossSchedule(charge, discharge), DT_H, PlantState.new(plant))
    energy = [0.5 * ENERGY_MWH]
    for c, d in zip(charge, discharge, strict=True):
        energy.append((1 - 0.004 * DT_H) * energy[-1] + DT_H * (0.95 * c - d / 0.93))
    assert ran.energy_mwh == pytest.approx(energy, rel=1e-13)
    assert ran.followed


def test_the_plant_arrives_where_a_solved_decision_says() -> None:
    data = everything()
    _, values = best(data, series_of(data, 1))
    asset = data.asset
    plant = Plant(
        energy_mwh=8.0,
        charge_limit_mw=4.0,
        discharge_limit_mw=4.0,
        soc_window_frac=(asset.energy_min_mwh / 8.0, asset.energy_max_mwh / 8.0),
        efficiency=ConstantEfficiency(
            asset.charge_efficiency_frac, asset.discharge_efficiency_frac
        ),
        self_discharge_per_h=asset.self_discharge_per_h,
    )
    start = PlantState.new(plant, asset.energy_start_mwh / 8.0)
    flows = [np.maximum(values[name].ravel(), 0.0) for name in ("charge_mw", "discharge_mw")]
    assert (np.minimum(*flows) > 1e-3).any()  # calls in both directions within a step
    ran = simulate(plant, GrossSchedule(*flows), data.grid.dt_h, start)
    assert ran.energy_mwh == pytest.approx(values["energy_mwh"].ravel(), abs=1e-5)


@pytest.mark.parametrize("efficiency", EFFICIENCIES, ids=kind)
def test_energy_balances_in_every_step(efficiency: Efficiency) -> None:
    plant = Plant(efficiency=efficiency, self_discharge_per_h=0.002)
    charge = np.maximum(-random_schedule(400, 1), 0.0)
    discharge = np.maximum(random_schedule(400, 2), 0.0)
    ran = simulate(plant, GrossSchedule(charge, discharge), DT_H, PlantState.new(plant))
    gained = np.diff(ran.energy_mwh) / DT_H
    losses = ran.cell_loss_mw + ran.inverter_loss_mw + ran.self_discharge_mw
    assert ran.charge_mw - ran.discharge_mw == pytest.approx(gained + losses, abs=1e-12)
    assert (ran.cell_loss_mw >= 0).all() and (ran.inverter_loss_mw >= -1e-15).all()
    asked = charge - ran.charge_mw, discharge - ran.discharge_mw
    assert ran.charge_shortfall_mw.tolist() == asked[0].tolist()
    assert ran.discharge_shortfall_mw.tolist() == asked[1].tolist()
    assert (ran.charge_shortfall_mw >= 0).all() and (ran.discharge_shortfall_mw >= 0).all()
    assert not ran.followed and len(ran.notes) >= 2


@pytest.mark.parametrize("efficiency", EFFICIENCIES, ids=kind)
def test_what_cannot_be_followed_stops_at_the_limit_and_is_said(efficiency: Efficiency) -> None:
    plant = Plant(efficiency=efficiency, soc_window_frac=(0.1, 0.9))
    ran = simulate(plant, np.full(12, -2.0), DT_H, PlantState.new(plant))
    assert ran.soc_frac[-1] == pytest.approx(0.9, abs=1e-12)
    # the power that just fills it, no more and no less: the flow leads there again
    t = int(np.flatnonzero(ran.charge_shortfall_mw)[0])
    again = efficiency.power_flow(
        -ran.charge_mw[t], ran.soc_frac[t], ran.temperature_degc[t]
    ).stored_mw
    assert -again * DT_H == pytest.approx(0.9 * ENERGY_MWH - ran.energy_mwh[t], rel=1e-9)
    assert ran.shortfall_mw[-1] == pytest.approx(-2.0)
    assert ran.notes[-1].startswith("schedule not followed: ")
    down = simulate(plant, np.full(12, 3.0), DT_H, ran.end)
    assert down.soc_frac[-1] == pytest.approx(0.1, abs=1e-12)
    assert down.discharge_mw[0] == POWER_MW
    assert down.discharge_shortfall_mw[0] == pytest.approx(3.0 - POWER_MW)
    up = simulate(plant, np.array([-3.0]), DT_H, down.end)
    assert up.charge_mw[0] == POWER_MW


@pytest.mark.parametrize("efficiency", EFFICIENCIES, ids=kind)
def test_a_leaking_store_is_filled_to_its_limit_and_no_further(efficiency: Efficiency) -> None:
    plant = Plant(efficiency=efficiency, self_discharge_per_h=0.05)
    ran = simulate(plant, np.full(16, -2.0), DT_H, PlantState.new(plant))
    assert ran.energy_mwh[-1] == pytest.approx(ENERGY_MWH, rel=1e-12)
    assert 0 < ran.charge_mw[-1] < 2.0
    down = simulate(plant, np.full(16, 2.0), DT_H, ran.end)
    assert down.energy_mwh[-1] == pytest.approx(0.0, abs=1e-12)


def test_a_step_with_both_flows_shares_its_time_between_them() -> None:
    state = PlantState.new(Plant(efficiency=CIRCUIT, aging=Naumann()))
    plant = Plant(efficiency=CIRCUIT, aging=Naumann())
    ran = simulate(plant, GrossSchedule(arr(0.6), arr(1.2)), DT_H, state)
    flow = CIRCUIT.power_flow(np.array([-1.8, 1.8]), 0.5, 25.0)
    share = np.array([1 / 3, 2 / 3])
    assert ran.cell_loss_mw[0] == pytest.approx(share @ flow.cell_loss_mw)
    assert ran.inverter_loss_mw[0] == pytest.approx(share @ flow.inverter_loss_mw)
    assert np.diff(ran.energy_mwh)[0] == pytest.approx(-DT_H * (share @ flow.stored_mw))
    into, out_of = share * np.abs(flow.stored_mw)
    assert ran.path.loop_frac[0] == pytest.approx(into * DT_H / ENERGY_MWH)
    assert ran.path.loop_c_rate_per_h[0] == pytest.approx((into + out_of) / ENERGY_MWH)


@pytest.mark.parametrize("efficiency", EFFICIENCIES, ids=kind)
def test_cells_warm_up_by_their_losses_and_age_at_mean_temperatures(
    efficiency: Efficiency,
) -> None:
    plant = Plant(efficiency=efficiency, thermal=ThermalModel(wall_kw_k=0.4))
    ambient = np.linspace(-5.0, 10.0, 96)
    ran = simulate(plant, random_schedule(96, 8), DT_H, PlantState.new(plant), ambient)
    degc, mean = plant.thermal.path(ran.cell_loss_mw, DT_H, 25.0, ambient)
    assert ran.temperature_degc == pytest.approx(degc, rel=1e-12)
    assert ran.path.temperature_degc == pytest.approx(mean, rel=1e-12)
    assert ran.auxiliary_mw == pytest.approx(plant.thermal.auxiliary_mw(mean, ambient))


@pytest.mark.parametrize("efficiency", EFFICIENCIES, ids=kind)
def test_a_step_with_both_flows_cuts_only_the_one_that_is_too_large(
    efficiency: Efficiency,
) -> None:
    plant = Plant(efficiency=efficiency)
    flows = GrossSchedule(arr(2.0), arr(0.3))
    ran = simulate(plant, flows, 1.0, PlantState.new(plant, 0.9))
    assert ran.soc_frac[-1] == pytest.approx(1.0, abs=1e-9)
    assert ran.discharge_shortfall_mw[0] == 0.0 and 0 < ran.charge_shortfall_mw[0] < 2.0
    ran = simulate(plant, GrossSchedule(arr(0.3), arr(2.0)), 1.0, PlantState.new(plant, 0.1))
    assert ran.soc_frac[-1] == pytest.approx(0.0, abs=1e-9)
    assert ran.charge_shortfall_mw[0] == 0.0 and 0 < ran.discharge_shortfall_mw[0] < 2.0


def test_a_rounding_of_the_solver_at_a_limit_is_no_shortfall() -> None:
    plant = Plant(efficiency=ConstantEfficiency(1.0, 1.0))
    state = PlantState.new(plant, 0.5)
    for beyond, follows in ((1e-7, True), (1e-4, False)):
        at_power = simulate(plant, np.array([POWER_MW * (1 + beyond)]), 0.5, state)
        at_energy = simulate(plant, np.array([-1.0 - beyond]), ENERGY_MWH / 2, state)
        assert at_power.followed == at_energy.followed == follows


def joined(first: Trajectory, second: Trajectory, name: str) -> FloatArray:
    a, b = getattr(first, name), getattr(second, name)
    return np.concatenate([a, b[1:] if a.size > first.charge_mw.size else b])


@pytest.mark.parametrize("efficiency", EFFICIENCIES, ids=kind)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 191))
def test_two_calls_are_one(efficiency: Efficiency, seed: int, cut: int) -> None:
    plant = Plant(efficiency=efficiency, self_discharge_per_h=0.001)
    charge = np.maximum(-random_schedule(192, seed, 0.4), 0.0)
    discharge = np.maximum(random_schedule(192, seed + 1, 0.4), 0.0)
    ambient = 15 + 8 * np.sin(np.arange(192) / 15)

    def run(part: slice, state: PlantState) -> Trajectory:
        flows = GrossSchedule(charge[part], discharge[part])
        return simulate(plant, flows, DT_H, state, ambient[part])

    state = PlantState.new(plant)
    whole = run(slice(None), state)
    first = run(slice(cut), state)
    second = run(slice(cut, None), first.end)
    for name in ("energy_mwh", "temperature_degc", "charge_mw", "discharge_shortfall_mw"):
        assert joined(first, second, name) == pytest.approx(getattr(whole, name), abs=1e-12)
    assert second.end.aging == pytest.approx(whole.end.aging, rel=1e-9, abs=1e-20)
    assert second.end.open_cycles.levels == pytest.approx(whole.end.open_cycles.levels)


def test_the_losses_at_the_boundaries_end_at_the_state() -> None:
    plant = Plant(aging=Naumann())
    first = simulate(plant, random_schedule(96, 3), DT_H, PlantState.new(plant))
    second = simulate(plant, random_schedule(96, 4), DT_H, first.end)
    assert second.effects_frac.shape == (97, 4)
    assert second.effects_frac[0] == pytest.approx(first.effects_frac[-1])
    total = capacity_loss_frac(plant.aging, second.end.aging)
    assert second.effects_frac[-1, :2].sum() == pytest.approx(total)


def test_warmer_surroundings_age_faster_and_resistance_follows_temperature() -> None:
    plant = Plant(efficiency=CIRCUIT, thermal=ThermalModel(coolant_degc=None), aging=Naumann())
    schedule = random_schedule(960, 5)
    cool, warm = (
        simulate(plant, schedule, DT_H, PlantState.new(plant, 0.5, degc), degc)
        for degc in (12.0, 30.0)
    )
    assert warm.end.aging[0] > 1.5 * cool.end.aging[0]
    assert warm.cell_loss_mw.sum() < 0.9 * cool.cell_loss_mw.sum()


def test_a_resistance_outside_its_table_is_said() -> None:
    plant = Plant(efficiency=CIRCUIT, thermal=ThermalModel(coolant_degc=None), aging=Naumann())
    rest = np.zeros(8)
    inside = simulate(plant, rest, DT_H, PlantState.new(plant, 0.5, 12.0), 12.0)
    assert inside.notes == ()
    (note,) = simulate(plant, rest, DT_H, PlantState.new(plant, 0.5, 12.0), 5.0).notes
    assert note.startswith("resistance: cell temperature 7.") and "table from 10 to 40" in note
    (note,) = simulate(plant, rest, DT_H, PlantState.new(plant, 0.5, 39.0), 44.0).notes
    assert note.startswith("resistance: cell temperature 39 to 42.")


def test_health_in_force_shrinks_the_plant_and_raises_its_losses() -> None:
    plant = Plant(efficiency=CIRCUIT)
    new = PlantState.new(plant, 0.5)
    worn = new.with_health(0.2, 0.3)
    runs = [simulate(plant, np.array([-1.0]), DT_H, state) for state in (new, worn)]
    assert runs[1].soc_frac[0] == pytest.approx(0.5 / 0.8)
    assert runs[1].cell_loss_mw[0] > runs[0].cell_loss_mw[0]
    full = simulate(plant, np.full(20, -2.0), DT_H, worn)
    assert full.energy_mwh[-1] == pytest.approx(0.8 * ENERGY_MWH)
    with pytest.raises(DataError, match="loss_frac"):
        new.with_health(1.0)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (np.array([0.0, np.nan]), r"step 1 of 2"),
        (GrossSchedule(np.array([-1.0]), np.array([0.0])), "not negative"),
        (GrossSchedule(np.zeros(2), np.zeros(3)), "one power per step"),
        (np.zeros((2, 2)), "one power per step"),
    ],
)
def test_a_schedule_that_means_nothing_is_refused(
    schedule: FloatArray | GrossSchedule, message: str
) -> None:
    plant = Plant()
    with pytest.raises(DataError, match=message):
        simulate(plant, schedule, DT_H, PlantState.new(plant))


def test_parameters_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="soc_window_frac"):
        Plant(soc_window_frac=(0.9, 0.1))
    with pytest.raises(ConfigError, match="energy_mwh"):
        Plant(energy_mwh=0.0)
    with pytest.raises(ConfigError, match="charge_efficiency_frac"):
        ConstantEfficiency(1.2)
    with pytest.raises(ConfigError, match="resistance_scale"):
        Circuit(1.0, 1.0, resistance_scale=-1.0)
