"""aFRR energy prices that go with simulated volumes."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import pytest

from stochbess.errors import DataError, NotEnoughHistoryError
from stochbess.market.data import MarketData
from stochbess.scenario_gen.activation_features import Array, local_day_steps
from stochbess.scenario_gen.activation_paths import known_volumes
from stochbess.scenario_gen.activation_price import PriceFit, draw_energy_prices, fit_energy_price
from stochbess.timegrid import gate_utc
from tests.activation_case import BERLIN, TARGET, zone

PAST = TARGET - timedelta(days=6)


@cache
def view() -> MarketData:
    return zone().as_of(gate_utc("D-1 08:00", TARGET, BERLIN))


@cache
def fit() -> PriceFit:
    return fit_energy_price(view(), BERLIN)


def volumes(day: date = PAST) -> tuple[Array, Array]:
    table = known_volumes(view()).loc[local_day_steps(day, BERLIN)]
    return table["up_mw"].to_numpy()[None], table["down_mw"].to_numpy()[None]


def day_ahead(day: date = PAST) -> Array:
    hours = local_day_steps(day, BERLIN).floor("h")
    return view().column("day_ahead", "price_eur_mwh").loc[hours].to_numpy()[None]


def drawn(up: Array, down: Array, level: Array) -> tuple[Array, Array]:
    return draw_energy_prices(fit(), view(), TARGET, [PAST], up, down, level)


def test_unmoved_volumes_at_the_unmoved_day_ahead_price_keep_their_prices() -> None:
    found = drawn(*volumes(), day_ahead())
    real = view().series["afrr_energy"].frame.loc[local_day_steps(PAST, BERLIN)]
    assert found[0][0] == pytest.approx(real["up_eur_mwh"].to_numpy())
    assert found[1][0] == pytest.approx(real["down_eur_mwh"].to_numpy())


def test_prices_rise_with_volume_up_and_fall_with_volume_down() -> None:
    up, down = volumes()
    base = drawn(up, down, day_ahead())
    more_up = drawn(up + 60, down, day_ahead())
    more_down = drawn(up, down + 60, day_ahead())
    for k in (0, 1):
        assert (more_up[k] >= base[k]).all() and more_up[k].mean() > base[k].mean() + 3
        assert (more_down[k] <= base[k]).all() and more_down[k].mean() < base[k].mean() - 3


def test_prices_follow_the_day_ahead_price_in_part_and_stay_within_the_known_range() -> None:
    shares = [fit().curve[d].day_ahead_share for d in ("up", "down")]
    assert all(0.5 < share <= 1 for share in shares)  # made up with a share of one
    moved = drawn(*volumes(), day_ahead() + 10.0)
    base = drawn(*volumes(), day_ahead())
    inside = (base[0] > 0) & (moved[0] < fit().high_eur_mwh)
    assert (moved[0] - base[0])[inside] == pytest.approx(10 * shares[0])
    far = drawn(*volumes(), day_ahead() + 5000.0)
    assert far[0].max() == fit().high_eur_mwh
    assert "on a bound" in fit().note


def test_shapes_unknown_days_and_a_short_history_are_refused() -> None:
    up, down = volumes()
    with pytest.raises(DataError, match="residual days by quarter hours"):
        drawn(up[:, :-1], down, day_ahead())
    with pytest.raises(DataError, match="were known for 0 of 96"):
        draw_energy_prices(fit(), view(), TARGET, [TARGET], up, down, day_ahead())
    early = zone().as_of(gate_utc("D 00:00", date(2024, 2, 5), BERLIN))
    with pytest.raises(NotEnoughHistoryError, match="expected at least 672"):
        fit_energy_price(early, BERLIN)
    with pytest.raises(DataError, match="no aFRR energy prices"):
        fit_energy_price(zone(without=("afrr_energy",)), BERLIN)
