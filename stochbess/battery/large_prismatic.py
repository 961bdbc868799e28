"""BLAST-Lite's model of a large prismatic LFP/graphite cell of more than 250 Ah.

Coefficients of Lfp_Gr_250AhPrismatic in BLAST-Lite (NREL, BSD-3); tests of
doi 10.1016/j.est.2023.109042. The cell is the closest to those of a container. Losses grow with the
powers 0.526 of days and 0.828 of full equivalent cycles. No resistance law.

Four differences from that program, all on purpose:

- a half cycle is rated by its own depth, C-rate and temperature. The law is a function of the
  "average of the charge and discharge C-rates" of the tests (BLAST-Lite 1.1.1,
  lfp_gr_250AhPrismatic_2019.py, MODEL SENSITIVITY), which is what half cycles have. The program
  itself feeds another number to it: the absolute C-rate integrated over a window of a day or one
  full cycle, divided by the length of the window, rests included (degradation_model.py,
  _extract_stressors; _find_breakpoints sets the windows). It is 0.065 for one cycle a day of depth
  0.8 at 0.5 per h and halves the cycle rate. Where cycling has no rests the two are one number, so
  that the fit does not depend on it. Half cycles are the reading of the law, the day mean is a
  property of the program; `daily_c_rate` takes it, to compare with the program;
- it reduces the energy moved by the capacity that is left; here a path is one of the usable energy;
- it averages the rate k over a day, here k^(1/p) is averaged, which is what the power law adds up:
  5 % more calendar loss for a day between SOC 0.1 and 0.9;
- it steps the power law by explicit Euler; here the state is exact.

The cycle rate falls with temperature because the fit compensates the calendar law over 10 to 45
degC. It must not be trusted outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import (
    ZERO_DEGC_K,
    Mechanism,
    RangeFlag,
    TestedRange,
    by_step,
    calendar_flags,
    cycle_flags,
)
from stochbess.battery.half_cycle_stress import CellPath, RatedHalfCycles
from stochbess.battery.schimpe import anode_potential_v

FloatArray = npt.NDArray[np.float64]
_H_PER_DAY = 24.0

TESTED = TestedRange(
    source="declared by BLAST-Lite; at 10 degC charging was limited to 0.16 per h",
    temperature_degc=(10.0, 45.0),
    soc_frac=(0.0, 1.0),
    depth_frac=(0.8, 1.0),
    max_charge_c_rate_per_h=0.65,
    max_discharge_c_rate_per_h=1.0,
)


@dataclass(frozen=True)
class LargePrismatic:
    """Coefficients as in BLAST-Lite, and their use.

    With `daily_c_rate` every half cycle has the mean C-rate, rests included, of the 24 h from the
    start of the path in which it is complete. Windows then add up only if they are cut at days.
    """

    calendar: float = 8.37e4
    calendar_k: float = -5.21e3
    calendar_k_per_v: float = -3.56e3
    calendar_power: float = 0.526
    cycle_0: float = 4.38e-8
    cycle_per_depth: float = 1.55e-8
    cycle_per_c_rate: float = 1.68e-7
    cycle_cold_k: float = 2.19e3
    cycle_hot_k: float = 1.55e5
    cycle_power: float = 0.828
    daily_c_rate: bool = False

    @property
    def name(self) -> str:
        return "BLAST 250 Ah, daily C-rate" if self.daily_c_rate else "BLAST 250 Ah"

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        return (
            Mechanism("calendar", "capacity", self.calendar_power),
            Mechanism("cycling", "capacity", self.cycle_power),
        )

    def calendar_rate(self, soc_frac: npt.ArrayLike, temperature_degc: npt.ArrayLike) -> FloatArray:
        """Loss after a day of storage [p.u.]; arguments broadcast."""
        kelvin = np.asarray(temperature_degc, np.float64) + ZERO_DEGC_K
        potential = anode_potential_v(soc_frac)
        exponent = (self.calendar_k + self.calendar_k_per_v * potential) / kelvin
        return np.asarray(self.calendar * np.exp(exponent), np.float64)

    def cycle_rate(
        self,
        depth_frac: npt.ArrayLike,
        c_rate_per_h: npt.ArrayLike,
        temperature_degc: npt.ArrayLike,
    ) -> FloatArray:
        """Loss after one full equivalent cycle [p.u.]; arguments broadcast."""
        kelvin = np.asarray(temperature_degc, np.float64) + ZERO_DEGC_K
        by_use = (
            self.cycle_0
            + self.cycle_per_depth * np.asarray(depth_frac, np.float64)
            + self.cycle_per_c_rate * np.asarray(c_rate_per_h, np.float64)
        )
        by_heat = np.exp(self.cycle_cold_k / kelvin) + np.exp(-self.cycle_hot_k / kelvin)
        return np.asarray(by_use * by_heat, np.float64)

    def increments(self, path: CellPath, cycles: RatedHalfCycles) -> FloatArray:
        calendar = self.calendar_rate(path.mean_soc_frac, path.temperature_degc)
        c_rate = _daily_c_rate(path, cycles) if self.daily_c_rate else cycles.c_rate_per_h
        cycle = self.cycle_rate(cycles.depth_frac, c_rate, cycles.temperature_degc)
        per_half = cycle ** (1.0 / self.cycle_power) * cycles.depth_frac / 2.0
        return np.stack(
            [
                calendar ** (1.0 / self.calendar_power) * path.dt_h / _H_PER_DAY,
                by_step(cycles, per_half, path.n_steps),
            ],
            axis=1,
        )

    def flags(self, path: CellPath, cycles: RatedHalfCycles) -> tuple[RangeFlag, ...]:
        return (
            *calendar_flags("BLAST 250 Ah calendar aging", TESTED, path),
            *cycle_flags("BLAST 250 Ah cycle aging", TESTED, path, cycles),
        )


def _daily_c_rate(path: CellPath, cycles: RatedHalfCycles) -> FloatArray:
    day = (np.arange(path.n_steps) * path.dt_h / _H_PER_DAY + 1e-9).astype(np.int64)
    moved = np.bincount(day, np.abs(path.change_frac) + 2.0 * path.loop_frac)
    mean = moved / (np.bincount(day) * path.dt_h)
    return np.asarray(mean[day[cycles.step]], np.float64)
