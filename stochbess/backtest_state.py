"""Where the battery stands between two days of a backtest, as it is and as its gates know it.

Bids for a day are due on the day before, when nobody knows how that day will end. What is decided
at a gate therefore starts from the state that was *expected* then: the plan of the running day as
it stood at the gate, followed by the plant. The dispatch starts from the state that came about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import Ensemble, state_of_loss
from stochbess.battery.half_cycle_stress import OpenCycles
from stochbess.battery.naumann import Naumann
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import Trajectory, simulate
from stochbess.config import Config
from stochbess.errors import ConfigError
from stochbess.run_record import canonical_json

Floats = npt.NDArray[np.float64]
# The law by which the battery of a backtest loses capacity; the others are reported beside it.
HEALTH_LAW = Naumann().name
START_DEGC = 25.0
_C_RATE_PER_H = 0.5  # of half cycles that were open before the backtest began


@dataclass(frozen=True, eq=False)
class State:
    """What is carried from day to day.

    Attributes
    ----------
    actual : the plant when the last day was over
    expected : the same moment as it was expected at the first gate of the following day
    last_day : the day that was lived last, None before the first
    lots : reserve lots of that day by variable name, to begin the next search from
    """

    actual: PlantState
    expected: PlantState
    last_day: date | None
    lots: Mapping[str, float]

    def known_for(self, day: date) -> PlantState:
        """What the gates of `day` know of its beginning.

        A day that does not follow the last one at once begins from a rest: its state is known.
        """
        follows = self.last_day is not None and day - self.last_day == timedelta(days=1)
        return self.expected if follows else self.actual

    @property
    def sha256(self) -> str:
        """Hash of everything that is carried."""
        return hashlib.sha256(canonical_json(record_of(self)).encode()).hexdigest()


def first_state(config: Config, plant: Plant) -> State:
    """The configured battery before the first day.

    Its capacity is that of `battery.state.soh_frac`. Loss grows with the root of use, so that a new
    cell ages many times faster than one in use: every law begins at the loss at which the decision
    prices cycles (`aging.cycle_loss_frac`), by each of its mechanisms that take capacity.
    """
    given = config.battery.state
    lost = [
        config.aging.cycle_loss_frac if mechanism.effect == "capacity" else 0.0
        for mechanism in plant.aging.mechanisms
    ]
    usable_mwh = plant.energy_mwh * given.soh_frac
    past = OpenCycles()
    if given.open_turning_points_frac:
        past = OpenCycles.assumed(
            given.open_turning_points_frac,
            given.soc_frac,
            c_rate_per_h=_C_RATE_PER_H,
            temperature_degc=START_DEGC,
        )
    new = PlantState.new(plant, 0.0, START_DEGC).with_health(1.0 - given.soh_frac)
    start = replace(
        new,
        energy_mwh=given.soc_frac * usable_mwh,
        aging=state_of_loss(plant.aging, lost),
        open_cycles=past,
    )
    return State(start, start, None, {})


def config_at(config: Config, day: date, plant: Plant, start: PlantState) -> Config:
    """`config` with `day` as its delivery day and the battery as it stands in `start`."""
    usable_mwh = plant.energy_mwh * start.health_frac
    state = config.battery.state.model_copy(
        update={
            "soc_frac": start.energy_mwh / usable_mwh,
            "soh_frac": start.health_frac,
            "open_turning_points_frac": tuple(start.open_cycles.levels.tolist()),
        }
    )
    parts = {
        "battery": config.battery.model_copy(update={"state": state}),
        "market": config.market.model_copy(update={"day": day, "n_days": 1}),
    }
    return config.model_copy(update=parts)


def live(
    plant: Plant, flows: GrossSchedule, dt_h: float, start: PlantState
) -> tuple[Trajectory, PlantState, float]:
    """Let the plant follow a day; trajectory, state afterwards, energy that capacity took with it.

    Capacity is renewed at the end of the day by `HEALTH_LAW`. Stored energy beyond what then fits
    is lost [MWh]; below zero it is a solver's rounding at the lower limit.
    """
    ran = simulate(plant, flows, dt_h, start)
    lost = loss_by_law(plant, ran.end)[HEALTH_LAW] - loss_by_law(plant, start)[HEALTH_LAW]
    health = start.health_frac - lost
    end = ran.end.with_health(1.0 - health)
    low, high = (limit * plant.energy_mwh * health for limit in plant.soc_window_frac)
    kept_mwh = min(max(end.energy_mwh, low), high)
    return ran, replace(end, energy_mwh=kept_mwh), end.energy_mwh - kept_mwh


def loss_by_law(plant: Plant, state: PlantState) -> dict[str, float]:
    """Capacity lost over that of a new battery, as each law sees it."""
    if not isinstance(plant.aging, Ensemble):
        raise ConfigError(
            f"plant.aging is {plant.aging.name}; a backtest expects several laws side by side "
            f"with {HEALTH_LAW} among them (battery.plant.all_models)."
        )
    return dict(plant.aging.band(state.aging).by_model)


def record_of(state: State) -> dict[str, Any]:
    """The state in plain values that JSON gives back to the last bit."""
    return {
        "actual": _plant_record(state.actual),
        "expected": _plant_record(state.expected),
        "last_day": None if state.last_day is None else state.last_day.isoformat(),
        "lots": dict(sorted(state.lots.items())),
    }


def state_of(record: Mapping[str, Any]) -> State:
    """The state that `record_of` wrote down."""
    last = record["last_day"]
    return State(
        _plant_state(record["actual"]),
        _plant_state(record["expected"]),
        None if last is None else date.fromisoformat(last),
        {str(name): float(value) for name, value in record["lots"].items()},
    )


def _plant_record(state: PlantState) -> dict[str, Any]:
    return {
        "energy_mwh": float(state.energy_mwh),
        "temperature_degc": float(state.temperature_degc),
        "aging": state.aging.tolist(),
        "levels": state.open_cycles.levels.tolist(),
        "sums": state.open_cycles.sums.tolist(),
        "health_frac": float(state.health_frac),
        "resistance_growth_frac": float(state.resistance_growth_frac),
    }


def _plant_state(record: Mapping[str, Any]) -> PlantState:
    levels = np.array(record["levels"], np.float64)
    return PlantState(
        energy_mwh=float(record["energy_mwh"]),
        temperature_degc=float(record["temperature_degc"]),
        aging=np.array(record["aging"], np.float64),
        open_cycles=OpenCycles(
            levels, np.array(record["sums"], np.float64).reshape(len(levels), 2)
        ),
        health_frac=float(record["health_frac"]),
        resistance_growth_frac=float(record["resistance_growth_frac"]),
    )
