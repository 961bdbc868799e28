"""Volumes for a zone that has none: borrowed, cut at the gate, and said so."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError
from stochbess.market.data import MarketData
from stochbess.scenario_gen.activation_fallback import with_borrowed_activation
from stochbess.scenario_gen.activation_paths import known_volumes
from stochbess.timegrid import Horizon, gate_utc
from tests.activation_case import BERLIN, TARGET, corrupted_from, zone

GATE = gate_utc("D-1 08:00", TARGET, BERLIN)
WITHOUT = ("afrr_activation",)


def borrowed(
    lender: MarketData, day: date = TARGET, scale: float = 1.0, without: tuple[str, ...] = WITHOUT
) -> MarketData:
    gate = gate_utc("D-1 08:00", day, BERLIN)
    view = zone("AT", 2, without).as_of(gate)
    return with_borrowed_activation(view, lender, Horizon(day, 1, BERLIN, 15, 60), gate, scale)


def test_volumes_of_the_same_day_are_borrowed_up_to_the_gate_and_labelled() -> None:
    found = borrowed(zone())
    assert known_volumes(found).equals(known_volumes(zone().as_of(GATE)))
    assert "borrowed: observed volumes of DE_LU" in found.assumptions[-1]
    assert "independent of the prices of AT" in found.assumptions[-1]
    assert found.column("day_ahead", "price_eur_mwh").equals(
        zone("AT", 2).as_of(GATE).column("day_ahead", "price_eur_mwh")
    )


def test_what_the_lender_publishes_after_the_gate_changes_nothing() -> None:
    spoiled = borrowed(corrupted_from(zone(), pd.Timestamp(GATE)))
    assert known_volumes(spoiled).equals(known_volumes(borrowed(zone())))


def test_a_zone_with_volumes_keeps_its_own() -> None:
    found = borrowed(zone(), without=())
    assert known_volumes(found).equals(known_volumes(zone("AT", 2).as_of(GATE)))
    assert found.assumptions == ()


def test_a_synthetic_lender_that_ends_earlier_is_moved_by_whole_years_with_its_gate() -> None:
    synthetic = replace(zone(), synthetic=True)
    day = date(2025, 3, 26)  # 364 days after the target
    gate = gate_utc("D-1 08:00", day, BERLIN)
    view = zone("AT", 2, WITHOUT)
    found = with_borrowed_activation(view, synthetic, Horizon(day, 1, BERLIN, 15, 60), gate)
    moved, plain = known_volumes(found), known_volumes(zone().as_of(GATE))
    assert "SYNTHETIC" in found.assumptions[-1] and "moved by 364 days" in found.assumptions[-1]
    assert moved.index[-1] == plain.index[-1] + pd.Timedelta(days=364)
    assert np.array_equal(moved.to_numpy()[-96:], plain.to_numpy()[-96:])


def test_volumes_can_be_scaled_and_the_factor_is_told() -> None:
    found = borrowed(zone(), scale=0.1)
    assert known_volumes(found)["up_mw"].max() == pytest.approx(
        0.1 * known_volumes(borrowed(zone()))["up_mw"].max()
    )
    assert "times 0.1" in found.assumptions[-1]
    with pytest.raises(DataError, match="above 0"):
        borrowed(zone(), scale=0.0)


def test_a_lender_without_volumes_is_refused() -> None:
    with pytest.raises(DataError, match="activation_fallback"):
        borrowed(zone("FR", 3, WITHOUT))
