"""Settlement and books of a decision against the profit that its model claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.decide import Decision, Effort, Formulation, Problem
from stochbess.engine.two_stage import Engine
from stochbess.errors import SolverError
from stochbess.evaluate.ledger import Books, Ledger, keep_ledger
from stochbess.market.settlement import SettlementTerms
from stochbess.market.tariffs import Tariff
from stochbess.models.data import Aging, ModelData, Terminal
from stochbess.run import check_cash
from tests.small_case import (
    TURNING_POINTS_FRAC,
    Small,
    changed,
    curve_of,
    energy_only,
    everything,
    grid,
    plain,
    segments,
    series_of,
    small,
)

Floats = npt.NDArray[np.float64]
EFFORT = Effort(gap_frac=1e-4, time_limit_s=60.0, threads=1)
USABLE_MWH = 8.0


def terms_of(data: ModelData) -> SettlementTerms:
    """Grid and rules of `data` in the words of the settlement."""
    asset, res, fees, where = data.asset, data.reserves, data.fees, data.grid
    losses, nodes = asset.losses, {}
    if losses is not None:
        asset = replace(asset, charge_efficiency_frac=0.5, discharge_efficiency_frac=0.5)
        for flow, inside, curve in (
            ("charge", "stored", losses.charge),
            ("discharge", "drawn", losses.discharge),
        ):
            nodes[f"{flow}_node_mw"] = np.cumsum([0.0, *curve.width_mw])
            nodes[f"{inside}_node_mw"] = np.cumsum([0.0, *(curve.width_mw * curve.slope)])
    return SettlementTerms(
        dt_h=where.dt_h,
        block_of_step=where.block_of_step,
        block_hours=where.block_hours,
        day_ahead_of_step=where.day_ahead_of_step,
        energy_min_mwh=asset.energy_min_mwh,
        energy_max_mwh=asset.energy_max_mwh,
        charge_efficiency_frac=asset.charge_efficiency_frac,
        discharge_efficiency_frac=asset.discharge_efficiency_frac,
        self_discharge_per_h=asset.self_discharge_per_h,
        charge_limit_mw=asset.charge_limit_mw,
        discharge_limit_mw=asset.discharge_limit_mw,
        fcr_energy_h=res.fcr_energy_h,
        afrr_energy_h=res.afrr_energy_h,
        recharge_factor=res.recharge_factor,
        reserve_shortfall_eur_mwh_h=res.shortfall_eur_mwh_h,
        undelivered_eur_mwh=res.undelivered_eur_mwh,
        tariff=Tariff(
            fees.import_fee_eur_mwh,
            fees.export_fee_eur_mwh,
            fees.levy_eur_mwh,
            fees.capacity_fee_eur,
            fees.profit_tax_frac,
        ),
        intraday_liquidity_mw=data.energy.liquidity_mw,
        **nodes,
    )


def books_of(
    data: ModelData, usable_mwh: float, turning_points_frac: Sequence[float] = ()
) -> Books:
    """What the ledger needs to know of `data`; turning points as fractions of usable energy."""
    asset, res, marginal = data.asset, data.reserves, data.terminal.marginal_eur_mwh
    floor = asset.energy_min_mwh / usable_mwh
    return Books(
        terms=terms_of(data),
        half_spread_eur_mwh=data.energy.half_spread_eur_mwh,
        committed={
            "fcr": res.committed_fcr_mw,
            "afrr_up": res.committed_afrr_up_mw,
            "afrr_down": res.committed_afrr_down_mw,
            "day_ahead": data.energy.committed_day_ahead_mw,
        },
        lot_mw={"fcr": res.fcr_lot_mw, "afrr_up": res.afrr_lot_mw, "afrr_down": res.afrr_lot_mw},
        terminal_edges_mwh=np.linspace(
            asset.energy_min_mwh, asset.energy_max_mwh, marginal.size + 1
        ),
        terminal_marginal_eur_mwh=marginal,
        energy_full_mwh=usable_mwh,
        nameplate_mwh=usable_mwh,
        throughput_eur_mwh=data.aging.throughput_eur_mwh,
        curve=curve_of(data, usable_mwh) if data.aging.model == "segments" else None,
        turning_points_frac=tuple(p - floor for p in turning_points_frac),
        floor_frac=floor,
    )


def variants() -> dict[str, ModelData]:
    full = everything()
    return {
        "plain": plain(),
        "everything": full,
        "throughput, ends as it began": replace(
            full,
            aging=Aging("throughput", 6.0, max_withdrawn_mwh_per_day=6.0),
            terminal=Terminal(np.zeros(0), True),
        ),
        "day-ahead as recourse": changed(full, energy={"day_ahead": "recourse"}),
        "no intraday": changed(full, energy={"intraday": False}),
        "only what was committed": changed(full, reserves={"fcr": "off", "afrr": "off"}),
        "odd lots": changed(full, reserves={"fcr_lot_mw": 0.5, "afrr_lot_mw": 0.7}),
        "energy only": segments(energy_only(plain()), USABLE_MWH),
    }


def settled(case: Small, found: Decision, turning_points: Sequence[float] = ()) -> Ledger:
    names = [f"scenario {s}" for s in range(len(case.probability))]
    books = books_of(case.data, USABLE_MWH, turning_points)
    return keep_ledger(names, case.probability, found.values, case.series, books)


def points_of(data: ModelData) -> Sequence[float]:
    same = data.aging.model == "segments" and data.asset.energy_min_mwh > 0
    return TURNING_POINTS_FRAC if same else ()


def agree(case: Small, found: Decision, ledger: Ledger) -> None:
    """Settlement = model to 1e-6 of the cash that changes hands, physics kept, sums right."""
    scenarios, cash = ledger.scenarios, ledger.cash
    gross = cash.drop(index="profit").abs().sum()[scenarios["scenario"]].to_numpy()
    difference = np.abs(scenarios["profit_eur"].to_numpy() - found.scenario_profit_eur)
    assert (difference <= 1e-6 * np.maximum(1.0, gross)).all(), difference
    assert scenarios["worst_violation"].max() <= 1e-6
    assert scenarios["loop_energy_mwh"].max() <= 1e-5
    profit = scenarios["profit_eur"].to_numpy()
    assert cash.loc["profit", list(scenarios["scenario"])].to_numpy() == pytest.approx(profit)
    assert cash.loc["profit", "expected"] == pytest.approx(float(case.probability @ profit))
    check_cash(ledger, found)


@pytest.mark.parametrize("formulation", ["two-stage", "deterministic"])
@pytest.mark.parametrize("name", variants())
def test_settlement_pays_what_the_model_promised_in_every_scenario(
    name: str, formulation: Formulation
) -> None:
    data = variants()[name]
    n = 5 if formulation == "two-stage" else 1
    case = small(data, n, seed=70)
    assert all((v < 0).any() for k, v in case.series.items() if k == "intraday_eur_mwh")
    engine: Engine = "auto" if formulation == "two-stage" else "extensive"
    found = Problem(data, formulation).decide(case.series, case.probability, EFFORT, engine=engine)
    agree(case, found, settled(case, found, points_of(data)))


def test_every_line_of_the_cash_book_is_in_use_in_these_tests() -> None:
    """Else the agreement above would say nothing about the line."""
    case = small(_COMMON, 5, seed=71)
    sold = _COMMON.energy.committed_day_ahead_mw
    everything_sold = {f"day_ahead_mw[{n}]": max(0.0, 4.0 - float(sold[n])) for n in range(12)}
    for product in ("fcr", "afrr_up", "afrr_down"):
        everything_sold |= {f"{product}_lots[{b}]": 1.0 for b in range(3)}
    found = _COMMON_PROBLEM.evaluate(case.series, case.probability, everything_sold, EFFORT)
    ledger = settled(case, found, TURNING_POINTS_FRAC)
    agree(case, found, ledger)
    for line, biggest in ledger.cash.abs().max(axis=1).items():
        assert biggest > 0.1, line
    assert {"fcr_capacity", "levy", "aging", "stored_energy_value", "profit_tax"} <= set(
        ledger.cash.index
    )


# One lot of everything fits into every block of this one, and obligations are cheap to miss.
_COMMON = changed(
    everything(),
    asset={"charge_limit_mw": np.full(24, 4.0), "discharge_limit_mw": np.full(24, 4.0)},
    reserves={"undelivered_eur_mwh": 15.0, "shortfall_eur_mwh_h": 30.0},
)
_COMMON_PROBLEM = Problem(_COMMON, "two-stage")


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1000),
    lots=st.lists(st.integers(0, 1), min_size=9, max_size=9),
    sold=st.lists(st.floats(-4, 4), min_size=12, max_size=12),
)
def test_settlement_and_model_agree_on_decisions_that_nobody_would_take(
    seed: int, lots: list[int], sold: list[float]
) -> None:
    """Too much sold, too little stored: shortfall, undelivered energy and imbalance are paid."""
    data = _COMMON
    case = small(data, 2, seed=seed)
    before = data.energy.committed_day_ahead_mw
    # New and committed positions together fill at most the power in either direction.
    first_stage = {
        f"day_ahead_mw[{n}]": min(max(mw, min(0.0, -4.0 - before[n])), max(0.0, 4.0 - before[n]))
        for n, mw in enumerate(sold)
    }
    for i, product in enumerate(("fcr", "afrr_up", "afrr_down")):
        first_stage |= {f"{product}_lots[{b}]": float(lots[3 * i + b]) for b in range(3)}
    found = _COMMON_PROBLEM.evaluate(case.series, case.probability, first_stage, EFFORT)
    ledger = settled(case, found, TURNING_POINTS_FRAC)
    agree(case, found, ledger)


@pytest.mark.parametrize("seed", range(4))
def test_segments_never_book_less_aging_than_rainflow_counts(seed: int) -> None:
    """Calls in both directions inside a step wear the battery; the stored energy hides it."""
    case = small(everything(), 3, seed=72 + seed)
    found = Problem(case.data, "two-stage").decide(case.series, case.probability, EFFORT)
    books = settled(case, found, TURNING_POINTS_FRAC).scenarios
    assert (books["aging_eur"] >= books["aging_rainflow_eur"] - 1e-5).all()
    assert (books["aging_eur"] > books["aging_rainflow_eur"] + 0.1).any()


def test_without_calls_and_losses_segments_and_rainflow_book_the_same_aging() -> None:
    past = (0.95, 0.38)
    data = changed(everything(), asset={"self_discharge_per_h": 0.0})
    data = segments(data, USABLE_MWH, turning_points_frac=past)
    case = small(data, 3, seed=76, calls=0.0)
    found = Problem(data, "two-stage").decide(case.series, case.probability, EFFORT)
    books = settled(case, found, past).scenarios
    rainflow = books["aging_rainflow_eur"].to_numpy()
    assert books["aging_eur"].to_numpy() == pytest.approx(rainflow, abs=1e-4)
    assert rainflow.min() > 5.0
    # A battery without a past would book something else for the same day.
    young = settled(case, found).scenarios["aging_rainflow_eur"].to_numpy()
    assert np.abs(young - rainflow).max() > 1.0


def test_commitments_oblige_but_their_cash_is_not_booked_again() -> None:
    data = changed(
        energy_only(plain(), day_ahead="off"),
        reserves={"committed_fcr_mw": np.array([1.0, 0.0])},
        energy={"committed_day_ahead_mw": np.full(8, 0.5)},
    )
    case = small(data, 2, seed=77)
    found = Problem(data, "two-stage").decide(
        case.series, case.probability, EFFORT, engine="extensive"
    )
    ledger = settled(case, found)
    agree(case, found, ledger)
    assert ledger.cash.loc["fcr_capacity"].abs().max() == 0.0
    assert ledger.cash.loc["day_ahead"].abs().max() == 0.0
    for settlement in ledger.settlements.values():
        assert settlement.cash_eur["intraday"] != 0.0


def test_blocks_of_three_and_five_hours_are_paid_by_their_length() -> None:
    data = plain(grid((3.0, 5.0)))
    case = small(data, 2, seed=78)
    found = Problem(data, "two-stage").decide(case.series, case.probability, EFFORT)
    ledger = settled(case, found)
    agree(case, found, ledger)
    for side in ("up", "down"):
        lots = found.values[f"afrr_{side}_lots"][0]
        expected = case.series[f"afrr_{side}_eur_mw_h"] @ (lots * np.array([3.0, 5.0]))
        booked = ledger.cash.loc[f"afrr_{side}_capacity"].to_numpy()[:2]
        assert booked == pytest.approx(expected) and lots.sum() > 0


@pytest.mark.parametrize("name", ["charge_mw", "discharge_mw", "energy_mwh", "sell_mw", "buy_mw"])
def test_a_schedule_that_is_not_the_models_is_found_out(name: str) -> None:
    case = small(everything(), 2, seed=79)
    found = Problem(case.data, "two-stage").decide(case.series, case.probability, EFFORT)
    values = dict(found.values)
    values[name] = values[name].copy()
    values[name][1, 5] += 1e-3
    tampered = replace(found, values=values)
    with pytest.raises(SolverError):
        check_cash(settled(case, tampered, TURNING_POINTS_FRAC), tampered)


def test_a_profit_that_is_not_the_settlements_is_found_out() -> None:
    case = Small(plain(), series_of(plain(), 2, seed=80), np.array([0.5, 0.5]))
    found = Problem(case.data, "two-stage").decide(case.series, case.probability, EFFORT)
    ledger = settled(case, found)
    check_cash(ledger, found)
    boast = replace(found, scenario_profit_eur=found.scenario_profit_eur + np.array([0.0, 0.1]))
    with pytest.raises(SolverError, match="scenario 1"):
        check_cash(ledger, boast)
