"""No decision of a backtest depends on what is not known: corrupt the future, compare the bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from stochbess.backtest_policies import POLICIES, Asked, Plan, Policy
from stochbess.backtest_state import State, record_of
from stochbess.backtest_step import Engine
from stochbess.decide import Problem
from stochbess.market.data import ColumnGroup, MarketData
from stochbess.market.reference import reference_market
from stochbess.rolling import dispatch_day
from stochbess.run_record import canonical_json
from tests.backtest_case import FIRST, QUICK, engine_of
from tests.look_ahead import future_corrupted, known_earlier, looks_ahead, with_groups

# Days on which the audit is made: the first of the tests, and one after a weekend.
SAMPLE = (FIRST, date(2024, 7, 1))
CALLED = ("scenarios.n=2", "aging.n_segments=2", "markets.fcr.enabled=false")


def gate_of_day(engine: Engine, day: date) -> datetime:
    return engine.case_at_gate(day, engine.start.actual).gate


def decision_bytes(policy: Policy, day: date, path: Path) -> Callable[[MarketData], bytes]:
    """What a policy decides at the gate of `day` on a market, and the case that it is shown."""

    def generate(market: MarketData) -> bytes:
        engine = engine_of(path, *QUICK, market=market)
        case, submitted = engine.submit(policy, day, engine.start)
        shown = {name: values.tolist() for name, values in case.series.items()}
        worth = case.data.terminal.marginal_eur_mwh.tolist()
        return canonical_json([dict(submitted.plan.first_stage), shown, worth]).encode()

    return generate


@pytest.mark.parametrize("day", SAMPLE, ids=str)
@pytest.mark.parametrize("name", ["rule", "deterministic"])
def test_the_gate_sees_nothing_that_becomes_known_later(
    tmp_path: Path, name: str, day: date
) -> None:
    market = reference_market()
    gate = gate_of_day(engine_of(tmp_path), day)
    assert not looks_ahead(decision_bytes(POLICIES[name], day, tmp_path), market, gate)


def test_what_the_gate_does_know_matters(tmp_path: Path) -> None:
    """The audit could not fail if the decision depended on nothing."""
    market = reference_market()
    gate = gate_of_day(engine_of(tmp_path), FIRST)
    generate = decision_bytes(POLICIES["rule"], FIRST, tmp_path)
    assert generate(market) != generate(future_corrupted(market, gate - timedelta(days=3)))


# -- leaks that are planted have to be found ------------------------------------------------------
def leak_future_price(market: MarketData) -> Policy:
    """Sells in the hour that will be the dearest."""

    def policy(asked: Asked) -> Plan:
        starts = asked.case.horizon.day_ahead_steps
        known = market.column("day_ahead", "price_eur_mwh").reindex(starts).fillna(0.0)
        return Plan({f"day_ahead_mw[{int(np.argmax(known))}]": 1.0})

    return policy


def leak_full_sample_scaler(market: MarketData) -> Policy:
    """Scales its position by the mean of the whole sample, days to come included."""

    def policy(asked: Asked) -> Plan:
        mean = float(market.column("day_ahead", "price_eur_mwh").mean())
        price = float(asked.case.series["day_ahead_eur_mwh"].mean())
        return Plan({"day_ahead_mw[0]": price / mean})

    return policy


@pytest.mark.parametrize("plant", [leak_future_price, leak_full_sample_scaler])
def test_a_policy_that_looks_ahead_is_caught(
    tmp_path: Path, plant: Callable[[MarketData], Policy]
) -> None:
    market = reference_market()
    gate = gate_of_day(engine_of(tmp_path), FIRST)

    def generate(given: MarketData) -> bytes:
        return decision_bytes(plant(given), FIRST, tmp_path)(given)

    assert looks_ahead(generate, market, gate)


def test_data_that_are_dated_too_early_are_caught(tmp_path: Path) -> None:
    """Revised data: the market says that prices were known two days before they were."""
    honest = reference_market()
    gate = gate_of_day(engine_of(tmp_path), FIRST)

    def generate(given: MarketData) -> bytes:
        revised = known_earlier(given, "day_ahead", 2)
        return decision_bytes(POLICIES["rule"], FIRST, tmp_path)(revised)

    assert looks_ahead(generate, honest, gate)


def test_a_policy_that_stays_with_what_it_is_given_passes(tmp_path: Path) -> None:
    """The same scaler on the market of the case, which is cut at the gate."""

    def policy(asked: Asked) -> Plan:
        known = asked.case.market.column("day_ahead", "price_eur_mwh")
        return Plan({"day_ahead_mw[0]": float(known.iloc[-1]) / float(known.mean())})

    gate = gate_of_day(engine_of(tmp_path), FIRST)
    assert not looks_ahead(decision_bytes(policy, FIRST, tmp_path), reference_market(), gate)


def test_the_case_that_a_policy_is_shown_holds_nothing_from_after_the_gate(tmp_path: Path) -> None:
    engine = engine_of(tmp_path)
    case = engine.case_at_gate(FIRST, engine.start.actual)
    for series in case.market.series.values():
        for group in series.groups:
            assert (group.known_since_utc < case.gate).all(), series.name
    assert len(
        engine.market.as_of(case.gate + timedelta(days=1)).column("day_ahead", "price_eur_mwh")
    )


# -- inside the day -------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Reserves are sold, so that calls are revealed during the day."""
    return engine_of(tmp_path_factory.mktemp("called"), *CALLED)


SOLD = {f"afrr_{side}_lots[{b}]": 1.0 for side in ("up", "down") for b in range(6)}


@pytest.mark.parametrize("step", [8, 40, 80])
def test_what_is_done_until_a_quarter_hour_knows_nothing_of_those_after_it(
    called: Engine, step: int
) -> None:
    """Calls and their prices after `step` are noise: everything up to it is the same to the bit."""
    case = called.case_at_gate(FIRST, called.start.actual)
    truth = {name: values[0] for name, values in called.truth(case).items()}
    rng = np.random.default_rng(5)
    other = {name: values.copy() for name, values in truth.items()}
    hidden = len(truth["activation_up_frac"]) - step - 1
    for side in ("up", "down"):
        other[f"activation_{side}_frac"][step + 1 :] = rng.uniform(0, 0.5, hidden)
        other[f"activation_{side}_eur_mwh"][step + 1 :] = rng.uniform(-99, 400, hidden)
    problem = Problem(case.data, "two-stage")
    one, two = (
        dispatch_day(
            problem, case.series, case.probability, SOLD, called.information, day, plan_at=step
        )
        for day in (truth, other)
    )
    for name in ("charge_mw", "discharge_mw", "delivered_up_mw", "buy_mw", "sell_mw"):
        assert (one.values[name][0, : step + 1] == two.values[name][0, : step + 1]).all(), name
        assert (one.values[name][0] != two.values[name][0]).any(), name
    assert one.plan is not None and two.plan is not None
    for name, planned in one.plan.items():
        assert (planned == two.plan[name]).all(), name


def test_the_gate_of_the_next_day_expects_the_same_whatever_happens_after_it(
    tmp_path: Path,
) -> None:
    """Calls of the last quarter hour before the second gate and of all later ones are noise.

    Own calls are seen when they come, though the system's are published later.
    """

    def state_after(market: MarketData) -> State:
        engine = engine_of(tmp_path, *CALLED, market=market)
        return engine.step("x", lambda asked: Plan(SOLD), FIRST, engine.start).state

    honest = reference_market()
    following = gate_of_day(engine_of(tmp_path, *CALLED), FIRST + timedelta(days=1))
    from_utc = following - timedelta(minutes=15)
    one, two = state_after(honest), state_after(calls_corrupted(honest, from_utc))
    assert record_of(one)["expected"] == record_of(two)["expected"]
    assert record_of(one)["actual"] != record_of(two)["actual"]
    earlier = state_after(calls_corrupted(honest, following - timedelta(hours=2)))
    assert record_of(one)["expected"] != record_of(earlier)["expected"]


def calls_corrupted(market: MarketData, from_utc: datetime) -> MarketData:
    """Calls and their prices of deliveries from `from_utc` on are noise."""
    rng = np.random.default_rng(11)

    def corrupt(stem: str, group: ColumnGroup) -> ColumnGroup:
        if stem not in ("afrr_activation", "afrr_energy"):
            return group
        frame = group.frame.copy()
        later = np.asarray(frame.index >= from_utc)
        frame.loc[later] = rng.uniform(0, 400, (int(later.sum()), frame.shape[1]))
        return replace(group, frame=frame)

    return with_groups(market, corrupt)
