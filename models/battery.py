"""The battery: stored energy, power, the cycle limit, and the value of what is left at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo

from stochbess.models.data import ModelData
from stochbess.models.loss_cuts import add_conversion


def add_battery(m: Any, data: ModelData) -> None:
    """Charge, discharge and stored energy; exposes `m.charge_mw, m.discharge_mw, m.energy_mwh`.

    Power into and out of the store is `m.stored_mw, m.drawn_mw`. `energy_mwh[t]` is the energy at
    the *start* of step t, `energy_mwh[T]` at the end.
    """
    asset, grid = data.asset, data.grid
    steps, dt = range(grid.n_steps), grid.dt_h
    m.charge_mw = pyo.Var(steps, bounds=lambda _, t: (0, float(asset.charge_limit_mw[t])))
    m.discharge_mw = pyo.Var(steps, bounds=lambda _, t: (0, float(asset.discharge_limit_mw[t])))
    m.energy_mwh = pyo.Var(
        range(grid.n_steps + 1), bounds=(asset.energy_min_mwh, asset.energy_max_mwh)
    )
    add_conversion(m, data)
    keep = 1 - asset.self_discharge_per_h * dt

    @m.Constraint(doc="(4) stored energy at the start")
    def soc_start(m: Any) -> Any:
        return m.energy_mwh[0] == asset.energy_start_mwh

    @m.Constraint(steps, doc="(5) energy balance of the storage")
    def soc_balance(m: Any, t: int) -> Any:
        flow = m.stored_mw[t] - m.drawn_mw[t]
        return m.energy_mwh[t + 1] == keep * m.energy_mwh[t] + dt * flow

    if data.aging.max_withdrawn_mwh_per_day is not None:
        limit = data.aging.max_withdrawn_mwh_per_day
        n_days = int(grid.day_of_step[-1]) + 1
        steps_of_day = np.split(
            np.array(steps), np.searchsorted(grid.day_of_step, range(1, n_days))
        )

        @m.Constraint(range(n_days), doc="(14) energy withdrawn per delivery day")
        def cycle_limit(m: Any, day: int) -> Any:
            today = (int(t) for t in steps_of_day[day])
            return dt * sum(m.drawn_mw[t] for t in today) <= limit


def add_exclusive_flows(m: Any, data: ModelData) -> None:
    """Charge and discharge at once, beyond what activation in both directions explains.

    Needs the face of `add_reserves`. The relaxed form is the projection of the binary one.
    """
    asset, steps = data.asset, range(data.grid.n_steps)

    def loop(t: int) -> tuple[Any, Any]:
        if not data.reserves.any:
            return 0.0, 0.0
        return m.delivered_up_mw[t], m.delivered_down_mw[t]

    if data.exclusive == "binary":
        m.discharging = pyo.Var(steps, domain=pyo.Binary)

        @m.Constraint(steps, doc="(12a) charge only while not discharging")
        def charge_exclusive(m: Any, t: int) -> Any:
            limit = float(asset.charge_limit_mw[t])
            return m.charge_mw[t] + limit * m.discharging[t] - loop(t)[1] <= limit

        @m.Constraint(steps, doc="(12b) discharge only while discharging")
        def discharge_exclusive(m: Any, t: int) -> Any:
            limit = float(asset.discharge_limit_mw[t])
            return m.discharge_mw[t] - limit * m.discharging[t] - loop(t)[0] <= 0

    else:

        @m.Constraint(steps, doc="(13) shared converter, linear relaxation of (12)")
        def exclusive_relaxed(m: Any, t: int) -> Any:
            up, down = loop(t)
            p_ch, p_dis = float(asset.charge_limit_mw[t]), float(asset.discharge_limit_mw[t])
            if p_ch == 0 or p_dis == 0:
                return pyo.Constraint.Skip
            used = (m.charge_mw[t] - down) / p_ch + (m.discharge_mw[t] - up) / p_dis
            return used <= 1


def add_terminal_value(m: Any, data: ModelData) -> None:
    """Value of the stored energy at the end less at the start; exposes `m.stored_value_eur`."""
    asset, terminal = data.asset, data.terminal
    end = m.energy_mwh[data.grid.n_steps]
    pieces = range(terminal.marginal_eur_mwh.size)
    if terminal.equal_start:

        @m.Constraint(doc="(15) the storage ends as it started")
        def energy_end(m: Any) -> Any:
            return end == asset.energy_start_mwh

    if not pieces:
        m.stored_value_eur = pyo.Expression(expr=0.0)
        return
    width = (asset.energy_max_mwh - asset.energy_min_mwh) / len(pieces)
    m.filled_mwh = pyo.Var(pieces, bounds=(0, width))

    @m.Constraint(doc="(16) filled pieces of the terminal value add up to the stored energy")
    def terminal_fill(m: Any) -> Any:
        return sum(m.filled_mwh[k] for k in pieces) == end - asset.energy_min_mwh

    start_eur = terminal.value_eur(asset.energy_start_mwh, asset)
    m.stored_value_eur = pyo.Expression(
        expr=sum(float(terminal.marginal_eur_mwh[k]) * m.filled_mwh[k] for k in pieces) - start_eur
    )
