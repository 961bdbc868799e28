"""How well aFRR energy prices can be simulated: CRPS against prices of the same quarter hour.

Gate D-1 13:00, when the day-ahead prices of the day are published, every fit from what was known
before it. The table of docs/activation.md is the output of

    python benchmarks/activation_energy_price.py MARKET_DATA DE_LU
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from activation_forecast import (
    DAY_QH,
    FIRST_MONTH,
    YEAR,
    Array,
    weekly_error,
)

from stochbess.market.data import MarketData, load_market
from stochbess.rng import stream
from stochbess.scenario_gen.activation_features import DIRECTIONS, is_weekend, local_day_steps
from stochbess.scenario_gen.activation_paths import (
    ActivationFit,
    activation_paths,
    fit_activation,
    known_days,
)
from stochbess.scenario_gen.activation_price import (
    PriceFit,
    draw_energy_prices,
    fit_energy_price,
)
from stochbess.scenario_gen.scores import crps_ensemble
from stochbess.timegrid import gate_utc

GATE = "D-1 13:00"
N_DRAWS = 40
N_PAST = 60


def past_prices(view: MarketData, days: list[date], direction: str, timezone: str) -> Array:
    """Known prices of past days of 24 hours, shape (days, quarter hours)."""
    prices = view.series["afrr_energy"].frame[f"{direction}_eur_mwh"]
    rows = [prices.reindex(local_day_steps(day, timezone)).to_numpy(np.float64) for day in days]
    whole = [row for row in rows if len(row) == DAY_QH and np.isfinite(row).all()]
    return np.stack(whole)


def scores_of_day(
    market: MarketData,
    view: MarketData,
    fits: tuple[ActivationFit, PriceFit],
    day: date,
    timezone: str,
) -> dict[tuple[str, str], float]:
    """CRPS [EUR/MWh] by direction and forecast, mean over the quarter hours of the day."""
    volumes, prices = fits
    steps = local_day_steps(day, timezone)
    energy = view.series["afrr_energy"].frame.index
    complete = [
        d for d in known_days(view, timezone) if local_day_steps(d, timezone).isin(energy).all()
    ]
    last = [d for d in complete if len(local_day_steps(d, timezone)) == DAY_QH][-N_PAST:]
    rng = stream(0, f"benchmark.energy_price.{day}")
    chosen = [last[int(i)] for i in rng.choice(len(last), N_DRAWS, replace=False)]
    paths = activation_paths(volumes, view, day, chosen, rng)
    hourly = view.series["day_ahead"].frame["price_eur_mwh"]
    level = hourly.reindex(steps, method="ffill", tolerance=pd.Timedelta("45min")).to_numpy(float)
    if not np.isfinite(level).all():
        raise SystemExit(f"{day}: the day-ahead prices are not known at {GATE}")
    drawn = draw_energy_prices(
        prices, view, day, chosen, paths.up_mw, paths.down_mw, np.tile(level, (N_DRAWS, 1))
    )
    weekend = bool(is_weekend(steps, timezone)[0])
    kind = [d for d in complete if (d.weekday() > 4) == weekend][-N_PAST:]
    found = {}
    for j, d in enumerate(DIRECTIONS):
        truth = market.series["afrr_energy"].frame.loc[steps, f"{d}_eur_mwh"].to_numpy(np.float64)
        forecasts = {
            "model": drawn[j],
            "same draws, prices not moved": past_prices(view, chosen, d, timezone),
            "climatology, last 60 days": past_prices(view, last, d, timezone),
            "climatology, last 60 days of the kind": past_prices(view, kind, d, timezone),
        }
        for name, values in forecasts.items():
            found[d, name] = float(crps_ensemble(values, truth).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="CRPS of simulated aFRR energy prices.")
    parser.add_argument("data", type=Path, help="folder of market data directories")
    parser.add_argument("zone", help="bidding zone, e.g. DE_LU")
    parser.add_argument("--every-months", type=int, default=3, help="months between refits")
    options = parser.parse_args()
    market = load_market(options.data, options.zone)
    timezone, weeks, scores = market.timezone, [], []
    for day in (date(YEAR, FIRST_MONTH, 1) + timedelta(days=k) for k in range(275)):
        view = market.as_of(gate_utc(GATE, day, timezone))
        if day.day == 1 and (day.month - FIRST_MONTH) % options.every_months == 0:
            fits = (fit_activation(view, timezone, 0, GATE), fit_energy_price(view, timezone))
        if day.isocalendar().week % 2 == 0 or len(local_day_steps(day, timezone)) != DAY_QH:
            continue
        weeks.append(day.isocalendar().week)
        scores.append(scores_of_day(market, view, fits, day, timezone))
    print(f"{options.zone}, {len(weeks)} days of odd ISO weeks, gate {GATE}, EUR/MWh")
    for key in scores[0]:
        value = np.array([score[key] for score in scores])
        less = np.array([score[key[0], "model"] for score in scores]) - value
        mean, error = weekly_error(less, np.array(weeks))
        print(
            f"{key[0]}, {key[1]}: CRPS {value.mean():.2f}, model less this {mean:.2f} ({error:.2f})"
        )


if __name__ == "__main__":
    main()
