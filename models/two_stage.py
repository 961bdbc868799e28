"""The two-stage stochastic programme: one scenario of it.

Here-and-now: reserve lots per block and, if it is decided at its gate, the day-ahead position.
Recourse: everything else, with the whole scenario in view. That view is clairvoyant within the
day; docs/warnings.md says what it hides.
"""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo

from stochbess.models.aging import add_aging
from stochbess.models.battery import add_battery, add_exclusive_flows, add_terminal_value
from stochbess.models.data import ModelData
from stochbess.models.energy_markets import add_energy_markets, add_fees, add_power_balance
from stochbess.models.reserves import add_activation, add_capacity, add_headroom
from stochbess.models.scenario_data import declare_scenario_data


def two_stage(data: ModelData) -> pyo.ConcreteModel:
    """Build one scenario of the two-stage problem of docs/math.md (20).

    Scenario data are the fixed variables of `m.xi`; `m.first_stage` lists the here-and-now
    variables; `m.profit_eur` is the scenario's profit and `m.cost` its negative, to be minimised.
    The extensive form is the probability-weighted sum over scenarios with common `m.first_stage`.
    """
    m = pyo.ConcreteModel(name="two_stage")
    declare_scenario_data(m, data)

    add_battery(m, data)
    add_energy_markets(m, data)
    if data.reserves.any:
        add_capacity(m, data)
        add_activation(m, data)
        add_headroom(m, data)
    add_power_balance(m, data)
    add_exclusive_flows(m, data)
    add_aging(m, data)
    add_terminal_value(m, data)
    add_fees(m, data)

    m.first_stage = here_and_now(m, data)
    m.capacity_eur = pyo.Expression(expr=_capacity_income(m, data))
    m.activation_eur = pyo.Expression(expr=_activation_income(m, data))
    m.penalties_eur = pyo.Expression(expr=_penalties(m, data))
    # (19) profit of one scenario, after a linear profit tax with full loss offset
    m.profit_eur = pyo.Expression(
        expr=(1 - data.fees.profit_tax_frac)
        * (
            m.capacity_eur
            + m.day_ahead_cash_eur
            + m.intraday_cash_eur
            + m.activation_eur
            + m.imbalance_cash_eur
            - m.fees_eur
            - m.penalties_eur
            - m.aging_eur
            + m.stored_value_eur
        )
    )
    m.cost = pyo.Objective(expr=-m.profit_eur, sense=pyo.minimize)
    return m


def here_and_now(m: Any, data: ModelData) -> list[Any]:
    """The variables that must be the same in all scenarios (nonanticipativity)."""
    variables: list[Any] = []
    if data.reserves.any:
        afrr = (
            (m.afrr_up_lots, m.afrr_down_lots)
            if data.reserves.menu is None
            else (m.afrr_up_offer, m.afrr_down_offer)
        )
        for lots in (m.fcr_lots, *afrr):
            variables.extend(lots.values())
    if data.energy.curve_points:
        variables.extend(m.day_ahead_curve_mw.values())
    elif data.energy.day_ahead == "here_and_now":
        variables.extend(m.day_ahead_mw.values())
    return variables


def _capacity_income(m: Any, data: ModelData) -> Any:
    """FCR is paid per MW and block, aFRR per MW and hour.

    Awarded with certainty at the price of the scenario, or, with a menu, at the own bid if it is
    accepted (139).
    """
    if not data.reserves.any:
        return 0.0
    hours, res = data.grid.block_hours, data.reserves
    if res.menu is not None:
        fcr = sum(
            m.xi.fcr_eur_mw[b] * res.fcr_lot_mw * m.fcr_lots[b] for b in range(data.grid.n_blocks)
        )
        return fcr + sum(
            float(hours[b]) * res.afrr_lot_mw * float(res.menu.price_eur_mw_h(way)[b, k])
            * m.xi.component(f"afrr_{way}_accepted")[b * res.menu.size + k]
            * m.component(f"afrr_{way}_offer")[b, k]
            for way in ("up", "down")
            for b in range(data.grid.n_blocks)
            for k in range(res.menu.size)
        )  # fmt: skip
    return sum(
        m.xi.fcr_eur_mw[b] * res.fcr_lot_mw * m.fcr_lots[b]
        + float(hours[b])
        * res.afrr_lot_mw
        * (
            m.xi.afrr_up_eur_mw_h[b] * m.afrr_up_lots[b]
            + m.xi.afrr_down_eur_mw_h[b] * m.afrr_down_lots[b]
        )
        for b in range(data.grid.n_blocks)
    )


def _activation_income(m: Any, data: ModelData) -> Any:
    """Upward energy is paid to the provider, downward energy is paid by the provider."""
    if not data.reserves.any:
        return 0.0
    return data.grid.dt_h * sum(
        m.xi.activation_up_eur_mwh[t] * m.delivered_up_mw[t]
        - m.xi.activation_down_eur_mwh[t] * m.delivered_down_mw[t]
        for t in range(data.grid.n_steps)
    )


def _penalties(m: Any, data: ModelData) -> Any:
    if not data.reserves.any:
        return 0.0
    res = data.reserves
    return res.shortfall_eur_mwh_h * m.shortfall_h + res.undelivered_eur_mwh * m.undelivered_mwh
