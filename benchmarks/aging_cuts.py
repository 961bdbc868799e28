"""Net value of pricing cycles by segments and by cuts, judged by rainflow on the joined path.

Perfect foresight of the day-ahead market, day after day; every day starts and ends half full. Every
way of pricing decides the same days; what is compared is the revenue less the rainflow cost of the
joined path by the law itself, which none of them optimises on beyond its convex hull.

    STOCHBESS_MARKET_DATA=<market data> python benchmarks/aging_cuts.py [days] [first day ...]
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stochbess.assemble import build_case
from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.hull_curve import naumann_hull_curve
from stochbess.battery.rainflow import carry
from stochbess.clock import monotonic_s
from stochbess.config import Config, load_config
from stochbess.decide import Effort, Problem
from stochbess.evaluate.paired import paired_mean
from stochbess.market.data import MarketData, load_market
from stochbess.models.aging_cuts import charged_eur

Floats = npt.NDArray[np.float64]
BASE = [
    "market.zone=DE_LU",
    "markets.intraday.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "scenarios.source=realised",
    "terminal.mode=equal_start",
]


@dataclass(frozen=True)
class Way:
    """One way of pricing cycles; `carried` = open turning points go from day to day."""

    name: str
    overrides: tuple[str, ...]
    carried: bool


WAYS = (
    Way("10 segments", ("aging.model=segments", "aging.n_segments=10"), False),
    Way("10 segments, carried", ("aging.model=segments", "aging.n_segments=10"), True),
    Way("40 segments, carried", ("aging.model=segments", "aging.n_segments=40"), True),
    Way("cuts, carried", ("aging.model=cuts",), True),
)


@dataclass(frozen=True)
class Result:
    """Revenue by day [EUR], joined path of stored energy [MWh] with the day of each point."""

    revenue_eur: Floats
    predicted_eur: float
    path_mwh: Floats
    day_of_point: Floats
    solve_s: float
    worst_gap_frac: float


def run(way: Way, market: MarketData, first: date, n_days: int) -> Result:
    """Decide `n_days` days one after the other."""
    past: tuple[float, ...] = ()
    predicted = spent = worst = 0.0
    revenue: list[float] = []
    path: list[Floats] = []
    for day in (first + timedelta(days=i) for i in range(n_days)):
        points = ",".join(repr(p) for p in past)
        state = [f"market.day={day}", f"battery.state.open_turning_points_frac=[{points}]"]
        case = build_case(load_config(None, [*BASE, *way.overrides, *state]), market)
        problem = Problem(case.data, "deterministic")
        problem.relaxed, problem.binary  # noqa: B018  compiled before the clock runs
        began = monotonic_s()
        decision = problem.decide(
            case.series, np.ones(1), Effort(1e-5, 60.0, 1), engine="extensive"
        )
        spent += monotonic_s() - began
        energy = decision.values["energy_mwh"][0]
        aging = float(charged_eur(problem.data, decision.values)[0])
        revenue.append(float(decision.scenario_profit_eur[0]) + aging)
        predicted += aging
        worst = max(worst, decision.cycle_gap_frac)
        path.append(energy if not path else energy[1:])
        if way.carried:
            soc = np.clip(energy / case.config.battery.energy_mwh, 0.0, 1.0)
            past = tuple(min(1.0, max(0.0, p)) for p in carry(soc, past))
    day_of_point = np.repeat(np.arange(n_days, dtype=float), [len(part) for part in path])
    joined = np.concatenate(path)
    return Result(np.array(revenue), predicted, joined, day_of_point, spent / n_days, worst)


def net_by_day(found: Result, truth: CycleCost) -> Floats:
    """Revenue less what each day adds to the aging of the joined path, by the law [EUR]."""
    ends = np.flatnonzero(np.diff(found.day_of_point, append=np.inf) > 0) + 1
    cost = [truth.rainflow_law_eur(found.path_mwh[:end]) for end in ends]
    return np.asarray(found.revenue_eur - np.diff(cost, prepend=0.0), np.float64)


def judge(config: Config) -> CycleCost:
    """Rainflow cost of a joined path, as every way of pricing knows it."""
    aging, battery = config.aging, config.battery
    curve = naumann_hull_curve(
        energy_mwh=battery.energy_mwh,
        replacement_cost_eur_kwh=battery.replacement_cost_eur_kwh,
        usable_fade_frac=aging.usable_fade_frac,
        cycle_loss_frac=aging.cycle_loss_frac,
        c_rate_per_h=aging.c_rate_per_h,
    )
    return CycleCost(curve, battery.energy_mwh)


def main() -> None:
    """Print one table per first day."""
    n_days = int(sys.argv[1]) if len(sys.argv) > 1 else 14
    firsts = [date.fromisoformat(text) for text in sys.argv[2:]] or [
        date(2024, 2, 29),
        date(2024, 7, 18),
    ]
    market = load_market(Path(os.environ["STOCHBESS_MARKET_DATA"]), "DE_LU")
    truth = judge(load_config(None, BASE))
    for first in firsts:
        print(f"\n{n_days} days from {first}")
        print("| way | revenue | predicted | hull | law | hull gap | net by law | s/day | gap |")
        print("|---|---|---|---|---|---|---|---|---|")
        net: dict[str, Floats] = {}
        for way in WAYS:
            found = run(way, market, first, n_days)
            hull = truth.rainflow_eur(found.path_mwh)
            law = truth.rainflow_law_eur(found.path_mwh)
            net[way.name] = net_by_day(found, truth)
            print(
                f"| {way.name} | {found.revenue_eur.sum():.0f} | {found.predicted_eur:.1f} "
                f"| {hull:.1f} | {law:.1f} | {found.predicted_eur / hull - 1:+.2%} "
                f"| {net[way.name].sum():.1f} | {found.solve_s:.3f} "
                f"| {found.worst_gap_frac:.1e} |",
                flush=True,
            )
        for other in [way.name for way in WAYS[:-1]]:
            gain = paired_mean(net[WAYS[-1].name] - net[other], seed=1, block=min(7, n_days))
            base = net[other].mean()
            print(
                f"cuts over {other}: {gain.mean:+.2f} EUR/day, 95 % {gain.low:+.2f} to "
                f"{gain.high:+.2f}, of {base:.2f}: {gain.mean / base:+.2%}, "
                f"{gain.low / base:+.2%} to {gain.high / base:+.2%}"
            )


if __name__ == "__main__":
    main()
