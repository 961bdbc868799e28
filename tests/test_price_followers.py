"""Prices that follow the day-ahead draws: intraday, capacity, aFRR energy."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np
import pytest

from stochbess.errors import DataError, NotEnoughHistoryError, ScenarioError
from stochbess.market.data import MarketData
from stochbess.rng import stream
from stochbess.scenario_gen.day_panel import block_table, wall_clock_table
from stochbess.scenario_gen.price_day_ahead import (
    DayAheadDraws,
    draw_day_ahead,
    fit_day_ahead,
)
from stochbess.scenario_gen.price_fit import DayAheadFit
from stochbess.scenario_gen.price_followers import CAPACITY, FOLLOWERS, draw_following
from stochbess.scenario_gen.price_ridge import fit_ridge
from stochbess.scenario_gen.scores import crps_ensemble
from stochbess.timegrid import gate_utc
from tests.look_ahead import known_earlier, looks_ahead
from tests.price_case import BERLIN, FIRST_DAY, price_market

TARGET = date(2024, 3, 27)
GATE = "D-1 08:00"


def view(market: MarketData, day: date = TARGET, gate: str = GATE) -> MarketData:
    return market.as_of(gate_utc(gate, day, BERLIN))


@cache
def naive_fit() -> DayAheadFit:
    return fit_day_ahead(view(price_market()), TARGET, BERLIN, 5, "naive")


def draws(market: MarketData, day: date = TARGET, gate: str = GATE) -> DayAheadDraws:
    rng = stream(3, f"test.{day}")
    return draw_day_ahead(naive_fit(), view(market, day, gate), day, 30, rng)


def followed(market: MarketData, series: str, day: date = TARGET, gate: str = GATE) -> np.ndarray:
    made = draw_following(view(market, day, gate), series, day, draws(market, day, gate))
    return made.values


@pytest.mark.parametrize("series", FOLLOWERS)
def test_corrupting_what_is_not_known_changes_no_byte(series: str) -> None:
    gate = gate_utc(GATE, TARGET, BERLIN)
    assert not looks_ahead(lambda m: followed(m, series).tobytes(), price_market(), gate)


def test_the_audit_rings_when_a_capacity_price_is_dated_too_early() -> None:
    gate = gate_utc(GATE, TARGET, BERLIN)

    def leaky(market: MarketData) -> bytes:
        return followed(known_earlier(market, "fcr_capacity", 2), "fcr_eur_mw").tobytes()

    assert looks_ahead(leaky, price_market(), gate)


@pytest.mark.parametrize("series", FOLLOWERS)
@pytest.mark.parametrize(("day", "hours"), [(date(2024, 3, 31), 23), (TARGET, 24)])
def test_every_draw_has_the_labels_of_the_day(series: str, day: date, hours: int) -> None:
    values = followed(price_market(), series, day)
    assert values.shape == (30, 6 if series in CAPACITY else 4 * hours)
    assert np.isfinite(values).all()
    if series in CAPACITY:
        assert (values >= 0).all()
    if series.startswith("afrr_energy"):
        assert values.min() >= 0 and values.max() <= 600


def test_the_intraday_price_moves_with_its_day_ahead_draw() -> None:
    made = draws(price_market())
    spread = followed(price_market(), "intraday_eur_mwh") - np.repeat(made.values_eur_mwh, 4, 1)
    assert spread.std() < 15 < made.values_eur_mwh.std()


def test_the_capacity_price_follows_the_level_of_the_day_before() -> None:
    day = FIRST_DAY + timedelta(days=150)
    real = block_table(price_market(), "fcr_capacity", "price_eur_mw", FIRST_DAY, TARGET)
    fit = fit_day_ahead(view(price_market(), day), day, BERLIN, 5, "naive")
    ahead = draw_day_ahead(fit, view(price_market(), day), day, 60, stream(1, "level"))
    made = draw_following(view(price_market(), day), "fcr_eur_mw", day, ahead).values
    past = real[100:150]
    assert crps_ensemble(made, real[150]).mean() < crps_ensemble(past, real[150]).mean()


def test_what_is_known_at_the_gate_is_the_same_in_every_draw() -> None:
    values = followed(price_market(), "fcr_eur_mw", gate="D-1 13:00")
    real = block_table(price_market(), "fcr_capacity", "price_eur_mw", TARGET, TARGET)
    assert (values == real).all()
    quarter = followed(price_market(), "intraday_eur_mwh", gate="D-1 16:00")
    real = wall_clock_table(price_market(), "intraday_auction", "price_eur_mwh", TARGET, TARGET, 15)
    assert (quarter == real).all()


def test_a_residual_day_without_the_series_is_replaced_and_counted() -> None:
    made = draws(price_market())
    early = DayAheadDraws(
        made.values_eur_mwh, (FIRST_DAY - timedelta(days=40),) * 30, made.point_eur_mwh
    )
    moved = DayAheadDraws(
        made.values_eur_mwh,
        (FIRST_DAY, *(TARGET - timedelta(days=k) for k in range(2, 31))),
        made.point_eur_mwh,
    )
    assert draw_following(view(price_market()), "fcr_eur_mw", TARGET, moved).substituted_frac == 0
    replaced = draw_following(view(price_market()), "fcr_eur_mw", TARGET, early)
    assert replaced.substituted_frac == 1
    assert len(np.unique(replaced.values, axis=0)) > 3


def test_too_few_days_an_absent_series_and_a_wrong_name_are_errors() -> None:
    with pytest.raises(NotEnoughHistoryError, match="15 complete days of fcr_eur_mw"):
        day = FIRST_DAY + timedelta(days=15)
        draw_following(view(price_market(), day), "fcr_eur_mw", day, draws(price_market()))
    with pytest.raises(ScenarioError, match="no price model for 'activation_up_mw'"):
        followed(price_market(), "activation_up_mw")
    market = price_market()
    bare = MarketData(
        market.zone, BERLIN, True, "0" * 64, {"day_ahead": market.series["day_ahead"]}
    )
    with pytest.raises(DataError, match="no series 'fcr_capacity'"):
        followed(bare, "fcr_eur_mw")


def test_ridge_finds_a_plane_and_a_spike_does_not_tilt_it() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2, 2))
    y = 5 + 3 * x[:, :, 0] + rng.normal(size=(300, 2))
    y[17] = 1e6
    made = fit_ridge(x, y)
    np.testing.assert_allclose(made.coefficient[:, 1], 0, atol=0.3)
    assert ((made.coefficient[:, 0] > 2.2) & (made.coefficient[:, 0] < 3.2)).all()
    np.testing.assert_allclose(made.intercept, 5, atol=0.4)
