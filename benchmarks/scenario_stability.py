"""How much does the decision depend on which scenarios were drawn? In-sample stability.

    python benchmarks/scenario_stability.py MARKET_DATA_DIR ZONE OUT.jsonl
        [--days 2024-06-26,2024-11-13] [--sources analog,model,model:200] [--n 5,10,20,40,80]
        [--seeds 10] [--store DIR]
    python benchmarks/scenario_stability.py --table OUT.jsonl

For every source and number of scenarios the two-stage problem of a day is solved on sets of several
seeds (Kaut & Wallace 2007). The models are fitted once a day, only the draws differ. ``model:200``
draws 200 and keeps the `n` that represent them best. Day-ahead and intraday trading only, gap
0.1 %: seconds a solve, and an optimum that varies with the prices alone. The spread of the optimal
values is told as standard deviation and range (largest less smallest) over their mean; the mark is
a range of 2 %. One line of JSON per solve; what OUT has already is not computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

import stochbess
from stochbess.assemble import Case, build_case
from stochbess.config import Config, load_config
from stochbess.decide import Problem
from stochbess.market.data import MarketData, load_market
from stochbess.run import effort_of
from stochbess.run_record import code_sha256
from stochbess.scenario_gen.analog import analog_scenarios
from stochbess.scenario_gen.fit_store import FitStore
from stochbess.scenario_gen.joint import joint_scenarios
from stochbess.scenario_gen.reduction import reduce_scenarios
from stochbess.scenario_gen.scenario_file import write_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet

DEFAULT = Path(stochbess.__file__).with_name("default_config.yaml")
MARK_FRAC = 0.02
FIT_SEED = 1
Row = dict[str, float | str]


def config_of(args: argparse.Namespace, day: date, *more: str) -> Config:
    """The default battery on the energy markets of one day."""
    return load_config(
        DEFAULT,
        [
            f"market.data_dir={args.market}",
            f"market.zone={args.zone}",
            f"market.day={day}",
            "markets.fcr.enabled=false",
            "markets.afrr.enabled=false",
            "aging.model=segments",
            "solver.gap_frac=0.001",
            "solver.threads=1",
            *more,
        ],
    )


def drawn(args: argparse.Namespace, case: Case, source: str, n: int, seed: int) -> ScenarioSet:
    """`n` scenarios of `source`, drawn with `seed`."""
    name, _, larger = source.partition(":")
    size, needed = int(larger or n), case.scenarios.series
    if name == "analog":
        among = case.config.scenarios
        found = analog_scenarios(
            case.market, case.horizon, case.gate, needed, size, seed,
            among.neighbours, among.min_history_days,
        )  # fmt: skip
    else:
        store = FitStore(Path(args.store) / "fits")
        found = joint_scenarios(
            case.market, case.horizon, case.gate, needed, size, seed,
            store=store, fit_seed=FIT_SEED,
        )  # fmt: skip
    return found if size == n else reduce_scenarios(found, n).set


def solved(args: argparse.Namespace, market: MarketData, day: date) -> Iterator[Row]:
    """One line for every source, number and seed of a day that is not there yet."""
    out = Path(args.out)
    done = {key_of(row) for row in rows_of(out)} if out.exists() else set()
    case = build_case(config_of(args, day, "scenarios.n=2"), market)
    problem, effort = Problem(case.data, "two-stage"), effort_of(case.config)
    for n in map(int, args.n.split(",")):
        for source in args.sources.split(","):
            for seed in range(1, args.seeds + 1):
                row: Row = {"day": str(day), "source": source, "n": n, "seed": seed}
                if key_of(row) in done or int(source.partition(":")[2] or n) < n:
                    continue
                scenarios = drawn(args, case, source, n, seed)
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "s.parquet"
                    write_scenarios(scenarios, path)
                    keys = ("scenarios.source=file", f"scenarios.file={path}")
                    now = build_case(config_of(args, day, *keys), market)
                spent = time.process_time()
                found = problem.decide(now.series, now.probability, effort)
                yield {
                    **row,
                    "profit_eur": round(found.profit_lb_eur, 4),
                    "gap_frac": round(found.gap_frac, 6),
                    "cpu_s": round(time.process_time() - spent, 2),
                    "code_sha256": code_sha256()[:12],
                }


def key_of(row: Row) -> tuple[float | str, ...]:
    return row["day"], row["source"], row["n"], row["seed"]


def run(args: argparse.Namespace) -> None:
    market = load_market(Path(args.market), args.zone)
    for day in map(date.fromisoformat, args.days.split(",")):
        for row in solved(args, market, day):
            with Path(args.out).open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(*row.values(), file=sys.stderr, flush=True)


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(path: Path) -> None:
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows_of(path):
        key = (str(row["day"]), str(row["source"]), int(row["n"]))
        groups.setdefault(key, []).append(row)
    print("| day | source | n | seeds | mean, EUR | std, % | range, % | CPU, s |")
    print("|---|---|---|---|---|---|---|---|")
    enough: dict[tuple[str, str], int] = {}
    for (day, source, n), rows in sorted(groups.items()):
        profit = np.array([float(row["profit_eur"]) for row in rows])
        mean = profit.mean()
        spread = np.ptp(profit) / abs(mean)
        cpu = np.mean([float(row["cpu_s"]) for row in rows])
        print(
            f"| {day} | {source} | {n} | {len(rows)} | {mean:.2f} | "
            f"{100 * profit.std(ddof=1) / abs(mean) if len(rows) > 1 else np.nan:.1f} | "
            f"{100 * spread:.1f} | {cpu:.1f} |"
        )
        if spread <= MARK_FRAC and len(rows) > 1:
            enough.setdefault((day, source), n)
    for day, source in sorted({key[:2] for key in groups}):
        n = enough.get((day, source), 0)
        said = f"{n} scenarios" if n else "more scenarios than were tried"
        print(f"\n{day} {source}: a range of {MARK_FRAC:.0%} takes {said}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("market", nargs="?")
    parser.add_argument("zone", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--days", default="2024-06-26,2024-11-13")
    parser.add_argument("--sources", default="analog,model,model:200")
    parser.add_argument("--n", default="5,10,20,40,80")
    parser.add_argument("--seeds", type=int, default=10)
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
