"""A year of day-ahead arbitrage under perfect foresight: one LP, separate days, and Pyomo alone.

    python benchmarks/perfect_foresight_year.py [MARKET_DATA_DIR [ZONE]]

Without arguments the embedded reference market is used. CPU and wall seconds contain everything
after imports: reading data, declaring, compiling, solving, settling. Pyomo alone declares the same
model and hands it to its own `highs` interface; it allows charge and discharge at once, so its
profit is the bound of the first row.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from stochbess.assemble import build_case, open_market
from stochbess.config import load_config
from stochbess.models.deterministic import deterministic
from stochbess.models.scenario_data import set_scenario
from stochbess.run import solve, solve_days

YEAR = [
    "market.day=2024-01-01",
    "market.n_days=366",
    "scenarios.source=realised",
    "markets.intraday.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "terminal.mode=equal_start",
    "aging.model=none",
]


def with_pyomo_alone(overrides: list[str]) -> str:
    from pyomo.contrib.solver.solvers.highs import Highs

    case = build_case(load_config(None, overrides))
    model = deterministic(case.data)
    set_scenario(model, {name: values[0] for name, values in case.series.items()})
    result = Highs().solve(model)
    return f"{-result.incumbent_objective:,.0f}"


def jointly(overrides: list[str]) -> str:
    run = solve(None, "deterministic", overrides=overrides, worth=False, store=False)
    return f"{run.fact('profit').value:,.0f} (bound {run.fact('profit_bound').value:,.0f})"


def separately(overrides: list[str]) -> str:
    config = load_config(None, overrides)
    return f"{solve_days(config, market=open_market(config))['profit_eur'].sum():,.0f}"


def main(place: list[str]) -> None:
    data = [f"market.data_dir={place[0]}"] if place else []
    data += [f"market.zone={place[1]}"] if len(place) > 1 else []
    jobs: list[tuple[str, Callable[[list[str]], str], list[str]]] = [
        ("one LP", jointly, []),
        ("one LP, 1.5 cycles a day", jointly, ["aging.max_cycles_per_day=1.5"]),
        ("366 separate days", separately, []),
        ("366 separate days, 1.5 cycles", separately, ["aging.max_cycles_per_day=1.5"]),
        ("one LP, Pyomo alone", with_pyomo_alone, []),
    ]
    print("| 2024, 8,784 hours | CPU s | wall s | profit EUR |\n|---|---|---|---|")
    for name, job, extra in jobs:
        cpu, wall = time.process_time(), time.perf_counter()
        profit = job([*data, *YEAR, *extra])
        spent = f"{time.process_time() - cpu:.1f} | {time.perf_counter() - wall:.1f}"
        print(f"| {name} | {spent} | {profit} |")


if __name__ == "__main__":
    main(sys.argv[1:])
