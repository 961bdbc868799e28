"""What was sold binds, costs what it should when missed, and never makes a day infeasible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.lshaped import Recourse
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.models.data import Aging, ModelData, Terminal
from stochbess.models.scenario_data import scenario_series
from stochbess.models.two_stage import two_stage
from tests.small_case import (
    Series,
    arr,
    best,
    blocks_of,
    changed,
    energy_only,
    everything,
    fixed_path,
    grid,
    plain,
    segments,
    series_of,
    small,
    template_of,
    uneven,
)

Floats = npt.NDArray[np.float64]
USABLE_MWH = 8.0


# -- physics and obligations by hand --------------------------------------------------------------
def one_step(**changes: Mapping[str, object]) -> ModelData:
    """One hour, 4 MW, 8 MWh, half full, no losses, no value of what is left."""
    data = plain(grid((1.0,), dt_h=1.0))
    data = changed(data, asset={"charge_efficiency_frac": 1.0, "discharge_efficiency_frac": 1.0})
    return changed(replace(data, terminal=Terminal(np.zeros(0), False)), **changes)


def prices_of(data: ModelData, **given: float) -> Series:
    none = {name: 0.0 for name in scenario_series(data)}
    return {
        name: np.full((1, scenario_series(data)[name]), v) for name, v in (none | given).items()
    }


def test_calls_against_the_schedule_move_energy_both_ways() -> None:
    """1 MW bought for an hour, 2 MW called for half of it: half an hour at -1, half at +1 MW."""
    data = one_step(
        reserves={"fcr": "off", "afrr": "off", "committed_afrr_up_mw": arr(2.0)},
        energy={
            "day_ahead": "off",
            "intraday": False,
            "committed_day_ahead_mw": arr(-1.0),
        },
        fees={"import_fee_eur_mwh": arr(7.0)},
    )
    series = prices_of(
        data,
        activation_up_frac=0.5,
        activation_up_eur_mwh=100.0,
        imbalance_long_eur_mwh=-1e3,
        imbalance_short_eur_mwh=1e3,
    )
    earned, values = best(data, series)
    assert values["discharge_mw"][0] == pytest.approx(0.5)
    assert values["charge_mw"][0] == pytest.approx(0.5)
    assert values["delivered_up_mw"][0] == pytest.approx(1.0)
    assert earned == pytest.approx(100.0 * 1.0 - 7.0 * 0.5)


def test_energy_that_was_sold_can_be_left_undelivered_whatever_is_called() -> None:
    """Empty, 3 MW sold, called all the time: all of it is imbalance, nothing is infeasible."""
    data = one_step(
        asset={"energy_start_mwh": 0.0},
        reserves={"fcr_max_mw": 0.0, "afrr_max_mw": 0.0},
        energy={"day_ahead": "off", "intraday": False, "committed_day_ahead_mw": arr(3.0)},
    )
    series = prices_of(
        data,
        activation_up_frac=1.0,
        activation_down_frac=1.0,
        imbalance_long_eur_mwh=40.0,
        imbalance_short_eur_mwh=60.0,
    )
    assert best(data, series)[0] == pytest.approx(-3.0 * 60.0)


def test_no_reserve_is_missing_where_none_was_sold() -> None:
    """Away, 3 MW of energy sold, reserve markets open but nothing sold there."""
    data = one_step(
        asset={"charge_limit_mw": arr(0.0), "discharge_limit_mw": arr(0.0)},
        energy={"day_ahead": "off", "intraday": False, "committed_day_ahead_mw": arr(3.0)},
    )
    series = prices_of(data, imbalance_long_eur_mwh=40.0, imbalance_short_eur_mwh=60.0)
    assert best(data, series)[0] == pytest.approx(-3.0 * 60.0)


def test_energy_is_held_for_what_was_sold_and_what_is_missing_is_paid_for() -> None:
    """2 MW up for 1 h at 0.8: 2.5 MWh held at the block start and at the step end."""
    data = one_step(
        asset={"discharge_efficiency_frac": 0.8, "energy_start_mwh": 2.0},
        reserves={"fcr": "off", "afrr": "off", "committed_afrr_up_mw": arr(2.0)},
        energy={"day_ahead": "off", "intraday": False},
    )
    held = {"imbalance_long_eur_mwh": 10.0, "imbalance_short_eur_mwh": 700.0}
    # 0.5 MWh missing at the start (500 EUR/MWh); buying 0.5 MWh for the end would cost 700 each.
    assert best(data, prices_of(data, **held))[0] == pytest.approx(-500.0 * (0.5 + 0.5))
    cheap = held | {"imbalance_short_eur_mwh": 100.0}
    assert best(data, prices_of(data, **cheap))[0] == pytest.approx(-500.0 * 0.5 - 100.0 * 0.5)


def test_power_is_held_for_what_was_sold_and_what_is_missing_is_paid_for() -> None:
    """4 MW, 1 MW FCR committed, 3.5 MW sold day-ahead: 0.5 MW of headroom missing."""
    data = one_step(
        asset={"energy_start_mwh": 6.0},
        reserves={"fcr": "off", "afrr": "off", "committed_fcr_mw": arr(1.0)},
        energy={"day_ahead": "off", "intraday": False, "committed_day_ahead_mw": arr(3.5)},
    )
    series = prices_of(data, imbalance_long_eur_mwh=-1e3, imbalance_short_eur_mwh=1e3)
    earned, values = best(data, series)
    assert earned == pytest.approx(-500.0 * 0.5)
    assert values["discharge_mw"][0] == pytest.approx(3.5)


@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
def test_a_commitment_that_an_outage_makes_impossible_is_paid_for(engine: Engine) -> None:
    """Sold yesterday, broken today: that has a price and is no reason to refuse a plan."""
    data = plain(grid((4.0, 4.0), dt_h=1.0))
    out = np.full(8, 4.0)
    out[:4] = 0.0
    data = changed(
        data,
        asset={"charge_limit_mw": out, "discharge_limit_mw": out},
        reserves={"committed_afrr_up_mw": arr(2.0, 0.0), "committed_fcr_mw": arr(1.0, 0.0)},
    )
    case = small(data, 3, seed=47)
    whole = changed(data, asset={"charge_limit_mw": out + 4.0, "discharge_limit_mw": out + 4.0})
    costs = [
        solve_two_stage(
            blocks_of(d, case.series, case.probability),
            gap_frac=1e-4,
            time_limit_s=60.0,
            engine=engine,
        ).cost
        for d in (data, whole)
    ]
    # At least the missing headroom: (2 + 1) MW up and 1 MW down for four hours at 500 EUR.
    assert costs[0] - costs[1] >= 500.0 * 4 * 4


def test_the_value_of_stored_energy_is_the_area_under_the_marginal_values() -> None:
    data = changed(
        plain(), asset={"energy_min_mwh": 2.0}, terminal={"marginal_eur_mwh": arr(60, 30, -5)}
    )
    value = data.terminal.value_eur
    for energy, expected in ((2.0, 0.0), (3.0, 60.0), (4.0, 120.0), (5.0, 150.0), (8.0, 170.0)):
        assert value(energy, data.asset) == pytest.approx(expected)


@pytest.mark.parametrize("marginal", [(60.0, 30.0, -50.0), (80.0,), (45.0, 45.0, 44.0, 0.0)])
def test_the_model_counts_stored_energy_as_the_value_function_does(
    marginal: tuple[float, ...],
) -> None:
    data = energy_only(plain())
    data = changed(data, terminal={"marginal_eur_mwh": np.array(marginal)})
    worthless = replace(data, terminal=Terminal(np.zeros(0), False))
    for seed in range(3):
        series = series_of(data, 1, seed=seed)
        earned, values = best(data, series)
        path = values["energy_mwh"]
        stored = data.terminal.value_eur(path[-1], data.asset) - data.terminal.value_eur(
            path[0], data.asset
        )
        problem = fixed_path(template_of(worthless), series, path)
        cash = -solve_problem(problem, SolveOptions()).objective
        assert earned == pytest.approx(cash + stored, rel=1e-6)


def test_what_is_here_and_now_follows_the_gates() -> None:
    def names(data: ModelData) -> set[str]:
        return {v.name.partition("[")[0] for v in two_stage(data).first_stage}

    lots = {"fcr_lots", "afrr_up_lots", "afrr_down_lots"}
    assert names(plain()) == lots | {"day_ahead_mw"}
    assert names(changed(plain(), energy={"day_ahead": "recourse"})) == lots
    assert names(energy_only(plain())) == {"day_ahead_mw"}
    assert names(energy_only(plain(), day_ahead="off")) == set()


# -- complete recourse ----------------------------------------------------------------------------
def worn_out() -> ModelData:
    """A battery that is away in the middle of the day, nearly empty, with obligations."""
    data = everything(grid((4.0, 4.0, 4.0), dt_h=1.0))
    charge, discharge = data.asset.charge_limit_mw.copy(), data.asset.discharge_limit_mw.copy()
    charge[5:7] = discharge[5:7] = 0.0
    sold = data.energy.committed_day_ahead_mw.copy()
    sold[5] = 3.0
    data = changed(
        data,
        asset={"charge_limit_mw": charge, "discharge_limit_mw": discharge, "energy_min_mwh": 0.0},
        energy={"committed_day_ahead_mw": sold},
    )
    return segments(data, USABLE_MWH)


OPEN: dict[str, Callable[[], ModelData]] = {
    "plain": lambda: plain(grid((4.0, 4.0), dt_h=1.0)),
    "everything": lambda: everything(grid((3.0, 5.0), dt_h=1.0)),
    "worn out": worn_out,
    "few cycles, ends as it began": lambda: replace(
        everything(grid((3.0, 5.0), dt_h=1.0)),
        aging=Aging(max_withdrawn_mwh_per_day=2.0),
        terminal=Terminal(np.zeros(0), True),
    ),
}


@cache
def open_recourse(name: str) -> Recourse:
    """Recourse in scenarios of calls that last: none, all up, all down, both, and random ones."""
    data = OPEN[name]()
    series = series_of(data, 6, seed=48)
    for series_name, pattern in (
        ("activation_up_frac", (0.0, 1.0, 0.0, 1.0)),
        ("activation_down_frac", (0.0, 0.0, 1.0, 1.0)),
        ("fcr_activation_frac", (0.0, 1.0, -1.0, 0.5)),
    ):
        series[series_name][:4] = np.array(pattern)[:, None]
    return Recourse(blocks_of(data, series, uneven(6)), 1)


@pytest.mark.parametrize("name", OPEN)
@settings(max_examples=25)
@given(at=st.lists(st.floats(0.0, 1.0), min_size=40, max_size=40), extreme=st.booleans())
@example(at=[1.0] * 40, extreme=True)
@example(at=[0.0] * 40, extreme=False)
def test_every_decision_within_its_bounds_can_be_lived_with(
    name: str, at: list[float], extreme: bool
) -> None:
    recourse = open_recourse(name)
    t = recourse.block.template
    low, high = t.lower[t.first_stage], t.upper[t.first_stage]
    share = np.array(at[: low.size])
    if extreme:
        share = np.round(share)
    cost, gradient = recourse.evaluate(low + share * (high - low))
    assert np.isfinite(cost).all() and np.isfinite(gradient).all()
