"""Naumann: a commercial 3 Ah LFP/graphite cell, calendar and cycle aging, capacity and resistance.

Calendar: Naumann, Schimpe, Keil, Hesse & Jossen, J. Energy Storage 17 (2018) 153,
doi 10.1016/j.est.2018.01.019. Cycling: Naumann, Spingler & Jossen, J. Power Sources 451 (2020)
227666, doi 10.1016/j.jpowsour.2019.227666. Coefficients as published with the simulation tool
SimSES (BSD-3).

Capacity losses follow square roots of time and of full equivalent cycles; resistance grows
linearly. The cycle law knows neither temperature nor SOC: no plating in the cold.

Two public implementations disagree on the resistance law. The SOC term of the calendar part is
squared in SimSES, which comes from the institute of the authors, and cubed in BLAST-Lite: equal at
SOC 0.5, but 0.77 % against 1.23 % after a year at SOC 1 and 25 degC. The constant of the cycle part
is 0.9182 against 0.91882. The values of SimSES are the default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import (
    Mechanism,
    RangeFlag,
    TestedRange,
    arrhenius,
    by_step,
    calendar_flags,
    cycle_flags,
)
from stochbess.battery.cycle_curve import (
    TESTED_CHARGE_C_RATE_PER_H,
    TESTED_DEPTH_FRAC,
    TESTED_DISCHARGE_C_RATE_PER_H,
    TESTED_TEMPERATURE_DEGC,
    naumann_half_cycle_w,
)
from stochbess.battery.half_cycle_stress import CellPath, RatedHalfCycles

FloatArray = npt.NDArray[np.float64]
GAS_CONSTANT_J_MOL_K = 8.3144598
_S_PER_H = 3600.0

CALENDAR_TESTED = TestedRange(
    source="doi 10.1016/j.est.2018.01.019: storage at 0 to 60 degC, all SOC, 2.5 years",
    temperature_degc=(0.0, 60.0),
    soc_frac=(0.0, 1.0),
)
CYCLE_TESTED = TestedRange(
    source="declared by BLAST-Lite for the same cell",
    temperature_degc=TESTED_TEMPERATURE_DEGC,
    depth_frac=TESTED_DEPTH_FRAC,
    max_charge_c_rate_per_h=TESTED_CHARGE_C_RATE_PER_H,
    max_discharge_c_rate_per_h=TESTED_DISCHARGE_C_RATE_PER_H,
)


@dataclass(frozen=True)
class NaumannCalendar:
    """Coefficients of the calendar law; rates per second at 25 degC."""

    rate_per_sqrt_s: float = 1.2571e-5
    activation_j_mol: float = 17126.0
    soc_cubic: float = 2.8575
    soc_0: float = 0.60225
    resistance_rate_per_s: float = 3.4194e-10
    resistance_activation_j_mol: float = 71827.0
    resistance_soc: float = -3.3903
    resistance_soc_exponent: int = 2
    resistance_soc_0: float = 1.5604

    def w_rate_per_h(self, soc_frac: npt.ArrayLike, temperature_degc: npt.ArrayLike) -> FloatArray:
        """Growth of the squared capacity loss per hour; arguments broadcast."""
        from_middle = np.asarray(soc_frac, np.float64) - 0.5
        hot = arrhenius(self.activation_j_mol, temperature_degc, GAS_CONSTANT_J_MOL_K)
        k = self.rate_per_sqrt_s * hot * (self.soc_cubic * from_middle**3 + self.soc_0)
        return np.asarray(k**2 * _S_PER_H, np.float64)

    def resistance_rate_per_h(
        self, soc_frac: npt.ArrayLike, temperature_degc: npt.ArrayLike
    ) -> FloatArray:
        """Growth of the resistance per hour [p.u. of its initial value]; arguments broadcast."""
        from_middle = np.asarray(soc_frac, np.float64) - 0.5
        hot = arrhenius(self.resistance_activation_j_mol, temperature_degc, GAS_CONSTANT_J_MOL_K)
        by_soc = self.resistance_soc * from_middle**self.resistance_soc_exponent
        k = self.resistance_rate_per_s * hot * (by_soc + self.resistance_soc_0)
        return np.asarray(k * _S_PER_H, np.float64)


@dataclass(frozen=True)
class NaumannResistanceCycle:
    """Coefficients of the resistance growth by cycling."""

    c_rate: float = -0.0020
    c_0: float = 0.0021
    depth_cubic: float = 6.8477
    depth_0: float = 0.9182

    def half_cycle(self, depth_frac: FloatArray, c_rate_per_h: FloatArray) -> FloatArray:
        """Growth by one half cycle [p.u.]; it shrinks above 1.05 per h, outside all tests."""
        by_rate = self.c_rate * c_rate_per_h + self.c_0
        by_depth = self.depth_cubic * (depth_frac - 0.5) ** 3 + self.depth_0
        return np.asarray(by_rate * by_depth * depth_frac / 2.0 / 100.0, np.float64)


@dataclass(frozen=True)
class Naumann:
    """The two laws together; see the head of this file for sources and limits."""

    calendar: NaumannCalendar = NaumannCalendar()
    resistance_cycle: NaumannResistanceCycle = NaumannResistanceCycle()

    @property
    def name(self) -> str:
        return "Naumann"

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        return (
            Mechanism("calendar", "capacity", 0.5),
            Mechanism("cycling", "capacity", 0.5),
            Mechanism("resistance, calendar", "resistance", 1.0),
            Mechanism("resistance, cycling", "resistance", 1.0),
        )

    def increments(self, path: CellPath, cycles: RatedHalfCycles) -> FloatArray:
        soc, degc, n = path.mean_soc_frac, path.temperature_degc, path.n_steps
        depth, rate = cycles.depth_frac, cycles.c_rate_per_h
        return np.stack(
            [
                self.calendar.w_rate_per_h(soc, degc) * path.dt_h,
                by_step(cycles, naumann_half_cycle_w(depth, rate), n),
                self.calendar.resistance_rate_per_h(soc, degc) * path.dt_h,
                by_step(cycles, self.resistance_cycle.half_cycle(depth, rate), n),
            ],
            axis=1,
        )

    def flags(self, path: CellPath, cycles: RatedHalfCycles) -> tuple[RangeFlag, ...]:
        return (
            *calendar_flags("Naumann calendar aging", CALENDAR_TESTED, path),
            *cycle_flags("Naumann cycle aging", CYCLE_TESTED, path, cycles),
        )
