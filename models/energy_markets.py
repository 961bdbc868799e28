"""Energy sold and bought: day-ahead, intraday, imbalance, and the grid's fees."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo

from stochbess.models.data import ModelData


def add_energy_markets(m: Any, data: ModelData) -> None:
    """Trades and imbalance; exposes `m.day_ahead_mw, m.schedule_mw, m.set_point_mw` and cash.

    `schedule_mw[t] > 0` exports; the set point is the power outside reserve calls. Committed
    day-ahead energy binds and earns nothing here.
    """
    grid, energy = data.grid, data.energy
    steps, dt = range(grid.n_steps), grid.dt_h
    unit = grid.day_ahead_of_step
    if energy.day_ahead != "off":
        limit, sold = data.asset.trade_limit_mw, energy.committed_day_ahead_mw

        def box(_: Any, n: int) -> tuple[float, float]:
            """(6) new and committed energy together stay within the power; no sale is forced."""
            return min(0.0, -limit - float(sold[n])), max(0.0, limit - float(sold[n]))

        m.day_ahead_mw = pyo.Var(range(grid.n_day_ahead), bounds=box)
        if energy.curve_points:
            _add_curve(m, data, box)
    if energy.intraday:
        m.buy_mw = pyo.Var(steps, bounds=(0, energy.liquidity_mw))
        m.sell_mw = pyo.Var(steps, bounds=(0, energy.liquidity_mw))
    m.long_mw = pyo.Var(steps, domain=pyo.NonNegativeReals)
    m.short_mw = pyo.Var(steps, domain=pyo.NonNegativeReals)

    def schedule(m: Any, t: int) -> Any:
        """(1a) net sale in step t over all energy markets."""
        n = int(unit[t])
        net = float(energy.committed_day_ahead_mw[n])
        if energy.day_ahead != "off":
            net = net + m.day_ahead_mw[n]
        if energy.intraday:
            net = net + m.sell_mw[t] - m.buy_mw[t]
        return net

    def set_point(m: Any, t: int) -> Any:
        """(1b) what the unit runs at outside reserve calls: schedule and imbalance."""
        return m.schedule_mw[t] + m.long_mw[t] - m.short_mw[t]

    m.schedule_mw = pyo.Expression(steps, rule=schedule)
    m.set_point_mw = pyo.Expression(steps, rule=set_point)

    def day_ahead_cash(m: Any) -> Any:
        if energy.day_ahead == "off":
            return 0.0
        return dt * sum(
            m.xi.day_ahead_eur_mwh[int(unit[t])] * m.day_ahead_mw[int(unit[t])] for t in steps
        )

    def intraday_cash(m: Any) -> Any:
        if not energy.intraday:
            return 0.0
        spread = energy.half_spread_eur_mwh
        return dt * sum(
            (m.xi.intraday_eur_mwh[t] - spread) * m.sell_mw[t]
            - (m.xi.intraday_eur_mwh[t] + spread) * m.buy_mw[t]
            for t in steps
        )

    m.day_ahead_cash_eur = pyo.Expression(rule=day_ahead_cash)
    m.intraday_cash_eur = pyo.Expression(rule=intraday_cash)
    m.imbalance_cash_eur = pyo.Expression(
        expr=dt
        * sum(
            m.xi.imbalance_long_eur_mwh[t] * m.long_mw[t]
            - m.xi.imbalance_short_eur_mwh[t] * m.short_mw[t]
            for t in steps
        )
    )


def _add_curve(m: Any, data: ModelData, box: Any) -> None:
    """A price-quantity order per unit; exposes `m.day_ahead_curve_mw`, what is offered at a price.

    `m.day_ahead_mw` is then what clears at the scenario's price.
    """
    units, n_points = range(data.grid.n_day_ahead), data.energy.curve_points
    points = range(n_points)
    m.day_ahead_curve_mw = pyo.Var(units, points, bounds=lambda m, n, _: box(m, n))

    @m.Constraint(units, range(n_points - 1), doc="(136) a dearer point sells no less")
    def curve_rises(m: Any, n: int, j: int) -> Any:
        return m.day_ahead_curve_mw[n, j + 1] - m.day_ahead_curve_mw[n, j] >= 0

    @m.Constraint(units, doc="(137a) what clears is the curve at the price of the scenario")
    def cleared(m: Any, n: int) -> Any:
        share = m.xi.day_ahead_curve_frac
        offered = sum(share[n * n_points + j] * m.day_ahead_curve_mw[n, j] for j in points)
        return m.day_ahead_mw[n] - offered == 0


def add_power_balance(m: Any, data: ModelData) -> None:
    """Converter power = set point + activation. Needs battery, energy markets, reserves."""
    steps, block = range(data.grid.n_steps), data.grid.block_of_step

    @m.Constraint(steps, doc="(1) power balance at the connection")
    def power_balance(m: Any, t: int) -> Any:
        activation = 0.0
        if data.reserves.any:
            fcr = m.xi.fcr_activation_frac[t] * m.fcr_mw[int(block[t])]
            activation = m.delivered_up_mw[t] - m.delivered_down_mw[t] + fcr
        return m.discharge_mw[t] - m.charge_mw[t] == m.set_point_mw[t] + activation


def add_fees(m: Any, data: ModelData) -> None:
    """Grid fees on gross flows and the levy on net consumption; exposes `m.fees_eur` (18)."""
    steps, dt, fees = range(data.grid.n_steps), data.grid.dt_h, data.fees
    m.fees_eur = pyo.Expression(
        expr=fees.capacity_fee_eur
        + dt
        * sum(
            (float(fees.import_fee_eur_mwh[t]) + fees.levy_eur_mwh) * m.charge_mw[t]
            + (float(fees.export_fee_eur_mwh[t]) - fees.levy_eur_mwh) * m.discharge_mw[t]
            for t in steps
        )
    )
