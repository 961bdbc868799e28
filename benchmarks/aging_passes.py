"""Calendar aging and plating in daily decisions: predicted against shown, and what pricing earns.

Perfect foresight of the day-ahead market, day after day; every day starts and ends half full. Every
way of pricing decides the same days, and all are judged by the same plant and the same mechanisms.

    STOCHBESS_MARKET_DATA=<market data> python benchmarks/aging_passes.py [days]
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stochbess.aging_loop import judged_by
from stochbess.aging_passes import show
from stochbess.aging_prices import bounding_aging, cycle_cost, plant_aging, truth_of
from stochbess.assemble import build_case
from stochbess.battery.rainflow import carry
from stochbess.clock import cpu_s
from stochbess.config import load_config
from stochbess.decide import Effort, Problem
from stochbess.market.data import MarketData, load_market
from stochbess.models.aging_cuts import charged_eur

Floats = npt.NDArray[np.float64]
EFFORT = Effort(1e-5, 600.0, 1)
BASE = [
    "market.zone=DE_LU",
    "markets.intraday.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "scenarios.source=realised",
    "terminal.mode=equal_start",
    "aging.model=cuts",
]
WAYS = {
    "cycling": ("[cycle]", 1),
    "cycling and calendar, one pass": ("[cycle, calendar]", 1),
    "cycling and calendar, six passes": ("[cycle, calendar]", 6),
    "all three, six passes": ("[cycle, calendar, plating]", 6),
}


@dataclass(frozen=True)
class Season:
    """First day, cells at rest, power: what makes aging differ."""

    name: str
    first: date
    overrides: tuple[str, ...]
    judged_on: str = "[cycle, calendar]"


SEASONS = (
    Season("summer, cells at 30 degC", date(2024, 7, 18), ("aging.surroundings_degc=30",)),
    Season("winter, cells at 25 degC", date(2024, 1, 15), ()),
    Season(
        "winter, cells at 5 degC, 1 per h",
        date(2024, 1, 15),
        ("aging.surroundings_degc=5", "battery.power_mw=4.472"),
        "[cycle, calendar, plating]",
    ),
)


@dataclass(frozen=True)
class Result:
    """By day: profit by the plant, aging that the last pass charged, aging that the plant shows."""

    profit_eur: Floats
    charged_eur: Floats
    shown_eur: Floats
    cpu_s: float


def run(season: Season, way: tuple[str, int], market: MarketData, n_days: int) -> Result:
    """Decide `n_days` days one after the other; open turning points are carried."""
    priced, most_passes = way
    past: tuple[float, ...] = ()
    rows, began = [], cpu_s()
    for day in (season.first + timedelta(days=i) for i in range(n_days)):
        points = ",".join(repr(p) for p in past)
        common = [*BASE, *season.overrides, f"market.day={day}"]
        common.append(f"battery.state.open_turning_points_frac=[{points}]")
        config = load_config(None, [*common, f"aging.mechanisms={priced}"])
        case = build_case(config, market)
        all_priced = load_config(None, [*common, f"aging.mechanisms={season.judged_on}"])
        judge = plant_aging(all_priced, case.data.grid.dt_h)
        problem = Problem(case.data, "deterministic")
        decision = problem.decide(case.series, np.ones(1), EFFORT, engine="extensive")
        charged = float(charged_eur(case.data, decision.values)[0])
        if case.judge is not None:
            shown = show(
                problem,
                decision,
                case.series,
                np.ones(1),
                truth_of(cycle_cost(config), case.judge, case.data.aging),
                bounding_aging(config, case.data, case.judge),
                EFFORT,
                most_passes=most_passes,
                engine="extensive",
            )
            cash = float(shown.decision.scenario_profit_eur[0] + shown.aging_eur[0])
            charged, values = float(shown.charged_eur[0]), shown.decision.values
        else:
            values = decision.values
            own = truth_of(cycle_cost(config), judge, case.data.aging)
            seen = judged_by(problem, decision, own)
            cash = seen.true_profit_eur + seen.seen.aging_eur
        truth = judge.of(values["charge_mw"][0], values["discharge_mw"][0]).aging_eur
        rows.append((cash - truth, charged, truth))
        soc = np.clip(values["energy_mwh"][0] / case.config.battery.energy_mwh, 0.0, 1.0)
        past = tuple(min(1.0, max(0.0, p)) for p in carry(soc, past))
    profit, charged_all, truth_all = np.array(rows).T
    return Result(profit, charged_all, truth_all, (cpu_s() - began) / n_days)


def main() -> None:
    """Print one table per season."""
    n_days = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    market = load_market(Path(os.environ["STOCHBESS_MARKET_DATA"]), "DE_LU")
    for season in SEASONS:
        print(f"\n{n_days} days from {season.first}, {season.name}, judged on {season.judged_on}")
        print("| priced | net | aging shown | predicted | daily mean | worst day | CPU s/day |")
        print("|---|---|---|---|---|---|---|")
        for name, way in WAYS.items():
            found = run(season, way, market, n_days)
            gap = found.charged_eur / found.shown_eur - 1
            total = found.charged_eur.sum() / found.shown_eur.sum() - 1
            print(
                f"| {name} | {found.profit_eur.sum():.1f} | {found.shown_eur.sum():.1f} "
                f"| {total:+.2%} | {np.abs(gap).mean():.2%} | {np.abs(gap).max():.2%} "
                f"| {found.cpu_s:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
