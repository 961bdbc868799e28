"""Temperature of all cells as one, between their losses, a coolant and the ambient air.

The reference asset of 4.472 MWh is about 4991 cells of 280 Ah and 5.4 kg: 7.49 kWh/K at 1000 J/(kg
K). The heat transfer of 4 kW/K is assumed, to be tuned to an asset: losses of 56 kW, 2.5 % of its
rated power, then warm the cells by 14 K, with a time constant of 1.87 h. Entropic heat is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
_KW_PER_MW = 1000.0


@dataclass(frozen=True)
class ThermalModel:
    """One heat capacity with two ways out.

    Attributes
    ----------
    heat_capacity_kwh_k : heat capacity of all cells [kWh/K]
    cooling_kw_k : heat transfer to the coolant [kW/K]
    coolant_degc : temperature of the coolant; None = it is the ambient air
    wall_kw_k : heat transfer through the walls to the ambient air [kW/K]
    cooling_cop, heating_cop : heat moved per electric energy; infinity = none is used
    """

    heat_capacity_kwh_k: float = 7.49
    cooling_kw_k: float = 4.0
    coolant_degc: float | None = 25.0
    wall_kw_k: float = 0.0
    cooling_cop: float = 3.0
    heating_cop: float = 2.5

    def __post_init__(self) -> None:
        lowest = {"heat_capacity_kwh_k": 0.0, "cooling_cop": 0.0, "heating_cop": 0.0}
        for name in lowest:
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"battery thermal: {name} = {getattr(self, name)}: expected a number above 0."
                )
        if self.cooling_kw_k < 0 or self.wall_kw_k < 0 or not self.total_kw_k > 0:
            raise ConfigError(
                f"battery thermal: cooling_kw_k = {self.cooling_kw_k} and wall_kw_k = "
                f"{self.wall_kw_k}: expected no negative value and at least one above 0; cells "
                "that lose no heat warm up without end."
            )

    @property
    def total_kw_k(self) -> float:
        return self.cooling_kw_k + self.wall_kw_k

    @property
    def time_constant_h(self) -> float:
        return self.heat_capacity_kwh_k / self.total_kw_k

    def surroundings_degc(self, ambient_degc: npt.ArrayLike) -> FloatArray:
        """Temperature that the cells approach without losses [degC]; shape of the ambient."""
        ambient = np.asarray(ambient_degc, np.float64)
        if not np.isfinite(ambient).all():
            raise DataError(
                f"ambient_degc: {int((~np.isfinite(ambient)).sum())} values that are not finite. "
                "Expected a temperature for every step."
            )
        coolant = ambient if self.coolant_degc is None else self.coolant_degc
        mixed = self.cooling_kw_k * coolant + self.wall_kw_k * ambient
        return np.asarray(mixed / self.total_kw_k, np.float64)

    def decay(self, dt_h: float) -> tuple[float, float]:
        """What is left of a temperature difference after a step, and its mean over the step."""
        x = dt_h / self.time_constant_h
        return math.exp(-x), -math.expm1(-x) / x

    def path(
        self, heat_mw: npt.ArrayLike, dt_h: float, start_degc: float, ambient_degc: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Exact temperatures for losses that are constant within each step.

        Parameters
        ----------
        heat_mw : (T,) loss in the cells
        ambient_degc : one value, or (T,)

        Returns
        -------
        (T+1,) at the boundaries and (T,) mean over each step [degC]
        """
        heat = np.asarray(heat_mw, np.float64) * _KW_PER_MW
        steady = np.broadcast_to(self.surroundings_degc(ambient_degc), heat.shape)
        steady = steady + heat / self.total_kw_k
        left, mean = self.decay(dt_h)
        degc = np.empty(heat.size + 1)
        degc[0] = now = start_degc
        for t, goal in enumerate(steady.tolist()):
            degc[t + 1] = now = goal + (now - goal) * left
        return degc, np.asarray(steady + (degc[:-1] - steady) * mean, np.float64)

    def auxiliary_mw(self, mean_degc: FloatArray, ambient_degc: npt.ArrayLike) -> FloatArray:
        """(T,) electric power that cooling or heating draws from the connection [MW]."""
        if self.coolant_degc is None:
            return np.zeros_like(mean_degc)
        heat_kw = self.cooling_kw_k * (mean_degc - self.coolant_degc)
        used = np.where(heat_kw > 0, heat_kw / self.cooling_cop, -heat_kw / self.heating_cop)
        return np.asarray(used / _KW_PER_MW, np.float64)
