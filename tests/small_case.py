"""Small but complete decisions for the tests: a few hours, every market, every friction.

The numbers are invented. Scenario series are drawn so that prices turn negative, calls come in both
directions inside one step, and some lots pay while others do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo

from stochbess.battery.cycle_curve import SegmentCurve, fill_from_turning_points
from stochbess.battery.efficiency import Circuit
from stochbess.battery.loss_pieces import loss_pieces
from stochbess.decide import by_component
from stochbess.engine.matrix import Blocks, Problem, blocks, single
from stochbess.engine.template import Template, compile_template
from stochbess.engine.two_stage import solve_two_stage
from stochbess.models.data import (
    Aging,
    Asset,
    EnergyMarkets,
    Fees,
    Grid,
    LossCuts,
    ModelData,
    PowerPieces,
    Reserves,
    Terminal,
)
from stochbess.models.scenario_data import scenario_series
from stochbess.models.two_stage import two_stage

Floats = npt.NDArray[np.float64]
Series = dict[str, Floats]
FREE = float("inf")
# Open turning points of the past [fraction of usable energy] in `everything`.
TURNING_POINTS_FRAC = (0.9, 0.2)


def arr(*values: float) -> Floats:
    return np.array(values, np.float64)


def grid(
    block_hours: Sequence[float] = (4.0, 4.0),
    dt_h: float = 0.5,
    unit_h: float = 1.0,
    blocks_per_day: int | None = None,
) -> Grid:
    """Blocks of the given lengths on steps of `dt_h`, day-ahead units of `unit_h`."""
    per_block = [round(hours / dt_h) for hours in block_hours]
    block_of_step = np.repeat(np.arange(len(per_block)), per_block)
    n_steps = sum(per_block)
    return Grid(
        dt_h=dt_h,
        block_of_step=block_of_step,
        block_hours=np.array(block_hours, float),
        day_ahead_of_step=np.arange(n_steps) // round(unit_h / dt_h),
        day_of_step=block_of_step // (blocks_per_day or len(per_block)),
    )


def plain(where: Grid | None = None, power_mw: float = 4.0, energy_mwh: float = 8.0) -> ModelData:
    """Every market, no fee, no aging, no commitment, linear terminal value, half full at start."""
    where = grid() if where is None else where
    n_steps, none = where.n_steps, np.zeros(where.n_blocks)
    limit = np.full(n_steps, power_mw)
    return ModelData(
        grid=where,
        asset=Asset(0.0, energy_mwh, energy_mwh / 2, 0.95, 0.93, 0.0, limit, limit, power_mw),
        reserves=Reserves(
            fcr="here_and_now",
            afrr="here_and_now",
            fcr_lot_mw=1.0,
            afrr_lot_mw=1.0,
            fcr_max_mw=FREE,
            afrr_max_mw=FREE,
            integer_lots=True,
            fcr_energy_h=0.25,
            afrr_energy_h=1.0,
            recharge_factor=1.25,
            shortfall_eur_mwh_h=500.0,
            undelivered_eur_mwh=1000.0,
            committed_fcr_mw=none,
            committed_afrr_up_mw=none,
            committed_afrr_down_mw=none,
        ),
        energy=EnergyMarkets("here_and_now", True, 2.0, 2.0, np.zeros(where.n_day_ahead)),
        fees=Fees(np.zeros(n_steps), np.zeros(n_steps), 0.0, 0.0, 0.0),
        terminal=Terminal(arr(70.0, 55.0, 40.0), False),
        aging=Aging(),
    )


def changed(data: ModelData, **parts: Mapping[str, Any]) -> ModelData:
    """`data` with fields of its parts replaced, as in `changed(data, fees={"levy_eur_mwh": 1})`."""
    new = {name: replace(getattr(data, name), **dict(part)) for name, part in parts.items()}
    return replace(data, **new)


def energy_only(data: ModelData, **energy: Any) -> ModelData:
    """The same battery without reserve markets."""
    return changed(data, reserves={"fcr": "off", "afrr": "off"}, energy=energy)


def curve_of(data: ModelData, usable_mwh: float) -> SegmentCurve:
    """The price of a cycle by depth behind the segments of `data`."""
    aging = data.aging
    assert np.isclose(aging.width_mwh * aging.cost_eur_mwh.size, usable_mwh)
    efficiency = data.asset.discharge_efficiency_frac
    return SegmentCurve(aging.width_mwh, aging.cost_eur_mwh, efficiency, None)


def segments(
    data: ModelData,
    usable_mwh: float,
    cost_eur_mwh: Sequence[float] = (4.0, 9.0, 16.0, 30.0),
    turning_points_frac: Sequence[float] = (),
) -> ModelData:
    """`data` with convex segment aging, filled as the turning points of the past left it."""
    n, asset = len(cost_eur_mwh), data.asset
    floor = asset.energy_min_mwh / usable_mwh
    above = asset.energy_start_mwh / usable_mwh - floor
    fill = fill_from_turning_points(np.array(turning_points_frac) - floor, above, n)
    width = usable_mwh / n
    aging = Aging("segments", 0.0, width, np.array(cost_eur_mwh, float), fill * width)
    return replace(data, aging=aging)


def with_losses(data: ModelData, n_pieces: int = 3) -> ModelData:
    """`data` with the losses of a circuit of 8 MWh and 4 MW, in `n_pieces` pieces each way."""
    circuit = Circuit(8.0, 4.0)
    found = [loss_pieces(circuit, 4.0, n_pieces, charging=flow) for flow in (True, False)]
    losses = LossCuts(*(PowerPieces(one.width_mw, one.slope) for one in found))
    nan = float("nan")
    return changed(
        data,
        asset={"losses": losses, "charge_efficiency_frac": nan, "discharge_efficiency_frac": nan},
    )


def everything(where: Grid | None = None) -> ModelData:
    """All markets with all frictions on: fees, tax, floor, self-discharge, outage, commitments."""
    where = grid((3.0, 5.0, 4.0)) if where is None else where
    data = plain(where)
    n_steps, n_units = where.n_steps, where.n_day_ahead
    rng = np.random.default_rng(7)
    charge, discharge = np.full(n_steps, 3.9), np.full(n_steps, 4.0)
    last = np.flatnonzero(where.block_of_step == where.n_blocks - 1)
    charge[last[1:3]], discharge[last[1:4]] = 2.0, 1.5  # a partial outage
    committed = np.zeros((3, where.n_blocks))
    committed[0, 0], committed[1, -1], committed[2, -1] = 0.5, 0.4, 0.3
    sold = np.zeros(n_units)
    sold[1], sold[-2] = 0.6, -0.5
    data = changed(
        data,
        asset={
            "energy_min_mwh": 0.8,
            "energy_max_mwh": 7.6,
            "energy_start_mwh": 3.2,
            "self_discharge_per_h": 0.004,
            "charge_limit_mw": charge,
            "discharge_limit_mw": discharge,
        },
        reserves={
            "committed_fcr_mw": committed[0],
            "committed_afrr_up_mw": committed[1],
            "committed_afrr_down_mw": committed[2],
        },
        energy={"committed_day_ahead_mw": sold, "liquidity_mw": 1.5},
        fees={
            "import_fee_eur_mwh": rng.uniform(0.0, 6.0, n_steps),
            "export_fee_eur_mwh": rng.uniform(0.0, 3.0, n_steps),
            "levy_eur_mwh": 4.0,
            "capacity_fee_eur": 11.0,
            "profit_tax_frac": 0.25,
        },
    )
    return segments(data, 8.0, turning_points_frac=TURNING_POINTS_FRAC)


def series_of(
    data: ModelData,
    n_scenarios: int,
    seed: int = 1,
    *,
    level_eur_mwh: float = 45.0,
    swing_eur_mwh: float = 55.0,
    noise_eur_mwh: float = 20.0,
    imbalance_spread_eur_mwh: float = 90.0,
    calls: float = 0.3,
) -> Series:
    """Scenario data for every series that `data` reads, (n_scenarios, length) each.

    `calls` is the chance that a direction is called in a step; half of the calls are for the whole
    bid. Prices below zero occur as long as `level - swing - noise` is negative.
    """
    rng = np.random.default_rng(seed)
    where = data.grid
    shape = (n_scenarios, where.n_steps)
    hour = np.arange(where.n_steps) * where.dt_h
    wave = level_eur_mwh + swing_eur_mwh * np.sin(2 * np.pi * hour / 8.0 + 0.4)
    common = rng.normal(0.0, noise_eur_mwh, (n_scenarios, 1))
    intraday = wave + common + rng.normal(0.0, noise_eur_mwh, shape)
    first = np.searchsorted(where.day_ahead_of_step, np.arange(where.n_day_ahead))
    day_ahead = wave[first] + common + rng.normal(0.0, noise_eur_mwh / 2, (n_scenarios, len(first)))

    def shares() -> Floats:
        called = rng.random(shape) < calls
        whole = rng.random(shape) < 0.5
        return np.asarray(np.where(called, np.where(whole, 1.0, rng.random(shape)), 0.0))

    per_block = (n_scenarios, where.n_blocks)
    reference = intraday if data.energy.intraday else day_ahead[:, where.day_ahead_of_step]
    drawn = {
        "day_ahead_eur_mwh": day_ahead,
        "intraday_eur_mwh": intraday,
        "imbalance_long_eur_mwh": reference - imbalance_spread_eur_mwh * rng.uniform(0.6, 1, shape),
        "imbalance_short_eur_mwh": reference
        + imbalance_spread_eur_mwh * rng.uniform(0.6, 1, shape),
        "fcr_eur_mw": rng.uniform(20.0, 120.0, per_block),
        "fcr_activation_frac": rng.uniform(-0.2, 0.2, shape),
        "afrr_up_eur_mw_h": rng.uniform(2.0, 30.0, per_block),
        "afrr_down_eur_mw_h": rng.uniform(2.0, 30.0, per_block),
        "activation_up_frac": shares(),
        "activation_down_frac": shares(),
        "activation_up_eur_mwh": intraday + rng.uniform(0.0, 150.0, shape),
        "activation_down_eur_mwh": intraday - rng.uniform(0.0, 150.0, shape),
    }
    return {name: drawn[name] for name in scenario_series(data)}


def uneven(n_scenarios: int) -> Floats:
    """Probabilities that are all different, so that a mix-up of scenarios shows."""
    weight = np.arange(1, n_scenarios + 1, dtype=float)
    return np.asarray(weight / weight.sum())


def template_of(data: ModelData) -> Template:
    return compile_template(two_stage(data))


def blocks_of(data: ModelData, series: Mapping[str, Floats], probability: Floats) -> Blocks:
    """The two-stage problem of `data` for all scenarios, as arrays."""
    return blocks(template_of(data), series, probability)


@dataclass(frozen=True)
class Small:
    """Data, scenarios and probabilities that belong together."""

    data: ModelData
    series: Series
    probability: Floats

    @property
    def blocks(self) -> Blocks:
        return blocks_of(self.data, self.series, self.probability)


def small(data: ModelData, n_scenarios: int, seed: int = 1, **drawn: Any) -> Small:
    """`data` with `n_scenarios` scenarios of uneven probability."""
    return Small(data, series_of(data, n_scenarios, seed, **drawn), uneven(n_scenarios))


def toy(
    coefficient: Callable[[Any], Any] = lambda xi: xi.a[0],
    first_stage: Callable[[Any], list[Any]] = lambda m: [m.x],
) -> pyo.ConcreteModel:
    """Minimise x + 2 y subject to coefficient * x + y >= b, x <= 10, y <= 20."""
    m = pyo.ConcreteModel()
    m.xi = pyo.Block()
    m.xi.a = pyo.Var(range(2), initialize=0.0)
    m.xi.b = pyo.Var(range(1), initialize=0.0)
    m.xi.a.fix()
    m.xi.b.fix()
    m.x = pyo.Var(bounds=(0, 10))
    m.y = pyo.Var(bounds=(0, 20))
    m.need = pyo.Constraint(expr=coefficient(m.xi) * m.x + m.y >= m.xi.b[0])
    m.cost = pyo.Objective(expr=m.x + 2 * m.y)
    m.first_stage = first_stage(m)
    return m


def best(
    data: ModelData, series: Series, gap_frac: float = 1e-7
) -> tuple[float, dict[str, Floats]]:
    """Profit and values of the one scenario `series`."""
    block = blocks_of(data, series, np.ones(1))
    found = solve_two_stage(block, gap_frac=gap_frac, time_limit_s=60.0, engine="extensive")
    values = by_component(block.template, found.values)
    return -found.cost, {name: value[0] for name, value in values.items()}


def fixed_path(template: Template, series: Series, energy_mwh: Floats) -> Problem:
    """The problem of one scenario with stored energy held at `energy_mwh`."""
    problem = single(blocks(template, series, np.ones(1)), 0)
    lower, upper = problem.lower.copy(), problem.upper.copy()
    for t, energy in enumerate(energy_mwh):
        j = template.column_position[f"energy_mwh[{t}]"]
        lower[j] = upper[j] = energy
    return replace(problem, lower=lower, upper=upper)
