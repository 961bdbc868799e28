"""How close reduced scenario sets and trees stay to all scenarios, and what finding them costs.

The tables of docs/reduction.md are the output of

    python benchmarks/scenario_reduction.py MARKET_DATA/DE_LU

One process; CPU seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from stochbess.market.data import load_market
from stochbess.rng import stream
from stochbess.scenario_gen.analog import analog_scenarios
from stochbess.scenario_gen.distance import Ints, distance_to_kept, ground_distances
from stochbess.scenario_gen.reduction import METHODS, Method, reduce_scenarios, select
from stochbess.scenario_gen.scores import Array
from stochbess.scenario_gen.tree_build import build_tree, nested_distance_to_fan
from stochbess.timegrid import Horizon, gate_utc

SERIES = (
    "fcr_eur_mw",
    "afrr_up_eur_mw_h",
    "afrr_down_eur_mw_h",
    "day_ahead_eur_mwh",
    "intraday_eur_mwh",
    "afrr_energy_up_eur_mwh",
    "afrr_energy_down_eur_mwh",
    "activation_up_mw",
    "activation_down_mw",
)
N_RANDOM = 20
BOUND_STEPS = 3000


def days_2024(file: Path, per_hour: int) -> Array:
    """Local days of 2024 as vectors; a skipped hour is interpolated, a repeated one averaged."""
    prices = pd.read_parquet(file)["price_eur_mwh"]
    local = pd.DatetimeIndex(prices.index).tz_convert("Europe/Berlin")
    slot = local.hour * per_hour + local.minute * per_hour // 60
    table = prices.groupby([local.date, slot]).mean().unstack()
    table = table.loc[[day.year == 2024 for day in table.index]]
    return table.interpolate(axis=1).to_numpy(np.float64)


def timed(work: Callable[[], Ints]) -> tuple[Ints, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def lower_bound(matrix: Array, p: Array, n: int, best: float) -> float:
    """Bound below which no subset of n can go: Lagrangian of the assignment, by subgradients."""
    cost = p[:, None] * matrix
    price = np.sort(cost, axis=1)[:, 1]
    found, step = 0.0, 1.5
    for k in range(BOUND_STEPS):
        reduced = np.minimum(cost - price[:, None], 0.0)
        chosen = np.argsort(reduced.sum(axis=0), kind="stable")[:n]
        value = float(price.sum() + reduced[:, chosen].sum())
        if value > found:
            found = value
        slope = 1.0 - (reduced[:, chosen] < 0).sum(axis=1)
        if not slope.any():
            break
        price = price + step * (best - value) / float(slope @ slope) * slope
        if k % 200 == 199:
            step *= 0.7
    return found


def medoids_of_means(x: Array, matrix: Array, n: int) -> Ints:
    labels = KMeans(n, n_init=5, random_state=0).fit_predict(x)
    groups = [np.flatnonzero(labels == g) for g in range(n)]
    return np.array([g[matrix[np.ix_(g, g)].sum(axis=0).argmin()] for g in groups], np.int64)


def reduction_table(x: Array) -> None:
    size = len(x)
    matrix, p = ground_distances(x, x), np.full(size, 1 / size)
    single = distance_to_kept(matrix, p, select(matrix, p, 1))
    print(f"\n{size} x {x.shape[1]}: distance of one kept day {single:.3f}")
    print("| n | forward | backward | swap | proven bound | k-means, medoids | random | swap, s |")
    print("|---|---|---|---|---|---|---|---|")
    rng = stream(0, "benchmark.reduction")
    for n in (3, 5, 10, 20, 30, 50):
        kept: dict[Method, Ints] = {}
        spent = 0.0
        for method in METHODS:
            kept[method], spent_now = timed(partial(select, matrix, p, n, method))
            spent = spent_now if method == "swap" else spent
        reached = {m: distance_to_kept(matrix, p, k) for m, k in kept.items()}
        bound = lower_bound(matrix, p, n, reached["swap"])
        means = distance_to_kept(matrix, p, medoids_of_means(x, matrix, n))
        random = np.mean(
            [
                distance_to_kept(matrix, p, rng.choice(size, n, replace=False))
                for _ in range(N_RANDOM)
            ]
        )
        print(
            f"| {n} | {reached['forward']:.2f} | {reached['backward']:.2f} | "
            f"**{reached['swap']:.2f}** | {bound:.2f} | {means:.2f} | {random:.2f} | {spent:.2f} |"
        )


def tree_table(folder: Path) -> None:
    market = load_market(folder)
    day = Horizon(date(2024, 12, 17), 1, "Europe/Berlin", 15, 60)
    gate = gate_utc("D-1 08:00", day.first_day, day.timezone)
    fan = analog_scenarios(market, day, gate, SERIES, 200, 0, 250, 28)
    reduced = reduce_scenarios(fan, 20)
    print(
        f"\nfan of {len(fan)} for {day.first_day}; 20 of them: distance {reduced.distance:.3f}, "
        f"{100 * reduced.relative:.0f} % of that of one"
    )
    print("| branching | nodes | leaves | assigned | transport | nested to the fan, L1 | s |")
    print("|---|---|---|---|---|---|---|")
    for branching in (
        [1, 1, 1, 1, 1],
        [2, 1, 3, 2, 2],
        [2, 2, 3, 2, 2],
        [3, 2, 4, 2, 2],
        [1, 1, 20, 1, 1],
        [20, 1, 1, 1, 1],
        [200, 1, 1, 1, 1],
    ):
        began = time.process_time()
        build = build_tree(fan, branching)
        spent = time.process_time() - began
        nested = nested_distance_to_fan(build.tree, fan)
        print(
            f"| {' '.join(map(str, branching))} | {len(build.tree)} | {len(build.tree.leaves)} | "
            f"{build.assigned_distance:.3f} | {build.transport_distance:.3f} | {nested:.3f} | "
            f"{spent:.2f} |"
        )


def main(folder: Path) -> None:
    reduction_table(days_2024(folder / "day_ahead.parquet", 1))
    reduction_table(days_2024(folder / "intraday_auction.parquet", 4))
    tree_table(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
