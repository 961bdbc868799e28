"""What one iteration of progressive hedging costs on the reference day, and how ranks share it.

Measured, in processor seconds of one core: building the model of a scenario, and solving it through
Pyomo, as a rank of mpi-sppy does. Simulated: the hub waits for its slowest rank in every iteration,
so that an iteration takes the largest sum of solves over the ranks; solves are drawn from those
measured. Communication is left out.

    python benchmarks/cylinders_scaling.py [SCENARIOS]
"""

from __future__ import annotations

import sys

import numpy as np
import pyomo.environ as pyo

from stochbess.assemble import build_case, open_market
from stochbess.clock import cpu_s
from stochbess.config import load_config
from stochbess.models.scenario_data import set_scenario
from stochbess.models.two_stage import two_stage
from stochbess.rng import stream


def main() -> None:
    measured = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    config = load_config(None, [f"scenarios.n={measured}", "solver.threads=1"])
    case = build_case(config, open_market(config))
    built, solved = [], []
    for s in range(measured):
        began = cpu_s()
        model = two_stage(case.data)
        set_scenario(model, {name: values[s] for name, values in case.series.items()})
        built.append(cpu_s() - began)
        began = cpu_s()
        pyo.SolverFactory("highs").solve(model, solver_options={"mip_rel_gap": 0.005, "threads": 1})
        solved.append(cpu_s() - began)
        print(f"scenario {s}: build {built[-1]:.2f} s, solve {solved[-1]:.2f} s", flush=True)
    print(f"mean: build {np.mean(built):.2f} s, solve {np.mean(solved):.2f} s")
    rng = stream(0, "benchmarks.cylinders_scaling")
    for scenarios in (100, 1000, 5000):
        for hub_ranks in (1, 10, 100, 1000):
            if hub_ranks > scenarios:
                continue
            drawn = rng.choice(solved, (50, scenarios))
            parts = np.array_split(np.arange(scenarios), hub_ranks)
            slowest = np.max([drawn[:, part].sum(axis=1) for part in parts], axis=0).mean()
            useful = drawn.sum(axis=1).mean() / hub_ranks / slowest
            print(
                f"{scenarios:>5} scenarios on {3 * hub_ranks:>4} ranks: "
                f"{slowest:8.1f} s an iteration, {100 * useful:3.0f} % of the hub busy"
            )


if __name__ == "__main__":
    main()
