"""From the configuration to the plant that judges aging, and to the convex prices of a decision.

Three prices of the same mechanisms: those *held* at the temperature of idle cells, which decide;
those that *bound* what the plant can show for any schedule, which prove; and what the plant *shows*
for one schedule, which is reported (docs/math.md, Aging as the plant shows it).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from stochbess.aging_loop import PlantTruth, step_prices
from stochbess.battery.cut_cycle import CycleCost, cycle_cost_of
from stochbess.battery.cut_step import StepCost, price_of_w_eur
from stochbess.battery.efficiency import ConstantEfficiency
from stochbess.battery.half_cycle_stress import OpenCycles
from stochbess.battery.hull_curve import HullCurve, naumann_hull_curve
from stochbess.battery.plant import Plant, PlantState, all_models
from stochbess.battery.plant_cost import PlantAging
from stochbess.battery.thermal import ThermalModel
from stochbess.battery.worst_curve import worst_hull_curve
from stochbess.config import Config
from stochbess.conversion import circuit_of
from stochbess.errors import ConfigError
from stochbess.models.data import Aging, ModelData

Floats = npt.NDArray[np.float64]
_REFERENCE_MWH = 4.472  # the asset that the default thermal model belongs to
_LEAST_C_RATE_PER_H = 1e-9  # of the law, which is priced by a C-rate above zero


def plant_of(config: Config) -> Plant:
    """The configured battery with all laws of aging; its cooling grows with its energy."""
    battery, size = config.battery, config.battery.energy_mwh / _REFERENCE_MWH
    default = ThermalModel()
    return Plant(
        energy_mwh=battery.energy_mwh,
        charge_limit_mw=battery.power_mw,
        discharge_limit_mw=battery.power_mw,
        soc_window_frac=(battery.soc_min_frac, battery.soc_max_frac),
        self_discharge_per_h=battery.self_discharge_per_h,
        efficiency=circuit_of(config)
        if battery.efficiency_model == "loss_cuts"
        else ConstantEfficiency(battery.charge_efficiency_frac, battery.discharge_efficiency_frac),
        thermal=replace(
            default,
            heat_capacity_kwh_k=size * default.heat_capacity_kwh_k,
            cooling_kw_k=size * default.cooling_kw_k,
            coolant_degc=config.aging.surroundings_degc,
        ),
        aging=all_models(),
    )


def plant_aging(config: Config, dt_h: float) -> PlantAging:
    """The plant as the horizon finds it, idle before, and the prices of the mechanisms in use.

    Turning points of the past are taken to have been passed at the configured C-rate.
    """
    aging, battery, state = config.aging, config.battery, config.battery.state
    plant, degc = plant_of(config), aging.surroundings_degc
    open_cycles = OpenCycles.assumed(
        state.open_turning_points_frac,
        state.soc_frac,
        c_rate_per_h=aging.c_rate_per_h,
        temperature_degc=degc,
    )
    start = PlantState.new(plant, 0.0, degc)
    start = start.with_health(1.0 - state.soh_frac, state.resistance_growth_frac)
    start = replace(
        start,
        energy_mwh=state.soc_frac * battery.energy_mwh * state.soh_frac,
        open_cycles=open_cycles,
    )

    def price(mechanism: str, loss_frac: float) -> float:
        if mechanism not in aging.mechanisms:
            return 0.0
        cost, fade = battery.replacement_cost_eur_kwh, aging.usable_fade_frac
        return price_of_w_eur(battery.energy_mwh, cost, fade, loss_frac)

    return PlantAging(
        plant,
        start,
        dt_h,
        degc,
        calendar_w_eur=price("calendar", aging.calendar_loss_frac),
        cycle_w_eur=price("cycle", aging.cycle_loss_frac),
        plating_w_eur=price("plating", aging.plating_loss_frac),
    )


def cycle_curve(config: Config, replacement_cost_eur_kwh: float | None = None) -> HullCurve:
    """Price of a half cycle by the configured law, at another replacement cost if one is given."""
    aging, battery = config.aging, config.battery
    cost = replacement_cost_eur_kwh
    law = (
        partial(worst_hull_curve, all_models())
        if aging.cycle_law == "worst"
        else naumann_hull_curve
    )
    return law(
        energy_mwh=battery.energy_mwh,  # the laws count losses of nameplate capacity
        replacement_cost_eur_kwh=battery.replacement_cost_eur_kwh if cost is None else cost,
        usable_fade_frac=aging.usable_fade_frac,
        cycle_loss_frac=aging.cycle_loss_frac,
        c_rate_per_h=aging.c_rate_per_h,
    )


def cycle_cost(config: Config) -> CycleCost:
    """Rainflow cost of a day on the convex cycle law, given the open turning points of the past."""
    battery, state = config.battery, config.battery.state
    usable, points = battery.energy_mwh * state.soh_frac, state.open_turning_points_frac
    return cycle_cost_of(cycle_curve(config), usable, battery.soc_min_frac, points)


def unsteered_aging(config: Config, aging: Aging) -> Aging:
    """`aging` by the law of Naumann alone and without a floor: what steering gives up by."""
    plain = config.aging.model_copy(update={"cycle_law": "naumann"})
    path = aging.path_cost
    if config.aging.cycle_law != "naumann":
        path = cycle_cost(config.model_copy(update={"aging": plain}))
    return replace(aging, path_cost=path, floor_eur_mwh=0.0)


def held_prices(judge: PlantAging, n_steps: int) -> tuple[StepCost, ...]:
    """Prices of calendar aging and plating that a decision knows: those of idle cells."""
    return step_prices(judge, np.full(n_steps, judge.ambient_degc, np.float64))


def bounding_aging(config: Config, data: ModelData, judge: PlantAging) -> Aging:
    """Aging that no schedule undercuts by the plant (111).

    Cycling at C-rate zero; calendar aging hulled over all SOC in cells as cold as their
    surroundings, plating in cells as hot as both directions at full power would make them. With
    open turning points of the past it holds as long as a half cycle that goes on keeps the C-rate
    of its first part.
    """
    least = config.aging.model_copy(update={"c_rate_per_h": _LEAST_C_RATE_PER_H})
    slowest = config.model_copy(update={"aging": least})
    idle = np.full(data.grid.n_steps, judge.ambient_degc, np.float64)
    calendar = step_prices(replace(judge, plating_w_eur=0.0), idle)
    plating = step_prices(replace(judge, calendar_w_eur=0.0), _hottest_degc(data, judge))
    return replace(
        data.aging,
        path_cost=cycle_cost(slowest),
        step_prices=(*calendar, *plating),
    )


def _hottest_degc(data: ModelData, judge: PlantAging) -> Floats:
    """(T,) mean cell temperature that no schedule exceeds."""
    efficiency, thermal = judge.plant.efficiency, judge.plant.thermal
    if not isinstance(efficiency, ConstantEfficiency):
        raise ConfigError("hottest cells: expected constant efficiencies")
    lost_mw = data.asset.charge_limit_mw * (1.0 - efficiency.charge_frac)
    lost_mw = lost_mw + data.asset.discharge_limit_mw * (1.0 / efficiency.discharge_frac - 1.0)
    heat_mw = efficiency.cell_loss_frac * lost_mw
    return thermal.path(heat_mw, judge.dt_h, judge.state.temperature_degc, judge.ambient_degc)[1]


def truth_of(cycle: CycleCost, judge: PlantAging, aging: Aging) -> PlantTruth:
    """What judges the schedules of a decision in the passes."""
    return PlantTruth(judge, cycle, replace(aging, path_cost=None, step_prices=()))
