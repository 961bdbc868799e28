"""The walk-forward backtest: states, settlement, bounds, resumption, and what it refuses."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stochbess.aging_prices import plant_of
from stochbess.backtest import Request, backtest, day_key, with_depth
from stochbess.backtest_bound import joined
from stochbess.backtest_policies import IDLE, POLICIES, Asked, Plan, rolling_intrinsic
from stochbess.backtest_state import (
    HEALTH_LAW,
    config_at,
    first_state,
    live,
    loss_by_law,
    record_of,
    state_of,
)
from stochbess.backtest_step import Engine, Outcome, Submitted, walk
from stochbess.battery.recursion import GrossSchedule
from stochbess.decide import Problem
from stochbess.errors import ConfigError, StoreError
from stochbess.evaluate.ledger import prices_of, schedule_of
from stochbess.evaluate.shadow import account
from stochbess.market.settlement import settle
from stochbess.models.data import ModelData
from stochbess.run import effort_of
from stochbess.store_backtest import NAME, BacktestStore
from tests.backtest_case import FIRST, LAST, QUICK, WITH_RESERVES, config_of, engine_of, request_of

DAYS = [FIRST + timedelta(days=k) for k in range(3)]


def rows_in(store: Path) -> list[tuple[Any, ...]]:
    """Everything a store holds but processor times."""
    connection = sqlite3.connect(store / NAME)
    try:
        return connection.execute(
            "SELECT key, backtest, policy, day, content_json, record_sha256 FROM day ORDER BY key"
        ).fetchall()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine_of(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def reserving(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """With every market of the reference market open."""
    return engine_of(tmp_path_factory.mktemp("reserving"), *WITH_RESERVES)


@pytest.fixture(scope="module")
def lived(engine: Engine) -> list[Outcome]:
    return list(walk(engine, "rule", POLICIES["rule"], DAYS, engine.start))


@pytest.fixture(scope="module")
def one_lot_day(reserving: Engine) -> Outcome:
    return reserving.step("one-lot", POLICIES["one-lot"], FIRST, reserving.start)


# -- the state ------------------------------------------------------------------------------------
def test_a_state_survives_json_to_the_last_bit(lived: list[Outcome]) -> None:
    state = lived[-1].state
    again = state_of(json.loads(json.dumps(record_of(state))))
    assert again.sha256 == state.sha256
    assert record_of(again) == record_of(state)
    assert len(state.actual.open_cycles.levels) > 0  # otherwise nothing was at stake


def test_every_part_of_a_state_is_in_its_hash(lived: list[Outcome]) -> None:
    state = lived[-1].state
    others = [
        replace(state, actual=replace(state.actual, energy_mwh=state.actual.energy_mwh + 1e-9)),
        replace(state, expected=state.expected.with_health(0.01)),
        replace(state, last_day=None),
        replace(state, lots={"fcr_lots[0]": 1.0}),
    ]
    assert len({item.sha256 for item in [state, *others]}) == 5


def test_a_day_begins_where_the_last_one_ended(lived: list[Outcome]) -> None:
    for before, after in pairwise(lived):
        assert after.row["energy_start_mwh"] == pytest.approx(before.row["energy_end_mwh"])
        assert after.row["energy_start_mwh"] == pytest.approx(before.state.actual.energy_mwh)


def test_open_cycles_go_over_midnight(engine: Engine, lived: list[Outcome]) -> None:
    """Rainflow of the joined path equals the sum over days that hand their turning points on."""
    joined_path = np.concatenate(
        [lived[0].values["energy_mwh"][0]]
        + [outcome.values["energy_mwh"][0][1:] for outcome in lived[1:]]
    )
    flows = [
        GrossSchedule(
            np.maximum(o.values["charge_mw"][0], 0), np.maximum(o.values["discharge_mw"][0], 0)
        )
        for o in lived
    ]
    whole = GrossSchedule(
        np.concatenate([f.charge_mw for f in flows]),
        np.concatenate([f.discharge_mw for f in flows]),
    )
    ran, end, _ = live(engine.plant, whole, 0.25, engine.start.actual)
    assert ran.energy_mwh == pytest.approx(joined_path, abs=1e-4)
    cut, at_once = (loss_by_law(engine.plant, s)[HEALTH_LAW] for s in (lived[-1].state.actual, end))
    begun = loss_by_law(engine.plant, engine.start.actual)[HEALTH_LAW]
    assert cut - begun == pytest.approx(at_once - begun, rel=1e-3)


def test_capacity_falls_from_day_to_day_and_the_next_case_has_it(
    engine: Engine, lived: list[Outcome]
) -> None:
    health = [outcome.row["health_frac"] for outcome in lived]
    assert 1.0 > health[0] > health[1] > health[2] > 0.99
    case = engine.case_at_gate(DAYS[1], lived[0].state.actual)
    usable = engine.config.battery.energy_mwh * health[0]
    assert case.data.asset.energy_max_mwh == pytest.approx(usable)


def test_energy_that_no_longer_fits_is_lost_and_counted(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    plant = plant_of(config)
    state = first_state(config, plant).actual
    full = replace(state, energy_mwh=plant.energy_mwh)
    still = GrossSchedule(np.zeros(96), np.zeros(96))
    _, end, over = live(plant, still, 0.25, full)
    assert over > 0
    assert end.energy_mwh == pytest.approx(plant.energy_mwh * end.health_frac)
    assert end.energy_mwh + over == pytest.approx(plant.energy_mwh)


def test_laws_begin_at_the_loss_at_which_the_decision_prices_cycles(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    plant = plant_of(config)
    lost = loss_by_law(plant, first_state(config, plant).actual)
    assert lost[HEALTH_LAW] == pytest.approx(2 * config.aging.cycle_loss_frac)  # two mechanisms


def test_the_gate_knows_the_plan_of_the_day_before_and_not_its_end(one_lot_day: Outcome) -> None:
    state = one_lot_day.state
    assert state.expected.energy_mwh != state.actual.energy_mwh  # calls came after the gate
    following = FIRST + timedelta(days=1)
    assert state.known_for(following) is state.expected
    assert state.known_for(following + timedelta(days=1)) is state.actual
    assert first_state_known(state) is state.actual


def first_state_known(state: Any) -> Any:
    return replace(state, last_day=None).known_for(FIRST)


@pytest.mark.parametrize(
    ("day", "steps", "stage"),
    # the gate is at noon: the plan has seen the quarter hours until 11:45, the first is number 0
    [(date(2024, 6, 26), 96, 46), (date(2024, 10, 27), 100, 50), (date(2024, 3, 31), 92, 42)],
)
def test_a_day_of_any_length_is_lived(engine: Engine, day: date, steps: int, stage: int) -> None:
    outcome = engine.step("rule", POLICIES["rule"], day, engine.start)
    assert outcome.values["charge_mw"].shape == (1, steps)
    assert outcome.row["hours"] == steps / 4
    case = engine.case_at_gate(day, engine.start.actual)
    assert engine._next_gate_stage(case) == stage


# -- the account ----------------------------------------------------------------------------------
def test_an_independent_settlement_agrees_to_the_cent(one_lot_day: Outcome) -> None:
    books, row = one_lot_day.books, one_lot_day.row
    prices = prices_of(one_lot_day.truth, 0, books.half_spread_eur_mwh)
    schedule = schedule_of(one_lot_day.values, 0, books, prices)
    again = settle(schedule, prices, books.terms)
    assert again.total_cash_eur == pytest.approx(sum(row["cash"].values()), abs=0.005)
    profit = (
        again.total_cash_eur - row["aging_eur"] + row["stored_value_eur"] - row["profit_tax_eur"]
    )
    assert profit == pytest.approx(row["profit_eur"], abs=0.005)
    assert any(row["first_stage"]) and row["cash"]["afrr_up_capacity"] > 0
    assert not row["breaches"]


def test_day_ahead_cash_is_price_times_position(lived: list[Outcome]) -> None:
    for outcome in lived:
        sold = sum(
            mw * outcome.truth["day_ahead_eur_mwh"][0][int(name[len("day_ahead_mw[") : -1])]
            for name, mw in outcome.row["first_stage"].items()
        )
        assert outcome.row["cash"]["day_ahead"] == pytest.approx(sold, abs=1e-6)


def test_stored_energy_telescopes_over_the_days(engine: Engine, lived: list[Outcome]) -> None:
    books = lived[0].books
    ends = np.array([lived[0].row["energy_start_mwh"], lived[-1].row["energy_end_mwh"]])
    first, last = books.stored_eur(ends)
    assert sum(o.row["stored_value_eur"] for o in lived) == pytest.approx(last - first, abs=1e-6)
    assert (lived[2].books.terminal_marginal_eur_mwh == books.terminal_marginal_eur_mwh).all()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("markets.day_ahead.curve_points=3", "single quantities"),
        ("markets.afrr.bid_menu=[0.9]", "single quantities"),
        ("battery.efficiency_model=loss_cuts", "constant efficiencies"),
    ],
)
def test_what_the_dispatch_would_drop_is_refused(tmp_path: Path, setting: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        engine_of(tmp_path, setting)


def test_a_floor_on_throughput_is_a_line_of_the_account(tmp_path: Path) -> None:
    priced = engine_of(tmp_path, "aging.floor_eur_mwh=20")
    row = priced.step("rule", POLICIES["rule"], FIRST, priced.start).row
    assert row["aging_floor_eur"] > 1.0
    cash = {f"cash_{line}": eur for line, eur in row["cash"].items()}
    lines = account(pd.DataFrame([{**row, **cash}]))
    assert float(lines.to_numpy().sum()) == pytest.approx(row["profit_eur"], abs=0.005)


def test_idle_does_nothing_and_costs_nothing(engine: Engine) -> None:
    outcome = engine.step(IDLE, rolling_intrinsic, FIRST, engine.start)
    row = outcome.row
    assert row["profit_eur"] == 0.0 and row["full_cycles"] == 0.0 and not row["refused"]
    assert not any(row["cash"].values())
    assert row["health_frac"] < 1.0  # a battery at rest grows old all the same


def test_what_the_plant_cannot_follow_is_settled_as_imbalance(engine: Engine) -> None:
    weak = Engine(engine.config, engine.market, engine.information, FIRST)
    weak.plant = replace(weak.plant, discharge_limit_mw=1.0, charge_limit_mw=1.0)
    state = first_state(engine.config, weak.plant)
    outcome = weak.step("rule", POLICIES["rule"], FIRST, state)
    assert outcome.row["unfollowed_mwh"] > 0.5
    assert outcome.row["imbalance_mwh"] == pytest.approx(outcome.row["unfollowed_mwh"], rel=0.05)
    assert outcome.values["discharge_mw"].max() <= 1.0 + 1e-5
    strong = engine.step("rule", POLICIES["rule"], FIRST, engine.start)
    assert outcome.row["cash"]["imbalance"] < strong.row["cash"]["imbalance"]


# -- plans ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("late_s", "refused"), [(-1, False), (0, True), (1, True)])
def test_a_plan_at_the_gate_or_after_it_is_refused(
    engine: Engine, late_s: int, refused: bool
) -> None:
    case, submitted = engine.submit(POLICIES["rule"], FIRST, engine.start)
    late = Submitted(submitted.plan, case.gate + timedelta(seconds=late_s))
    outcome = engine.deliver("rule", case, late, FIRST, engine.start)
    assert outcome.row["refused"] is refused
    assert bool(outcome.row["first_stage"]) is not refused
    assert bool(outcome.row["cash"]["day_ahead"]) is not refused


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_answers_with_names_of_the_model(reserving: Engine, name: str) -> None:
    if name in ("two-stage", "two-stage-cvar", "derated"):
        pytest.skip("slow; see the slow tests")
    asked = asked_of(reserving)
    plan = POLICIES[name](asked)
    known = {asked.problem.relaxed.columns[j] for j in asked.problem.relaxed.first_stage}
    assert set(plan.first_stage) <= known
    lots = [v for n, v in plan.first_stage.items() if "lots" in n]
    assert lots == pytest.approx([round(v) for v in lots])


def asked_of(engine: Engine, start: Any = None) -> Asked:
    case = engine.case_at_gate(FIRST, engine.start.actual if start is None else start)
    return Asked(case, Problem(case.data, "two-stage"), effort_of(case.config), {})


def test_policies_keep_their_promises(reserving: Engine) -> None:
    asked = asked_of(reserving)
    few = POLICIES["one-lot"](asked).first_stage
    assert max(v for n, v in few.items() if "lots" in n) == pytest.approx(1.0)
    assert not any("afrr" in n for n in POLICIES["fcr-only"](asked).first_stage)
    for name in ("rule", "sequential"):
        assert all(n.startswith("day_ahead_mw[") for n in POLICIES[name](asked).first_stage)
    assert POLICIES["rolling-intrinsic"](asked).first_stage == {}


def test_the_rule_of_thumb_buys_cheap_sells_dear_and_stays_within_the_battery(
    engine: Engine,
) -> None:
    asked = asked_of(engine)
    position = POLICIES["rule"](asked).first_stage
    price = asked.case.probability @ asked.case.series["day_ahead_eur_mwh"]
    at = {int(name[len("day_ahead_mw[") : -1]): mw for name, mw in position.items()}
    assert min(at.values()) < 0 < max(at.values())
    bought = [price[n] for n, mw in at.items() if mw < 0]
    sold = [price[n] for n, mw in at.items() if mw > 0]
    assert max(bought) < min(sold)
    asset, energy = asked.case.data.asset, asked.case.data.asset.energy_start_mwh
    for n in range(24):
        mw = at.get(n, 0.0)
        energy += -mw * 0.95 if mw < 0 else -mw / 0.95
        assert -1e-9 <= energy <= asset.energy_max_mwh + 1e-9


# -- the bound ------------------------------------------------------------------------------------
def test_perfect_foresight_bounds_every_policy_over_the_horizon(tmp_path: Path) -> None:
    names = ("rule", "rolling-intrinsic", "perfect-foresight")
    two = FIRST + timedelta(days=1)
    found = backtest(request_of(tmp_path, *names, last=two))
    earned = found.days.groupby("policy")["profit_eur"].sum()
    assert found.bound_eur is not None
    assert (earned <= found.bound_eur).all()
    assert earned["rolling-intrinsic"] > 0.5 * found.bound_eur  # the bound is no empty one
    assert backtest(request_of(tmp_path, *names, last=two)).bound_eur == found.bound_eur


def test_joined_days_have_the_length_and_the_limits_of_their_parts(engine: Engine) -> None:
    data, series = joined(engine, DAYS)
    single, one = joined(engine, DAYS[:1])
    assert isinstance(data, ModelData)
    assert data.grid.n_steps == 3 * single.grid.n_steps == len(data.asset.charge_limit_mw)
    assert data.grid.n_blocks == 18 and int(data.grid.day_of_step[-1]) == 2
    assert (np.diff(data.grid.day_ahead_of_step) <= 1).all()
    for name, values in series.items():
        assert values.shape[1] == 3 * one[name].shape[1]
        assert (values[:, : one[name].shape[1]] == one[name]).all()


# -- resumption -----------------------------------------------------------------------------------
def test_an_interrupted_backtest_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    names = ("rule", "idle")
    first = backtest(request_of(whole, *names))
    assert first.computed == 6

    class Stop(Exception):
        pass

    def stop(stage: str, detail: str) -> None:
        if "2 of 6" in detail:
            raise Stop

    with pytest.raises(Stop):
        backtest(request_of(cut, *names), progress=stop)
    assert len(rows_in(cut)) == 2
    second = backtest(request_of(cut, *names))
    assert second.computed == 4
    assert rows_in(cut) == rows_in(whole)
    pd.testing.assert_frame_equal(first.days, second.days)
    assert backtest(request_of(cut, *names)).computed == 0


def _go(store: Path) -> None:
    backtest(request_of(store, "rule", "idle"))


def _kill_and_finish(store: Path, kills: int, seed: int) -> None:
    """Run in child processes that are killed after random times, then to the end."""
    context, chance = multiprocessing.get_context("fork"), random.Random(seed)
    for _ in range(kills):
        child = context.Process(target=_go, args=(store,))
        child.start()
        time.sleep(chance.uniform(0.05, 1.2))
        if child.pid is not None and child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
        child.join()
    _go(store)


@pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")
def test_a_killed_backtest_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    _go(tmp_path / "whole")
    _kill_and_finish(tmp_path / "killed", 2, seed=1)
    assert rows_in(tmp_path / "killed") == rows_in(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")
def test_twenty_kills_change_no_byte(tmp_path: Path) -> None:
    _go(tmp_path / "whole")
    _kill_and_finish(tmp_path / "killed", 20, seed=2)
    assert rows_in(tmp_path / "killed") == rows_in(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    names = ("rule", "idle", "rolling-intrinsic")
    one = backtest(request_of(tmp_path / "one", *names))
    two = backtest(request_of(tmp_path / "two", *names), workers=2)
    assert rows_in(tmp_path / "one") == rows_in(tmp_path / "two")
    pd.testing.assert_frame_equal(one.days, two.days)


@pytest.mark.slow
def test_the_stochastic_policies_answer_and_stay_below_the_bound(tmp_path: Path) -> None:
    names = ("two-stage", "two-stage-cvar", "derated", "one-lot", "perfect-foresight")
    asked = request_of(tmp_path, *names, overrides=WITH_RESERVES, last=FIRST + timedelta(days=1))
    found = backtest(asked)
    earned = found.days.groupby("policy")["profit_eur"].sum()
    assert found.bound_eur is not None and (earned <= found.bound_eur).all()
    lots = found.days.set_index("policy")[["fcr_lots", "afrr_up_lots", "afrr_down_lots"]].sum(
        axis=1
    )
    assert lots["two-stage"].min() > 0


def test_another_seed_depth_policy_or_state_is_another_row(tmp_path: Path, engine: Engine) -> None:
    request = request_of(tmp_path)
    other = replace(request, config=request.config.model_copy(update={"seed": 1}))
    deep = with_depth(request, 300.0)
    names = {r.identity(engine.market) for r in (request, other, deep)}
    assert len(names) == 3
    state = engine.start
    moved = replace(state, actual=replace(state.actual, energy_mwh=1.0))
    keys = {
        day_key("a", "rule", FIRST, state),
        day_key("b", "rule", FIRST, state),
        day_key("a", "idle", FIRST, state),
        day_key("a", "rule", LAST, state),
        day_key("a", "rule", FIRST, moved),
    }
    assert len(keys) == 5


def test_a_row_that_was_changed_is_refused(tmp_path: Path) -> None:
    with BacktestStore(tmp_path) as store:
        store.add("k", "b", "rule", "2024-06-26", {"row": {"profit_eur": 1.0}}, 0.1)
        assert store.find("k") == {"row": {"profit_eur": 1.0}}
        assert store.find("other") is None
        store.add("k", "b", "rule", "2024-06-26", {"row": {"profit_eur": 2.0}}, 0.1)
        assert store.find("k") == {"row": {"profit_eur": 1.0}}
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("UPDATE day SET content_json = replace(content_json, '1.0', '9.0')")
    connection.commit()
    connection.close()
    with BacktestStore(tmp_path) as store, pytest.raises(StoreError, match="not as it was stored"):
        store.find("k")


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("CREATE TABLE recipe (title TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        BacktestStore(tmp_path)


# -- requests -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("every", "block", "expected"),
    [
        (1, 1, range(10)),
        (3, 1, [0, 3, 6, 9]),
        (2, 2, [0, 1, 4, 5, 8, 9]),
        (2, 4, [0, 1, 2, 3, 8, 9]),
    ],
)
def test_blocks_of_days_are_chosen(tmp_path: Path, every: int, block: int, expected: Any) -> None:
    request = request_of(tmp_path, last=FIRST + timedelta(days=9), every=every, block=block)
    assert [(day - FIRST).days for day in request.days] == list(expected)


@pytest.mark.parametrize(
    ("policies", "more", "said"),
    [
        (("dowsing",), {}, "expected some of idle, rolling-intrinsic"),
        (("rule", "rule"), {}, "each once"),
        (("rule",), {"last": FIRST - timedelta(days=1)}, "lies before"),
        (("rule",), {"every": 0}, "whole numbers"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    tmp_path: Path, policies: tuple[str, ...], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        request_of(tmp_path, *policies, **more)


@pytest.mark.parametrize("override", ["scenarios.source=realised", "scenarios.source=file"])
def test_scenarios_that_no_gate_could_have_made_are_refused(tmp_path: Path, override: str) -> None:
    file = ("scenarios.file=x.parquet",) if "file" in override else ()
    with pytest.raises(ConfigError, match="perfect-foresight"):
        request_of(tmp_path, "rule", overrides=(*QUICK, override, *file))


def test_the_account_of_the_table_adds_up_to_its_profit(tmp_path: Path) -> None:
    found = backtest(request_of(tmp_path, "rule", last=FIRST))
    lines = account(found.days)
    assert lines.sum(axis=1).to_numpy() == pytest.approx(
        found.days["profit_eur"].to_numpy(), abs=0.005
    )
    assert {"day_ahead", "intraday", "aging", "stored energy"} <= set(lines.columns)
    assert found.reproducible and found.synthetic
    assert date.fromisoformat(found.days["day"].iloc[0]) == FIRST


def test_a_configured_state_is_the_first_one(tmp_path: Path) -> None:
    config = config_of(
        tmp_path, *QUICK, "battery.state.soc_frac=0.3", "battery.state.soh_frac=0.9",
        "battery.state.open_turning_points_frac=[0.8, 0.1]",
    )  # fmt: skip
    plant = plant_of(config)
    state = first_state(config, plant).actual
    again = config_at(config, FIRST, plant, state).battery.state
    assert again.soc_frac == pytest.approx(0.3) and again.soh_frac == 0.9
    assert again.open_turning_points_frac == (0.8, 0.1)


def test_a_plan_that_was_cut_short_is_said_to_be_so(engine: Engine) -> None:
    outcome = engine.step("x", lambda asked: Plan({}, cut_short=True), FIRST, engine.start)
    assert outcome.row["cut_short"] is True


def test_a_request_is_the_same_whatever_its_store_is_called(tmp_path: Path, engine: Engine) -> None:
    one, two = request_of(tmp_path / "a"), request_of(tmp_path / "b")
    assert isinstance(one, Request)
    assert one.identity(engine.market) == two.identity(engine.market)
