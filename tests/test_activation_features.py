"""Rows for the prediction of activation: each sees what was known at its own gate and no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError
from stochbess.market.data import MarketData, SeriesMeta, build_series
from stochbess.scenario_gen.activation_features import (
    Features,
    GateRule,
    build_features,
    local_day_steps,
)
from stochbess.timegrid import gate_utc
from tests.activation_case import BERLIN, FIRST_DAY, TARGET, corrupted_from, deleted_from, zone

RULES = [GateRule(), GateRule(lead_min=55), GateRule("D-1 08:00"), GateRule("D-1 18:30")]


def rows(market: MarketData, rule: GateRule, day: date = TARGET) -> Features:
    return build_features(market, local_day_steps(day, BERLIN), rule)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_row_does_not_change_with_anything_published_at_or_after_its_gate(rule: GateRule) -> None:
    market = zone()
    whole = rows(market, rule)
    gates = rule.gates(whole.steps, BERLIN)
    for k in (0, 31, 95):
        for spoiled in (corrupted_from(market, gates[k]), deleted_from(market, gates[k])):
            again = build_features(spoiled, whole.steps[: k + 1], rule)
            assert again.x[k].tobytes() == whole.x[k].tobytes(), (rule, k)


def test_the_alarm_rings_when_a_row_sees_its_gate_later_than_it_says() -> None:
    market = zone()
    honest, leaking = GateRule(), GateRule(lead_min=10)
    steps = local_day_steps(TARGET, BERLIN)
    gate = honest.gates(steps, BERLIN)[40]
    spoiled = build_features(corrupted_from(market, gate), steps[:41], leaking)
    assert spoiled.x[40].tobytes() != build_features(market, steps, leaking).x[40].tobytes()


def test_lags_follow_the_publication_time_in_the_manifest() -> None:
    market = zone()
    volume = market.column("afrr_activation", "up_mw")
    slow = market.series["afrr_activation"]
    meta = SeriesMeta("test", "test", "made up", "delivery end + 2 h")
    series = build_series("afrr_activation", slow.frame, meta, BERLIN)
    later = replace(market, series={**market.series, "afrr_activation": series})
    # Known 30 min after the start, asked 25 min before: t - 60 min is the latest; else t - 165 min.
    for found, back in ((market, 4), (later, 11)):
        features = rows(found, GateRule())
        place = volume.index.get_indexer(features.steps)
        for k in range(4):
            expected = volume.to_numpy()[place - back - k]
            assert np.array_equal(features.column(f"volume_up_{k}"), expected)
        mean = np.mean([volume.to_numpy()[place - back - k] for k in range(4)], axis=0)
        assert features.column("volume_up_1h") == pytest.approx(mean)


def test_day_ahead_rows_hold_the_price_of_the_day_only_after_the_auction() -> None:
    market = zone()
    assert np.isnan(rows(market, GateRule("D-1 12:45")).column("day_ahead")).all()
    known = rows(market, GateRule("D-1 12:46")).column("day_ahead")
    expected = market.column("day_ahead", "price_eur_mwh").reindex(
        local_day_steps(TARGET, BERLIN).floor("h")
    )
    assert np.array_equal(known, expected.to_numpy())


def test_forecasts_assumed_known_earlier_enter_earlier() -> None:
    early = zone().assume_forecasts_known("D-1 07:00")
    assert np.isnan(rows(zone(), GateRule("D-1 08:00")).column("wind_forecast")).all()
    assert np.isfinite(rows(early, GateRule("D-1 08:00")).column("wind_forecast")).all()


def test_a_zone_with_prices_and_volumes_alone_works_and_says_what_is_absent() -> None:
    bare = zone(without=("fundamentals", "realised_15min", "afrr_energy", "intraday_auction"))
    features = rows(bare, GateRule())
    assert np.isfinite(features.column("volume_down_0")).all()
    assert "absent: intraday auction, solar forecast" in features.sources
    assert "aFRR energy price" in features.sources.split("absent")[1]


def test_the_first_row_of_all_has_no_past_and_no_number_from_elsewhere() -> None:
    first = rows(zone(), GateRule(), FIRST_DAY)
    assert np.isnan(first.column("volume_up_0")[:4]).all()
    assert np.isfinite(first.column("volume_up_0")[4:]).all()
    assert np.isnan(first.column("volume_up_28d")).all()


@pytest.mark.parametrize(("day", "n"), [(date(2024, 3, 31), 92), (date(2024, 10, 27), 100)])
def test_days_of_clock_changes_have_their_quarter_hours_and_one_gate(day: date, n: int) -> None:
    steps = local_day_steps(day, BERLIN)
    gates = GateRule("D-1 08:00").gates(steps, BERLIN)
    assert len(steps) == n
    assert gates.unique().tolist() == [pd.Timestamp(gate_utc("D-1 08:00", day, BERLIN))]


def test_a_zone_without_volumes_or_without_known_ones_is_told_so() -> None:
    with pytest.raises(DataError, match="no series 'afrr_activation'"):
        rows(zone(without=("afrr_activation",)), GateRule())
    gate = gate_utc("D 00:00", FIRST_DAY, BERLIN)
    with pytest.raises(DataError, match="no activated volume was known"):
        rows(zone().as_of(gate), GateRule())
