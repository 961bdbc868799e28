"""Stored energy and temperature of a plant that follows a schedule, one step after the other.

Efficiency depends on SOC and temperature, temperature on the losses: the recursion is a loop over
plain floats. A flow that a limit forbids is cut back to the limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.battery.efficiency import Conversion
from stochbess.battery.plant import Plant, PlantState
from stochbess.errors import DataError

FloatArray = npt.NDArray[np.float64]
_KW_PER_MW = 1000.0
# A solver's rounding at a limit is no shortfall.
_ROUNDING_FRAC = 1e-6
# charge and discharge at the connection, the same in the store, loss in the cells [MW]
_Flows = tuple[float, float, float, float, float]


@dataclass(frozen=True, eq=False)
class GrossSchedule:
    """Charge and discharge at the connection by step, (T,) each [MW], none below zero.

    Where both are above zero, activation called in both directions within the step. The plant then
    charges for a part of the step and discharges for the rest, at the power charge + discharge.
    """

    charge_mw: FloatArray
    discharge_mw: FloatArray


def gross_schedule(schedule: npt.ArrayLike | GrossSchedule) -> GrossSchedule:
    """A net schedule as flows, or flows as they are; both checked."""
    if not isinstance(schedule, GrossSchedule):
        net = np.asarray(schedule, np.float64)
        schedule = GrossSchedule(np.maximum(-net, 0.0), np.maximum(net, 0.0))
    charge, discharge = schedule.charge_mw, schedule.discharge_mw
    if charge.ndim != 1 or charge.shape != discharge.shape:
        raise DataError(
            f"schedule: shapes {charge.shape} and {discharge.shape}: expected one power per step."
        )
    bad = ~(np.isfinite(charge) & np.isfinite(discharge)) | (charge < 0) | (discharge < 0)
    if bad.any():
        t = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"schedule: step {t} of {charge.size}: charge {charge[t]} MW and discharge "
            f"{discharge[t]} MW. Expected finite powers that are not negative."
        )
    return schedule


@dataclass(frozen=True, eq=False)
class Moved:
    """Result of the recursion; names as in `Trajectory`, `stored` and `drawn` inside the store."""

    energy_mwh: FloatArray
    degc: FloatArray
    mean_degc: FloatArray
    charge_mw: FloatArray
    discharge_mw: FloatArray
    stored_mw: FloatArray
    drawn_mw: FloatArray
    cell_loss_mw: FloatArray


class Recursion:
    """Stored energy and temperature, which depend on each other, one step after the other."""

    def __init__(self, plant: Plant, state: PlantState, dt_h: float) -> None:
        self.plant, self.state, self.dt_h = plant, state, dt_h
        self.usable_mwh = plant.energy_mwh * state.health_frac
        self.conversion: Conversion = plant.efficiency.conversion(state.resistance_growth_frac)
        self.keep = 1.0 - plant.self_discharge_per_h * dt_h
        low, high = plant.soc_window_frac
        self.low_mwh, self.high_mwh = low * self.usable_mwh, high * self.usable_mwh
        slack = _ROUNDING_FRAC * self.usable_mwh
        self.too_low, self.too_high = self.low_mwh - slack, self.high_mwh + slack
        self.most_charge = plant.charge_limit_mw * (1 + _ROUNDING_FRAC)
        self.most_discharge = plant.discharge_limit_mw * (1 + _ROUNDING_FRAC)

    def run(self, asked: GrossSchedule, surroundings_degc: FloatArray) -> Moved:
        left, mean = self.plant.thermal.decay(self.dt_h)
        kelvin_per_mw = _KW_PER_MW / self.plant.thermal.total_kw_k
        step = self.step
        energy, degc = self.state.energy_mwh, self.state.temperature_degc
        out = []
        columns = (asked.charge_mw, asked.discharge_mw, surroundings_degc)
        for charge, discharge, around in zip(*(c.tolist() for c in columns), strict=True):
            moved, after = step(charge, discharge, energy, degc)
            steady = around + moved[4] * kelvin_per_mw
            out.append((energy, degc, steady + (degc - steady) * mean, *moved))
            energy, degc = after, steady + (degc - steady) * left
        rows = np.array(out).reshape(len(out), 8).T
        return Moved(
            np.append(rows[0], energy), np.append(rows[1], degc), *np.ascontiguousarray(rows[2:])
        )

    def step(
        self, charge: float, discharge: float, energy: float, degc: float
    ) -> tuple[_Flows, float]:
        """Flows that can be followed, what they do in the store, and the stored energy after."""
        if charge > self.most_charge:
            charge = self.plant.charge_limit_mw
        if discharge > self.most_discharge:
            discharge = self.plant.discharge_limit_mw
        soc = energy / self.usable_mwh
        stored, drawn, loss = self.flows(charge, discharge, soc, degc)
        if drawn == math.inf:
            discharge = max(self.conversion.most_mw(soc, degc) - charge, 0.0)
            stored, drawn, loss = self.flows(charge, discharge, soc, degc)
        moved = charge, discharge, stored, drawn, loss
        kept = self.keep * energy
        after = kept + self.dt_h * (stored - drawn)
        if (after > self.too_high and charge > 0) or (after < self.too_low and discharge > 0):
            moved = self.within_limits(charge, discharge, kept, soc, degc)
            after = kept + self.dt_h * (moved[2] - moved[3])
        return moved, after

    def flows(
        self, charge: float, discharge: float, soc: float, degc: float
    ) -> tuple[float, float, float]:
        """Power into and out of the store and the loss in the cells, means over the step [MW]."""
        to_store = self.conversion.to_store
        if discharge == 0.0:
            if charge == 0.0:
                return 0.0, 0.0, 0.0
            inside, loss = to_store(-charge, soc, degc)
            return -inside, 0.0, loss
        if charge == 0.0:
            inside, loss = to_store(discharge, soc, degc)
            return 0.0, inside, loss
        power = charge + discharge
        into, charge_loss = to_store(-power, soc, degc)
        out_of, discharge_loss = to_store(power, soc, degc)
        share = charge / power
        rest = 1.0 - share
        return -into * share, out_of * rest, charge_loss * share + discharge_loss * rest

    def within_limits(
        self, charge: float, discharge: float, kept_mwh: float, soc: float, degc: float
    ) -> _Flows:
        """Flows cut back so that the step ends at the limit, and what they do in the store."""
        stored, drawn, loss = self.flows(charge, discharge, soc, degc)
        too_full = kept_mwh + self.dt_h * (stored - drawn) > self.high_mwh
        if discharge == 0.0 or charge == 0.0:
            if too_full:
                inside = max((self.high_mwh - kept_mwh) / self.dt_h, 0.0)
                net, into, loss = self.conversion.to_grid(-inside, soc, degc)
                return -net, 0.0, -into, 0.0, loss
            inside = max((kept_mwh - self.low_mwh) / self.dt_h, 0.0)
            net, out_of, loss = self.conversion.to_grid(inside, soc, degc)
            return 0.0, net, 0.0, out_of, loss
        return self._cut_one_of_two(charge, discharge, too_full, kept_mwh, soc, degc)

    def _cut_one_of_two(
        self,
        charge: float,
        discharge: float,
        too_full: bool,
        kept_mwh: float,
        soc: float,
        degc: float,
    ) -> _Flows:
        """The same for a step with both flows, by bisection on the one that is too large."""
        low, high = 0.0, 1.0
        limit = self.high_mwh if too_full else self.low_mwh
        for _ in range(60):
            part = (low + high) / 2
            c, d = (part * charge, discharge) if too_full else (charge, part * discharge)
            stored, drawn, _loss = self.flows(c, d, soc, degc)
            after = kept_mwh + self.dt_h * (stored - drawn)
            beyond = after > limit if too_full else after < limit
            low, high = (low, part) if beyond else (part, high)
        c, d = (low * charge, discharge) if too_full else (charge, low * discharge)
        return (c, d, *self.flows(c, d, soc, degc))
