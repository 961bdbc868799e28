"""From days to lives: representative days, decisions at a price, what is kept, what is advised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stochbess.assemble import build_case, open_market
from stochbess.battery.aging import RangeFlag
from stochbess.battery.lifetime import Terms
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import simulate
from stochbess.cli_lifetime import draw_lifetime
from stochbess.cli_lifetime_tables import advice, document
from stochbess.config import Config, load_config
from stochbess.decide import Effort, Problem
from stochbess.errors import ConfigError, DataError
from stochbess.lifetime import Study, settings_for, study
from stochbess.lifetime_days import day_prices, representative_days, spread_eur_mwh
from stochbess.lifetime_store import DayStore, DayUse
from stochbess.lifetime_year import Operation, lifetime_config, naive_price_eur_kwh
from stochbess.market.data import MarketData

DAY_AHEAD = [
    "markets.intraday.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "aging.n_segments=4",
    "solver.threads=1",
]
TERMS = [Terms(0.05, 0.7), Terms(0.083, 0.8)]


def settings(*overrides: str) -> Config:
    return load_config(None, [*DAY_AHEAD, *overrides])


@pytest.fixture(scope="module")
def market() -> MarketData:
    return open_market(settings())


@pytest.fixture(scope="module")
def found(market: MarketData, tmp_path_factory: pytest.TempPathFactory) -> Study:
    store = tmp_path_factory.mktemp("lifetime")
    config = settings(f"report.store_dir={store}")
    return study(config, market, TERMS, n_days=2, prices_eur_kwh=[600.0], health_frac=[0.8, 1.0])


# -- days -----------------------------------------------------------------------------------------
def test_days_stand_for_the_whole_year_and_keep_its_spread(market: MarketData) -> None:
    days, prices = day_prices(market)
    spread = spread_eur_mwh(prices)
    chosen = representative_days(market, 12)
    assert chosen.days_per_year.sum() == pytest.approx(365.25)
    assert list(chosen.day) == sorted(chosen.day)
    assert set(chosen.day) <= set(days)
    assert abs(chosen.spread_error_frac) < 0.06
    kept = np.array([spread[days.index(day)] for day in chosen.day])
    assert chosen.days_per_year @ kept / 365.25 == pytest.approx(
        spread.mean() * (1 + chosen.spread_error_frac)
    )


def test_all_days_stand_for_themselves(market: MarketData) -> None:
    n = len(day_prices(market)[0])
    chosen = representative_days(market, n)
    assert chosen.n_year == n
    assert chosen.days_per_year == pytest.approx(np.full(n, 365.25 / n))
    assert chosen.spread_error_frac == pytest.approx(0.0, abs=1e-12)


def test_the_spread_is_between_the_dearest_and_the_cheapest_four_hours() -> None:
    hourly = np.arange(24.0)
    assert spread_eur_mwh(hourly[None, :])[0] == pytest.approx(20.0)
    assert spread_eur_mwh(np.repeat(hourly, 4)[None, :])[0] == pytest.approx(20.0)


def test_days_that_do_not_exist_are_refused(market: MarketData) -> None:
    with pytest.raises(ConfigError, match="--days 0"):
        representative_days(market, 0)
    with pytest.raises(DataError, match="no prices of 1999"):
        representative_days(market, 3, 1999)


# -- decisions at a price -------------------------------------------------------------------------
@pytest.mark.parametrize("health", [1.0, 0.8])
def test_repriced_templates_decide_like_a_model_built_at_that_price(
    market: MarketData, health: float
) -> None:
    """Prices share a template; its costs are those of a configuration with that price."""
    config = lifetime_config(settings())
    operation = Operation(config, market)
    day, price = str(representative_days(market, 3).day[1]), 2500.0
    found = operation.problem(day, price, health)
    overrides = [f"market.day={day}", "scenarios.source=realised", "terminal.mode=equal_start"]
    overrides += ["battery.replacement_cost_eur_kwh=500", f"battery.state.soh_frac={health}"]
    case = build_case(settings(*overrides), market)
    fresh = Problem(case.data, "deterministic")
    effort = Effort(1e-6, 60.0, 1)
    series, one = operation.case(day).series, np.ones(1)
    ours = found.decide(series, one, effort, engine="extensive")
    theirs = fresh.decide(case.series, one, effort, engine="extensive")
    assert ours.profit_lb_eur == pytest.approx(theirs.profit_lb_eur, abs=1e-6)
    base = operation.problem(day, 1000.0, health).decide(series, one, effort, engine="extensive")
    assert base.profit_lb_eur > ours.profit_lb_eur + 1.0


def test_a_day_is_followed_and_counted_by_the_plant(market: MarketData) -> None:
    config = lifetime_config(settings())
    operation = Operation(config, market)
    day = str(representative_days(market, 3).day[2])
    (free,) = operation.decide([day], 0.0, 1.0)
    (dear,) = operation.decide([day], 3000.0, 1.0)
    assert free.revenue_eur > dear.revenue_eur > 0
    assert free.full_cycles > dear.full_cycles
    assert free.shortfall_mwh == dear.shortfall_mwh == 0.0
    assert free.growth[1] > dear.growth[1] > 0  # Naumann, cycling
    assert 25.0 < dear.mean_degc < free.mean_degc < 40.0
    assert 0.0 <= free.shallow <= free.moved == pytest.approx(2 * free.full_cycles)
    assert all(isinstance(flag, RangeFlag) for flag in free.flags)


def test_revenue_is_what_the_market_pays_before_aging(market: MarketData) -> None:
    operation = Operation(lifetime_config(settings()), market)
    day = str(representative_days(market, 3).day[2])
    (found,) = operation.decide([day], 900.0, 1.0)
    effort, series = Effort(1e-4, 60.0, 1), operation.case(day).series
    values = (
        operation.problem(day, 900.0, 1.0)
        .decide(series, np.ones(1), effort, engine="extensive")
        .values
    )
    net = (values["discharge_mw"] - values["charge_mw"])[0]
    assert found.revenue_eur == pytest.approx(series["day_ahead_eur_mwh"][0] @ net, abs=0.05)


def test_a_day_counts_as_it_follows_itself(market: MarketData) -> None:
    """Temperature and open cycles at midnight are those that the day leaves: it repeats."""
    operation = Operation(lifetime_config(settings()), market)
    day = str(representative_days(market, 3).day[2])
    problem, series = operation.problem(day, 500.0, 1.0), operation.case(day).series
    decision = problem.decide(series, np.ones(1), Effort(1e-4, 60.0, 1), engine="extensive")
    flows = GrossSchedule(*(decision.values[name][0] for name in ("charge_mw", "discharge_mw")))
    first, ran = operation.follow(flows, 1.0, problem)
    third = simulate(operation.plant, flows, ran.dt_h, ran.end)
    grown = [run.aging_increments.sum(axis=0) for run in (first, ran, third)]
    assert grown[1] == pytest.approx(grown[2], rel=1e-4)
    assert grown[0][1] != pytest.approx(grown[2][1], rel=1e-2)


def test_days_decided_together_are_those_decided_alone(market: MarketData) -> None:
    operation = Operation(lifetime_config(settings()), market)
    days = [str(day) for day in representative_days(market, 3).day]
    together = operation.decide(days, 800.0, 1.0)
    alone = [operation.decide([day], 800.0, 1.0)[0] for day in days]
    for one, other in zip(together, alone, strict=True):
        assert one.day == other.day
        assert one.revenue_eur == pytest.approx(other.revenue_eur, abs=0.05)


def test_calendar_aging_with_a_price_rests_the_battery_lower(market: MarketData) -> None:
    config = lifetime_config(settings("aging.model=cuts"))
    day = str(representative_days(market, 3).day[1])
    (only_cycling,) = Operation(config, market).decide([day], 800.0, 1.0)
    (both,) = Operation(config, market, calendar_frac=1.0).decide([day], 800.0, 1.0)
    assert both.growth[0] < 0.97 * only_cycling.growth[0]  # Naumann, calendar
    assert both.revenue_eur <= only_cycling.revenue_eur + 0.05


def test_a_floor_on_throughput_lowers_it(market: MarketData) -> None:
    config = lifetime_config(settings())
    day = str(representative_days(market, 3).day[1])
    (free,) = Operation(config, market).decide([day], 300.0, 1.0)
    (floored,) = Operation(config, market, floor_eur_mwh=20.0).decide([day], 300.0, 1.0)
    assert floored.full_cycles < free.full_cycles
    assert floored.revenue_eur < free.revenue_eur


@pytest.mark.parametrize(
    ("overrides", "floor", "calendar", "told"),
    [
        ([], 0.0, 1.0, "aging.model=cuts"),
        ([], -1.0, 0.0, "throughput floor"),
        (["aging.model=cuts"], 0.0, -1.0, "calendar price"),
    ],
)
def test_prices_that_the_model_has_no_place_for_are_refused(
    market: MarketData, overrides: list[str], floor: float, calendar: float, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        Operation(settings(*overrides), market, floor, calendar)


def test_a_life_needs_a_price_by_depth_and_no_single_days() -> None:
    with pytest.raises(ConfigError, match="expected segments or cuts"):
        lifetime_config(settings("aging.model=none"))
    outage = "{from_local: 2024-06-26T00:00, to_local: 2024-06-26T06:00, available_frac: 0.5}"
    with pytest.raises(ConfigError, match="outages"):
        lifetime_config(settings(f"battery.state.outages=[{outage}]"))
    worn = lifetime_config(settings("battery.state.soh_frac=0.8"))
    assert worn.battery.state.soh_frac == 1.0


# -- what is kept ---------------------------------------------------------------------------------
def use(price: float) -> DayUse:
    flag = RangeFlag("law", "depth", "", (0.8, 1.0), (0.1, 1.0), 0.1, 1.0, "of the time")
    return DayUse(
        "2024-01-01", price, 1.0, 0.1 + 0.2, (1e-7, 0.3), 1.5, 3.0, 0.4, 0.0, 27.1, (flag,)
    )


def test_what_is_known_of_a_day_comes_back_as_it_was(tmp_path: Path) -> None:
    DayStore(tmp_path, "ab" * 32).add([use(0.0), use(1.0 / 3.0)])
    again = DayStore(tmp_path, "ab" * 32)
    assert again.known == {use(0.0).key: use(0.0), use(1.0 / 3.0).key: use(1.0 / 3.0)}
    assert DayStore(tmp_path, "cd" * 32).known == {}


def test_a_line_that_was_cut_short_is_computed_again(tmp_path: Path) -> None:
    store = DayStore(tmp_path, "ab" * 32)
    store.add([use(1.0), use(2.0)])
    store.path.write_bytes(store.path.read_bytes()[:-30])
    cut = DayStore(tmp_path, "ab" * 32)
    assert list(cut.known) == [use(1.0).key]
    cut.add([use(2.0), use(3.0)])
    assert len(DayStore(tmp_path, "ab" * 32).known) == 3


def test_a_study_goes_on_from_what_is_known(
    found: Study, market: MarketData, tmp_path: Path
) -> None:
    config = found.config
    folder = Path(config.report.store_dir) / "lifetime"
    (file,) = folder.iterdir()
    before = file.read_bytes()
    again = study(config, market, TERMS, n_days=2, prices_eur_kwh=[600.0], health_frac=[0.8, 1.0])
    assert file.read_bytes() == before
    assert document(again) == document(found)
    elsewhere = config.model_copy(
        update={"report": config.report.model_copy(update={"store_dir": tmp_path})}
    )
    anew = study(elsewhere, market, TERMS, n_days=2, prices_eur_kwh=[600.0], health_frac=[0.8, 1.0])
    assert next((tmp_path / "lifetime").iterdir()).read_bytes() == before
    assert document(anew) == document(found)


def test_another_question_has_another_file(market: MarketData) -> None:
    config = lifetime_config(settings())
    cuts = lifetime_config(settings("aging.model=cuts"))
    names = {
        Operation(config, market).sha256,
        Operation(config, market, floor_eur_mwh=1.0).sha256,
        Operation(cuts, market).sha256,
        Operation(cuts, market, calendar_frac=1.0).sha256,
    }
    assert len(names) == 4
    moved = lifetime_config(settings("report.store_dir=elsewhere"))
    assert Operation(moved, market).sha256 == Operation(config, market).sha256


# -- the study ------------------------------------------------------------------------------------
def test_the_grid_holds_zero_and_the_naive_price(found: Study) -> None:
    assert found.naive_eur_kwh == 1000.0
    assert found.price_eur_kwh.tolist() == [0.0, 600.0, 1000.0]
    assert found.laws == ("Naumann", "Schimpe", "BLAST 250 Ah")


def test_a_price_costs_revenue_and_saves_wear(found: Study) -> None:
    revenue = [use.revenue_eur_kwh_year for use in found.uses]
    cycles = [use.full_cycles_per_day for use in found.uses]
    assert revenue == sorted(revenue, reverse=True)
    assert cycles == sorted(cycles, reverse=True)
    growth = found.frontier["Naumann"].growth_per_year[:, -1, 1]  # cycling
    assert growth.tolist() == sorted(growth, reverse=True)
    years = [life.years for life in found.lives["Naumann", 1]]
    assert years == sorted(years)


def test_less_capacity_earns_less_but_more_than_its_share(found: Study) -> None:
    """Power stays, so that a smaller battery that is free to cycle still has the best hours."""
    revenue = found.frontier["Naumann"].revenue_eur_kwh_year
    assert (revenue[:, 0] < revenue[:, 1]).all()
    assert revenue[0, 0] > 0.8 * revenue[0, 1]


def test_laws_see_the_same_years_and_age_by_their_own_mechanisms(found: Study) -> None:
    naumann, schimpe = found.frontier["Naumann"], found.frontier["Schimpe"]
    assert (naumann.revenue_eur_kwh_year == schimpe.revenue_eur_kwh_year).all()
    assert naumann.power.tolist() == [0.5, 0.5]  # resistance takes no capacity
    assert schimpe.power.tolist() == [0.5, 0.5, 0.5, 1.0]
    assert found.frontier["BLAST 250 Ah"].power.tolist() == [0.526, 0.828]


@pytest.mark.parametrize("price", [30.0, 200.0, 399.0, 400.0, 1000.0, 4321.0])
def test_the_advised_settings_make_the_advised_price(price: float) -> None:
    config = settings()
    assert naive_price_eur_kwh(settings(*settings_for(config, price))) == pytest.approx(
        price, rel=1e-3
    )


def test_a_price_of_zero_switches_aging_off() -> None:
    assert settings(*settings_for(settings(), 0.0)).aging.model == "none"


def test_shallow_cycles_and_foreign_judges_are_told(found: Study) -> None:
    shallow = replace(found, uses=tuple(replace(use, shallow_frac=0.7) for use in found.uses))
    assert any("SHALLOW CYCLES: at 0, 600, 1,000" in text for text in advice(shallow))
    deep = replace(found, uses=tuple(replace(use, shallow_frac=0.5) for use in found.uses))
    assert not any("SHALLOW" in text for text in advice(deep))
    kept = found.verdicts[0].worst_of(found.verdicts[0].robust)[1]
    assert any("No price keeps 98 %" in text for text in advice(found)) == (kept < 0.98)


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_the_same_study_gives_the_same_picture(found: Study, tmp_path: Path, form: str) -> None:
    first, second = tmp_path / f"a.{form}", tmp_path / f"b.{form}"
    draw_lifetime(found, first)
    draw_lifetime(found, second)
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) > 5000


def test_a_grid_or_healths_that_make_no_sense_are_refused(market: MarketData) -> None:
    with pytest.raises(ConfigError, match="--prices"):
        study(settings(), market, TERMS, prices_eur_kwh=[-5.0])
    with pytest.raises(ConfigError, match="--health"):
        study(settings(), market, TERMS, health_frac=[0.8])
    with pytest.raises(ConfigError, match="no terms"):
        study(settings(), market, [])


def test_mechanisms_of_the_configuration_have_no_price_in_a_life_unless_asked_for(
    market: MarketData,
) -> None:
    config = settings("aging.model=cuts", "aging.mechanisms=[cycle, calendar]")
    day = str(representative_days(market, 1).day[0])
    cycling = Operation(config, market).problem(day, 500.0, 1.0).data.aging
    both = Operation(config, market, calendar_frac=1.0).problem(day, 500.0, 1.0).data.aging
    assert (len(cycling.step_prices), len(both.step_prices)) == (0, 1)
    assert Operation(config, market).problem(day, 0.0, 1.0).data.aging.step_prices == ()


def test_the_settings_put_into_force_what_the_price_acted_on() -> None:
    config = settings("aging.model=cuts")
    found = settings_for(config, 800.0, calendar_frac=2.0, floor_eur_mwh=3.0)
    loaded = load_config(None, found).aging
    assert (loaded.model, loaded.mechanisms) == ("cuts", ("cycle", "calendar"))
    assert (loaded.calendar_loss_frac, loaded.floor_eur_mwh) == (0.025, 3.0)
    assert settings_for(config, 0.0, 1.0, 3.0) == ("aging.model=none", "aging.floor_eur_mwh=3")
    assert load_config(None, settings_for(config, 800.0, 0.05)).aging.calendar_loss_frac == 0.5
