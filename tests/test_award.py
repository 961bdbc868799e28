"""The probability that a capacity bid wins: monotone, calibrated, blind for the future."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError, NotEnoughHistoryError
from stochbess.market.data import MarketData, SeriesMeta, build_series, load_market
from stochbess.rng import stream
from stochbess.scenario_gen.award import acceptance_probability, price_belief
from stochbess.timegrid import Horizon, gate_utc
from tests.activation_case import BERLIN, FIRST_DAY, KNOWN_SINCE, TARGET, corrupted_from, zone

GATE = "D-1 09:00"
BIDS = np.linspace(0.0, 80.0, 200)


def market(up: np.ndarray, n_days: int = 66, drop: slice | None = None) -> MarketData:
    """Capacity prices `up` by block, in a zone that has nothing else to say."""
    h = Horizon(FIRST_DAY, n_days, BERLIN, 15, 60)
    frame = pd.DataFrame({"up_eur_mw_h": up, "down_eur_mw_h": up}, index=h.block_starts)
    if drop is not None:
        frame = frame.drop(frame.index[drop])
    meta = SeriesMeta("test", "test", "made up", KNOWN_SINCE["afrr_capacity"])
    series = build_series("afrr_capacity", frame, meta, BERLIN)
    return replace(zone(), series={"afrr_capacity": series})


def at_gate(data: MarketData, day: date = TARGET) -> MarketData:
    return data.as_of(gate_utc(GATE, day, BERLIN))


def wandering(n_days: int = 66, seed: int = 1) -> np.ndarray:
    rng = stream(seed, "test.award")
    return np.repeat(np.exp(2 + np.cumsum(rng.normal(0, 0.15, n_days))), 6) * np.exp(
        rng.normal(0, 0.1, 6 * n_days)
    )


def test_acceptance_falls_with_the_bid_from_one_to_zero() -> None:
    for block in range(6):
        p = acceptance_probability(at_gate(zone()), "up", BIDS, TARGET, block)
        assert (np.diff(p) <= 0).all()
        assert p[0] > 0.999 and p[-1] < 0.01


def test_a_price_that_never_moves_is_a_step() -> None:
    belief = price_belief(at_gate(market(np.full(396, 12.0))), "up", TARGET, 2)
    assert belief.acceptance(11.8) > 0.99 and belief.acceptance(12.2) < 0.01


def test_blocks_have_their_own_prices() -> None:
    level = np.tile([5.0, 5.0, 20.0, 5.0, 5.0, 5.0], 66)
    data = at_gate(market(level * wandering() / 8))
    cheap, dear = (price_belief(data, "up", TARGET, b).bid_for(0.5) for b in (1, 2))
    assert dear > 2.5 * cheap


def test_the_latest_prices_count_most() -> None:
    prices = np.r_[np.full(300, 5.0), np.full(96, 30.0)] * np.exp(
        stream(4, "test.award").normal(0, 0.1, 396)
    )
    assert price_belief(at_gate(market(prices)), "up", TARGET, 3).acceptance(15.0) > 0.8


def test_the_bid_for_a_probability_is_accepted_with_it_and_a_cent_more_is_not() -> None:
    belief = price_belief(at_gate(market(wandering())), "up", TARGET, 0)
    for wanted in (0.05, 0.5, 0.9):
        bid = belief.bid_for(wanted)
        assert belief.acceptance(bid) >= wanted > belief.acceptance(bid + 0.01)


def test_prices_published_at_or_after_the_gate_change_nothing() -> None:
    gate = gate_utc(GATE, TARGET, BERLIN)
    honest = acceptance_probability(zone().as_of(gate), "down", BIDS, TARGET, 4)
    spoiled = corrupted_from(zone(), pd.Timestamp(gate))
    assert (
        acceptance_probability(spoiled.as_of(gate), "down", BIDS, TARGET, 4).tobytes()
        == honest.tobytes()
    )
    # Handed an uncut market, it still reads no price of the delivery day or later.
    day = gate_utc("D 00:00", TARGET, BERLIN)
    uncut = acceptance_probability(zone(), "down", BIDS, TARGET, 4)
    tail = np.asarray(zone().column("afrr_capacity", "down_eur_mw_h").index >= day)
    frame = zone().series["afrr_capacity"].frame.copy()
    frame.loc[tail, :] = 999.0
    meta = zone().series["afrr_capacity"].meta
    other = replace(
        zone(), series={"afrr_capacity": build_series("afrr_capacity", frame, meta, BERLIN)}
    )
    assert acceptance_probability(other, "down", BIDS, TARGET, 4).tobytes() == uncut.tobytes()


def test_missing_blocks_are_bridged() -> None:
    target_row = 6 * (TARGET - FIRST_DAY).days
    holes = slice(target_row - 12, target_row - 6)
    p = acceptance_probability(at_gate(market(wandering(), drop=holes)), "up", BIDS, TARGET, 1)
    assert np.isfinite(p).all() and p[0] > 0.99


def test_on_made_up_prices_the_probabilities_are_calibrated() -> None:
    p, won = [], []
    for seed in range(24):
        prices = wandering(seed=seed)
        data = market(prices)
        for back in (0, 9):
            day = TARGET + timedelta(days=8 - back)
            row = 6 * (day - FIRST_DAY).days
            bids = prices[row - 6 : row].mean() * np.array([0.7, 0.85, 1.0, 1.2, 1.5])
            for block in (0, 3):
                p.append(acceptance_probability(at_gate(data, day), "up", bids, day, block))
                won.append(prices[row + block] >= bids)
    forecast, happened = np.array(p), np.array(won)
    assert forecast.mean(axis=0) == pytest.approx(happened.mean(axis=0), abs=0.12)
    flat = np.broadcast_to(happened.mean(axis=0), happened.shape)
    assert ((forecast - happened) ** 2).mean() < ((flat - happened) ** 2).mean() + 0.02


def test_bad_bids_blocks_and_short_histories_are_refused() -> None:
    data = at_gate(zone())
    with pytest.raises(DataError, match="finite and >= 0"):
        acceptance_probability(data, "up", -1.0, TARGET, 0)
    with pytest.raises(DataError, match="block 6 does not exist"):
        acceptance_probability(data, "up", 1.0, TARGET, 6)
    with pytest.raises(DataError, match="between 0 and 1"):
        price_belief(data, "up", TARGET, 0).bid_for(1.0)
    early = date(2024, 2, 15)
    with pytest.raises(NotEnoughHistoryError, match="at least 21"):
        acceptance_probability(at_gate(zone(), early), "up", 1.0, early, 0)


@pytest.mark.slow
@pytest.mark.market_data
@pytest.mark.parametrize("name", ["DE_LU", "AT"])
def test_on_real_prices_the_probabilities_are_calibrated(real_market: Path, name: str) -> None:
    data = load_market(real_market, name)
    p, won = [], []
    for k in range(0, 270, 5):
        day = date(2024, 4, 1) + timedelta(days=k)
        view = data.as_of(gate_utc(GATE, day, data.timezone))
        starts = Horizon(day, 1, data.timezone, 15, 60).block_starts
        truth = data.column("afrr_capacity", "up_eur_mw_h").reindex(starts).to_numpy()
        before = Horizon(day - timedelta(days=1), 1, data.timezone, 15, 60).block_starts
        last = data.column("afrr_capacity", "up_eur_mw_h").reindex(before).to_numpy()
        for block in range(6):
            bids = last[block] * np.array([0.7, 0.85, 1.0, 1.2, 1.5])
            p.append(acceptance_probability(view, "up", bids, day, block))
            won.append(truth[block] >= bids)
    forecast, happened = np.array(p), np.array(won)
    assert abs(forecast.mean() - happened.mean()) < 0.05
    assert ((forecast - happened) ** 2).mean() < 0.14
