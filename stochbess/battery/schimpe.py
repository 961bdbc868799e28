"""Schimpe: a 3 Ah LFP/graphite cell with growth of the surface layer, and plating in the cold.

Schimpe, von Kuepach, Naumann, Hesse, Smith & Jossen, J. Electrochem. Soc. 165 (2018) A181,
doi 10.1149/2.1181714jes. Four losses of capacity: the solid-electrolyte interphase over time
(Tafel in the anode potential, Arrhenius in temperature), its growth by cycling at high temperature,
lithium plating at low temperature, and plating at low temperature and high SOC. No resistance law.

Anode potential: Safari & Delacourt, J. Electrochem. Soc. 158 (2011) A562, doi 10.1149/1.3567007.
The cycle laws take the instantaneous current and temperature of each step, not those of half
cycles; depth does not enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import (
    REFERENCE_K,
    Mechanism,
    RangeFlag,
    TestedRange,
    arrhenius,
    calendar_flags,
    cycle_flags,
)
from stochbess.battery.half_cycle_stress import CellPath, RatedHalfCycles

FloatArray = npt.NDArray[np.float64]
GAS_CONSTANT_J_MOL_K = 8.314
FARADAY_C_MOL = 96485.0

TESTED = TestedRange(
    source="doi 10.1149/2.1181714jes: 0 to 55 degC; its cycle laws refer to 1 per h",
    temperature_degc=(0.0, 55.0),
    soc_frac=(0.0, 1.0),
    max_charge_c_rate_per_h=1.0,
    max_discharge_c_rate_per_h=1.0,
)


def anode_potential_v(soc_frac: npt.ArrayLike) -> FloatArray:
    """Open-circuit potential of the graphite anode against lithium [V] at a cell SOC in [0, 1]."""
    x = 0.0085 + np.asarray(soc_frac, np.float64) * (0.78 - 0.0085)
    return np.asarray(
        0.6379
        + 0.5416 * np.exp(-305.5309 * x)
        + 0.044 * np.tanh(-(x - 0.1958) / 0.1088)
        - 0.1978 * np.tanh((x - 1.0571) / 0.0854)
        - 0.6875 * np.tanh((x + 0.0117) / 0.0529)
        - 0.0175 * np.tanh((x - 0.5692) / 0.0875),
        np.float64,
    )


@dataclass(frozen=True)
class Schimpe:
    """Coefficients of the four losses at 25 degC, and their use.

    Cell quantities are those of the tested cell of `capacity_ah`; SOC and C-rate scale to any.
    """

    capacity_ah: float = 3.0
    calendar_per_sqrt_h: float = 3.694e-4
    calendar_activation_j_mol: float = 20592.0
    transfer_coefficient: float = 0.384
    anode_reference_v: float = 0.123
    calendar_0: float = 0.142
    high_per_sqrt_ah: float = 1.456e-4
    high_activation_j_mol: float = 32699.0
    low_per_sqrt_ah: float = 4.009e-4
    low_activation_j_mol: float = 55546.0
    low_current_h: float = 2.64
    low_high_soc_per_ah: float = 2.031e-6
    low_high_soc_activation_j_mol: float = 2.33e5
    low_high_soc_current_h: float = 7.84
    high_soc_frac: float = 0.82
    reference_c_rate_per_h: float = 1.0

    @property
    def name(self) -> str:
        return "Schimpe"

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        return (
            Mechanism("calendar", "capacity", 0.5),
            Mechanism("cycling, high temperature", "capacity", 0.5),
            Mechanism("cycling, low temperature", "capacity", 0.5),
            Mechanism("cycling, low temperature, high SOC", "capacity", 1.0),
        )

    def calendar_rate_per_sqrt_h(
        self, soc_frac: npt.ArrayLike, temperature_degc: npt.ArrayLike
    ) -> FloatArray:
        """Loss after an hour of storage [p.u.]; arguments broadcast."""
        over = self.anode_reference_v - anode_potential_v(soc_frac)
        tafel = np.exp(
            self.transfer_coefficient * FARADAY_C_MOL / GAS_CONSTANT_J_MOL_K * over / REFERENCE_K
        )
        hot = arrhenius(self.calendar_activation_j_mol, temperature_degc, GAS_CONSTANT_J_MOL_K)
        return np.asarray(self.calendar_per_sqrt_h * hot * (tafel + self.calendar_0), np.float64)

    def high_rate_per_sqrt_ah(self, temperature_degc: npt.ArrayLike) -> FloatArray:
        """Loss by high-temperature cycling after one Ah in and out."""
        hot = arrhenius(self.high_activation_j_mol, temperature_degc, GAS_CONSTANT_J_MOL_K)
        return np.asarray(self.high_per_sqrt_ah * hot, np.float64)

    def low_rate_per_sqrt_ah(
        self, temperature_degc: npt.ArrayLike, charge_c_rate_per_h: npt.ArrayLike
    ) -> FloatArray:
        """Loss by low-temperature cycling after one Ah charged at the given rate."""
        over = np.asarray(charge_c_rate_per_h, np.float64) - self.reference_c_rate_per_h
        cold = arrhenius(-self.low_activation_j_mol, temperature_degc, GAS_CONSTANT_J_MOL_K)
        return np.asarray(self.low_per_sqrt_ah * cold * np.exp(self.low_current_h * over))

    def low_high_soc_rate_per_ah(
        self, temperature_degc: npt.ArrayLike, charge_c_rate_per_h: npt.ArrayLike
    ) -> FloatArray:
        """Loss per Ah charged above `high_soc_frac` at the given rate."""
        over = np.asarray(charge_c_rate_per_h, np.float64) - self.reference_c_rate_per_h
        cold = arrhenius(
            -self.low_high_soc_activation_j_mol, temperature_degc, GAS_CONSTANT_J_MOL_K
        )
        rate = self.low_high_soc_per_ah * cold * np.exp(self.low_high_soc_current_h * over)
        return np.asarray(rate, np.float64)

    def increments(self, path: CellPath, cycles: RatedHalfCycles) -> FloatArray:
        degc, change, loop = path.temperature_degc, path.change_frac, path.loop_frac
        charged_ah = np.maximum(change, 0.0) * self.capacity_ah
        loop_ah = loop * self.capacity_ah
        moved_ah = np.abs(change) * self.capacity_ah + 2.0 * loop_ah
        low, top = path.soc_frac[:-1], path.soc_frac[1:]
        above = np.clip(top - np.maximum(low, self.high_soc_frac), 0.0, None) * self.capacity_ah
        loop_above = loop_ah * (path.mean_soc_frac > self.high_soc_frac)
        rate, loop_rate = path.c_rate_per_h, path.loop_c_rate_per_h
        return np.stack(
            [
                self.calendar_rate_per_sqrt_h(path.mean_soc_frac, degc) ** 2 * path.dt_h,
                self.high_rate_per_sqrt_ah(degc) ** 2 * moved_ah,
                self.low_rate_per_sqrt_ah(degc, rate) ** 2 * charged_ah
                + self.low_rate_per_sqrt_ah(degc, loop_rate) ** 2 * loop_ah,
                self.low_high_soc_rate_per_ah(degc, rate) * above
                + self.low_high_soc_rate_per_ah(degc, loop_rate) * loop_above,
            ],
            axis=1,
        )

    def flags(self, path: CellPath, cycles: RatedHalfCycles) -> tuple[RangeFlag, ...]:
        return (
            *calendar_flags("Schimpe calendar aging", TESTED, path),
            *cycle_flags("Schimpe cycle aging", TESTED, path, cycles),
        )
