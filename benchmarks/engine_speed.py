"""How fast is a proven decision? The tree over the lots beside what else a user could run.

    python benchmarks/engine_speed.py OUT.jsonl [--scenarios 50] [--seeds 1,2,3,4,5]
        [--methods tree,highs] [--limit 120]
    python benchmarks/engine_speed.py --table OUT.jsonl [--figure OUT.svg]

The two-stage problem of the reference market, all markets, whole lots; `--seeds` are draws of
scenarios. Methods of the whole-lot problem: `tree` is the decomposition of the toolkit, `highs`
HiGHS on the extensive form. Of its linear relaxation: `lp-tree` the decomposition to 1e-4,
`simplex`, `ipx` and `hipo` HiGHS on the extensive form (the last needs highspy[extras]; interior
points stop before crossover). Every solve runs in a process of its own, so that processor time and
peak memory are its own; time counts from the compiled blocks. A line of JSON per solve has the
bounds as they went; what OUT has already is not computed again.

Simultaneous flows are relaxed here, in every method: what excluding them costs afterwards is in the
gap that `stochbess solve` prints.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import stochbess
from stochbess.assemble import build_case
from stochbess.clock import cpu_s, monotonic_s
from stochbess.config import load_config
from stochbess.decide import Problem
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import Blocks, blocks, extensive_form
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.errors import StochbessError
from stochbess.run_record import code_sha256

DEFAULT = Path(stochbess.__file__).with_name("default_config.yaml")
WHOLE, RELAXED = ("tree", "highs"), ("lp-tree", "simplex", "ipx", "hipo")
GAPS = (0.05, 0.01, 0.005, 0.001)
GOOD_FRAC = 0.005  # a good incumbent: this close to the best that any method found
THREADS = 2
Row = dict[str, Any]
Trace = list[tuple[float, float, float, float]]  # wall s, CPU s, best cost, bound


def blocks_of(n: int, seed: int) -> Blocks:
    """The relaxed blocks of `n` scenarios drawn with `seed`."""
    case = build_case(load_config(DEFAULT, [f"scenarios.n={n}", f"seed={seed}"]))
    return blocks(Problem(case.data, "two-stage").relaxed, case.series, case.probability)


def solve_whole(block: Blocks, method: str, limit_s: float) -> Trace:
    """Bounds of the whole-lot problem as they went, in the order of time."""
    began, spent, trace = monotonic_s(), cpu_s(), Trace()

    def note(_: float, cost: float, bound: float) -> None:
        trace.append((monotonic_s() - began, cpu_s() - spent, cost, bound))

    engine: Engine = "decomposition" if method == "tree" else "extensive"
    try:
        found = solve_two_stage(
            block, gap_frac=GAPS[-1], time_limit_s=limit_s, threads=THREADS, engine=engine,
            progress=note,
        )  # fmt: skip
        note(0.0, found.cost, found.bound)
    except StochbessError as error:
        print(error, file=sys.stderr)
    return trace


def solve_relaxed(block: Blocks, method: str, limit_s: float) -> Trace:
    """Bounds of the linear relaxation at the end."""
    began, spent = monotonic_s(), cpu_s()
    if method == "lp-tree":
        found = solve_two_stage(
            block, gap_frac=1e-4, time_limit_s=limit_s, threads=THREADS,
            engine="decomposition", relax=True,
        )  # fmt: skip
        cost, bound = found.cost, found.bound
    else:
        problem, _ = extensive_form(block)
        options = SolveOptions(time_limit_s=limit_s, threads=THREADS, method=method)  # type: ignore[arg-type]
        ended = solve_problem(problem.relaxed(), options)
        cost, bound = ended.objective, ended.bound
    return [(monotonic_s() - began, cpu_s() - spent, cost, bound)]


def one(method: str, n: int, seed: int, limit_s: float) -> Row:
    block = blocks_of(n, seed)
    solve = solve_whole if method in WHOLE else solve_relaxed
    trace = [
        [round(at, 2), round(cpu, 2), *(v if np.isfinite(v) else None for v in bounds)]
        for at, cpu, *bounds in solve(block, method, limit_s)
    ]
    return {
        "method": method,
        "n": n,
        "seed": seed,
        "limit_s": limit_s,
        "trace": trace,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "code_sha256": code_sha256()[:12],
    }


def run(args: argparse.Namespace) -> None:
    out = Path(args.out)
    done = {key_of(row) for row in rows_of(out)} if out.exists() else set()
    for method in args.methods.split(","):
        for seed in map(int, args.seeds.split(",")):
            if (method, args.scenarios, seed) in done:
                continue
            call = [sys.executable, __file__, "--one", method, "--scenarios", str(args.scenarios)]
            call += ["--seeds", str(seed), "--limit", str(args.limit)]
            ended = subprocess.run(call, capture_output=True, text=True, check=False)
            if ended.returncode:
                print(method, args.scenarios, seed, ended.stderr[-500:], file=sys.stderr)
                continue
            with out.open("a") as file:
                file.write(ended.stdout)
            row = json.loads(ended.stdout)
            print(method, args.scenarios, seed, row["trace"][-1:], file=sys.stderr, flush=True)


def key_of(row: Row) -> tuple[str, int, int]:
    return row["method"], row["n"], row["seed"]


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def gap_of(cost: float | None, bound: float | None) -> float:
    if cost is None or bound is None:
        return float("inf")
    return (cost - bound) / max(1.0, abs(cost))


def reached(row: Row, gap_frac: float, column: int) -> float:
    """Seconds (column 0 = wall, 1 = CPU) until the gap was proven; inf when it was not."""
    return min((p[column] for p in row["trace"] if gap_of(p[2], p[3]) <= gap_frac), default=np.inf)


def good_at(row: Row, best_cost: float, column: int) -> float:
    """Seconds until the incumbent was within `GOOD_FRAC` of the best cost known."""
    limit = best_cost + GOOD_FRAC * abs(best_cost)
    hits = (p[column] for p in row["trace"] if p[2] is not None and p[2] <= limit)
    return min(hits, default=np.inf)


def said(values: Sequence[float]) -> str:
    """Median and worst, a dash where it was not reached."""
    median, worst = float(np.median(values)), max(values)
    return " / ".join(f"{v:.1f}" if np.isfinite(v) else "-" for v in (median, worst))


def table(rows: Sequence[Row]) -> None:
    best = best_costs(rows)
    print("Median / worst over the draws; a dash where the limit came first.\n")
    for column, name in ((0, "wall s"), (1, "CPU s")):
        cells = [f"{g:.1%}" for g in GAPS]
        print(f"| {name} | draws | good incumbent | {' | '.join(cells)} | last gap | peak MB |")
        print("|---" * (5 + len(GAPS)) + "|")
        for (n, method), group in groups(rows, WHOLE):
            goods = [good_at(row, best[row["n"], row["seed"]], column) for row in group]
            times = [said([reached(row, gap, column) for row in group]) for gap in GAPS]
            print(
                f"| S = {n}, {method} | {len(group)} | {said(goods)} | {' | '.join(times)} | "
                f"{last_gap(group)} | {max(row['peak_mb'] for row in group)} |"
            )
        print()
    print("| linear relaxation | draws | wall s | CPU s | last gap | peak MB |")
    print("|---|---|---|---|---|---|")
    for (n, method), group in groups(rows, RELAXED):
        ends = [row["trace"][-1] for row in group]
        print(
            f"| S = {n}, {method} | {len(group)} | {said([p[0] for p in ends])} | "
            f"{said([p[1] for p in ends])} | {last_gap(group)} | "
            f"{max(row['peak_mb'] for row in group)} |"
        )


def last_gap(group: Sequence[Row]) -> str:
    gaps = [gap_of(*row["trace"][-1][2:]) if row["trace"] else np.inf for row in group]
    worst = max(gaps)
    return f"{worst:.2%}" if np.isfinite(worst) else "none"


def best_costs(rows: Sequence[Row]) -> dict[tuple[int, int], float]:
    best: dict[tuple[int, int], float] = {}
    for row in rows:
        if row["method"] in WHOLE:
            key = row["n"], row["seed"]
            costs = [p[2] for p in row["trace"] if p[2] is not None]
            best[key] = min([best.get(key, np.inf), *costs])
    return best


def groups(rows: Sequence[Row], methods: Sequence[str]) -> list[tuple[tuple[int, str], list[Row]]]:
    found: dict[tuple[int, str], list[Row]] = {}
    for n in sorted({row["n"] for row in rows}):
        for method in methods:
            members = [r for r in rows if (r["n"], r["method"]) == (n, method)]
            if members:
                found[n, method] = members
    return list(found.items())


def figure(rows: Sequence[Row], path: Path) -> None:
    """Proven gap against processor time, one line per solve of the whole-lot problem."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "stochbess"
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
    sizes = sorted({row["n"] for row in rows})
    shown = {n: f"C{i}" for i, n in enumerate(sizes)}
    named: set[str] = set()
    for (n, method), group in groups(rows, WHOLE):
        label = f"S = {n}, {'tree' if method == 'tree' else 'extensive form'}"
        style: dict[str, Any] = {"color": shown[n], "ls": "-" if method == "tree" else ":"}
        for row in group:
            gaps = [(p[1], 100 * gap_of(p[2], p[3])) for p in row["trace"]]
            points = [(x, y) for x, y in gaps if np.isfinite(y) and y > 0]
            if points:
                own = None if label in named else label
                ax.step(*zip(*points, strict=True), where="post", lw=0.9, label=own, **style)
                named.add(label)
    ax.set(xlabel="processor time, s", ylabel="proven gap, %", xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
    ax.legend(frameon=False)
    fig.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", nargs="?")
    parser.add_argument("--scenarios", type=int, default=50)
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--methods", default="tree,highs")
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("--one", choices=[*WHOLE, *RELAXED], help=argparse.SUPPRESS)
    parser.add_argument("--table")
    parser.add_argument("--figure")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args.scenarios, int(args.seeds), args.limit)))
    elif args.table:
        table(rows_of(Path(args.table)))
        if args.figure:
            figure(rows_of(Path(args.table)), Path(args.figure))
    elif args.out:
        run(args)
    else:
        parser.error("give OUT, or --table")


if __name__ == "__main__":
    main()
