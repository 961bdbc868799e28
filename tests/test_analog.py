"""Scenarios from analog days: what they are made of, and that they see nothing after the gate."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError, NotEnoughHistoryError, ScenarioError
from stochbess.market.data import (
    ColumnGroup,
    MarketData,
    Series,
    SeriesMeta,
    build_series,
    load_market,
)
from stochbess.rng import stream
from stochbess.scenario_gen.analog import analog_scenarios
from stochbess.scenario_gen.analog_levels import ENERGY_SHIFT_FRAC
from stochbess.scenario_gen.realised import MARKET_COLUMN, realised_scenario
from stochbess.scenario_gen.scenario_file import write_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES
from stochbess.timegrid import Horizon, gate_utc

BERLIN = "Europe/Berlin"
FIRST_DAY, N_DAYS = date(2024, 1, 1), 100  # holds the clock change of 31 March
TARGET = date(2024, 3, 20)
GATE = "D-1 08:00"
NEEDED = tuple(s for s in MARKET_COLUMN if s != "imbalance_eur_mwh")
KNOWN_SINCE = {
    "day_ahead": "D-1 12:45 local",
    "intraday_auction": "D-1 15:30 local",
    "fcr_capacity": "D-1 08:30 local",
    "afrr_capacity": "D-1 09:30 local",
    "afrr_energy": "delivery end",
    "afrr_activation": "delivery end + 15 min",
    "fundamentals": "forecasts D-1 18:00 local; realised values delivery end",
}


def day(first: date = TARGET, n_days: int = 1) -> Horizon:
    return Horizon(first, n_days, BERLIN, 15, 60)


@cache
def market(zone: str = "DE_LU", seed: int = 1) -> MarketData:
    """A made-up zone whose day-ahead price falls with the wind forecast of the day."""
    h = day(FIRST_DAY, N_DAYS)
    rng = stream(seed, f"test.{zone}")
    wind = np.repeat(rng.uniform(1, 30, N_DAYS), np.bincount(h.day_of_step))
    hour = np.asarray(h.steps.tz_convert(BERLIN).hour, float)
    price = 90 - 3 * wind + 30 * np.sin(hour / 4) + rng.normal(0, 5, len(wind))
    frames = {
        "day_ahead": {"price_eur_mwh": price[::4]},
        "intraday_auction": {"price_eur_mwh": price + rng.normal(0, 9, len(price))},
        "fcr_capacity": {"price_eur_mw": rng.uniform(30, 90, len(h.block_starts))},
        "afrr_capacity": {
            "up_eur_mw_h": rng.uniform(2, 20, len(h.block_starts)),
            "down_eur_mw_h": rng.uniform(2, 20, len(h.block_starts)),
        },
        "afrr_energy": {"up_eur_mwh": price + 20, "down_eur_mwh": 60 - price},
        "afrr_activation": {
            "up_mw": rng.exponential(60, len(wind)),
            "down_mw": rng.exponential(60, len(wind)),
        },
        "fundamentals": {
            "wind_onshore_forecast_mw": 1000 * wind[::4],
            "solar_forecast_mw": rng.uniform(0, 10, len(wind[::4])),
            "load_mw": rng.uniform(40, 60, len(wind[::4])) * 1000,
        },
    }
    index = {"day_ahead": h.day_ahead_steps, "fundamentals": h.day_ahead_steps}
    index |= dict.fromkeys(("fcr_capacity", "afrr_capacity"), h.block_starts)
    series = {
        stem: build_series(
            stem,
            pd.DataFrame(columns, index=index.get(stem, h.steps)),
            SeriesMeta("test", "test", "made up", KNOWN_SINCE[stem]),
            BERLIN,
        )
        for stem, columns in frames.items()
    }
    return MarketData(zone, BERLIN, False, "0" * 64, series)


def analogs(
    data: MarketData,
    first: date = TARGET,
    gate: str = GATE,
    needed: tuple[str, ...] = NEEDED,
    n: int = 12,
    neighbours: int = 30,
    **options: object,
) -> ScenarioSet:
    horizon = Horizon(first, 1, data.timezone, 15, 60)
    horizon = options.pop("horizon", horizon)  # type: ignore[assignment]
    return analog_scenarios(
        data,
        horizon,
        gate_utc(gate, first, data.timezone),
        needed,
        n,
        int(options.pop("seed", 7)),  # type: ignore[call-overload]
        neighbours,
        int(options.pop("min_history_days", 20)),  # type: ignore[call-overload]
        **options,  # type: ignore[arg-type]
    )


def days_of(scenarios: ScenarioSet) -> list[date]:
    return [date.fromisoformat(name[len("analog-") :][:10]) for name in scenarios.names]


def with_groups(data: MarketData, change: Callable[[str, ColumnGroup], ColumnGroup]) -> MarketData:
    kept: dict[str, Series] = {
        stem: replace(series, groups=tuple(change(stem, group) for group in series.groups))
        for stem, series in data.series.items()
    }
    return replace(data, series=kept)


def future_corrupted(data: MarketData, gate: datetime) -> MarketData:
    """Everything that became known at or after the gate is noise, and a third of it is gone."""
    rng = np.random.default_rng(99)

    def corrupt(_: str, group: ColumnGroup) -> ColumnGroup:
        unseen = (group.known_since_utc >= gate).to_numpy()
        frame = group.frame.copy()
        frame.loc[unseen] = rng.uniform(0, 400, (int(unseen.sum()), frame.shape[1]))
        kept = ~(unseen & (rng.random(len(frame)) < 1 / 3))
        return replace(
            group, frame=frame.loc[kept], known_since_utc=group.known_since_utc.loc[kept]
        )

    return with_groups(data, corrupt)


def looks_ahead(
    generate: Callable[[MarketData], ScenarioSet], data: MarketData, gate: datetime
) -> bool:
    """The audit: does the result change when everything after the gate does?"""
    return generate(data).sha256 != generate(future_corrupted(data, gate)).sha256


# ----------------------------------------------------------------------------- no look-ahead


@pytest.mark.parametrize("gate", [GATE, "D-1 09:00", "D-1 12:45", "D-1 12:46", "D 10:00"])
def test_corrupting_everything_after_the_gate_changes_nothing(gate: str) -> None:
    moment = gate_utc(gate, TARGET, BERLIN)
    assert not looks_ahead(lambda data: analogs(data, gate=gate), market(), moment)


def test_corrupting_the_future_of_a_run_of_days_and_of_the_lender_changes_nothing() -> None:
    moment = gate_utc(GATE, TARGET, BERLIN)
    poor = without(market("AT"), "afrr_activation")

    def borrowed(lender: MarketData) -> ScenarioSet:
        return analogs(poor, activation_from=lender, horizon=day(n_days=2))

    assert not looks_ahead(borrowed, market(), moment)
    assert borrowed(market()).sha256 != borrowed(market(seed=2)).sha256
    assert not looks_ahead(
        lambda data: analogs(data, activation_from=market(), horizon=day(n_days=2)), poor, moment
    )


def test_the_file_of_the_scenarios_is_byte_identical_too(tmp_path: Path) -> None:
    moment = gate_utc(GATE, TARGET, BERLIN)
    write_scenarios(analogs(market()), tmp_path / "a.parquet")
    write_scenarios(analogs(future_corrupted(market(), moment)), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


class Undated(MarketData):
    """Planted leak: a market whose as-of view forgets to cut."""

    def as_of(self, gate_utc: datetime) -> MarketData:
        return self


def leak_of_future_prices(data: MarketData) -> ScenarioSet:
    return analogs(
        Undated(data.zone, data.timezone, data.synthetic, data.sha256, data.series),
        first=TARGET,
    )


def leak_of_a_full_sample_scaler(data: MarketData) -> ScenarioSet:
    whole = data.column("fcr_capacity", "price_eur_mw").to_numpy()
    made = analogs(data)
    standardised = np.abs(made.values["fcr_eur_mw"] / whole.std())
    values = {**made.values, "fcr_eur_mw": standardised}
    return ScenarioSet(made.names, made.probability, values, made.index)


def leak_of_revised_values(data: MarketData) -> ScenarioSet:
    def early(stem: str, group: ColumnGroup) -> ColumnGroup:
        if stem != "afrr_activation":
            return group
        return replace(group, known_since_utc=group.known_since_utc - pd.Timedelta(days=3))

    return analogs(with_groups(data, early), neighbours=60, n=50)


@pytest.mark.parametrize(
    "leaky", [leak_of_future_prices, leak_of_a_full_sample_scaler, leak_of_revised_values]
)
def test_the_audit_rings_for_every_planted_leak(
    leaky: Callable[[MarketData], ScenarioSet],
) -> None:
    assert looks_ahead(leaky, market(), gate_utc(GATE, TARGET, BERLIN))


def test_realised_days_end_two_days_before_delivery_at_the_morning_gate() -> None:
    for needed, last in ((NEEDED, 2), (("day_ahead_eur_mwh",), 1)):
        candidates = analogs(market(), needed=needed).provenance["candidates"]
        assert candidates == f"2024-01-01 to {TARGET - timedelta(days=last)}"


# ----------------------------------------------------------------------------- determinism


HASHED = (
    "import importlib.util, sys;"
    "spec = importlib.util.spec_from_file_location('made', sys.argv[1]);"
    "made = importlib.util.module_from_spec(spec); sys.modules['made'] = made;"
    "spec.loader.exec_module(made); print(made.analogs(made.market()).sha256)"
)


def test_two_hash_seeds_in_two_processes_give_the_same_scenarios() -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", HASHED, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "4242")
    ]
    found = [child.communicate(timeout=60)[0].strip() for child in children]
    assert found == [analogs(market()).sha256] * 2


def test_the_order_of_columns_series_and_needs_does_not_matter() -> None:
    def backwards(_: str, group: ColumnGroup) -> ColumnGroup:
        return replace(group, frame=group.frame[list(reversed(group.frame.columns))])

    turned = with_groups(market(), backwards)
    turned = replace(turned, series={k: turned.series[k] for k in sorted(turned.series)})
    found = analogs(turned, needed=tuple(reversed(NEEDED)))
    assert found.sha256 == analogs(market()).sha256
    assert found.provenance == analogs(market()).provenance


def test_another_seed_draws_other_days_and_more_draws_keep_the_earlier_ones() -> None:
    few, other, many = analogs(market()), analogs(market(), seed=8), analogs(market(), n=20)
    assert few.names != other.names
    assert set(few.names) < set(many.names)


# ----------------------------------------------------------------------------- what is drawn


def test_every_scenario_is_one_past_day_with_all_its_series() -> None:
    found = analogs(market())
    assert len(set(found.names)) == 12
    np.testing.assert_array_equal(found.probability, 1 / 12)
    for i, origin in enumerate(days_of(found)):
        then = realised_scenario(market(), day(origin), NEEDED)
        for series in ("activation_up_mw", "activation_down_mw", "afrr_energy_up_eur_mwh"):
            np.testing.assert_array_equal(found.values[series][i], then.values[series][0])
        spread = found.values["intraday_eur_mwh"][i] - np.repeat(
            found.values["day_ahead_eur_mwh"][i], 4
        )
        observed = then.values["intraday_eur_mwh"] - np.repeat(then.values["day_ahead_eur_mwh"], 4)
        np.testing.assert_allclose(spread, observed[0], atol=1e-9)
        ratio = found.values["fcr_eur_mw"][i] / then.values["fcr_eur_mw"][0]
        np.testing.assert_allclose(ratio, ratio[0])


def test_negative_prices_stay_as_they_happened_and_no_price_changes_its_sign() -> None:
    found = analogs(market(), n=50, neighbours=60)
    then = np.concatenate(
        [
            realised_scenario(market(), day(d), NEEDED[:1]).values["day_ahead_eur_mwh"]
            for d in days_of(found)
        ]
    )
    made = found.values["day_ahead_eur_mwh"]
    assert (then < 0).sum() > 100
    np.testing.assert_array_equal(made[then < 0], then[then < 0])
    assert (made[then > 0] > 0).all()
    assert 0 < np.abs(made - then).max() < ENERGY_SHIFT_FRAC * 90


def test_more_scenarios_than_days_are_drawn_again_and_it_is_said() -> None:
    found = analogs(market(), n=40, neighbours=10)
    assert len(set(days_of(found))) <= 10
    assert any(name.endswith("#2") for name in found.names)
    assert found.provenance["drawn"] == "40 with replacement"
    assert analogs(market(), n=10, neighbours=10).provenance["drawn"] == "10 without replacement"


def test_a_sunday_is_mostly_like_sundays() -> None:
    found = analogs(market(), first=date(2024, 3, 24), n=6, neighbours=8)
    assert sum(d.weekday() == 6 for d in days_of(found)) >= 4


@pytest.mark.parametrize(("first", "hours"), [(date(2024, 3, 31), 23), (date(2024, 4, 9), 24)])
def test_a_clock_change_day_is_a_target_but_never_an_analog(first: date, hours: int) -> None:
    found = analogs(market(), first=first, n=80, neighbours=80)
    assert date(2024, 3, 31) not in days_of(found)
    assert found.values["day_ahead_eur_mwh"].shape[1] == hours
    assert found.values["fcr_eur_mw"].shape[1] == 6
    assert found.for_horizon(day(first), NEEDED) is found
    origin = days_of(found)[0]
    then = realised_scenario(market(), day(origin), NEEDED).values["activation_up_mw"][0]
    expected = np.delete(then, slice(8, 12)) if hours == 23 else then
    np.testing.assert_array_equal(found.values["activation_up_mw"][0], expected)


def test_the_repeated_hour_is_repeated() -> None:
    # the made-up market ends in April: decide then, with all of it, for the autumn
    found = analogs(
        market(), first=date(2024, 10, 27), needed=("activation_up_mw",), gate="D-200 08:00"
    )
    assert found.values["activation_up_mw"].shape == (12, 100)
    np.testing.assert_array_equal(
        found.values["activation_up_mw"][:, 8:12], found.values["activation_up_mw"][:, 12:16]
    )


def test_several_days_are_runs_of_consecutive_days() -> None:
    horizon = day(n_days=3)
    found = analogs(market(), horizon=horizon, n=5)
    assert found.for_horizon(horizon, NEEDED) is found
    for i, origin in enumerate(days_of(found)):
        then = realised_scenario(market(), day(origin, 3), ["activation_up_mw"])
        np.testing.assert_array_equal(
            found.values["activation_up_mw"][i], then.values["activation_up_mw"][0]
        )
    assert found.provenance["candidates"] == "2024-01-01 to 2024-03-16"


@pytest.mark.parametrize(("step", "day_ahead"), [(60, 60), (15, 15)])
def test_other_market_time_units_are_filled_and_it_is_said(step: int, day_ahead: int) -> None:
    horizon = Horizon(TARGET, 1, BERLIN, step, day_ahead)
    found = analogs(market(), horizon=horizon)
    assert found.for_horizon(horizon, NEEDED) is found
    resampled = (
        "intraday_eur_mwh from 15 to 60" if step == 60 else "day_ahead_eur_mwh from 60 to 15"
    )
    assert resampled in found.provenance["resampled"]


# ----------------------------------------------------------------------------- what is known


def test_prices_known_at_the_gate_are_the_prices_of_every_scenario() -> None:
    found = analogs(market(), gate="D-1 13:00")
    real = realised_scenario(market(), day(), NEEDED)
    for series in ("day_ahead_eur_mwh", "fcr_eur_mw", "afrr_up_eur_mw_h"):
        np.testing.assert_array_equal(
            found.values[series], np.repeat(real.values[series], 12, axis=0)
        )
    assert "day_ahead_eur_mwh 24 of 24" in found.provenance["known_at_gate"]
    assert np.ptp(found.values["intraday_eur_mwh"], axis=0).min() > 0
    assert analogs(market()).provenance["known_at_gate"] == "nothing of the delivery days"


def test_forecasts_of_the_day_count_only_where_they_are_known_or_assumed_known() -> None:
    early = gate_utc("D-1 07:00", TARGET, BERLIN)
    wind = market().column("fundamentals", "wind_onshore_forecast_mw")

    def error(found: ScenarioSet) -> float:
        of_day = [wind.reindex(day(d).day_ahead_steps).mean() for d in days_of(found)]
        target = wind.reindex(day().day_ahead_steps).mean()
        return float(np.abs(np.array(of_day) - target).mean())

    blind = analogs(market(), n=6, neighbours=8)
    assumed = analogs(market(), n=6, neighbours=8, forecast_known_gate_utc=early)
    published = analogs(market(), n=6, neighbours=8, gate="D-1 18:01")
    assert "none of the delivery days" in blind.provenance["forecasts"]
    assert "by assumption" in assumed.provenance["forecasts"]
    assert "D-1 07:00 local" in assumed.provenance["assumptions"]
    assert "as published" in published.provenance["forecasts"]
    assert error(assumed) < 0.6 * error(blind)
    assert error(published) < 0.6 * error(blind)


def test_forecasts_assumed_known_after_the_gate_are_not_used() -> None:
    late = gate_utc("D-1 09:00", TARGET, BERLIN)
    found = analogs(market(), forecast_known_gate_utc=late)
    assert "none of the delivery days" in found.provenance["forecasts"]
    with pytest.raises(ScenarioError, match="after the delivery day"):
        analogs(market(), forecast_known_gate_utc=gate_utc(GATE, date(2024, 4, 1), BERLIN))


# ----------------------------------------------------------------------------- too little data


def without(data: MarketData, stem: str) -> MarketData:
    return replace(data, series={k: v for k, v in data.series.items() if k != stem})


def test_too_short_a_history_says_how_much_there_is_and_what_to_do() -> None:
    # complete days at the gate of 1 March: 1 January to 28 February
    with pytest.raises(NotEnoughHistoryError) as caught:
        analogs(market(), first=date(2024, 3, 1), min_history_days=60)
    said = str(caught.value)
    for part in (
        "delivery 2024-03-01",
        "59 complete past days",
        "at least 60",
        "first day with all series: 2024-01-01",
        "about 2024-03-02",
        "scenarios.min_history_days",
    ):
        assert part in said
    assert len(analogs(market(), first=date(2024, 3, 1), min_history_days=59)) == 12


def test_no_history_at_all_is_said_too() -> None:
    for first in (FIRST_DAY, date(2023, 6, 1), date(2024, 1, 2)):
        with pytest.raises(NotEnoughHistoryError):
            analogs(market(), first=first, min_history_days=0)
    gaps = day(FIRST_DAY, N_DAYS).steps.hour != 3

    def holes(stem: str, group: ColumnGroup) -> ColumnGroup:
        if stem != "afrr_activation":
            return group
        return replace(
            group, frame=group.frame.loc[gaps], known_since_utc=group.known_since_utc.loc[gaps]
        )

    with pytest.raises(NotEnoughHistoryError, match="first day with all series: none"):
        analogs(with_groups(market(), holes))


def test_days_with_a_missing_value_are_not_drawn() -> None:
    lost = pd.Timestamp("2024-03-12 12:00", tz="UTC")

    def hole(stem: str, group: ColumnGroup) -> ColumnGroup:
        keep = group.frame.index != lost
        if stem != "intraday_auction":
            return group
        return replace(
            group, frame=group.frame.loc[keep], known_since_utc=group.known_since_utc.loc[keep]
        )

    holed = with_groups(market(), hole)
    assert date(2024, 3, 12) in days_of(analogs(market(), n=80, neighbours=80, min_history_days=1))
    found = analogs(holed, n=77, neighbours=80, min_history_days=1)
    assert len(set(days_of(found))) == 77
    assert date(2024, 3, 12) not in days_of(found)


def test_a_zone_without_activation_needs_a_lender_and_says_so() -> None:
    poor = without(market("AT"), "afrr_activation")
    with pytest.raises(DataError, match="zone AT has no activated aFRR volumes"):
        analogs(poor)
    found = analogs(poor, activation_from=market())
    assert "observed volumes of DE_LU" in found.provenance["activation"]
    assert "independent of the prices of this zone" in found.provenance["activation"]
    for i, origin in enumerate(days_of(found)):
        lent = realised_scenario(market(), day(origin), ["activation_up_mw"])
        own = realised_scenario(poor, day(origin), ["afrr_energy_up_eur_mwh"])
        np.testing.assert_array_equal(
            found.values["activation_up_mw"][i], lent.values["activation_up_mw"][0]
        )
        np.testing.assert_array_equal(
            found.values["afrr_energy_up_eur_mwh"][i], own.values["afrr_energy_up_eur_mwh"][0]
        )
    assert "activation" not in analogs(market(), activation_from=market("AT")).provenance


def test_a_zone_with_prices_only_works() -> None:
    bare = replace(market(), series={"day_ahead": market().series["day_ahead"]})
    assert len(analogs(bare, needed=("day_ahead_eur_mwh",))) == 12
    with pytest.raises(DataError, match="no intraday_auction, which intraday_eur_mwh needs"):
        analogs(bare)


def test_senseless_requests_are_refused() -> None:
    for options in ({"n": 0}, {"neighbours": 0}, {"needed": ()}):
        with pytest.raises(ScenarioError, match="analog scenarios need"):
            analogs(market(), **options)
    with pytest.raises(ScenarioError, match="Did you mean"):
        analogs(market(), needed=("day_ahead",))


# ----------------------------------------------------------------------------- real data


@pytest.fixture(scope="module")
def germany(real_market: Path) -> MarketData:
    return load_market(real_market, "DE_LU")


@pytest.mark.market_data
@pytest.mark.parametrize("first", [date(2024, 3, 1), date(2024, 10, 27), date(2024, 12, 30)])
def test_real_days_from_march_to_december_work_and_see_no_future(
    germany: MarketData, first: date
) -> None:
    moment = gate_utc(GATE, first, BERLIN)

    def generate(data: MarketData) -> ScenarioSet:
        return analogs(data, first=first, n=20, neighbours=60, min_history_days=58)

    assert not looks_ahead(generate, germany, moment)
    found = generate(germany)
    assert found.for_horizon(day(first), NEEDED) is found


@pytest.mark.market_data
def test_the_first_real_day_with_58_days_of_history_is_the_first_of_march(
    germany: MarketData,
) -> None:
    with pytest.raises(NotEnoughHistoryError, match=r"57 complete past days.*2024-01-02"):
        analogs(germany, first=date(2024, 2, 29), min_history_days=58)


@pytest.mark.market_data
def test_austria_works_with_borrowed_activation(real_market: Path, germany: MarketData) -> None:
    austria = load_market(real_market, "AT")
    found = analogs(austria, first=date(2024, 6, 26), min_history_days=58, activation_from=germany)
    assert set(found.series) == set(NEEDED)
    assert all(SERIES[s].low <= v.min() for s, v in found.values.items())
