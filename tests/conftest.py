"""What all tests share: real market data if there are any, and which tests run by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Which examples Hypothesis tries. "ci", the default: the same ones every time. "nightly": new ones
# every time, NIGHTLY_TIMES as many, also where a test states its own number:
#
#     HYPOTHESIS_PROFILE=nightly ./run.sh test
#
# A shared machine may be slow for a moment; that says nothing about the property: no deadline.
NIGHTLY_TIMES = 20
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    # where CI is set, hypothesis would take the same examples every night
    "nightly",
    deadline=None,
    derandomize=False,
    max_examples=100 * NIGHTLY_TIMES,
    print_blob=True,
)
settings.load_profile(PROFILE)


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
    if PROFILE == "nightly":
        for item in items:
            _try_more(item)
    if config.getoption("markexpr") or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def _try_more(item: pytest.Item) -> None:
    """Multiply the number of examples that a test states for itself; the profile cannot."""
    test = getattr(item, "obj", None)
    own = getattr(test, "_hypothesis_internal_use_settings", None)
    usual = settings().max_examples
    if isinstance(own, settings) and own.max_examples != usual:
        more = settings(own, max_examples=NIGHTLY_TIMES * own.max_examples)
        test._hypothesis_internal_use_settings = more  # type: ignore[union-attr]
