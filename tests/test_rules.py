"""The dated rulebook; the values pinned here were read in the sources that the rows name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stochbess.errors import DataError
from stochbess.market.rules import (
    MARKETS,
    Rulebook,
    packaged_rulebook,
    read_rulebook,
    rules_for,
    unverified,
)
from stochbess.market.schema import SERIES
from stochbess.timegrid import gate_utc

DAY = date(2024, 6, 26)


@pytest.mark.parametrize("zone", ["DE_LU", "AT"])
@pytest.mark.parametrize(
    ("market", "name", "value"),
    [
        ("day_ahead", "gate_local", "D-1 12:00"),
        ("day_ahead", "pricing", "pay-as-cleared"),
        ("intraday_auction", "gate_local", "D-1 15:00"),
        ("intraday_auction", "mtu_min", 15),
        ("intraday_auction", "pricing", "pay-as-cleared"),
        ("intraday_continuous", "cross_border_gate_local", "delivery start - 60 min"),
        ("fcr", "gate_local", "D-1 08:00"),
        ("fcr", "pricing", "pay-as-cleared"),
        ("fcr", "lot_mw", 1),
        ("fcr", "min_mw", 1),
        ("fcr", "block_h", 4),
        ("fcr", "full_activation_mhz", 200),
        ("fcr", "dead_band_mhz", 10),
        ("afrr_capacity", "gate_local", "D-1 09:00"),
        ("afrr_capacity", "pricing", "pay-as-bid"),
        ("afrr_capacity", "lot_mw", 1),
        ("afrr_energy", "gate_local", "delivery start - 25 min"),
        ("afrr_energy", "mtu_min", 15),
    ],
)
def test_a_rule_that_was_read_in_a_source_has_its_value(
    zone: str, market: str, name: str, value: float | str
) -> None:
    rule = rules_for(zone, market, DAY)
    assert rule.is_verified(name)
    found = rule.text(name) if isinstance(value, str) else rule.number(name)
    assert found == value


def test_the_german_energy_reserve_for_fcr_is_a_quarter_of_an_hour() -> None:
    rule = rules_for("DE_LU", "fcr", DAY)
    assert rule.number("energy_h") == 0.25 and rule.is_verified("energy_h")
    assert "BK6-17-234" in rule.source


def test_the_german_scarcity_component_starts_at_80_percent() -> None:
    rule = rules_for("DE_LU", "imbalance", DAY)
    assert rule.number("scarcity_threshold_frac") == 0.8
    assert rule.is_verified("scarcity_threshold_frac")


def test_further_austrian_bids_start_at_five_megawatts() -> None:
    rule = rules_for("AT", "afrr_capacity", DAY)
    assert rule.number("further_bid_min_mw") == 5.0
    assert rule.text("opening_local") == "D-7 10:00"


@pytest.mark.parametrize(
    ("zone", "market", "name", "value"),
    [
        ("DE_LU", "fcr", "recharge_factor", 1.25),
        ("DE_LU", "afrr_capacity", "energy_h", 1.0),
        ("AT", "fcr", "energy_h", 0.25),
        ("DE_LU", "day_ahead", "price_max_eur_mwh", 4000.0),
        ("DE_LU", "day_ahead", "tick_eur_mwh", 0.01),
    ],
)
def test_a_value_that_was_not_read_is_marked(
    zone: str, market: str, name: str, value: float
) -> None:
    rule = rules_for(zone, market, DAY)
    assert rule.number(name) == value
    assert not rule.is_verified(name)
    assert not rule.verified
    assert any(name in line and market in line for line in unverified([rule]))


@pytest.mark.parametrize("zone", ["DE_LU", "AT", "HU"])
def test_the_day_ahead_unit_becomes_15_minutes_on_the_first_of_october_2025(zone: str) -> None:
    last_hourly = rules_for(zone, "day_ahead", date(2025, 9, 30))
    first_fine = rules_for(zone, "day_ahead", date(2025, 10, 1))
    assert (last_hourly.number("mtu_min"), first_fine.number("mtu_min")) == (60.0, 15.0)


def test_the_day_ahead_maximum_rose_with_the_auction_of_10_may_2022() -> None:
    before = rules_for("DE_LU", "day_ahead", date(2022, 5, 10))
    after = rules_for("DE_LU", "day_ahead", date(2022, 5, 11))
    assert before.number("price_max_eur_mwh") == 3000.0
    assert after.number("price_max_eur_mwh") == 4000.0


def test_the_afrr_energy_limit_is_verified_until_july_2026_only() -> None:
    before = rules_for("DE_LU", "afrr_energy", date(2026, 6, 30))
    after = rules_for("DE_LU", "afrr_energy", date(2026, 7, 1))
    assert before.is_verified("price_max_eur_mwh")
    assert not after.is_verified("price_max_eur_mwh")


@pytest.mark.parametrize("market", MARKETS)
def test_a_zone_without_own_rows_gets_the_unverified_fallback(market: str) -> None:
    rule = rules_for("HU", market, DAY)
    assert rule.zone == "*" and rule.confidence == "unverified" and not rule.verified
    assert "any zone" in unverified([rule])[0] and "all values" in unverified([rule])[0]


@given(
    market=st.sampled_from(MARKETS),
    zone=st.sampled_from(["DE_LU", "AT", "FR"]),
    day=st.dates(date(2022, 7, 1), date(2030, 12, 31)),
)
def test_exactly_one_rule_holds_on_every_day(market: str, zone: str, day: date) -> None:
    rule = rules_for(zone, market, day)
    assert rule.holds_on(day)
    same = [r for r in packaged_rulebook().rules if (r.zone, r.market) == (rule.zone, market)]
    assert sum(r.holds_on(day) for r in same) == 1


def test_every_gate_on_the_day_before_can_be_turned_into_an_instant() -> None:
    for rule in packaged_rulebook().rules:
        gate = str(rule.params.get("gate_local", ""))
        if gate.startswith("D"):
            assert gate_utc(gate, DAY, "Europe/Berlin").date() == date(2024, 6, 25)


def test_limits_and_units_of_the_checks_agree_with_the_rulebook() -> None:
    day_ahead = SERIES["day_ahead"].columns[0]
    rule = rules_for("DE_LU", "day_ahead", DAY)
    assert (day_ahead.low, day_ahead.high) == (
        rule.number("price_min_eur_mwh"),
        rule.number("price_max_eur_mwh"),
    )
    for market, stem in (("fcr", "fcr_capacity"), ("afrr_capacity", "afrr_capacity")):
        assert rules_for("DE_LU", market, DAY).text("price_unit") == SERIES[stem].unit


def test_a_day_before_the_first_row_names_zone_market_and_day() -> None:
    with pytest.raises(DataError, match=r"market fcr of zone AT on delivery day 2019-01-01"):
        rules_for("AT", "fcr", date(2019, 1, 1))
    with pytest.raises(DataError, match=r"market 'mfrr' is unknown"):
        rules_for("AT", "mfrr", DAY)


def test_a_parameter_is_a_number_or_a_text_and_must_exist() -> None:
    rule = rules_for("DE_LU", "fcr", DAY)
    with pytest.raises(DataError, match="expected a number"):
        rule.number("gate_local")
    with pytest.raises(DataError, match="expected a text"):
        rule.text("lot_mw")
    with pytest.raises(DataError, match=r"has no parameter 'lots'.*lot_mw"):
        rule.number("lots")


def test_the_list_of_unverified_rules_names_each_rule_once() -> None:
    rule = rules_for("HU", "fcr", DAY)
    assert len(unverified([rule, rule, rules_for("HU", "day_ahead", DAY)])) == 2


ROW = """
[[rule]]
zones = ["DE_LU"]
market = "fcr"
valid_from = 2024-01-01
valid_to = 2024-07-01
confidence = "verified"
source = "a page"
[rule.params]
lot_mw = 1.0
"""


def write(path: Path, text: str) -> Rulebook:
    path.write_text(text, encoding="utf-8")
    return read_rulebook(path)


def test_a_gap_between_rows_is_an_error_and_does_not_fall_back(tmp_path: Path) -> None:
    fallback = ROW.replace('"DE_LU"', '"*"').replace("valid_to = 2024-07-01\n", "")
    book = write(tmp_path / "rules.toml", ROW + fallback)
    assert book.rule_for("DE_LU", "fcr", date(2024, 6, 30)).verified
    assert book.rule_for("FR", "fcr", date(2024, 7, 1)).zone == "*"
    with pytest.raises(DataError, match="zone DE_LU on delivery day 2024-07-01"):
        book.rule_for("DE_LU", "fcr", date(2024, 7, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[rule]]", "[[row]]", r"expected \[\[rule\]\] tables only"),
        ("[[rule]]", "[[rule]", "cannot be read"),
        ('source = "a page"\n', "", r"missing \['source'\]"),
        ("valid_to", "valid_until", r"unknown \['valid_until'\]"),
        ("2024-07-01", '"2024-07-01"', "must be dates"),
        ("2024-07-01", "2024-01-01", "not after"),
        ('"fcr"', '"primary"', "must be one of"),
        ('"verified"', '"sure"', "must be one of"),
        ("lot_mw = 1.0", "lot_mw = true", "expected a number or a text"),
        ("source", 'unverified = ["lots"]\nsource', "no parameters"),
    ],
)
def test_a_faulty_rulebook_says_which_row_and_why(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "rules.toml", ROW.replace(old, new, 1))


def test_rows_that_overlap_are_refused_with_zone_market_and_day(tmp_path: Path) -> None:
    later = ROW.replace("2024-01-01", "2024-06-30").replace("2024-07-01", "2025-01-01")
    with pytest.raises(DataError, match=r"market fcr of zone DE_LU hold on 2024-06-30"):
        write(tmp_path / "rules.toml", ROW + later)
