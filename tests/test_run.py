"""The main job end to end: identity, storage, reproducibility, markets and delivery days."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import stochbess as sb
from stochbess.comparison import compare
from stochbess.errors import ConfigError, DataError, NotEnoughHistoryError
from stochbess.market.reference import reference_market
from stochbess.run import Run, solve_days
from stochbess.store import Store

SMALL = ("scenarios.n=3", "solver.gap_frac=0.02", "aging.n_segments=3")
DAY_AHEAD_ONLY = (
    "markets.intraday.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
)


def small(*overrides: str, formulation: str = "two-stage", worth: bool = False) -> Run:
    return sb.solve(
        None,
        formulation,
        overrides=[*SMALL, *overrides],
        worth=worth,
        store=False,
    )


@pytest.fixture(scope="module")
def valued() -> Run:
    """A small two-stage run with everything that belongs to its worth."""
    return small(worth=True)


def test_a_run_offers_every_block_and_hour_and_proves_its_gap(valued: Run) -> None:
    bids = valued.bids
    assert bids.groupby(["market", "product"]).size().to_dict() == {
        ("FCR", "symmetric"): 6,
        ("aFRR", "up"): 6,
        ("aFRR", "down"): 6,
        ("day-ahead", "energy"): 24,
    }
    lots = bids.loc[bids["market"] != "day-ahead", "mw"]
    assert (lots == lots.round()).all()
    assert 0 <= float(valued.fact("gap").value or 0) <= 0.02
    assert float(valued.fact("profit").value) <= float(valued.fact("profit_bound").value)  # type: ignore[arg-type]


def test_cash_lines_and_scenario_profits_tell_the_same_story(valued: Run) -> None:
    cash: Any = valued.cash_flows.set_index("line")
    scenarios: Any = valued.frames["scenarios"].set_index("scenario")
    for name in scenarios.index:
        assert cash.loc["profit", name] == pytest.approx(scenarios.loc[name, "profit_eur"])
    assert cash.loc["profit", "expected"] == pytest.approx(valued.fact("expected_profit").value)


def test_worth_is_ordered_within_its_proven_intervals(valued: Run) -> None:
    worth: Any = valued.frames["worth"].set_index("measure")
    assert (worth["low_eur"] <= worth["high_eur"]).all()
    assert worth.loc["WS", "high_eur"] >= worth.loc["RP", "low_eur"]
    assert worth.loc["RP", "high_eur"] >= worth.loc["EEV", "low_eur"]
    assert worth.loc["EVPI = WS - RP", "high_eur"] >= 0
    assert worth.loc["VSS = RP - EEV", "high_eur"] >= 0


def test_synthetic_data_are_named_in_facts_and_assumptions(valued: Run) -> None:
    assert valued.fact("synthetic").value == "yes"
    assert "SYNTHETIC" in valued.assumptions[0]


def test_a_risk_weight_makes_worth_unavailable_and_says_why() -> None:
    run = small("risk.cvar_weight=0.5", worth=True)
    fact = run.fact("vss")
    assert fact.value is None and "risk.cvar_weight" in fact.meaning
    assert fact.text() == "not available"
    assert float(run.fact("profit").value) <= float(run.fact("expected_profit").value)  # type: ignore[arg-type]


def test_a_stored_run_is_read_back_instead_of_solved_again(tmp_path: Path) -> None:
    config = sb.load_config(None, [*SMALL, *DAY_AHEAD_ONLY, f"report.store_dir={tmp_path}/runs"])
    first = sb.solve(config, worth=False)
    said: list[str] = []
    again = sb.solve(config, worth=False, progress=lambda stage, detail: said.append(stage))
    assert again.run_id == first.run_id and "store" in said and "solve" not in said
    assert again.record.facts_json == first.record.facts_json
    for name, frame in first.frames.items():
        pd.testing.assert_frame_equal(again.frames[name], frame)


def test_the_place_of_the_store_does_not_change_the_identity_of_a_run(tmp_path: Path) -> None:
    ids = set()
    for place in ("a", "b"):
        overrides = [*SMALL, *DAY_AHEAD_ONLY, f"report.store_dir={tmp_path}/{place}"]
        ids.add(sb.solve(None, overrides=overrides, worth=False).run_id)
    assert len(ids) == 1
    assert small(*DAY_AHEAD_ONLY, "seed=7").run_id not in ids


def test_an_interrupted_run_leaves_a_whole_store(tmp_path: Path) -> None:
    config = sb.load_config(None, [*SMALL, f"report.store_dir={tmp_path}/runs"])

    def interrupt(stage: str, detail: str) -> None:
        if stage == "solve":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sb.solve(config, worth=False, progress=interrupt)
    with Store(tmp_path / "runs") as store:
        (record,) = store.list()
        assert record.status == "interrupted"
    assert sb.solve(config, worth=False).record.status == "done"


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_results_do_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    code = (
        "import sys, hashlib, stochbess as sb\n"
        "r = sb.solve(None, overrides=sys.argv[1:], worth=False, store=False)\n"
        "h = hashlib.sha256(r.record.facts_json.encode())\n"
        "[h.update(r.frames[n].to_csv().encode()) for n in sorted(r.frames)]\n"
        "print(h.hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *SMALL],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    import hashlib

    run = small()
    digest = hashlib.sha256(run.record.facts_json.encode())
    for name in sorted(run.frames):
        digest.update(run.frames[name].to_csv().encode())
    assert done.stdout.strip() == digest.hexdigest()


@pytest.mark.parametrize(
    ("closed", "products"),
    [
        (("intraday", "fcr", "afrr"), {"day-ahead"}),
        (("day_ahead", "fcr", "afrr"), set()),
        (("day_ahead", "intraday", "afrr"), {"FCR"}),
        (("fcr",), {"aFRR", "day-ahead"}),
        (("intraday", "afrr"), {"FCR", "day-ahead"}),
    ],
)
def test_any_subset_of_markets_can_be_open(closed: tuple[str, ...], products: set[str]) -> None:
    run = small(*(f"markets.{name}.enabled=false" for name in closed))
    assert set(run.bids["market"]) == products
    assert float(run.fact("gap").value or 0) <= 0.02


def test_day_ahead_as_recourse_is_never_worth_less_than_here_and_now() -> None:
    here = small()
    later = small("markets.day_ahead.here_and_now=false")
    assert set(later.bids["market"]) == {"FCR", "aFRR"}
    assert float(later.fact("profit_bound").value) >= float(here.fact("profit").value)  # type: ignore[arg-type]


def test_every_market_closed_is_a_configuration_error() -> None:
    closed = [f"markets.{m}.enabled=false" for m in ("day_ahead", "intraday", "fcr", "afrr")]
    with pytest.raises(ConfigError, match="every market is disabled"):
        small(*closed)


def test_an_unknown_formulation_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'three-stage'.*two-stage"):
        small(formulation="three-stage")


def test_commitments_bind_and_outages_close_blocks() -> None:
    run = small(
        'battery.state.commitments=[{market: afrr_up, start_local: "2024-06-26T04:00", mw: 1.0}]',
        'battery.state.outages=[{from_local: "2024-06-26T12:00", to_local: "2024-06-26T14:00"}]',
    )
    reserves = run.bids[run.bids["market"].isin(["FCR", "aFRR"])]
    closed = reserves[reserves["start_local"].str.endswith("12:00")]
    assert (closed["mw"] == 0).all()
    block: Any = reserves[reserves["start_local"].str.endswith("04:00")].set_index("product")["mw"]
    assert block["up"] <= 1  # one of the two lots that fit is sold already
    steps = run.schedule
    during = (steps["delivery_start_utc"] >= "2024-06-26 10:00Z") & (
        steps["delivery_start_utc"] < "2024-06-26 12:00Z"
    )
    assert np.allclose(steps.loc[during, ["charge_mw", "discharge_mw"]], 0)


def test_a_commitment_outside_the_horizon_is_refused() -> None:
    with pytest.raises(ConfigError, match="not the start of a 4-hour block of the horizon"):
        small('battery.state.commitments=[{market: fcr, start_local: "2024-07-26T04:00", mw: 1.0}]')


def test_separate_days_never_earn_more_than_one_joint_solve() -> None:
    overrides = [
        *DAY_AHEAD_ONLY,
        "market.day=2024-03-30",
        "market.n_days=3",
        "scenarios.source=realised",
        "terminal.mode=equal_start",
        "aging.model=none",
    ]
    days = solve_days(sb.load_config(None, overrides))
    joint = sb.solve(None, "deterministic", overrides=overrides, worth=False, store=False)
    assert list(days["day"]) == [date(2024, 3, 30), date(2024, 3, 31), date(2024, 4, 1)]
    assert days["profit_eur"].sum() <= float(joint.fact("profit_bound").value) + 1e-6  # type: ignore[arg-type]


def test_compare_prices_both_decisions_on_the_same_scenarios() -> None:
    table: Any = compare(
        None, overrides=[*SMALL, "markets.afrr.enabled=false"], store=False
    ).set_index("formulation")
    gap_eur = 0.02 * abs(table.loc["two-stage", "own_profit_eur"])
    assert (
        table.loc["two-stage", "expected_profit_eur"]
        >= table.loc["deterministic", "expected_profit_eur"] - gap_eur
    )
    assert table.loc["two-stage", "expected_profit_eur"] == pytest.approx(
        table.loc["two-stage", "own_profit_eur"], rel=1e-3
    )


def test_facts_are_json_without_nan(valued: Run) -> None:
    assert json.loads(valued.record.facts_json)["facts"][0]["name"] == "zone"


# -- real market data, beside the repository -----------------------------------------------------


def real(real_market: Path, zone: str, day: str, *overrides: str) -> Run:
    return small(
        f"market.data_dir={real_market}", f"market.zone={zone}", f"market.day={day}", *overrides
    )


@pytest.mark.parametrize(
    ("day", "quarter_hours"), [("2024-03-31", 92), ("2024-06-26", 96), ("2024-10-27", 100)]
)
def test_real_days_of_every_length_are_decided(
    real_market: Path, day: str, quarter_hours: int
) -> None:
    run = real(real_market, "DE_LU", day)
    assert len(run.schedule) == 3 * quarter_hours
    assert run.fact("synthetic").value == "no"


def test_too_little_history_is_a_clear_error(real_market: Path) -> None:
    with pytest.raises(NotEnoughHistoryError, match="57 complete past days"):
        real(real_market, "DE_LU", "2024-02-29")


def test_a_zone_without_activation_closes_afrr_unless_a_fallback_is_asked_for(
    real_market: Path,
) -> None:
    run = real(real_market, "AT", "2024-06-26")
    assert set(run.bids["market"]) == {"FCR", "day-ahead"}
    assert any("aFRR is off" in text for text in run.assumptions)
    with pytest.raises(DataError, match="activation_fallback=reference"):
        real(real_market, "AT", "2024-06-26", "markets.afrr.enabled=true")
    borrowed = real(real_market, "AT", "2024-06-26", "markets.afrr.activation_fallback=reference")
    assert "aFRR" in set(borrowed.bids["market"])
    assert any("SYNTHETIC signal" in text for text in borrowed.assumptions)


# -- slow ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_main_job_proves_one_percent_with_twenty_scenarios() -> None:
    run = sb.solve(None, "two-stage", store=False)
    assert run.fact("scenarios").value == 20
    assert float(run.fact("gap").value or 1) <= 0.01
    assert run.record.reproducible


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [None, 1.5])
def test_a_year_of_day_ahead_is_one_call(cycles: float | None) -> None:
    overrides = [
        *DAY_AHEAD_ONLY,
        "market.day=2024-01-01",
        "market.n_days=366",
        "scenarios.source=realised",
        "terminal.mode=equal_start",
        "aging.model=none",
        *([] if cycles is None else [f"aging.max_cycles_per_day={cycles}"]),
    ]
    market = reference_market()
    joint = sb.solve(
        None, "deterministic", overrides=overrides, market=market, worth=False, store=False
    )
    days = solve_days(sb.load_config(None, overrides), market=market)
    assert len(joint.schedule) == 8784 and len(days) == 366
    assert days["profit_eur"].sum() <= float(joint.fact("profit_bound").value)  # type: ignore[arg-type]
    if cycles is not None:
        assert (days["full_cycles"] <= cycles + 1e-6).all()
