"""How much does the decision depend on which scenarios were drawn? Tables of several days.

    python benchmarks/scenario_stability.py MARKET_DATA_DIR ZONE OUT.jsonl
        [--days 2024-06-26,2024-12-11] [--sources analog,model,model:200] [--n 10,20,40]
        [--seeds 10] [--common 100] [--all-markets] [--store DIR]
    python benchmarks/scenario_stability.py --table OUT.jsonl

What `stochbess scenarios stability` does, for every day and source. ``model:200`` draws 200 and
keeps the `n` whose means are those of all. Without ``--all-markets`` day-ahead and intraday trading
only, to a gap of 0.1 %; with it FCR and aFRR too, lots not whole, to 0.5 %. Use a file of its own
for each. One line of JSON per solve; what OUT has already is not computed again.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import stochbess
from stochbess.cli_stability import verdict
from stochbess.config import Config, load_config
from stochbess.market.data import load_market
from stochbess.stability import Solve, enough, read_solves, sizes_of, solve_seeds

DEFAULT = Path(stochbess.__file__).with_name("default_config.yaml")
ENERGY_ONLY = ("markets.fcr.enabled=false", "markets.afrr.enabled=false", "solver.gap_frac=0.001")
ALL_MARKETS = ("solver.gap_frac=0.005",)


def config_of(args: argparse.Namespace, day: date, source: str) -> Config:
    """The default battery on one day; ``model:200`` reduces 200 scenarios."""
    name, _, larger = source.partition(":")
    return load_config(
        DEFAULT,
        [
            f"market.data_dir={args.market}",
            f"market.zone={args.zone}",
            f"market.day={day}",
            f"scenarios.source={name}",
            "scenarios.n=2",
            f"scenarios.reduce_from={larger or 'null'}",
            *(ALL_MARKETS if args.all_markets else ENERGY_ONLY),
            "markets.integer_lots=false",
            "solver.threads=1",
            "solver.time_limit_s=3600",  # a busy machine must not change the result
            f"report.store_dir={args.store}",
        ],
    )


def run(args: argparse.Namespace) -> None:
    market, sizes = load_market(Path(args.market), args.zone), [int(n) for n in args.n.split(",")]
    for day in map(date.fromisoformat, args.days.split(",")):
        for source in args.sources.split(","):

            def tell(_: str, text: str, what: str = f"{day} {source}") -> None:
                print(f"{what}: {text}", file=sys.stderr, flush=True)

            config = config_of(args, day, source)
            solve_seeds(config, market, sizes, args.seeds, args.common, Path(args.out), tell)


def table(path: Path) -> None:
    groups: dict[tuple[str, str], list[Solve]] = {}
    for row in read_solves(path):
        groups.setdefault((row.day, row.source), []).append(row)
    print(
        "| day | source | n | optimum, EUR | std, % | range, % | on the common set, EUR | std, % |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (day, source), rows in sorted(groups.items()):
        for size in sizes_of(rows):
            inside, outside = size.in_sample, size.out_of_sample
            print(
                f"| {day} | {source} | {size.n} | {inside.mean_eur:.0f} | "
                f"{100 * inside.std_frac:.1f} | {100 * inside.range_frac:.1f} | "
                f"{outside.mean_eur:.0f} | {100 * outside.std_frac:.1f} |"
            )
    for (day, source), rows in sorted(groups.items()):
        sizes = sizes_of(rows)
        print(f"\n{day} {source}: {verdict(sizes, enough(sizes))}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("market", nargs="?")
    parser.add_argument("zone", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--days", default="2024-06-26,2024-12-11")
    parser.add_argument("--sources", default="analog,model,model:200")
    parser.add_argument("--n", default="10,20,40")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--common", type=int, default=100)
    parser.add_argument("--all-markets", action="store_true")
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
