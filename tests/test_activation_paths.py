"""Simulated volumes of whole days and forecasts at an instant: what they are, what they see."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError, NotEnoughHistoryError
from stochbess.market.data import MarketData
from stochbess.rng import stream
from stochbess.scenario_gen.activation_features import GateRule, local_day_steps
from stochbess.scenario_gen.activation_paths import (
    ActivationFit,
    activation_paths,
    at_25_minutes,
    draw_activation,
    fit_activation,
    known_days,
    known_volumes,
)
from stochbess.timegrid import gate_utc
from tests.activation_case import BERLIN, SMALL, TARGET, corrupted_from, deleted_from, zone

GATE = "D-1 08:00"
SHORT, LONG = date(2024, 3, 31), date(2024, 10, 27)


def view(day: date = TARGET, gate: str = GATE) -> MarketData:
    return zone().as_of(gate_utc(gate, day, BERLIN))


@cache
def day_fit(day: date = TARGET) -> ActivationFit:
    return fit_activation(view(day), BERLIN, 1, GATE, SMALL)


@cache
def lead_fit() -> ActivationFit:
    return fit_activation(view(), BERLIN, 1, GateRule(), SMALL, leads=2)


def before(day: date, *back: int) -> list[date]:
    return [day - timedelta(days=k) for k in back]


# -- whole days -----------------------------------------------------------------------------------
def test_a_day_drawn_for_itself_is_itself() -> None:
    """Rank and quantile cancel when both days have one distribution."""
    past = TARGET - timedelta(days=5)
    up, down = draw_activation(day_fit(), view(), past, [past], stream(1, "test"))
    volumes = known_volumes(view()).loc[local_day_steps(past, BERLIN)]
    for drawn, column in ((up, "up_mw"), (down, "down_mw")):
        assert drawn[0] == pytest.approx(volumes[column].to_numpy(), abs=1e-6)
        assert (drawn[0] == 0).any() and (drawn[0] > 50).any()


def test_a_path_keeps_the_order_of_calls_and_the_quarter_hours_of_both_directions() -> None:
    past = before(TARGET, *range(2, 52))
    up, down = draw_activation(day_fit(), view(), TARGET, past, stream(1, "test"))
    volumes = known_volumes(view())
    then = np.stack([volumes.loc[local_day_steps(day, BERLIN)].to_numpy().T for day in past])
    for drawn, was in ((up, then[:, 0]), (down, then[:, 1])):
        correlation = np.corrcoef(drawn.ravel(), was.ravel())[0, 1]
        assert correlation > 0.9
    both, both_then = ((up > 5) & (down > 5)).mean(), (then > 5).all(axis=1).mean()
    assert both_then > 0.02 and both == pytest.approx(both_then, rel=0.25)


def test_days_whose_volumes_are_unknown_take_the_nearest_of_their_kind_and_are_counted() -> None:
    days = [TARGET, TARGET - timedelta(days=1), *before(TARGET, 2, 3), date(2023, 1, 7)]
    paths = activation_paths(day_fit(), view(), TARGET, days, stream(1, "test"))
    # D and D-1 are not over at D-1 08:00; 2023-01-07 is a Saturday before the first day.
    assert paths.substituted == (
        (days[0], TARGET - timedelta(days=2)),
        (days[1], TARGET - timedelta(days=2)),
        (days[4], date(2024, 2, 3)),
    )
    assert "3 of 5 residual days" in paths.note
    assert known_days(view(), BERLIN)[-1] == TARGET - timedelta(days=2)


@pytest.mark.parametrize(("day", "n"), [(SHORT, 92), (LONG, 100)])
def test_days_of_clock_changes_get_their_quarter_hours(day: date, n: int) -> None:
    past = [SHORT - timedelta(days=k) for k in (3, 4)] + ([SHORT] if day == LONG else [])
    market = zone()
    up, down = draw_activation(day_fit(), market, day, past, stream(1, "test"))
    assert up.shape == down.shape == (len(past), n)
    assert np.isfinite(up).all() and (up >= 0).all()


def test_equal_seeds_give_equal_volumes_and_only_zeros_are_random() -> None:
    past = before(TARGET, 2, 3, 4)
    draws = [
        draw_activation(day_fit(), view(), TARGET, past, stream(seed, "test"))[0]
        for seed in (1, 1, 2)
    ]
    assert draws[0].tobytes() == draws[1].tobytes()
    volumes = known_volumes(view())
    called = np.stack([volumes.loc[local_day_steps(d, BERLIN)]["up_mw"] for d in past]) > 0
    assert np.array_equal(draws[0][called], draws[2][called])


def test_fits_there_and_back_draw_the_same_days() -> None:
    back = ActivationFit.from_arrays(day_fit().to_arrays())
    assert back.sha256 == day_fit().sha256
    past = before(TARGET, 2, 9)
    again = draw_activation(back, view(), TARGET, past, stream(1, "test"))
    first = draw_activation(day_fit(), view(), TARGET, past, stream(1, "test"))
    assert all(np.array_equal(a, b) for a, b in zip(again, first, strict=True))


def test_too_little_history_and_no_residual_day_are_refused() -> None:
    with pytest.raises(NotEnoughHistoryError, match="expected at least 1344"):
        fit_activation(view(date(2024, 2, 12)), BERLIN, 1, GATE, SMALL)
    with pytest.raises(DataError, match="at least one residual day"):
        draw_activation(day_fit(), view(), TARGET, [], stream(1, "test"))
    bare = zone(without=("afrr_activation",))
    with pytest.raises(DataError, match="activation_fallback"):
        fit_activation(bare, BERLIN, 1, GATE, SMALL)


# -- at an instant --------------------------------------------------------------------------------
def instant(clock: str, day: date = TARGET) -> datetime:
    return gate_utc(f"D {clock}", day, BERLIN)


@pytest.mark.parametrize(
    ("clock", "first"), [("10:05", "10:30"), ("10:04", "10:30"), ("10:06", "10:45")]
)
def test_the_first_quarter_hour_is_the_next_that_can_still_be_bid_for(
    clock: str, first: str
) -> None:
    found = at_25_minutes(lead_fit(), zone(), instant(clock), 3)
    assert found.steps[0] == pd.Timestamp(instant(first))
    assert len(found.steps) == len(found.up) == len(found.down) == 3


def test_recent_calls_raise_the_probability_of_the_next() -> None:
    market = zone()
    volumes = known_volumes(market)["up_mw"]
    starts = pd.date_range(instant("00:00"), periods=96 * 7, freq="15min", unit="us")
    seen = volumes.reindex(starts - pd.Timedelta(hours=1)).to_numpy()
    busy, quiet = starts[int(np.argmax(seen))], starts[int(np.argmin(seen))]
    probability = [
        float(
            at_25_minutes(
                lead_fit(), market, (start - pd.Timedelta(minutes=25)).to_pydatetime()
            ).up.exceedance(30.0)[0]
        )
        for start in (busy, quiet)
    ]
    assert probability[0] > probability[1] + 0.1


def test_further_quarter_hours_use_the_weights_of_their_lead() -> None:
    weight = lead_fit().models["up"].weight
    assert weight.shape[0] == 2 and not np.array_equal(weight[0], weight[1])
    one, three = (at_25_minutes(lead_fit(), zone(), instant("10:05"), n) for n in (1, 3))
    assert one.up.exceed[0] == pytest.approx(three.up.exceed[0], rel=1e-12)


def test_a_fit_for_whole_days_and_no_quarter_hour_are_refused() -> None:
    for fit, n in ((day_fit(), 1), (lead_fit(), 0)):
        with pytest.raises(DataError, match="n_ahead"):
            at_25_minutes(fit, zone(), instant("10:05"), n)


# -- no look-ahead, no chance ---------------------------------------------------------------------
def small_zone() -> MarketData:
    return zone(without=("fundamentals", "realised_15min", "intraday_auction"))


def fingerprint(market: MarketData, gate: datetime, *rules: GateRule) -> str:
    """Everything that is made at a gate, from a market that may reach further."""
    cut = market.as_of(gate)
    digest = hashlib.sha256()
    for rule in rules or (GateRule(GATE), GateRule()):
        fit = fit_activation(cut, BERLIN, 1, rule, SMALL, leads=2)
        digest.update(fit.sha256.encode())
        if rule.local:
            past = before(TARGET, 0, 1, 2, 3, 9, 30)
            for drawn in draw_activation(fit, cut, TARGET, past, stream(1, "test")):
                digest.update(drawn.tobytes())
        else:
            found = at_25_minutes(fit, market, gate, 4)
            for distribution in (found.up, found.down):
                digest.update(distribution.exceed.tobytes())
                digest.update(distribution.called_share(100.0, 100.0).tobytes())
    return digest.hexdigest()


def test_nothing_changes_with_what_was_published_at_or_after_the_gate() -> None:
    at = gate_utc("D 02:20", TARGET, BERLIN)
    spoiled = corrupted_from(small_zone(), pd.Timestamp(at))
    assert fingerprint(spoiled, at, GateRule()) == fingerprint(small_zone(), at, GateRule())


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["D-1 08:00", "D-1 12:00", "D 02:20", "D 13:35"])
def test_nothing_changes_at_any_gate_for_days_and_for_quarter_hours(gate: str) -> None:
    at = gate_utc(gate, TARGET, BERLIN)
    honest = fingerprint(zone(), at)
    assert fingerprint(corrupted_from(zone(), pd.Timestamp(at)), at) == honest
    assert fingerprint(deleted_from(zone(), pd.Timestamp(at)), at) == honest


@pytest.mark.slow
def test_the_alarm_rings_for_a_gate_that_is_a_quarter_hour_late() -> None:
    at = gate_utc("D 02:20", TARGET, BERLIN)
    late = at + timedelta(minutes=15)
    spoiled = corrupted_from(small_zone(), pd.Timestamp(at))
    assert fingerprint(spoiled, late, GateRule()) != fingerprint(small_zone(), late, GateRule())


@pytest.mark.slow
def test_the_order_of_hashes_changes_nothing() -> None:
    code = (
        "from tests.test_activation_paths import *; "
        "print(fingerprint(small_zone(), gate_utc('D 02:20', TARGET, BERLIN)))"
    )
    root = Path(__file__).resolve().parent.parent
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and len(found.pop().strip()) == 64
