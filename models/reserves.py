"""Reserve capacity (FCR symmetric, aFRR up and down), its activation, power and energy.

Shortfalls of reserve and undelivered activation are priced slacks: any sale can be lived with at a
price, and the amount is reported.
"""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo

from stochbess.models.data import Floats, ModelData
from stochbess.models.lots import envelope, max_lots


def add_capacity(m: Any, data: ModelData) -> None:
    """Capacity sold per block; exposes `m.fcr_mw, m.afrr_up_mw, m.afrr_down_mw` and the sold lots.

    A closed product has no lots; its capacity is what was committed earlier.
    """
    res, blocks = data.reserves, range(data.grid.n_blocks)
    domain = pyo.NonNegativeIntegers if res.integer_lots else pyo.NonNegativeReals
    products = {
        "fcr": (res.fcr, res.fcr_lot_mw, res.committed_fcr_mw),
        "afrr_up": (res.afrr, res.afrr_lot_mw, res.committed_afrr_up_mw),
        "afrr_down": (res.afrr, res.afrr_lot_mw, res.committed_afrr_down_mw),
    }
    for name, (stage, lot, committed) in products.items():
        tops = [0 if stage == "off" else max_lots(data, name, b) for b in blocks]
        menu = res.menu is not None and name != "fcr"
        kind = pyo.NonNegativeReals if menu else domain  # what is awarded follows from the offers
        lots = pyo.Var(blocks, domain=kind, bounds=lambda _, b, tops=tops: (0, tops[b]))
        m.add_component(f"{name}_lots", lots)
        if menu:
            _add_menu(m, data, name, tops)
        total = {b: float(committed[b]) + lot * lots[b] for b in blocks}
        m.add_component(f"{name}_mw", pyo.Expression(blocks, rule=lambda _, b, x=total: x[b]))

    def band(limit: Floats, committed_afrr: Floats, b: int) -> float:
        """Power of the block; what was sold before an outage may exceed it, new sales may not."""
        sold = res.recharge_factor * float(res.committed_fcr_mw[b]) + float(committed_afrr[b])
        return max(float(limit[data.grid.block_of_step == b].min()), sold)

    @m.Constraint(blocks, doc="(8a) upward power with the recharge band of a limited reservoir")
    def recharge_band_up(m: Any, b: int) -> Any:
        limit = band(data.asset.discharge_limit_mw, res.committed_afrr_up_mw, b)
        return res.recharge_factor * m.fcr_mw[b] + _offered_mw(m, data, "afrr_up", b) <= limit

    @m.Constraint(blocks, doc="(8b) downward power with the recharge band")
    def recharge_band_down(m: Any, b: int) -> Any:
        limit = band(data.asset.charge_limit_mw, res.committed_afrr_down_mw, b)
        return res.recharge_factor * m.fcr_mw[b] + _offered_mw(m, data, "afrr_down", b) <= limit

    if res.integer_lots and res.fcr != "off" and res.afrr != "off":
        cuts = {
            (b, name, i): cut
            for b in blocks
            for name in ("afrr_up", "afrr_down")
            for i, cut in enumerate(envelope(data, name, b))
        }

        @m.Constraint(list(cuts), doc="(9) integer hull of the lots that fit into a block")
        def lot_hull(m: Any, b: int, name: str, i: int) -> Any:
            slope, top = cuts[b, name, i]
            return _offered_lots(m, data, name, b) - slope * m.fcr_lots[b] <= top


def _add_menu(m: Any, data: ModelData, name: str, tops: list[float]) -> None:
    """Offers at each price of the menu; the lots of the product become what is awarded."""
    res, blocks = data.reserves, range(data.grid.n_blocks)
    prices = range(0 if res.menu is None else res.menu.size)
    domain = pyo.NonNegativeIntegers if res.integer_lots else pyo.NonNegativeReals
    offers = pyo.Var(blocks, prices, domain=domain, bounds=lambda _, b, k: (0, tops[b]))
    m.add_component(f"{name}_offer", offers)
    accepted = m.xi.component(f"{name}_accepted")

    def awarded(m: Any, b: int) -> Any:
        won = sum(accepted[b * len(prices) + k] * offers[b, k] for k in prices)
        return m.component(f"{name}_lots")[b] - won == 0

    m.add_component(
        f"{name}_awarded",
        pyo.Constraint(blocks, rule=awarded, doc="(138) lots awarded are the accepted offers"),
    )

    def fits(_: Any, b: int) -> Any:
        return sum(offers[b, k] for k in prices) <= tops[b]

    m.add_component(
        f"{name}_offers_fit",
        pyo.Constraint(blocks, rule=fits, doc="(138a) offers fit if all of them are awarded"),
    )


def _offered_lots(m: Any, data: ModelData, name: str, b: int) -> Any:
    """Lots that may all be awarded: with a menu the sum of its offers."""
    if data.reserves.menu is None:
        return m.component(f"{name}_lots")[b]
    return sum(m.component(f"{name}_offer")[b, k] for k in range(data.reserves.menu.size))


def _offered_mw(m: Any, data: ModelData, name: str, b: int) -> Any:
    res = data.reserves
    sold = res.committed_afrr_up_mw if name == "afrr_up" else res.committed_afrr_down_mw
    return float(sold[b]) + res.afrr_lot_mw * _offered_lots(m, data, name, b)


def add_activation(m: Any, data: ModelData) -> None:
    """Delivered activation; exposes `m.delivered_up_mw, m.delivered_down_mw, m.undelivered_mwh`."""
    steps, block, dt = range(data.grid.n_steps), data.grid.block_of_step, data.grid.dt_h
    m.delivered_up_mw = pyo.Var(steps, domain=pyo.NonNegativeReals)
    m.delivered_down_mw = pyo.Var(steps, domain=pyo.NonNegativeReals)

    def called_up(m: Any, t: int) -> Any:
        return m.xi.activation_up_frac[t] * m.afrr_up_mw[int(block[t])]

    def called_down(m: Any, t: int) -> Any:
        return m.xi.activation_down_frac[t] * m.afrr_down_mw[int(block[t])]

    @m.Constraint(steps, doc="(2a) delivered upward activation is at most what is called")
    def activation_up(m: Any, t: int) -> Any:
        return called_up(m, t) - m.delivered_up_mw[t] >= 0

    @m.Constraint(steps, doc="(2b) delivered downward activation is at most what is called")
    def activation_down(m: Any, t: int) -> Any:
        return called_down(m, t) - m.delivered_down_mw[t] >= 0

    def base_mw(m: Any, t: int) -> Any:
        """Power of the converter outside aFRR calls, averaged over the step."""
        called = m.delivered_up_mw[t] - m.delivered_down_mw[t]
        return m.discharge_mw[t] - m.charge_mw[t] - called

    @m.Constraint(steps, doc="(3a) upward calls discharge while they last")
    def gross_discharge(m: Any, t: int) -> Any:
        share = m.xi.activation_up_frac[t]
        return m.discharge_mw[t] - m.delivered_up_mw[t] - share * base_mw(m, t) >= 0

    @m.Constraint(steps, doc="(3b) downward calls charge while they last")
    def gross_charge(m: Any, t: int) -> Any:
        share = m.xi.activation_down_frac[t]
        return m.charge_mw[t] - m.delivered_down_mw[t] + share * base_mw(m, t) >= 0

    m.undelivered_mwh = pyo.Expression(
        expr=dt
        * sum(
            called_up(m, t) - m.delivered_up_mw[t] + called_down(m, t) - m.delivered_down_mw[t]
            for t in steps
        )
    )


def add_headroom(m: Any, data: ModelData) -> None:
    """Power and energy held for the capacity sold; exposes `m.shortfall_h` (MW h and MWh h)."""
    grid, asset, res = data.grid, data.asset, data.reserves
    steps, blocks, block = range(grid.n_steps), range(grid.n_blocks), grid.block_of_step
    m.missing_power_up_mw = pyo.Var(steps, domain=pyo.NonNegativeReals)
    m.missing_power_down_mw = pyo.Var(steps, domain=pyo.NonNegativeReals)

    @m.Constraint(steps, doc="(7a) upward power headroom over the set point")
    def headroom_up(m: Any, t: int) -> Any:
        held = m.fcr_mw[int(block[t])] + m.afrr_up_mw[int(block[t])]
        limit = float(asset.discharge_limit_mw[t])
        return m.set_point_mw[t] + held - m.missing_power_up_mw[t] <= limit

    @m.Constraint(steps, doc="(7b) downward power headroom over the set point")
    def headroom_down(m: Any, t: int) -> Any:
        held = m.fcr_mw[int(block[t])] + m.afrr_down_mw[int(block[t])]
        limit = float(asset.charge_limit_mw[t])
        return -m.set_point_mw[t] + held - m.missing_power_down_mw[t] <= limit

    # A check point is (boundary of the grid, block whose reserves must be covered there).
    step_ends = [(t + 1, int(block[t])) for t in steps]
    block_starts = [(grid.first_step_of_block(b), b) for b in blocks]
    points = block_starts + step_ends
    index = range(len(points))
    m.missing_energy_up_mwh = pyo.Var(index, domain=pyo.NonNegativeReals)
    m.missing_energy_down_mwh = pyo.Var(index, domain=pyo.NonNegativeReals)

    @m.Constraint(index, doc="(10a) energy held for upward reserve at block starts and step ends")
    def energy_reserve_up(m: Any, i: int) -> Any:
        k, b = points[i]
        need = res.fcr_energy_h * m.fcr_mw[b] + res.afrr_energy_h * m.afrr_up_mw[b]
        held = m.energy_mwh[k] - asset.energy_min_mwh + m.missing_energy_up_mwh[i]
        return held >= need / asset.reserve_discharge_efficiency_frac

    @m.Constraint(index, doc="(10b) room held for downward reserve at block starts and step ends")
    def energy_reserve_down(m: Any, i: int) -> Any:
        k, b = points[i]
        need = res.fcr_energy_h * m.fcr_mw[b] + res.afrr_energy_h * m.afrr_down_mw[b]
        room = asset.energy_max_mwh - m.energy_mwh[k] + m.missing_energy_down_mwh[i]
        return room >= asset.reserve_charge_efficiency_frac * need

    m.shortfall_h = pyo.Expression(
        expr=grid.dt_h
        * (
            sum(m.missing_power_up_mw[t] + m.missing_power_down_mw[t] for t in steps)
            + sum(m.missing_energy_up_mwh[i] + m.missing_energy_down_mwh[i] for i in index)
        )
    )
