"""Day-ahead price scenarios out of sample: every model, every day of a year, scored.

    python benchmarks/price_scenarios.py MARKET_DATA_DIR ZONE OUT.jsonl [--rule literature|strict]
        [--first 2024-01-01] [--last 2024-12-31] [--every 1] [--models naive,lear,trees,pool]
    python benchmarks/price_scenarios.py --table OUT.jsonl [OUT.jsonl ...]

Protocol: gate D-1 12:00 local; a refit every Monday, draws for each day at its own gate; S = 100
equally probable draws. Rule ``literature`` assumes the forecasts of D known at D-1 07:00,
``strict`` takes them as published (D-1 18:00: not known). Scores of a day: CRPS (plug-in form, mean
over the hours), energy score, variogram score of order 0.5, absolute error of the median, share of
hours in the 5-95 % band and its width, CRPS of the daily spread.

One line of JSON per day and model; days that OUT has already are not computed again. Settings were
chosen on even ISO weeks: the table gives even, odd and all weeks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from stochbess.market.data import MarketData, load_market
from stochbess.rng import stream
from stochbess.scenario_gen.calibration import central_interval
from stochbess.scenario_gen.day_panel import to_wall_clock, wall_clock_table
from stochbess.scenario_gen.price_day_ahead import draw_day_ahead, fit_day_ahead
from stochbess.scenario_gen.price_fit import DayAheadFit
from stochbess.scenario_gen.scores import (
    crps_ensemble,
    energy_score,
    spread_crps,
    variogram_score,
)
from stochbess.timegrid import gate_utc

SCORES = ("crps", "es", "vs", "mae", "cov90", "width", "spread_crps")
SHOWN = (*SCORES, "point_mae")
GATE = "D-1 12:00"
SEED, S = 20240101, 100


def scored(values: np.ndarray, observed: np.ndarray) -> dict[str, float]:
    low, high = central_interval(values)
    found = (
        crps_ensemble(values, observed).mean(),
        energy_score(values, observed),
        variogram_score(values, observed),
        np.abs(np.median(values, axis=0) - observed).mean(),
        np.mean((low <= observed) & (observed <= high)),
        np.mean(high - low),
        spread_crps(values, observed),
    )
    return {name: float(value) for name, value in zip(SCORES, found, strict=True)}


def done_before(out: Path) -> set[tuple[str, str]]:
    if not out.exists():
        return set()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return {(row["day"], row["model"]) for row in rows}


def run(args: argparse.Namespace) -> None:
    market = load_market(Path(args.market), args.zone)
    if args.rule == "literature":
        market = market.assume_forecasts_known("D-1 07:00")
    first, last = date.fromisoformat(args.first), date.fromisoformat(args.last)
    truth = wall_clock_table(market, "day_ahead", "price_eur_mwh", first, last)
    done = done_before(Path(args.out))
    fit: DayAheadFit | None = None
    for k in range(0, (last - first).days + 1, args.every):
        day = first + timedelta(days=k)
        wanted = [model for model in args.models.split(",") if (str(day), model) not in done]
        if not wanted:
            continue
        spent = time.process_time()
        fit = weekly_fit(market, day, fit)
        spent = time.process_time() - spent
        view = market.as_of(gate_utc(GATE, day, market.timezone))
        for model in wanted:
            row = {"zone": args.zone, "rule": args.rule, "day": str(day), "model": model}
            row |= {"fitted": fit.model, "fit_s": round(spent, 2)}
            row |= one_day(fit, view, day, model, truth[k])
            with Path(args.out).open("a") as file:
                file.write(json.dumps(row) + "\n")
        print(f"{day} fit {spent:.2f} s", file=sys.stderr, flush=True)


def weekly_fit(market: MarketData, day: date, fit: DayAheadFit | None) -> DayAheadFit:
    """One fit a week holds what every simpler model needs."""
    monday = day - timedelta(days=day.weekday())
    if fit is not None and fit.target_day == monday:
        return fit
    view = market.as_of(gate_utc(GATE, monday, market.timezone))
    return fit_day_ahead(view, monday, market.timezone, SEED, "pool", previous=fit)


def one_day(
    fit: DayAheadFit, view: MarketData, day: date, model: str, observed: np.ndarray
) -> dict[str, float]:
    rng = stream(SEED, f"benchmark.{day}")
    if fit.trees is None and model in ("trees", "pool"):
        model = fit.model
    spent = time.process_time()
    draws = draw_day_ahead(replace(fit, model=model), view, day, S, rng)
    spent = time.process_time() - spent
    values = to_wall_clock(draws.values_eur_mwh, day, view.timezone)
    point = to_wall_clock(draws.point_eur_mwh[None], day, view.timezone)[0]
    point_mae = float(np.abs(point - observed).mean())
    return {"draw_s": round(spent, 3), "point_mae": point_mae, **scored(values, observed)}


def table(files: Sequence[str]) -> None:
    rows = [json.loads(line) for f in files for line in Path(f).read_text().splitlines()]
    groups: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for row in rows:
        groups.setdefault((row["zone"], row["rule"], row["model"]), []).append(row)
    print("| zone | rule | model | weeks | days | " + " | ".join(SHOWN) + " |")
    print("|---|---|---|---|---|" + "---|" * len(SHOWN))
    for (zone, rule, model), members in groups.items():
        for name in ("even", "odd", "all"):
            week = [date.fromisoformat(str(m["day"])).isocalendar().week for m in members]
            use = [
                m
                for m, w in zip(members, week, strict=True)
                if name == "all" or (w % 2 == 0) == (name == "even")
            ]
            means = [float(np.mean([m[s] for m in use])) for s in SHOWN]
            cells = " | ".join(
                f"{v:.3f}" if s == "cov90" else f"{v:.2f}"
                for s, v in zip(SHOWN, means, strict=True)
            )
            print(f"| {zone} | {rule} | {model} | {name} | {len(use)} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("market", nargs="?")
    parser.add_argument("zone", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--rule", choices=("literature", "strict"), default="literature")
    parser.add_argument("--first", default="2024-01-01")
    parser.add_argument("--last", default="2024-12-31")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--models", default="naive,lear,trees,pool")
    parser.add_argument("--table", nargs="+")
    args = parser.parse_args()
    if args.table:
        table(args.table)
    elif args.market and args.zone and args.out:
        run(args)
    else:
        parser.error("give MARKET_DATA_DIR, ZONE and OUT, or --table")


if __name__ == "__main__":
    main()
