"""The value of a stored run: the account, the command `stochbess value`, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import stochbess as sb
from stochbess.cli_command import command
from stochbess.cli_value import value
from stochbess.config import Config, load_config
from stochbess.errors import DataError, StoreError
from stochbess.rolling import CAUSES, RollingValue
from stochbess.rolling_forecast import Information
from stochbess.rolling_run import case_of_run, value_run
from stochbess.run import Run
from stochbess.store import Store

QUICK = [
    "scenarios.n=3",
    "aging.n_segments=2",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "solver.threads=1",
]
app = typer.Typer()
app.callback()(lambda: None)
command(app, "value")(value)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Run]]:
    """A run without reserves in a store of its own."""
    place = tmp_path_factory.mktemp("value") / "runs"
    run = sb.solve(None, overrides=[*QUICK, f"report.store_dir={place}"], worth=False)
    yield place, run


def accounted(found: RollingValue) -> None:
    """Causes add up to the optimism of every day, and nobody beats clairvoyance."""
    assert list(found.causes.columns) == list(CAUSES)
    optimism = found.days["optimism_eur"].to_numpy()
    assert found.causes.sum(axis=1).to_numpy() == pytest.approx(optimism, abs=1e-3)
    assert (found.days["rolling_eur"] <= found.days["clairvoyant_bound_eur"] + 1e-3).all()
    assert found.expected_causes().sum() == pytest.approx(found.optimism_eur, abs=1e-3)


def test_known_prices_and_no_calls_leave_little_to_foresee(stored: tuple[Path, Run]) -> None:
    place, run = stored
    found = value_run(run.record, run.frames, place, Information()).scenarios
    accounted(found)
    assert found.clairvoyant_eur == pytest.approx(float(run.fact("expected_profit").value or 0))
    assert 0 <= found.optimism_frac + 1e-9 < 0.01
    hidden = value_run(run.record, run.frames, place, Information(intraday_prices="gate"))
    assert hidden.scenarios.optimism_eur > found.optimism_eur + 1.0
    accounted(hidden.scenarios)


def test_the_command_prints_tables_of_at_most_100_columns(stored: tuple[Path, Run]) -> None:
    place, run = stored
    arguments = ["value", run.run_id[:6], "--store", str(place), "--realised", "--prices", "gate"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    for words in ("clairvoyant recourse", "rolling dispatch", "The day that came", "SYNTHETIC"):
        assert words in done.stdout
    assert all(f"by {cause}" in done.stdout for cause in CAUSES)


def test_json_holds_the_same_numbers_and_every_day(stored: tuple[Path, Run]) -> None:
    place, run = stored
    arguments = ["value", run.run_id, "--store", str(place), "--json", "--quiet", "--lead", "45"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and done.stderr == ""
    document = json.loads(done.stdout)
    part = document["scenarios"]
    assert document["information"]["lead_min"] == 45.0 and document["realised"] is None
    assert len(part["days"]) == 3
    gap = part["clairvoyant_eur"] - part["nonanticipative_eur"]
    assert part["optimism_eur"] == pytest.approx(gap)
    assert sum(part["causes_eur"].values()) == pytest.approx(gap, abs=1e-3)


@pytest.mark.parametrize(
    "option", [["--prices", "never"], ["--lead", "-5"], ["--safety", "1.5"]], ids=" ".join
)
def test_a_wrong_option_is_a_fault_of_the_command_line(
    stored: tuple[Path, Run], option: list[str]
) -> None:
    done = CliRunner().invoke(app, ["value", stored[1].run_id, "--store", str(stored[0]), *option])
    assert done.exit_code == 2 and "expected" in done.stderr


def test_the_case_of_a_run_is_rebuilt_from_its_record_alone(stored: tuple[Path, Run]) -> None:
    place, run = stored
    with Store(place, read_only=True) as kept:
        record, frames = kept.get(run.run_id), kept.frames(run.run_id)
    case = case_of_run(record, frames, place)
    again = Config.model_validate(json.loads(record.config_json))
    assert again.sha256 == record.config_sha256
    assert case.config.scenarios == load_config(None, QUICK).scenarios


def test_other_market_data_are_refused(stored: tuple[Path, Run]) -> None:
    place, run = stored
    other = replace(run.record, data_sha256="0" * 64)
    with pytest.raises(DataError, match="made from 000000000000"):
        value_run(other, run.frames, place, Information())


def test_other_scenarios_are_refused(stored: tuple[Path, Run]) -> None:
    place, run = stored
    frame = run.frames["scenario_set"]
    frame = frame.assign(value=frame["value"].to_numpy() + 1.0)
    with pytest.raises(DataError, match="not those that it stored"):
        value_run(run.record, {**run.frames, "scenario_set": frame}, place, Information())


def test_a_run_without_bids_is_refused(stored: tuple[Path, Run]) -> None:
    place, run = stored
    failed = replace(run.record, status="failed")
    with pytest.raises(StoreError, match="is failed and has no bids"):
        value_run(failed, {}, place, Information())


def test_a_configuration_of_another_version_is_refused(stored: tuple[Path, Run]) -> None:
    place, run = stored
    config = {**json.loads(run.record.config_json), "dowsing": {"rod": "hazel"}}
    other = replace(run.record, config_json=json.dumps(config))
    with pytest.raises(DataError, match="another version"):
        value_run(other, run.frames, place, Information())


@pytest.mark.slow
def test_reserves_cost_their_dispatcher_something(tmp_path: Path) -> None:
    place = tmp_path / "runs"
    overrides = ["scenarios.n=3", "solver.gap_frac=0.02", f"report.store_dir={place}"]
    run = sb.solve(None, overrides=overrides, worth=False)
    found = value_run(run.record, run.frames, place, Information(), realised=True)
    assert found.realised is not None
    for part in (found.scenarios, found.realised):
        accounted(part)
        assert part.optimism_eur > 10.0
    shortfall = found.scenarios.expected("rolling_reserve_shortfall_mwh_h")
    assert shortfall > found.scenarios.expected("clairvoyant_reserve_shortfall_mwh_h")
    assert np.isfinite(found.scenarios.cpu_s_per_day)
