"""What profit can never exceed, and what can never lower it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.battery.rainflow import half_cycles
from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.template import compile_template
from stochbess.engine.two_stage import (
    TwoStageOutcome,
    solve_two_stage,
)
from stochbess.models.data import Aging, AgingCut, ModelData, Terminal
from stochbess.models.scenario_data import scenario_series
from stochbess.models.two_stage import two_stage
from tests.small_case import (
    Series,
    blocks_of,
    changed,
    curve_of,
    energy_only,
    everything,
    grid,
    plain,
    segments,
    series_of,
    small,
    uneven,
)

Floats = npt.NDArray[np.float64]
LP_GAP, MIP_GAP = 1e-9, 1e-6


def solved(block: Blocks, *, relax: bool = False) -> TwoStageOutcome:
    gap = LP_GAP if relax else MIP_GAP
    return solve_two_stage(block, gap_frac=gap, time_limit_s=60.0, engine="extensive", relax=relax)


def profit(block: Blocks, *, relax: bool = False) -> float:
    return -solved(block, relax=relax).cost


# -- aging cuts, joint days, ceiling --------------------------------------------------------------
def rainflow_cut(data: ModelData, energy_mwh: Floats, usable_mwh: float) -> AgingCut:
    """Tangent of the discharge half cycle cost at a path of stored energy."""
    curve, soc = curve_of(data, usable_mwh), energy_mwh / usable_mwh
    cycles = half_cycles(soc, (0.0,))
    down = cycles.is_discharge
    value = float(cycles.weight[down] @ curve.cost_eur(cycles.depth[down]))
    n = curve.n_segments
    at = np.minimum((cycles.depth[down] * n).astype(int), n - 1)
    slope = cycles.weight[down] * curve.cost_eur_mwh[at]
    gradient = np.zeros(soc.size)
    for index, sign in ((cycles.start_index[down], 1.0), (cycles.end_index[down], -1.0)):
        inside = index >= 0
        np.add.at(gradient, index[inside], sign * slope[inside])
    # The start is given: its share of the tangent belongs to the intercept.
    return AgingCut(value - float(gradient[1:] @ energy_mwh[1:]), gradient[1:])


def test_profit_never_rises_when_an_aging_cut_is_added_and_never_falls_below_the_segments() -> None:
    usable = 8.0
    aged = segments(energy_only(plain()), usable)
    free = replace(aged, aging=Aging())
    series = series_of(aged, 1, seed=14)
    target = profit(blocks_of(aged, series, np.ones(1)), relax=True)
    cuts: list[AgingCut] = []
    earned = []
    for _ in range(25):
        data = replace(free, aging=Aging(cuts=tuple(cuts)))
        block = blocks_of(data, series, np.ones(1))
        found = solved(block, relax=True)
        earned.append(-found.cost)
        at = block.template.column_position
        path = np.array(
            [found.values[0, at[f"energy_mwh[{t}]"]] for t in range(data.grid.n_steps + 1)]
        )
        cuts.append(rainflow_cut(aged, path, usable))
    drops = -np.diff(earned)
    assert (drops >= -1e-6).all() and min(earned) >= target - 1e-6
    assert drops[0] > 1.0, "the first cut binds"
    assert earned[-1] - target <= 0.02 * (earned[0] - target)


def test_an_aging_cut_that_does_not_bind_changes_nothing() -> None:
    data = everything()
    case = small(data, 2, seed=15)
    idle = AgingCut(-100.0, np.zeros(data.grid.n_steps))
    cut = replace(case, data=changed(data, aging={"cuts": (idle,)}))
    assert profit(cut.blocks, relax=True) == pytest.approx(
        profit(case.blocks, relax=True), rel=1e-9
    )


def day_of(data: ModelData, day: int) -> ModelData:
    """Day `day` of `data` on its own."""
    where = data.grid
    steps = np.flatnonzero(where.day_of_step == day)
    in_blocks = np.unique(where.block_of_step[steps])
    units = np.unique(where.day_ahead_of_step[steps])
    none = np.zeros(in_blocks.size)
    alone = replace(
        data,
        grid=replace(
            where,
            block_of_step=where.block_of_step[steps] - in_blocks[0],
            block_hours=where.block_hours[in_blocks],
            day_ahead_of_step=where.day_ahead_of_step[steps] - units[0],
            day_of_step=np.zeros(steps.size, np.int64),
        ),
    )
    return changed(
        alone,
        asset={
            "charge_limit_mw": data.asset.charge_limit_mw[steps],
            "discharge_limit_mw": data.asset.discharge_limit_mw[steps],
        },
        reserves={
            "committed_fcr_mw": none,
            "committed_afrr_up_mw": none,
            "committed_afrr_down_mw": none,
        },
        energy={"committed_day_ahead_mw": np.zeros(units.size)},
        fees={
            "import_fee_eur_mwh": data.fees.import_fee_eur_mwh[steps],
            "export_fee_eur_mwh": data.fees.export_fee_eur_mwh[steps],
        },
    )


def day_series(data: ModelData, series: Series, day: int) -> Series:
    where = data.grid
    steps = np.flatnonzero(where.day_of_step == day)
    pick = {
        where.n_steps: steps,
        where.n_blocks: np.unique(where.block_of_step[steps]),
        where.n_day_ahead: np.unique(where.day_ahead_of_step[steps]),
    }
    return {name: values[:, pick[values.shape[1]]] for name, values in series.items()}


def test_days_solved_jointly_earn_no_less_than_days_that_each_end_as_they_began() -> None:
    where = grid((4.0, 4.0) * 3, dt_h=0.5, blocks_per_day=2)
    data = replace(
        plain(where),
        terminal=Terminal(np.zeros(0), True),
        aging=Aging("throughput", 3.0, max_withdrawn_mwh_per_day=7.0),
    )
    series = series_of(data, 1, seed=16)
    apart = sum(
        profit(blocks_of(day_of(data, d), day_series(data, series, d), np.ones(1)))
        for d in range(3)
    )
    joint = profit(blocks_of(data, series, np.ones(1)))
    assert joint > apart + 1.0
    # With the midnight levels pinned, the joint problem is the sum of the days and nothing else.
    pinned = two_stage(data)
    for midnight in (16, 32):
        pinned.energy_mwh[midnight].setlb(data.asset.energy_start_mwh)
        pinned.energy_mwh[midnight].setub(data.asset.energy_start_mwh)
    together = profit(blocks(compile_template(pinned), series, np.ones(1)))
    assert together == pytest.approx(apart, rel=2 * MIP_GAP)


def ceiling_eur(data: ModelData, series: Series) -> Floats:
    """More than any schedule can earn, summed by product, trading without a battery included."""
    where, asset, res, energy = data.grid, data.asset, data.reserves, data.energy
    dt, block, unit = where.dt_h, where.block_of_step, where.day_ahead_of_step
    most = max(asset.charge_limit_mw.max(), asset.discharge_limit_mw.max())
    day_ahead, intraday = series["day_ahead_eur_mwh"], series["intraday_eur_mwh"]
    half = energy.half_spread_eur_mwh
    total = dt * asset.trade_limit_mw * np.abs(day_ahead[:, unit]).sum(axis=1)
    total += (
        dt
        * energy.liquidity_mw
        * (np.maximum(intraday - half, 0.0) + np.maximum(-intraday - half, 0.0)).sum(axis=1)
    )
    total += most * series["fcr_eur_mw"].sum(axis=1)
    for side, sign in (("up", 1.0), ("down", -1.0)):
        total += most * (series[f"afrr_{side}_eur_mw_h"] @ where.block_hours)
        paid = np.maximum(sign * series[f"activation_{side}_eur_mwh"], 0.0)
        total += dt * most * (series[f"activation_{side}_frac"] * paid).sum(axis=1)
    committed = np.abs(energy.committed_day_ahead_mw)[unit] + res.committed_fcr_mw[block]
    off_plan = 3 * most + asset.trade_limit_mw + energy.liquidity_mw + committed
    long, short = series["imbalance_long_eur_mwh"], series["imbalance_short_eur_mwh"]
    total += dt * (np.maximum(long, 0.0) + np.maximum(-short, 0.0)) @ off_plan
    total += data.terminal.value_eur(asset.energy_max_mwh, asset)
    return np.asarray(total)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_profit_stays_below_what_the_connection_could_carry(seed: int) -> None:
    case = small(everything(), 3, seed=seed)
    block = case.blocks
    ceiling = ceiling_eur(case.data, case.series)
    tax = case.data.fees.profit_tax_frac
    for s in range(3):
        assert profit(block.subset(np.array([s])), relax=True) <= (1 - tax) * ceiling[s]


# -- markets ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("outage", [False, True], ids=["healthy", "outage"])
def test_opening_a_market_never_lowers_profit(outage: bool) -> None:
    data = plain()
    if outage:
        limit = data.asset.discharge_limit_mw.copy()
        limit[4:8] = 0.0
        sold = np.zeros(8)
        sold[2:4] = 3.5
        data = changed(
            data,
            asset={"charge_limit_mw": limit, "discharge_limit_mw": limit},
            energy={"committed_day_ahead_mw": sold},
        )
    closed = energy_only(data, day_ahead="off", intraday=False)
    reserves_only = changed(data, energy={"day_ahead": "off", "intraday": False})
    orders = [
        [
            closed,
            changed(closed, energy={"day_ahead": "here_and_now"}),
            energy_only(data),
            changed(data, reserves={"fcr": "off"}),
            data,
        ],
        [closed, reserves_only, changed(data, energy={"intraday": False})],
    ]
    series = series_of(data, 3, seed=19)
    for order in orders:
        earned = [
            profit(blocks_of(d, {n: series[n] for n in scenario_series(d)}, uneven(3)))
            for d in order
        ]
        slack = 2 * MIP_GAP * max(map(abs, earned))
        assert (np.diff(earned) >= -slack).all(), earned
        assert earned[-1] > earned[0] + 100.0
