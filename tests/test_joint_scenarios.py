"""Scenarios of all markets together: one draw is one world, seen from the gate and from nowhere
else, the same bytes every time.

The models have their own tests; here they are small, so that a whole scenario set takes a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.assemble import build_case
from stochbess.config import load_config
from stochbess.errors import ConfigError, DataError, NotEnoughHistoryError, ScenarioError
from stochbess.market.data import ColumnGroup, MarketData, load_market
from stochbess.market.reference import reference_market
from stochbess.scenario_gen import activation_paths
from stochbess.scenario_gen.activation_features import local_day_steps
from stochbess.scenario_gen.fit_store import FitStore
from stochbess.scenario_gen.joint import KEEP_NOTHING, _nearest_free, joint_scenarios
from stochbess.scenario_gen.price_fit import PriceModel
from stochbess.scenario_gen.scenario_file import write_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.timegrid import Horizon, gate_utc
from tests.activation_case import BERLIN, FIRST_DAY, SMALL, TARGET, zone
from tests.look_ahead import known_earlier, looks_ahead, with_groups
from tests.price_case import price_market

PRICES = ("day_ahead_eur_mwh", "intraday_eur_mwh", "afrr_up_eur_mw_h", "afrr_down_eur_mw_h")
ENERGY = ("afrr_energy_up_eur_mwh", "afrr_energy_down_eur_mwh")
VOLUMES = ("activation_up_mw", "activation_down_mw")
ALL = (*PRICES, *ENERGY, *VOLUMES)
GATE = "D-1 08:00"
WEDNESDAY = date(2024, 1, 3)  # three months after the first price of `price_market`


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_paths, "DAY_SETTINGS", SMALL)


def made(
    market: MarketData,
    day: date = TARGET,
    needed: Sequence[str] = PRICES,
    *,
    n: int = 20,
    seed: int = 1,
    gate: str = GATE,
    store: FitStore = KEEP_NOTHING,
    model: PriceModel = "naive",
    lender: MarketData | None = None,
    forecasts: str | None = None,
) -> ScenarioSet:
    horizon = Horizon(day, 1, market.timezone, 15, 60)
    known = None if forecasts is None else gate_utc(forecasts, day, market.timezone)
    at = gate_utc(gate, day, market.timezone)
    return joint_scenarios(
        market, horizon, at, needed, n, seed, known, lender, model=model, store=store
    )


@cache
def whole() -> ScenarioSet:
    """Every series of the zone on an ordinary day."""
    return made(zone(), needed=ALL)


def since(market: MarketData, day: date, *only: str) -> MarketData:
    """The market without what was delivered before `day`, in the series `only` or in all."""
    begin = pd.Timestamp(gate_utc("D 00:00", day, market.timezone))

    def cut(stem: str, group: ColumnGroup) -> ColumnGroup:
        kept = (group.frame.index >= begin) | (bool(only) and stem not in only)
        return replace(group, frame=group.frame[kept], known_since_utc=group.known_since_utc[kept])

    return with_groups(market, cut)


def bytes_of(found: ScenarioSet) -> bytes:
    provenance = json.dumps(found.provenance, sort_keys=True)
    return f"{found.sha256} {found.names} {provenance}".encode()


# ----------------------------------------------------------------------------- no look-ahead


@pytest.mark.parametrize("gate", [GATE, "D-1 13:00"])
def test_what_is_not_known_at_the_gate_changes_no_byte(gate: str) -> None:
    at = gate_utc(gate, TARGET, BERLIN)
    assert not looks_ahead(lambda m: bytes_of(made(m, needed=ALL, gate=gate)), zone(), at)


def test_fits_that_are_kept_see_no_more_than_new_ones(tmp_path: Path) -> None:
    """The market that is corrupted finds the fits of the one that is not."""
    store, at = FitStore(tmp_path), gate_utc(GATE, TARGET, BERLIN)
    assert not looks_ahead(lambda m: bytes_of(made(m, needed=ALL, store=store)), zone(), at)
    assert len([*tmp_path.iterdir()]) == 2


def test_borrowed_volumes_are_cut_at_the_same_gate() -> None:
    at = gate_utc(GATE, TARGET, BERLIN)
    bare = zone("AT", 2, without=("fundamentals", "afrr_activation"))

    def generate(lender: MarketData) -> bytes:
        return bytes_of(made(bare, needed=ALL, lender=lender))

    assert not looks_ahead(generate, zone(), at)


def future_price(market: MarketData) -> bytes:
    return bytes_of(made(known_earlier(market, "day_ahead", 2)))


def scaler_of_the_whole_sample(market: MarketData) -> bytes:
    scale = market.column("day_ahead", "price_eur_mwh").to_numpy().std()
    return bytes((made(market).values["day_ahead_eur_mwh"] / scale).tobytes())


def revised_data(market: MarketData) -> bytes:
    return bytes_of(made(known_earlier(market, "afrr_activation", 2), needed=ALL))


@pytest.mark.parametrize("leaky", [future_price, scaler_of_the_whole_sample, revised_data])
def test_the_audit_rings_for_every_planted_leak(leaky: Callable[[MarketData], bytes]) -> None:
    assert looks_ahead(leaky, zone(), gate_utc(GATE, TARGET, BERLIN))


def test_forecasts_count_earlier_only_by_assumption_and_the_set_says_so() -> None:
    market, day = price_market(), WEDNESDAY
    blind = made(market, day, PRICES[:1], model="lear")
    seeing = made(market, day, PRICES[:1], model="lear", forecasts="D-1 07:00")
    assert "assumptions" not in blind.provenance
    assert "forecasts assumed known D-1 07:00 local" in seeing.provenance["assumptions"]
    assert blind.sha256 != seeing.sha256


@pytest.mark.slow
@pytest.mark.market_data
def test_a_day_of_real_data_sees_nothing_after_its_gate(real_market: Path) -> None:
    market = since(load_market(real_market, "DE_LU"), date(2023, 11, 1))
    day = date(2024, 2, 14)
    at = gate_utc(GATE, day, market.timezone)
    needed = (*ALL, "fcr_eur_mw")
    assert not looks_ahead(lambda m: bytes_of(made(m, day, needed, model="lear")), market, at)


# ----------------------------------------------------------------------------- one world


def residual_days(found: ScenarioSet) -> list[date]:
    return [date.fromisoformat(name[6:16]) for name in found.names]


def test_volumes_prices_and_names_of_a_scenario_belong_to_one_past_day() -> None:
    market, found = zone(), whole()
    for series, (stem, column) in {
        "activation_up_mw": ("afrr_activation", "up_mw"),
        "afrr_energy_up_eur_mwh": ("afrr_energy", "up_eur_mwh"),
        "intraday_eur_mwh": ("intraday_auction", "price_eur_mwh"),
    }.items():
        past = market.column(stem, column)
        alike = [
            np.corrcoef(values, past.loc[local_day_steps(day, BERLIN)])[0, 1]
            for day, values in zip(residual_days(found), found.values[series], strict=True)
        ]
        assert np.mean(alike) > 0.8, series
    assert all(FIRST_DAY <= day < TARGET for day in residual_days(found))
    assert len(set(found.names)) == 20


def test_a_day_drawn_again_has_a_name_of_its_own() -> None:
    found = made(zone(), n=300)
    assert len(set(found.names)) == 300
    assert any(name.endswith("#2") for name in found.names)


def test_days_that_lack_a_series_are_replaced_by_one_day_for_all_series() -> None:
    late = since(zone(), date(2024, 3, 5), "afrr_activation")
    found = made(late, needed=ALL)
    replaced = int(found.provenance["residual_days"].split(" of ")[0])
    assert 0 < replaced <= 20
    assert len(set(residual_days(found))) == 20  # of 21 days that have all series
    assert min(residual_days(found)) >= date(2024, 3, 5)
    assert min(residual_days(whole())) < date(2024, 3, 5)
    with pytest.raises(NotEnoughHistoryError, match="on 13 days before the gate are all"):
        made(late, date(2024, 3, 19), ALL)


def test_each_free_day_stands_in_once_before_any_does_again() -> None:
    distance = np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 2.0], [0.0, 1.0, 2.0], [9.0, 8.0, 7.0]])
    assert _nearest_free(distance, np.array([True, False, True])).tolist() == [0, 2, 0, 2]
    assert _nearest_free(distance, np.zeros(3, bool)).tolist() == [0, 2, 1, 2]


# ----------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2024, 3, 31), 23), (TARGET, 24), (date(2023, 10, 29), 25)]
)
def test_a_day_of_any_length_has_exactly_its_labels(day: date, hours: int) -> None:
    autumn = hours == 25
    data = reference_market() if autumn else zone()
    needed = (*PRICES, "fcr_eur_mw") if autumn else ALL
    found = made(data, day, needed)
    horizon = Horizon(day, 1, BERLIN, 15, 60)
    assert found.for_horizon(horizon, needed) is found
    assert found.values["day_ahead_eur_mwh"].shape == (20, hours)
    assert found.values["intraday_eur_mwh"].shape == (20, 4 * hours)
    assert found.values["afrr_up_eur_mw_h"].shape == (20, 6)


def test_quarter_hours_of_the_day_ahead_auction_hold_the_price_of_their_hour() -> None:
    horizon = Horizon(TARGET, 1, BERLIN, 15, 15)
    at = gate_utc(GATE, TARGET, BERLIN)
    fine = joint_scenarios(zone(), horizon, at, PRICES, 5, 1, model="naive")
    assert fine.for_horizon(horizon, PRICES) is fine
    coarse = made(zone(), n=5).values["day_ahead_eur_mwh"]
    assert np.array_equal(fine.values["day_ahead_eur_mwh"], np.repeat(coarse, 4, axis=1))


def test_after_the_auction_the_day_ahead_price_is_the_price_of_every_scenario() -> None:
    found = made(zone(), gate="D-1 13:00").values["day_ahead_eur_mwh"]
    column = zone().column("day_ahead", "price_eur_mwh")
    truth = column.loc[local_day_steps(TARGET, BERLIN)[::4]].to_numpy()
    assert (found == truth).all()


# ----------------------------------------------------------------------------- determinism


def test_a_kept_fit_a_new_fit_and_a_file_of_them_have_the_same_bytes(tmp_path: Path) -> None:
    store = FitStore(tmp_path / "fits")
    sets = [whole(), *(made(zone(), needed=ALL, store=store) for _ in range(2))]
    files = []
    for k, found in enumerate(sets):
        write_scenarios(found, tmp_path / f"{k}.parquet")
        files.append((tmp_path / f"{k}.parquet").read_bytes())
    assert files[0] == files[1] == files[2]


def test_one_fit_serves_the_week_from_monday_on(tmp_path: Path) -> None:
    store = FitStore(tmp_path)
    for k in range(5):
        made(zone(), date(2024, 3, 25) + timedelta(days=k), store=store)
    assert len([*tmp_path.iterdir()]) == 1
    made(zone(), date(2024, 4, 1), store=store)
    assert len([*tmp_path.iterdir()]) == 2


def test_data_that_arrive_later_leave_the_fit_of_the_week_as_it_is(tmp_path: Path) -> None:
    store, sunday = FitStore(tmp_path), date(2024, 3, 31)
    early = zone().as_of(gate_utc("D 12:00", TARGET, BERLIN))
    made(early, TARGET, ALL, store=store)
    made(replace(zone(), sha256="1" * 64), sunday, ALL, store=store)
    assert len([*tmp_path.iterdir()]) == 2  # one of prices, one of activation


@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"gate": "D-1 09:00"}, {"model": "lear"}, {"forecasts": "D-1 07:00"}],
    ids=["seed", "gate", "model", "assumption"],
)
def test_another_question_gets_another_fit(tmp_path: Path, other: dict[str, object]) -> None:
    store = FitStore(tmp_path)
    made(zone(), store=store)
    made(zone(), store=store, **other)  # type: ignore[arg-type]
    assert len([*tmp_path.iterdir()]) == 2


def test_the_fit_of_the_week_before_saves_time_and_changes_no_byte(tmp_path: Path) -> None:
    store, later = FitStore(tmp_path), WEDNESDAY + timedelta(days=7)
    made(price_market(), WEDNESDAY, PRICES[:1], store=store, model="lear")
    before = [*tmp_path.iterdir()]
    helped = made(price_market(), later, PRICES[:1], store=store, model="lear")
    alone = made(price_market(), later, PRICES[:1], model="lear")
    assert bytes_of(helped) == bytes_of(alone)
    assert len(before) == 1 and len([*tmp_path.iterdir()]) == 2
    # That it was read at all: with the older one damaged the week cannot be fitted.
    after = next(path for path in tmp_path.iterdir() if path not in before)
    after.unlink()
    before[0].write_bytes(before[0].read_bytes()[:-1])
    with pytest.raises(DataError, match="Delete the file"):
        made(price_market(), later, PRICES[:1], store=store, model="lear")


def test_equal_seeds_give_equal_sets_and_other_seeds_others() -> None:
    again, other = (made(zone(), needed=ALL, seed=seed) for seed in (1, 2))
    assert again.sha256 == whole().sha256 != other.sha256


def fingerprint() -> str:
    setattr(activation_paths, "DAY_SETTINGS", SMALL)  # noqa: B010  not exported
    found = [made(zone(), needed=ALL), made(price_market(), WEDNESDAY, PRICES[:2], model="lear")]
    return hashlib.sha256(b"".join(bytes_of(f) for f in found)).hexdigest()


@pytest.mark.slow
def test_the_order_of_hashes_changes_nothing() -> None:
    code = "from tests.test_joint_scenarios import fingerprint; print(fingerprint())"
    root = Path(__file__).resolve().parent.parent
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "4242")
    }
    assert len(found) == 1 and len(found.pop()) == 64


# ----------------------------------------------------------------------------- borrowed activation


def test_a_zone_without_forecasts_and_volumes_works_and_says_what_it_lacks() -> None:
    bare = zone("AT", 2, without=("fundamentals", "afrr_activation"))
    found = made(bare, needed=PRICES)
    assert found.values["day_ahead_eur_mwh"].shape == (20, 24)
    assert "activation_fallback" not in found.provenance
    with pytest.raises(DataError, match="afrr_activation"):
        made(bare, needed=ALL)


@pytest.mark.parametrize("synthetic", [True, False])
def test_borrowed_volumes_are_labelled_with_what_they_are(synthetic: bool) -> None:
    bare = zone("AT", 2, without=("fundamentals", "afrr_activation"))
    lender = replace(zone(), synthetic=synthetic)
    found = made(bare, needed=ALL, lender=lender)
    kind = "synthetic" if synthetic else "observed"
    expected = f"{kind} volumes of DE_LU, independent of the prices of this zone"
    assert found.provenance["activation_fallback"] == expected
    assert "aFRR activation of AT is borrowed" in found.provenance["assumptions"]
    own = made(zone(), needed=ALL, lender=replace(zone(seed=3), synthetic=True))
    assert "activation_fallback" not in own.provenance
    assert own.sha256 == whole().sha256


# ----------------------------------------------------------------------------- limits


def test_too_little_history_of_prices_and_of_volumes_are_errors_with_counts() -> None:
    with pytest.raises(NotEnoughHistoryError, match="complete days"):
        made(zone(), FIRST_DAY + timedelta(days=8))
    with pytest.raises(NotEnoughHistoryError, match="no day-ahead price"):
        made(zone(), FIRST_DAY - timedelta(days=8))


def test_where_monday_knew_too_little_the_day_itself_is_fitted(tmp_path: Path) -> None:
    market, thursday = since(zone(), date(2024, 2, 5)), date(2024, 2, 22)
    price = PRICES[:1]
    with pytest.raises(NotEnoughHistoryError, match="16 complete days"):
        made(market, thursday - timedelta(days=1), price)
    store = FitStore(tmp_path)
    for k in range(2):
        made(market, thursday + timedelta(days=k), price, store=store)
    assert len([*tmp_path.iterdir()]) == 2  # one for each day: there is none of Monday


def test_several_days_a_series_without_a_model_and_no_scenario_are_refused() -> None:
    at = gate_utc(GATE, TARGET, BERLIN)
    two = Horizon(TARGET, 2, BERLIN, 15, 60)
    one = Horizon(TARGET, 1, BERLIN, 15, 60)
    with pytest.raises(ScenarioError, match="one delivery day, not of 2"):
        joint_scenarios(zone(), two, at, PRICES, 5, 1)
    with pytest.raises(ScenarioError, match="no model for imbalance_eur_mwh"):
        joint_scenarios(zone(), one, at, [*PRICES, "imbalance_eur_mwh"], 5, 1)
    for needed, n in ((PRICES, 0), ((), 5)):
        with pytest.raises(ScenarioError, match="n >= 1 and a series"):
            joint_scenarios(zone(), one, at, needed, n, 1)
    vienna = Horizon(TARGET, 1, "Europe/Vienna", 15, 60)
    with pytest.raises(DataError, match="time zone"):
        joint_scenarios(zone(), vienna, at, PRICES, 5, 1)
    late: datetime = gate_utc("D 08:00", TARGET + timedelta(days=1), BERLIN)
    with pytest.raises(ScenarioError, match="after the delivery day"):
        joint_scenarios(zone(), one, late, PRICES, 5, 1)


def test_reduction_from_fewer_than_are_kept_is_a_fault_of_both_keys() -> None:
    with pytest.raises(ConfigError, match=r"scenarios\.reduce_from.*scenarios\.n") as caught:
        load_config(None, ["scenarios.n=30", "scenarios.reduce_from=20"])
    assert "20" in str(caught.value) and "30" in str(caught.value)
    assert load_config(None, ["scenarios.n=20", "scenarios.reduce_from=20"]).scenarios.n == 20


def test_a_reduced_set_keeps_n_scenarios_of_the_larger_one(tmp_path: Path) -> None:
    config = load_config(
        None,
        [
            "scenarios.n=5",
            "scenarios.reduce_from=40",
            "markets.fcr.enabled=false",
            "markets.afrr.enabled=false",
            "market.day=2024-04-03",
            f"report.store_dir={tmp_path}",
        ],
    )
    case = build_case(config, zone())
    assert len(case.scenarios) == 5 and case.scenarios.provenance["reduced_from"] == "40"
    assert (case.probability == 1 / 5).all()
    assert case.scenarios.provenance["reduction_method"] == "means"
    assert any("5 of 40 scenarios stand for all" in text for text in case.assumptions)
