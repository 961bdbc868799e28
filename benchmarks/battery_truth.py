"""How fast the battery's truth is, and what ten years cost by each law of aging.

    python benchmarks/battery_truth.py [--repeat 3]

Speed: a year of quarter hours of random dispatch, each law by itself and all together, with
constant efficiency and with the circuit; CPU seconds. Life: one cycle a day between SOC 0.1 and 0.9
at 0.5 per h, 7 h of rest when full, at 25 degC, without feedback of the loss on the cycle.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from stochbess.battery.aging import AgingModel, advance, effects, fresh
from stochbess.battery.efficiency import Circuit, ConstantEfficiency, Efficiency
from stochbess.battery.half_cycle_stress import CellPath, OpenCycles, carry_open
from stochbess.battery.large_prismatic import LargePrismatic
from stochbess.battery.naumann import Naumann
from stochbess.battery.plant import Plant, PlantState, all_models
from stochbess.battery.schimpe import Schimpe
from stochbess.battery.simulation import simulate

STEPS_OF_A_YEAR, DT_H = 35_136, 0.25
DAYS = 3650


def dispatch() -> np.ndarray:
    """Two noisy waves a day with rests: about 1.9 full cycles a day, limits met often."""
    rng = np.random.default_rng(0)
    hour = np.arange(STEPS_OF_A_YEAR) * DT_H
    wave = 1.3 * np.sin(4 * np.pi * hour / 24 + 0.3) + rng.normal(0, 0.4, hour.size)
    return 2.236 * np.clip(wave, -1, 1) * (rng.random(hour.size) > 0.4)


def speed(repeat: int) -> None:
    laws: tuple[AgingModel, ...] = (Naumann(), Schimpe(), LargePrismatic(), all_models())
    efficiencies: tuple[Efficiency, ...] = (ConstantEfficiency(), Circuit(4.472, 2.236))
    net_mw = dispatch()
    print("| efficiency | aging | CPU s for a year | full cycles |\n|---|---|---|---|")
    for efficiency in efficiencies:
        for law in laws:
            plant = Plant(efficiency=efficiency, aging=law)
            best = np.inf
            for _ in range(repeat):
                started = time.process_time()
                ran = simulate(plant, net_mw, DT_H, PlantState.new(plant))
                best = min(best, time.process_time() - started)
            cycles = ran.discharge_mw.sum() * DT_H / plant.energy_mwh
            print(f"| {type(efficiency).__name__} | {law.name} | {best:.3f} | {cycles:.0f} |")


def prefix() -> None:
    """A year in days against a year at once."""
    plant = Plant(efficiency=Circuit(4.472, 2.236))
    net_mw = dispatch()
    whole = simulate(plant, net_mw, DT_H, PlantState.new(plant)).end
    state = PlantState.new(plant)
    started = time.process_time()
    for day in np.split(net_mw, STEPS_OF_A_YEAR // 96):
        state = simulate(plant, day, DT_H, state).end
    took = time.process_time() - started
    gap = np.abs(state.aging / whole.aging - 1).max()
    print(f"\n366 days one by one: {took:.2f} s, largest relative difference of a state {gap:.1e}")


def daily_cycle(rest_h: float, dt_h: float = 0.05) -> CellPath:
    """0.1 -> 0.9 in 1.6 h, `rest_h` full, back in 1.6 h, empty for the rest of the day."""
    corners_h = np.cumsum([0.0, 2.0, 1.6, rest_h, 1.6, 24 - 5.2 - rest_h])
    hour = np.linspace(0, 24, round(24 / dt_h) + 1)
    soc = np.interp(hour, corners_h, [0.1, 0.1, 0.9, 0.9, 0.1, 0.1])
    return CellPath(dt_h, soc, np.full(hour.size - 1, 25.0))


def life() -> None:
    print("\n| law | mechanism | loss after ten years, % |\n|---|---|---|")
    day = daily_cycle(7.0)
    for law in (Naumann(), Schimpe(), LargePrismatic()):
        first = advance(law, fresh(law), day)
        second = advance(law, first.state, day, carry_open(day, OpenCycles()))
        loss = effects(law, second.increments.sum(axis=0) * DAYS)
        capacity = [
            (mechanism.name, 100 * value)
            for mechanism, value in zip(law.mechanisms, loss, strict=True)
            if mechanism.effect == "capacity"
        ]
        for name, value in [*capacity, ("**all**", sum(value for _, value in capacity))]:
            print(f"| {law.name} | {name} | {value:.2f} |")
    law = LargePrismatic()
    print("\nBLAST 250 Ah, cycling, by the C-rate of the half cycles:")
    for name, rate in (("0.5 per h", 0.5), ("1.6/24 per h, the mean over the day", 1.6 / 24)):
        loss_frac = float(law.cycle_rate(0.8, rate, 25.0)) * (0.8 * DAYS) ** law.cycle_power
        print(f"  {name}: {100 * loss_frac:.2f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    speed(options.repeat)
    prefix()
    life()
