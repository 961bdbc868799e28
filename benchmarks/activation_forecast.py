"""How well aFRR activation can be predicted: a day ahead, and 25 minutes ahead.

The event is "the activated volume of a direction exceeds T". Every row sees what was known at its
own gate, models are fitted on the months before the one they predict, and nothing else is looked
at. The tables of docs/activation.md are the output of

    python benchmarks/activation_forecast.py MARKET_DATA DE_LU
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.market.data import MarketData, load_market
from stochbess.rng import stream
from stochbess.scenario_gen.activation_features import (
    DAY_QH,
    DIRECTIONS,
    Features,
    GateRule,
    build_features,
    is_weekend,
    local_day_steps,
    quarter_hour_of_day,
)
from stochbess.scenario_gen.activation_model import (
    DAY_SETTINGS,
    LEAD_SETTINGS,
    ActivationModel,
    fit_model,
)
from stochbess.scenario_gen.activation_paths import (
    draw_activation,
    fit_activation,
    known_days,
)
from stochbess.timegrid import gate_utc, local_midnight_utc

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
EVENTS_MW = (5.0, 100.0, 300.0)
FITTED_MW = (0.0, 5.0, 30.0, 100.0, 300.0)
EDGES_MW = (0.0, 1.0, 5.0, 25.0, 60.0, 120.0, 240.0, 480.0)
LABEL_GAP = 2 * DAY_QH  # the last volumes before a refit are not known at every gate
YEAR = 2024
FIRST_MONTH = 4


def brier(p: Array, y: Array) -> float:
    return float(((p - y) ** 2).mean())


def log_loss(p: Array, y: Array) -> float:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def area_under_roc(p: Array, y: Array) -> float:
    """Probability that an event got a higher forecast than a non-event (ties count half)."""
    rank = pd.Series(p).rank().to_numpy()
    n_event = y.sum()
    above = rank[y > 0].sum() - n_event * (n_event + 1) / 2
    return float(above / (n_event * (len(y) - n_event)))


def calibration_error(p: Array, y: Array, n_bins: int = 10) -> float:
    """Mean distance of forecast and frequency over bins of equal width."""
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    gap = np.bincount(bins, p, n_bins) - np.bincount(bins, y, n_bins)
    return float(np.abs(gap).sum() / n.sum())


def month_starts(index: pd.DatetimeIndex, timezone: str, every: int) -> list[int]:
    """Rows at which a refit is made, and the end."""
    first = [local_midnight_utc(date(YEAR, m, 1), timezone) for m in range(FIRST_MONTH, 13, every)]
    last = local_midnight_utc(date(YEAR + 1, 1, 1), timezone)
    return [int(index.searchsorted(pd.Timestamp(t))) for t in (*first, last)]


def rows_of(features: Features, where: slice) -> Features:
    return replace(features, steps=features.steps[where], x=features.x[where])


def frequencies(group: npt.NDArray[np.int64], label: Array, begin: int, n_groups: int) -> Array:
    """Plain frequencies by group over the rows before `begin`; the overall one where none is."""
    n = np.bincount(group[:begin], minlength=n_groups)
    hits = np.bincount(group[:begin], label[:begin], n_groups)
    return np.where(n > 0, hits / np.maximum(n, 1), label[:begin].mean())


def baselines(
    features: Features, volume: Array, direction: str, edges: list[int], timezone: str
) -> dict[str, Array]:
    """Climatology (quarter hour by weekend) and persistence (by latest known volume)."""
    cell = quarter_hour_of_day(features.steps, timezone)
    cell = cell + DAY_QH * is_weekend(features.steps, timezone)
    latest = features.column(f"volume_{direction}_0")
    recent = np.searchsorted(EDGES_MW, np.nan_to_num(latest)).astype(np.int64)
    found = {}
    for name, group in (("climatology", cell), ("persistence", recent)):
        tables = []
        for event in EVENTS_MW:
            label = (volume > event).astype(float)
            parts = [
                frequencies(group, label, begin - LABEL_GAP, 2 * DAY_QH)[group[begin:end]]
                for begin, end in pairwise(edges)
            ]
            tables.append(np.concatenate(parts))
        found[name] = np.stack(tables, axis=1)
    return found


def predicted(
    features: Features,
    volume: Array,
    direction: str,
    rule: GateRule,
    edges: list[int],
    zone_tz: str,
) -> tuple[Array, Array, list[ActivationModel]]:
    """Forecasts of the events, ranks of what happened, and the models."""
    base = DAY_SETTINGS if rule.local else LEAD_SETTINGS
    settings = replace(base, thresholds_mw=FITTED_MW)
    events, ranks, models = [], [], []
    uniform = stream(1, "benchmark.activation").random(len(volume))
    for begin, end in pairwise(edges):
        started = time.process_time()
        past, now = slice(0, begin - LABEL_GAP), slice(begin, end)
        fitted_on = [rows_of(features, past)]
        model = fit_model(fitted_on, volume[past], direction, rule, zone_tz, settings, seed=0)
        found = model.predict(rows_of(features, now))
        events.append(np.stack([found.exceedance(event) for event in EVENTS_MW], axis=1))
        ranks.append(found.rank(volume[now], uniform[now]))
        models.append(model)
        weight = np.round(model.weight[0, :, 1:].mean(axis=1), 2).tolist()
        spent = time.process_time() - started
        month = f"{features.steps[begin].tz_convert(zone_tz):%Y-%m}"
        print(f"  {rule} {direction} {month}: {weight} {spent:.0f} s", flush=True)
    return np.concatenate(events), np.concatenate(ranks), models


def print_scores(title: str, forecasts: dict[str, Array], volume: Array, where: Flags) -> None:
    print(f"\n{title} ({int(where.sum())} quarter hours)")
    print(
        "| T | rate | " + " | ".join(f"{name} Brier / log / AUC / ECE" for name in forecasts) + " |"
    )
    print("|---|---|" + "---|" * len(forecasts))
    for k, event in enumerate(EVENTS_MW):
        y = (volume[where] > event).astype(float)
        cells = []
        for probability in forecasts.values():
            p = probability[where, k]
            auc, ece = area_under_roc(p, y), calibration_error(p, y)
            cells.append(f"{brier(p, y):.4f} / {log_loss(p, y):.4f} / {auc:.3f} / {ece:.3f}")
        print(f"| {event:g} | {y.mean():.3f} | " + " | ".join(cells) + " |")


def run(
    market: MarketData, rules: list[GateRule], directions: list[str], every: int, keep: Path | None
) -> None:
    volumes = market.series["afrr_activation"].frame
    steps = pd.DatetimeIndex(volumes.index)
    timezone = market.timezone
    edges = month_starts(steps, timezone, every)
    test = slice(edges[0], edges[-1])
    week = steps[test].tz_convert(timezone).isocalendar().week.to_numpy(np.int64)
    lead = build_features(market, steps, GateRule())
    sees = {rule: build_features(market, steps, rule) for rule in rules}
    print(lead.sources)
    for direction in directions:
        volume = volumes[f"{direction}_mw"].to_numpy(np.float64)
        forecasts = baselines(lead, volume, direction, edges, timezone)
        for rule, features in sees.items():
            found, ranks, _ = predicted(features, volume, direction, rule, edges, timezone)
            forecasts[str(rule)] = found
            histogram = np.histogram(ranks, 10, (0, 1))[0] / len(ranks)
            print(f"  ranks by tenths: {np.round(histogram, 3).tolist()}", flush=True)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for name, table in (*forecasts.items(), ("volume", volume[test]), ("week", week)):
                np.save(keep / f"{direction}-{name.replace(' ', '-')}.npy", table)
        for label, where in (
            ("even ISO weeks", week % 2 == 0),
            ("odd ISO weeks", week % 2 == 1),
            ("all", week > 0),
        ):
            print_scores(f"{direction}, {label}", forecasts, volume[test], where)


def describe(up: Array, down: Array) -> list[float]:
    """Numbers of days (rows): mean, quantiles, autocorrelation within the day, both directions."""
    found = []
    for v in (up, down):
        found += [v.mean(), *np.quantile(v, (0.5, 0.75, 0.9, 0.95, 0.99)), (v > 5).mean()]
        centred = v - v.mean()
        power = (centred**2).mean()
        found += [float((centred[:, k:] * centred[:, :-k]).mean() / power) for k in range(1, 9)]
    return [*found, float(((up > 5) & (down > 5)).mean())]


def compare_paths(market: MarketData, every: int, gate: str = "D-1 08:00", n: int = 40) -> None:
    """Simulated days against what happened, every day from April on, out of sample."""
    timezone = market.timezone
    weeks: list[int] = []
    real: list[list[Array]] = [[], []]
    drawn: list[list[Array]] = [[], []]
    settings = replace(DAY_SETTINGS, thresholds_mw=FITTED_MW)
    volumes = market.series["afrr_activation"].frame
    for month in range(FIRST_MONTH, 13, every):
        first = date(YEAR, month, 1)
        at = market.as_of(gate_utc(gate, first, timezone))
        fit = fit_activation(at, timezone, 0, gate, settings)
        last = date(YEAR + (month + every > 12), (month + every - 1) % 12 + 1, 1)
        for k in range((last - first).days):
            day = first + timedelta(days=k)
            steps = local_day_steps(day, timezone)
            if day.year > YEAR or len(steps) != DAY_QH:
                continue
            view = market.as_of(gate_utc(gate, day, timezone))
            past = known_days(view, timezone)[-60:]
            rng = stream(0, f"benchmark.paths.{day}")
            chosen = [past[int(i)] for i in rng.choice(len(past), n, replace=False)]
            paths = draw_activation(fit, view, day, chosen, rng)
            weeks.append(day.isocalendar().week)
            for j, d in enumerate(DIRECTIONS):
                real[j].append(volumes.loc[steps, f"{d}_mw"].to_numpy(np.float64)[None])
                drawn[j].append(paths[j])
    week = np.array(weeks)
    for label, where in (
        ("even ISO weeks", week % 2 == 0),
        ("odd", week % 2 == 1),
        ("all", week > 0),
    ):
        print_paths(f"{label}, {n} paths each", np.array(real)[:, where], np.array(drawn)[:, where])
        for j, d in enumerate(DIRECTIONS):
            excess = (np.array(drawn)[j].mean(axis=(1, 2)) - np.array(real)[j].mean(axis=(1, 2)))[
                where
            ]
            mean, error = weekly_error(excess, week[where])
            print(
                f"{d}: simulated less happened {mean:.2f} MW, standard error {error:.2f} (by weeks)"
            )


def print_paths(title: str, real: Array, drawn: Array) -> None:
    """Both of shape (directions, days, paths, quarter hours)."""
    names = ["mean", "q50", "q75", "q90", "q95", "q99", "share > 5 MW"]
    names += [f"autocorrelation {k}" for k in range(1, 9)]
    names = [f"{d} {name}" for d in DIRECTIONS for name in names] + ["both > 5 MW"]
    happened, simulated = (describe(*v.reshape(2, -1, v.shape[-1])) for v in (real, drawn))
    print(f"\n{title}, {real.shape[1]} days\n| | happened | simulated |\n|---|---|---|")
    for name, a, b in zip(names, happened, simulated, strict=True):
        print(f"| {name} | {a:.3f} | {b:.3f} |")


def weekly_error(value: Array, week: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean of daily values and its standard error, weeks being independent and days not."""
    _, group = np.unique(week, return_inverse=True)
    off = np.bincount(group, value - value.mean())
    return float(value.mean()), float(np.sqrt((off**2).sum()) / len(value))


def main() -> None:
    parser = argparse.ArgumentParser(description="Predictability of aFRR activation.")
    parser.add_argument("data", type=Path, help="folder of market data directories")
    parser.add_argument("zone", help="bidding zone, e.g. DE_LU")
    parser.add_argument("--gates", nargs="*", default=["D-1 12:00", "lead"])
    parser.add_argument("--directions", nargs="*", choices=DIRECTIONS, default=list(DIRECTIONS))
    parser.add_argument("--every-months", type=int, default=1, help="months between refits")
    parser.add_argument("--paths", action="store_true", help="compare simulated days instead")
    parser.add_argument("--keep", type=Path, help="folder for the forecasts")
    options = parser.parse_args()
    market = load_market(options.data, options.zone)
    rules = [GateRule() if gate == "lead" else GateRule(gate) for gate in options.gates]
    print(
        f"{options.zone}, {datetime.now(UTC):%Y-%m-%d}, refit every {options.every_months} months"
    )
    if options.paths:
        compare_paths(market, options.every_months)
        return
    run(market, rules, options.directions, options.every_months, options.keep)


if __name__ == "__main__":
    main()
