"""The price of health on a year of real prices: value of a life by way of pricing, law and terms.

    STOCHBESS_MARKET_DATA=<market data> python benchmarks/lifetime.py [days] [way ...]

`days` is the number of representative days (default 12) or "all"; with "all" days are decided for a
new battery only and revenue shrinks like the capacity. Ways: segments, cuts, calendar, floor.
Results of days are kept in the folder "runs" of the working directory.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from stochbess.assemble import open_market
from stochbess.battery.lifetime import Life, Terms
from stochbess.clock import monotonic_s
from stochbess.config import load_config
from stochbess.lifetime import HEALTH_NODES, Study, study
from stochbess.lifetime_days import day_prices

YEAR = 2024
PRICES = (0, 100, 200, 300, 400, 500, 650, 800, 1000, 1250, 1565, 2000, 3000)
FEW_PRICES = (0, 300, 500, 650, 800, 1000, 1250, 1565)
TERMS = [Terms(wacc, end) for end in (0.7, 0.8) for wacc in (0.05, 0.083)]
BASE = [
    "market.zone=DE_LU",
    "markets.intraday.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "solver.threads=1",
]


@dataclass(frozen=True)
class Way:
    """How the decision prices aging."""

    name: str
    model: str
    calendar_frac: float = 0.0
    floor_eur_mwh: float = 0.0


WAYS = {
    "segments": Way("cycling, 8 segments", "segments"),
    "cuts": Way("cycling, cuts", "cuts"),
    "calendar": Way("cycling and calendar, cuts", "cuts", 1.0),
    "floor": Way("8 segments, floor of 5 EUR/MWh", "segments", floor_eur_mwh=5.0),
}


def told(life: Life) -> str:
    end = "*" if life.ended_by == "calendar" else ""
    return f"{life.npv_eur_kwh:.1f} @ {life.price_eur_kwh:.0f} ({life.years:.1f}{end} y)"


def show(way: Way, found: Study, seconds: float) -> None:
    error = 100 * found.days.spread_error_frac
    print(f"\n### {way.name}: {len(found.days.day)} days, spread {error:+.1f} %, {seconds:.0f} s\n")
    print("| price | EUR/kWh a year | cycles a day | shallow | degC |\n|---|---|---|---|---|")
    for use in found.uses:
        print(
            f"| {use.price_eur_kwh:.0f} | {use.revenue_eur_kwh_year:.2f} | "
            f"{use.full_cycles_per_day:.2f} | {100 * use.shallow_frac:.0f} % | "
            f"{use.mean_degc:.1f} |"
        )
    print("\n| terms | law | none | naive | best | over none | over naive |")
    print("|---|---|---|---|---|---|---|")
    for i, terms in enumerate(found.terms):
        for law in found.laws:
            none, best = found.life(law, i, 0.0), found.best(law, i)
            naive = found.life(law, i, found.naive_eur_kwh)
            print(
                f"| {100 * terms.wacc_frac:g} %, {100 * terms.end_of_life_frac:g} % | {law} | "
                f"{told(none)} | {told(naive)} | {told(best)} | "
                f"{100 * (best.npv_eur_kwh / none.npv_eur_kwh - 1):+.1f} % | "
                f"{100 * (best.npv_eur_kwh / naive.npv_eur_kwh - 1):+.1f} % |"
            )
    laws = " | ".join(found.laws)
    print(f"\n| terms | best of | {laws} |\n|---|---|{'---|' * len(found.laws)}")
    for i, terms in enumerate(found.terms):
        verdict, name = found.verdicts[i], f"{100 * terms.wacc_frac:g} %, "
        name += f"{100 * terms.end_of_life_frac:g} %"
        robust = verdict.robust
        rows = [
            *((law, verdict.matrix[a]) for a, law in enumerate(found.laws)),
            (f"robust {found.price_eur_kwh[robust]:.0f}", verdict.kept_frac[:, robust]),
        ]
        for who, kept in rows:
            shares = " | ".join(f"{100 * share:.1f} %" for share in kept)
            print(f"| {name} | {who} | {shares} |")
        print(f"| {name} | fixed point | {found.fixed[i].price_eur_kwh:.0f} | | |")


def main() -> None:
    directory = os.environ.get("STOCHBESS_MARKET_DATA")
    if not directory:
        sys.exit("set STOCHBESS_MARKET_DATA to a market data directory")
    which = sys.argv[1] if len(sys.argv) > 1 else "12"
    for key in sys.argv[2:] or list(WAYS):
        way = WAYS[key]
        config = load_config(
            None, [*BASE, f"market.data_dir={directory}", f"aging.model={way.model}"]
        )
        market = open_market(config)
        whole = which == "all"
        n_days = len(day_prices(market, YEAR)[0]) if whole else int(which)
        started = monotonic_s()
        found = study(
            config,
            market,
            TERMS,
            n_days=n_days,
            year=YEAR,
            prices_eur_kwh=FEW_PRICES if whole else PRICES,
            health_frac=(1.0,) if whole else HEALTH_NODES,
            floor_eur_mwh=way.floor_eur_mwh,
            calendar_frac=way.calendar_frac,
        )
        show(way, found, monotonic_s() - started)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
