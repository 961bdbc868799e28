"""What a faulty input does to a whole command: its exit code, its words, and the store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import stochbess as sb
from stochbess.assemble import build_case
from stochbess.cli import app
from stochbess.errors import ConfigError
from stochbess.store import Store
from tests.faults.test_clock_and_prices import DAY_AHEAD_ONLY, decided
from tests.test_market_check import (
    FAULTS,
    Fault,
    day_ahead,
    moved,
    quarter_hours,
    with_value,
    write_market,
)


def tree_sha256(folder: Path) -> str:
    """Names and bytes of everything below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def solve_from(home: Path, store: Path) -> tuple[int, str, str]:
    """`stochbess solve` on market data at `home`: exit code and both streams."""
    settings = [*DAY_AHEAD_ONLY, f"market.data_dir={home}", "market.day=2024-06-15"]
    arguments = ["solve", "-f", "deterministic", "--no-worth", "--store", str(store)]
    for setting in settings:
        arguments += ["--set", setting]
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that exists and holds nothing."""
    with Store(tmp_path / "runs"):
        pass
    return tmp_path / "runs"


def test_sound_data_are_solved_by_the_command_of_these_tests(tmp_path: Path, store: Path) -> None:
    code, out, _ = solve_from(write_market(tmp_path, {"day_ahead": day_ahead()}), store)
    assert code == 0 and out
    with Store(store, read_only=True) as kept:
        assert [record.status for record in kept.list()] == ["done"]


@pytest.mark.parametrize(("fault", "codes"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_solve_on_a_faulty_series_ends_with_code_3_and_leaves_the_store_alone(
    tmp_path: Path, store: Path, fault: Fault, codes: list[str]
) -> None:
    home = write_market(tmp_path, {"day_ahead": fault(day_ahead())})
    before = tree_sha256(store)
    code, out, err = solve_from(home, store)
    assert (code, out) == (3, "")
    assert all(check in err for check in codes) and "Traceback" not in err
    assert tree_sha256(store) == before


@pytest.mark.parametrize("unit", ["CHF/MWh", "EUR/kWh", "EUR/MW"])
def test_solve_on_another_currency_or_unit_ends_with_code_3(
    tmp_path: Path, store: Path, unit: str
) -> None:
    home = write_market(tmp_path, {"day_ahead": day_ahead()}, unit=unit)
    before = tree_sha256(store)
    code, out, err = solve_from(home, store)
    assert (code, out) == (3, "") and f"unit is '{unit}'" in err
    assert tree_sha256(store) == before


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (lambda f: f.set_axis(moved(f, hours=1), axis=0), "D311"),
        (lambda f: f.set_axis(moved(f, hours=2), axis=0), "D306"),
        (lambda f: f.set_axis(moved(f, hours=-1), axis=0), "D307"),
        (with_value(0.0, 30, 31, 32, 33), "D405"),
    ],
    ids=["interval ends", "summer time as UTC", "one hour early", "placeholder zeros"],
)
def test_what_is_only_suspicious_is_told_with_the_result(
    tmp_path: Path, fault: Fault, check: str
) -> None:
    home = write_market(tmp_path, {"day_ahead": fault(day_ahead())})
    run = decided(f"market.data_dir={home}", "market.day=2024-06-15")
    assert any(text.startswith(f"Data: {check} warning") for text in run.assumptions)


@pytest.mark.parametrize("row", [0, 71])
def test_a_day_without_its_first_or_last_hour_is_not_decided(
    tmp_path: Path, store: Path, row: int
) -> None:
    frame = day_ahead().iloc[24:48] if row == 0 else day_ahead().iloc[:48]
    cut = frame.iloc[1:] if row == 0 else frame.iloc[:-1]
    home = write_market(tmp_path, {"day_ahead": cut})
    before = tree_sha256(store)
    code, out, err = solve_from(home, store)
    assert (code, out) == (3, "") and "2024-06-" in err
    assert tree_sha256(store) == before


@pytest.mark.parametrize("factor", [1000.0, 0.001, 100.0])
@pytest.mark.parametrize(
    "key",
    [
        "energy_mwh",
        "power_mw",
        "charge_efficiency_frac",
        "discharge_efficiency_frac",
        "soc_max_frac",
        "replacement_cost_eur_kwh",
        "state.soh_frac",
    ],
)
def test_a_battery_value_in_another_unit_is_refused(
    key: str, factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found: object = sb.load_config(None).battery
    for name in key.split("."):
        found = getattr(found, name)
    assert isinstance(found, float)
    with pytest.raises(ConfigError, match=rf"battery[.].*{key.rpartition('.')[2]}"):
        sb.load_config(None, [f"battery.{key}={found * factor:.12g}"])


@pytest.mark.parametrize(
    "key", ["markets.imbalance.spread_eur_mwh", "markets.intraday.half_spread_eur_mwh"]
)
def test_a_negative_spread_is_refused_before_anything_is_built(key: str, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    arguments = ["solve", "--set", f"{key}=-1", "--store", str(store)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and key in done.stderr
    assert not store.exists()


def test_no_imbalance_price_is_an_arbitrage_against_intraday(tmp_path: Path) -> None:
    """Known imbalance prices on either side of intraday never make long dearer than short."""
    intraday = quarter_hours(day_ahead().index[0].tz_convert("Europe/Berlin").date(), 3)
    wild = pd.DataFrame(
        {"price_eur_mwh": np.where(np.arange(len(intraday)) % 2, 9000.0, -9000.0)},
        index=intraday.index,
    )
    frames = {"day_ahead": day_ahead(), "intraday_auction": intraday, "imbalance": wild}
    home = write_market(tmp_path, frames)
    settings = [text for text in DAY_AHEAD_ONLY if "intraday" not in text]
    case = build_case(
        sb.load_config(None, [*settings, f"market.data_dir={home}", "market.day=2024-06-15"])
    )
    long, short = case.series["imbalance_long_eur_mwh"], case.series["imbalance_short_eur_mwh"]
    reference, half = case.series["intraday_eur_mwh"], 2.0
    assert (long <= reference - half).all() and (reference + half <= short).all()
    assert short.max() == 9000.0 and long.min() == -9000.0
