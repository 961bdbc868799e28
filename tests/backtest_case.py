"""A quick backtest for the tests: the reference market, few scenarios, energy markets only."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from stochbess.backtest import Request, backtest_config
from stochbess.backtest_step import Engine
from stochbess.config import Config, load_config
from stochbess.market.reference import reference_market
from stochbess.rolling_forecast import Information

FIRST, LAST = date(2024, 6, 26), date(2024, 6, 28)
QUICK = (
    "scenarios.n=2",
    "aging.n_segments=2",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
)
WITH_RESERVES = ("scenarios.n=2", "aging.n_segments=2", "solver.gap_frac=0.05")


def config_of(store: Path, *overrides: str) -> Config:
    return load_config(None, [*(overrides or QUICK), f"report.store_dir={store}"])


def request_of(
    store: Path, *policies: str, overrides: tuple[str, ...] = QUICK, **more: Any
) -> Request:
    """Three days of the reference market under `policies`."""
    days = {"first": FIRST, "last": LAST, **more}
    return Request(config_of(store, *overrides), policies or ("rule", "idle"), **days)


def engine_of(store: Path, *overrides: str, market: Any = None) -> Engine:
    market = reference_market() if market is None else market
    config = backtest_config(config_of(store, *overrides))
    return Engine(config, market, Information(), FIRST)
