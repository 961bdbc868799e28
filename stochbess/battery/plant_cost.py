"""What a schedule costs in aging by the plant itself: the truth of passes, ledger and report.

A decision prices aging by convex functions at held temperatures. Here the plant follows the same
schedule with the temperature that the schedule makes, and the growth of its states is valued at the
losses already incurred, one price per mechanism (docs/math.md, Aging as the plant shows it).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import members
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import Trajectory, simulate
from stochbess.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
# Law and mechanism behind each price of `PlantAging`.
_CALENDAR, _CYCLE = ("Naumann", "calendar"), ("Naumann", "cycling")
_PLATING = ("Schimpe", "cycling, low temperature")


@dataclass(frozen=True, eq=False)
class SeenAging:
    """Aging of one schedule by the plant.

    Attributes
    ----------
    calendar_eur, cycle_eur, plating_eur : true cost; zero for a mechanism without a price
    moved_mwh : energy into and out of the store
    ran : what the plant did, with temperatures, growth of all states, and flags
    """

    calendar_eur: float
    cycle_eur: float
    plating_eur: float
    moved_mwh: float
    ran: Trajectory

    @property
    def aging_eur(self) -> float:
        return self.calendar_eur + self.cycle_eur + self.plating_eur


@dataclass(frozen=True, eq=False)
class PlantAging:
    """The plant at the start of a schedule, and what a unit of squared loss is worth by mechanism.

    Attributes
    ----------
    plant : with the laws of Naumann, and of Schimpe where plating has a price
    ambient_degc : of all steps, or (T,)
    calendar_w_eur, cycle_w_eur, plating_w_eur : value of one unit of squared loss [EUR]; zero = the
        mechanism is not counted

    Raises
    ------
    ConfigError : the plant does not have the law of a mechanism that has a price
    """

    plant: Plant
    state: PlantState
    dt_h: float
    ambient_degc: float | FloatArray
    calendar_w_eur: float
    cycle_w_eur: float
    plating_w_eur: float = 0.0

    def __post_init__(self) -> None:
        prices = {_CALENDAR: self.calendar_w_eur, _CYCLE: self.cycle_w_eur}
        for (law, mechanism), price in {**prices, _PLATING: self.plating_w_eur}.items():
            if price and (law, mechanism) not in self._columns:
                raise ConfigError(
                    f"aging is judged by {self.plant.aging.name}, which has no {mechanism} of "
                    f"{law}; expected the laws of Naumann, and of Schimpe for plating."
                )

    @cached_property
    def _columns(self) -> dict[tuple[str, str], int]:
        """(law, mechanism) -> column of the state."""
        names = [
            (law.name, mechanism.name)
            for law in members(self.plant.aging)
            for mechanism in law.mechanisms
        ]
        return {name: i for i, name in enumerate(names)}

    def of(self, charge_mw: FloatArray, discharge_mw: FloatArray) -> SeenAging:
        """Let the plant follow gross flows (T,) [MW]; a solver's rounding below zero is none."""
        flows = GrossSchedule(np.maximum(charge_mw, 0.0), np.maximum(discharge_mw, 0.0))
        ran = simulate(self.plant, flows, self.dt_h, self.state, self.ambient_degc)
        growth = ran.aging_increments.sum(axis=0)

        def cost(name: tuple[str, str], price: float) -> float:
            return price * float(growth[self._columns[name]]) if price else 0.0

        moved_frac = float(np.abs(ran.path.change_frac).sum() + 2.0 * ran.path.loop_frac.sum())
        return SeenAging(
            calendar_eur=cost(_CALENDAR, self.calendar_w_eur),
            cycle_eur=cost(_CYCLE, self.cycle_w_eur),
            plating_eur=cost(_PLATING, self.plating_w_eur),
            moved_mwh=moved_frac * self.plant.energy_mwh * self.state.health_frac,
            ran=ran,
        )
