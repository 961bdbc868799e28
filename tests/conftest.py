"""What all tests share: real market data if there are any, and which tests run by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# A shared machine may be slow for a moment; that says nothing about the property.
settings.register_profile("stochbess", deadline=None)
settings.load_profile("stochbess")


@pytest.fixture(scope="session")
def real_market() -> Path:
    """Directory of real market data with one folder a zone (DE_LU, AT), or skip.

    It is named by STOCHBESS_MARKET_DATA; without that, `shared/data/market` beside the repository
    is used if it is there.
    """
    named = os.environ.get("STOCHBESS_MARKET_DATA")
    if named:
        if not Path(named).is_dir():
            pytest.fail(f"STOCHBESS_MARKET_DATA names {named}, which is no directory")
        return Path(named)
    beside = ROOT.parent / "shared" / "data" / "market"
    if not beside.is_dir():
        pytest.skip("no real market data: set STOCHBESS_MARKET_DATA to a market data directory")
    return beside


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests unless markers were chosen (`-m`) or a test is called by its name."""
    if config.getoption("markexpr") or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
