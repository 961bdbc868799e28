"""How names may be spelt on the command line, and which file names it refuses."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stochbess.cli import app
from tests.test_importer import steps, write_csv


def ended(*arguments: str) -> tuple[int, str]:
    """Exit code and all that was printed."""
    found = CliRunner().invoke(app, [*arguments])
    return found.exit_code, found.output


@pytest.mark.parametrize("name", ["s.csv", "s"])
def test_a_scenario_file_of_another_format_is_refused_at_once(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = ended("scenarios", "generate", "--out", name)
    assert code == 2 and "expected .parquet or .pq" in told and "s.parquet" in told
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("market", ["day-ahead", "day_ahead"])
def test_a_market_is_known_by_both_spellings(market: str) -> None:
    code, told = ended("config", "check", "--set", f"markets.{market}.enabled=false")
    assert code == 0, told
    code, told = ended("solve", "--markets", market, "--n-scenarios", "0")
    assert code == 2 and "--n-scenarios 0" in told and "--markets" not in told


@pytest.mark.parametrize("series", ["day-ahead", "day_ahead"])
def test_a_series_is_imported_by_both_spellings_and_faults_name_options(
    tmp_path: Path, series: str
) -> None:
    stamps = steps(date(2024, 6, 14), 60).tz_convert("Europe/Berlin").tz_localize(None)
    source = write_csv(tmp_path / "prices.csv", stamps)
    arguments = [
        "data", "import", str(source), "--into", str(tmp_path / "market"), "--series", series,
        "--zone", "DE_LU", "--timezone", "Europe/Berlin", "--time", "time", "--column",
        "price_eur_mwh=price", "--unit", "EUR/MWh", "--known-since", "D-1 12:45 local",
        "--source", "a test", "--licence", "none", "--time-format", "%d.%m.%Y %H:%M",
        "--decimal", ",", "--thousands", ".", "--separator", ";",
    ]  # fmt: skip
    code, told = ended(*arguments)
    assert code == 3 and "Declare --naive-timezone" in told and "naive_timezone" not in told
    code, told = ended(*arguments, "--naive-timezone", "Europe/Berlin")
    assert code == 0, told
    assert (tmp_path / "market" / "DE_LU" / "day_ahead.parquet").is_file()
