"""What a plant is, and where it stands: parameters, and the state carried from call to call."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import AgingModel, Ensemble, fresh
from stochbess.battery.efficiency import ConstantEfficiency, Efficiency
from stochbess.battery.half_cycle_stress import OpenCycles
from stochbess.battery.large_prismatic import LargePrismatic
from stochbess.battery.naumann import Naumann
from stochbess.battery.schimpe import Schimpe
from stochbess.battery.thermal import ThermalModel
from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]


def all_models() -> Ensemble:
    """The laws side by side: Naumann, Schimpe, BLAST 250 Ah."""
    return Ensemble((Naumann(), Schimpe(), LargePrismatic()))


@dataclass(frozen=True)
class Plant:
    """What does not change: the reference asset by default.

    Attributes
    ----------
    energy_mwh : usable energy when new
    charge_limit_mw, discharge_limit_mw : power limits at the connection
    soc_window_frac : stored energy that a schedule may use, over usable energy
    self_discharge_per_h : share of the stored energy lost per hour
    """

    energy_mwh: float = 4.472
    charge_limit_mw: float = 2.236
    discharge_limit_mw: float = 2.236
    soc_window_frac: tuple[float, float] = (0.0, 1.0)
    self_discharge_per_h: float = 0.0
    efficiency: Efficiency = field(default_factory=ConstantEfficiency)
    thermal: ThermalModel = field(default_factory=ThermalModel)
    aging: AgingModel = field(default_factory=all_models)

    def __post_init__(self) -> None:
        low, high = self.soc_window_frac
        if not 0.0 <= low < high <= 1.0:
            raise ConfigError(
                f"plant.soc_window_frac = {self.soc_window_frac}: expected 0 <= low < high <= 1."
            )
        for name in ("energy_mwh", "charge_limit_mw", "discharge_limit_mw"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ConfigError(
                    f"plant.{name} = {getattr(self, name)}: expected a number above 0."
                )


@dataclass(frozen=True, eq=False)
class PlantState:
    """What is carried from one call to the next.

    Attributes
    ----------
    energy_mwh : stored energy
    temperature_degc : of the cells
    aging : (M,) state of the plant's aging model
    open_cycles : open turning points with what their half cycles have gone through
    health_frac : usable energy over that of a new plant
    resistance_growth_frac : growth of the resistance over that of a new plant
    """

    energy_mwh: float
    temperature_degc: float
    aging: FloatArray
    open_cycles: OpenCycles = field(default_factory=OpenCycles)
    health_frac: float = 1.0
    resistance_growth_frac: float = 0.0

    @classmethod
    def new(cls, plant: Plant, soc_frac: float = 0.5, temperature_degc: float = 25.0) -> PlantState:
        """A plant that has never been used."""
        return cls(soc_frac * plant.energy_mwh, temperature_degc, fresh(plant.aging))

    def with_health(self, loss_frac: float, resistance_growth_frac: float = 0.0) -> PlantState:
        """The same plant with a loss of capacity and a growth of resistance in force.

        The stored energy stays as it is. Open turning points stay at their SOC, which belongs to
        the old capacity: an error of the order of the loss between two settings.
        """
        if not 0.0 <= loss_frac < 1.0:
            raise DataError(f"loss_frac = {loss_frac}: expected a fraction in [0, 1).")
        return replace(
            self,
            health_frac=1.0 - loss_frac,
            resistance_growth_frac=resistance_growth_frac,
        )
