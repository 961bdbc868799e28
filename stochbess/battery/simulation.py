"""The plant follows a schedule: stored energy, temperature, losses and aging, step by step.

This is the truth that decisions are judged by. It never corrects a schedule in silence: what could
not be followed is an output. The state at the end, handed to the next call, continues the run as if
it had never been cut: for any cut between two steps the results are those of one call (to 1e-9).
Capacity and resistance are held over one call; `PlantState.with_health` sets them between calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import AgingModel, RangeFlag, advance, effects
from stochbess.battery.half_cycle_stress import CellPath, carry_open
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.recursion import GrossSchedule, Recursion, gross_schedule

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What the plant did. T steps; powers are means over the step in MW.

    net power + losses + change of stored energy balance in every step:
    charge - discharge = d(energy)/dt + cell loss + inverter loss + self-discharge.

    Attributes
    ----------
    energy_mwh, temperature_degc : (T+1,) at the boundaries of the steps
    charge_mw, discharge_mw : (T,) followed at the connection
    charge_shortfall_mw, discharge_shortfall_mw : (T,) asked for and not followed, none below zero
    cell_loss_mw, inverter_loss_mw, self_discharge_mw : (T,)
    auxiliary_mw : (T,) electric power for cooling and heating; not part of the balance above
    aging_increments : (T, M) growth of the state of each mechanism of the aging model
    path : what the cells went through
    aging_flags, efficiency_note : where laws and tables are used outside their measurements
    end : state to hand to the next call
    """

    dt_h: float
    energy_mwh: FloatArray
    temperature_degc: FloatArray
    charge_mw: FloatArray
    discharge_mw: FloatArray
    charge_shortfall_mw: FloatArray
    discharge_shortfall_mw: FloatArray
    cell_loss_mw: FloatArray
    inverter_loss_mw: FloatArray
    self_discharge_mw: FloatArray
    auxiliary_mw: FloatArray
    aging_increments: FloatArray
    path: CellPath
    aging_flags: tuple[RangeFlag, ...]
    efficiency_note: str | None
    start: PlantState
    end: PlantState
    model: AgingModel

    @property
    def soc_frac(self) -> FloatArray:
        """(T+1,) stored over usable energy."""
        return self.path.soc_frac

    @property
    def followed(self) -> bool:
        """Whether the whole schedule was followed."""
        return not (self.charge_shortfall_mw.any() or self.discharge_shortfall_mw.any())

    @property
    def shortfall_mw(self) -> FloatArray:
        """(T,) net power asked for less net power followed, above zero = exported too little."""
        return np.asarray(self.discharge_shortfall_mw - self.charge_shortfall_mw, np.float64)

    @cached_property
    def effects_frac(self) -> FloatArray:
        """(T+1, M) loss or growth by mechanism at the boundaries, since the plant was new."""
        grown = np.cumsum(self.aging_increments, axis=0)
        states = self.start.aging + np.concatenate([np.zeros((1, grown.shape[1])), grown])
        return effects(self.model, states)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say about this trajectory, in words."""
        notes = [flag.text for flag in self.aging_flags]
        if self.efficiency_note:
            notes.append(self.efficiency_note)
        for word, short in (
            ("charged", self.charge_shortfall_mw),
            ("discharged", self.discharge_shortfall_mw),
        ):
            if short.any():
                notes.append(
                    f"schedule not followed: {short.sum() * self.dt_h:.4g} MWh less {word} than "
                    f"asked for, in {int((short > 0).sum())} of {short.size} steps"
                )
        return tuple(notes)


def simulate(
    plant: Plant,
    schedule_mw: npt.ArrayLike | GrossSchedule,
    dt_h: float,
    state: PlantState,
    ambient_degc: npt.ArrayLike = 25.0,
) -> Trajectory:
    """Let the plant follow a schedule.

    Parameters
    ----------
    schedule_mw : (T,) net power at the connection, above zero exporting; or gross flows
    dt_h : length of a step [h]
    state : where the plant stands; `PlantState.new`, or `end` of an earlier call
    ambient_degc : ambient temperature, one for all steps or (T,)

    With `ConstantEfficiency`, stored energy is that of the decision model's energy balance.
    Efficiency and resistance are those at the start of each step; aging takes mean temperatures.

    Raises
    ------
    DataError : a power is NaN, a flow is negative, or shapes do not fit
    """
    asked = gross_schedule(schedule_mw)
    ambient = np.broadcast_to(np.asarray(ambient_degc, np.float64), asked.charge_mw.shape)
    moved = Recursion(plant, state, dt_h).run(asked, plant.thermal.surroundings_degc(ambient))
    usable_mwh = plant.energy_mwh * state.health_frac
    loop_mw = np.minimum(moved.stored_mw, moved.drawn_mw)
    path = CellPath(
        dt_h,
        moved.energy_mwh / usable_mwh,
        moved.mean_degc,
        loop_mw * dt_h / usable_mwh,
        np.where(loop_mw > 0, moved.stored_mw + moved.drawn_mw, 0.0) / usable_mwh,
    )
    aged = advance(plant.aging, state.aging, path, state.open_cycles)
    end = replace(
        state,
        energy_mwh=float(moved.energy_mwh[-1]),
        temperature_degc=float(moved.degc[-1]),
        aging=aged.state,
        open_cycles=carry_open(path, state.open_cycles),
    )
    losses_mw = moved.charge_mw - moved.stored_mw + moved.drawn_mw - moved.discharge_mw
    return Trajectory(
        dt_h=dt_h,
        energy_mwh=moved.energy_mwh,
        temperature_degc=moved.degc,
        charge_mw=moved.charge_mw,
        discharge_mw=moved.discharge_mw,
        charge_shortfall_mw=asked.charge_mw - moved.charge_mw,
        discharge_shortfall_mw=asked.discharge_mw - moved.discharge_mw,
        cell_loss_mw=moved.cell_loss_mw,
        inverter_loss_mw=losses_mw - moved.cell_loss_mw,
        self_discharge_mw=plant.self_discharge_per_h * moved.energy_mwh[:-1],
        auxiliary_mw=plant.thermal.auxiliary_mw(moved.mean_degc, ambient),
        aging_increments=aged.increments,
        path=path,
        aging_flags=aged.flags,
        efficiency_note=plant.efficiency.note(moved.degc),
        start=state,
        end=end,
        model=plant.aging,
    )
