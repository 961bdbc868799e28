"""What better scenarios are worth in EUR: decide on them, then meet the day as it came.

    python benchmarks/scenario_value.py MARKET_DATA_DIR ZONE OUT.jsonl [--first 2024-04-01]
        [--last 2024-12-31] [--every 3] [--weeks odd] [--n 10] [--sources analog,model,perfect]
        [--energy-only] [--store DIR]
    python benchmarks/scenario_value.py --table OUT.jsonl

For every day the two-stage decision is made on `n` scenarios of each source, from the same
information (gate D-1 08:00 with FCR) and the same state of the battery, half full. What is decided
here and now is then frozen and priced on the realised day, with a recourse that sees the whole day:
that favours every source alike. `perfect` decides on the realised day itself, an upper bound.
Whole lots are off, the gap is 1 %, everything else is the default configuration; aFRR capacity is
awarded with certainty, so that the level is no forecast of income. Only differences count here.

``--energy-only`` closes FCR and aFRR: then the price scenarios alone decide, at D-1 12:00. Use a
file of its own for every choice of options.

One line of JSON per day and source; days that OUT has already are not computed again. The table
gives the mean per day and the paired difference to `analog` with a 95 % interval from 10 000
bootstraps of whole ISO weeks. Even weeks are for choosing settings; odd weeks are the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np

import stochbess
from stochbess.assemble import Case, build_case
from stochbess.config import Config, load_config
from stochbess.decide import Problem
from stochbess.errors import StochbessError
from stochbess.market.data import MarketData, load_market
from stochbess.rng import stream
from stochbess.run import effort_of
from stochbess.run_record import code_sha256

DEFAULT = Path(stochbess.__file__).with_name("default_config.yaml")
BOOTSTRAPS = 10_000
AGAINST = "analog"
WEEKS = ("odd", "even", "all")
Row = dict[str, float | str]


def config_of(args: argparse.Namespace, day: date, source: str) -> Config:
    """The default configuration for one day; ``model:200`` reduces 200 scenarios to `n`."""
    name, _, larger = source.partition(":")
    return load_config(
        DEFAULT,
        [
            f"market.data_dir={args.market}",
            f"market.zone={args.zone}",
            f"market.day={day}",
            f"scenarios.source={'realised' if name == 'perfect' else name}",
            f"scenarios.n={args.n}",
            f"scenarios.reduce_from={larger or 'null'}",
            *(f"markets.{name}.enabled=false" for name in ("fcr", "afrr") if args.energy_only),
            "markets.integer_lots=false",
            "aging.model=segments",
            "solver.gap_frac=0.01",
            "solver.time_limit_s=3600",  # a busy machine must not change the result
            "solver.threads=1",
            f"report.store_dir={args.store}",
        ],
    )


def one_day(
    args: argparse.Namespace, market: MarketData, real: Case, problem: Problem, source: str
) -> Row:
    """Decide on the scenarios of `source`, and price the decision on the realised day.

    `problem` is that of `real`: it does not depend on the scenarios.
    """
    day = real.horizon.first_day
    spent = time.process_time()
    config = config_of(args, day, source)
    case = build_case(config, market)
    made = time.process_time() - spent
    spent = time.process_time()
    effort = effort_of(config)
    found = problem.decide(case.series, case.probability, effort)
    met = problem.evaluate(real.series, np.ones(1), found.first_stage, effort)
    return {
        "day": str(day),
        "source": source,
        "n": args.n,
        "expected_eur": round(found.profit_lb_eur, 4),
        "realised_eur": round(met.profit_lb_eur, 4),
        "gap_frac": round(found.gap_frac, 5),
        "scenarios_cpu_s": round(made, 2),
        "decide_cpu_s": round(time.process_time() - spent, 2),
        "scenarios_sha256": case.scenarios.sha256,
        "code_sha256": code_sha256()[:12],
    }


def run(args: argparse.Namespace) -> None:
    market = load_market(Path(args.market), args.zone)
    first, last = date.fromisoformat(args.first), date.fromisoformat(args.last)
    out, sources = Path(args.out), args.sources.split(",")
    done = {(row["day"], row["source"]) for row in rows_of(out)} if out.exists() else set()
    days = [first + timedelta(days=k) for k in range(0, (last - first).days + 1, args.every)]
    days = [day for day in days if is_wanted(day, args.weeks)]
    todo = [(day, s) for day in days for s in sources if (str(day), s) not in done]
    began = time.monotonic()
    real, problem = None, None
    for k, (day, source) in enumerate(todo, start=1):
        try:
            if real is None or problem is None or real.horizon.first_day != day:
                real = build_case(config_of(args, day, "perfect"), market)
                problem = Problem(real.data, "two-stage")
            row = one_day(args, market, real, problem, source)
        except StochbessError as error:
            print(f"{day} {source}: {error}", file=sys.stderr, flush=True)
            continue
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        left_h = (time.monotonic() - began) / k * (len(todo) - k) / 3600
        print(
            f"{day} {source:10s} {row['realised_eur']:9} EUR  {row['scenarios_cpu_s']} + "
            f"{row['decide_cpu_s']} s CPU  {k} of {len(todo)}, {left_h:.1f} h left",
            file=sys.stderr,
            flush=True,
        )


def is_wanted(day: date, weeks: str) -> bool:
    return weeks == "all" or (day.isocalendar().week % 2 == 1) == (weeks == "odd")


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def bootstrap_interval(difference: np.ndarray, week: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean by drawing whole weeks with replacement."""
    rng = stream(1, "benchmark.weeks")
    names = np.unique(week)
    total = np.array([difference[week == w].sum() for w in names])
    count = np.array([(week == w).sum() for w in names])
    drawn = rng.integers(0, len(names), (BOOTSTRAPS, len(names)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def table(path: Path) -> None:
    found: dict[str, dict[str, Row]] = {}
    for row in rows_of(path):
        found.setdefault(str(row["source"]), {})[str(row["day"])] = row
    common = sorted(set.intersection(*(set(by_day) for by_day in found.values())))
    print("| weeks | days | source | promised | realised | less analog | 95 % interval | CPU, s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in WEEKS:
        days = [d for d in common if is_wanted(date.fromisoformat(d), name)]
        if days:
            print_weeks(name, days, found)


def print_weeks(name: str, days: Sequence[str], found: Mapping[str, Mapping[str, Row]]) -> None:
    week = np.array([date.fromisoformat(d).isocalendar().week for d in days])

    def values(source: str, key: str) -> np.ndarray:
        return np.array([float(found[source][d][key]) for d in days])

    for source in found:
        cells = [name, str(len(days)), source]
        cells += [f"{values(source, k).mean():.2f}" for k in ("expected_eur", "realised_eur")]
        if source == AGAINST or AGAINST not in found:
            cells += ["", ""]
        else:
            difference = values(source, "realised_eur") - values(AGAINST, "realised_eur")
            low, high = bootstrap_interval(difference, week)
            cells += [f"{difference.mean():+.2f}", f"{low:+.2f} to {high:+.2f}"]
        spent = values(source, "scenarios_cpu_s") + values(source, "decide_cpu_s")
        print("| " + " | ".join([*cells, f"{spent.mean():.1f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("market", nargs="?")
    parser.add_argument("zone", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--first", default="2024-04-01")
    parser.add_argument("--last", default="2024-12-31")
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--weeks", choices=WEEKS, default="all")
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--sources", default="analog,model,perfect")
    parser.add_argument("--energy-only", action="store_true")
    parser.add_argument("--store", default="runs", help="the fits are kept in STORE/fits")
    parser.add_argument("--table")
    args = parser.parse_args()
    if args.table:
        table(Path(args.table))
    elif args.market and args.zone and args.out:
        run(args)
    else:
        parser.error("give MARKET_DATA_DIR, ZONE and OUT, or --table")


if __name__ == "__main__":
    main()
