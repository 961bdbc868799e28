"""`stochbess lifetime`: what it prints, its JSON document, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stochbess.cli import app
from stochbess.cli_lifetime import numbers
from stochbess.errors import ConfigError

FEW = ["--days", "2", "--prices", "500,1000", "--wacc", "0.05", "--eol", "0.7,0.8", "--health", "1"]


def lifetime(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["lifetime", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that the first command fills and the others read."""
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def test_tables_fit_the_page_and_say_what_to_set(store: str) -> None:
    code, out, err = lifetime(*FEW, "--store", store, "-q")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    for words in ("SYNTHETIC", "Naumann", "Schimpe", "BLAST 250 Ah", "EOL 80 %", "naive 1000",
                  "Foreign judges", "Price to use", "--set aging."):  # fmt: skip
        assert words in out


def test_the_document_holds_every_number_and_repeats(store: str) -> None:
    code, out, _ = lifetime(*FEW, "--store", store, "-q", "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    assert found["synthetic"] is True
    assert [use["price_eur_kwh"] for use in found["use"]] == [0.0, 500.0, 1000.0]
    assert sum(day["days_per_year"] for day in found["days"]) == pytest.approx(365.25)
    assert [terms["end_of_life_frac"] for terms in found["terms"]] == [0.7, 0.8]
    for terms in found["terms"]:
        for law, own in terms["laws"].items():
            best = max(own["npv_eur_kwh"])
            assert own["best_eur_kwh"] == [0.0, 500.0, 1000.0][own["npv_eur_kwh"].index(best)]
            gain = best / own["npv_eur_kwh"][0] - 1
            assert own["gain_over_none_frac"] == pytest.approx(gain)
            assert terms["kept_frac"][law][law] == 1.0
            kept = list(terms["kept_frac"][law].values())
            told = terms["kept_by_all_frac"][law]
            assert told["worst"] == min(kept) and told["mean"] == pytest.approx(sum(kept) / 3)
        at = [0.0, 500.0, 1000.0].index(terms["robust_eur_kwh"])
        values = [own["npv_eur_kwh"][at] for own in terms["laws"].values()]
        band = terms["robust_npv_band_eur_kwh"]
        assert (band["low"], band["high"]) == (min(values), max(values))
        assert band["mean"] == pytest.approx(sum(values) / 3)
    assert found["recommended"]["price_eur_kwh"] == found["terms"][0]["robust_eur_kwh"]
    assert found["floor_cost_eur_kwh"] is None
    assert lifetime(*FEW, "--store", store, "-q", "--json")[1] == out


def test_a_floor_tells_what_it_costs(store: str) -> None:
    few = ["--days", "2", "--prices", "500", "--wacc", "0.05", "--eol", "0.8", "--health", "1"]
    code, out, _ = lifetime(*few, "--store", store, "-q", "--json", "--floor", "20")
    assert code == 0
    assert set(json.loads(out)["floor_cost_eur_kwh"]) == {"Naumann", "Schimpe", "BLAST 250 Ah"}
    assert "What the floor costs" in lifetime(*few, "--store", store, "-q", "--floor", "20")[1]


def test_progress_goes_to_standard_error(store: str) -> None:
    _, out, err = lifetime(*FEW, "--store", store, "--json")
    assert "lives" in err
    json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--prices", "a,b"], 2, "--prices a,b: expected numbers"),
        (["--wacc", ""], 2, "--wacc"),
        (["--wacc", "5"], 2, "wacc_frac = 5.0"),
        (["--eol", "0.7,1.2"], 2, "end_of_life_frac = 1.2"),
        (["--days", "0"], 2, "--days 0"),
        (["--health", "0.7"], 2, "--health"),
        (["--prices=-1"], 2, "--prices"),
        (["--calendar", "1"], 2, "aging.model=cuts"),
        (["--floor", "-5"], 2, "throughput floor -5"),
        (["--set", "aging.model=throughput"], 2, "expected segments or cuts"),
        (["--year", "1999"], 3, "no prices of 1999"),
        (["--market-data", "nowhere", "--zone", "DE_LU"], 3, "nowhere"),
        (["--picture", "x.gif"], 2, ".svg"),
        (["--picture", "nowhere/x.svg"], 8, "does not exist"),
        (["--max-years", "0"], 2, "max_years"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_work(
    arguments: list[str], code: int, told: str
) -> None:
    found = lifetime("-q", *arguments)
    assert (found[0], found[1]) == (code, "")
    assert told in found[2]
    assert not Path("runs").exists()


def test_numbers_are_read_once_each() -> None:
    assert numbers("--wacc", "0.05, 0.083,0.05") == [0.05, 0.083]
    with pytest.raises(ConfigError, match="separated by commas"):
        numbers("--wacc", "0.05;0.083")


def test_the_command_explains_itself_with_an_example() -> None:
    result = CliRunner().invoke(app, ["lifetime", "--help"])
    assert result.exit_code == 0
    assert "stochbess lifetime" in result.stdout.partition("Example")[2]
