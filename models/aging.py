"""What cycling costs: throughput, convex depth segments, cuts on the path, and supplied cuts.

The segment model needs no ordering binaries: costs do not decrease with depth, so an optimal
solution fills and empties the cheap segments first. On a path without simultaneous charge and
discharge its cost equals the rainflow cost of the discharge half cycles under the same
piecewise-linear curve (Xu et al. 2018, doi 10.1109/TPWRS.2017.2733339).
"""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo

from stochbess.errors import ConfigError
from stochbess.models.data import ModelData


def add_aging(m: Any, data: ModelData) -> None:
    """Cost of cycling; exposes `m.aging_eur`. Needs the face of `add_battery`."""
    aging, steps, dt = data.aging, range(data.grid.n_steps), data.grid.dt_h
    asset = data.asset

    def drawn_mwh(t: int) -> Any:
        return dt * m.drawn_mw[t]

    cost: Any = 0.0
    if aging.model == "throughput":
        cost = aging.throughput_eur_mwh * sum(drawn_mwh(t) for t in steps)
    elif aging.model == "segments":
        segments = range(aging.cost_eur_mwh.size)
        m.segment_mwh = pyo.Var(segments, range(data.grid.n_steps + 1), bounds=(0, aging.width_mwh))
        m.withdrawn_mwh = pyo.Var(segments, steps, domain=pyo.NonNegativeReals)
        lost = asset.self_discharge_per_h * dt

        @m.Constraint(segments, doc="(17a) segment fill carried in from the day before")
        def segment_start(m: Any, k: int) -> Any:
            return m.segment_mwh[k, 0] == float(aging.start_fill_mwh[k])

        @m.Constraint(range(data.grid.n_steps + 1), doc="(17b) segments add up to the storage")
        def segment_sum(m: Any, t: int) -> Any:
            fill = sum(m.segment_mwh[k, t] for k in segments)
            return fill == m.energy_mwh[t] - asset.energy_min_mwh

        @m.Constraint(segments, steps, doc="(17c) what leaves a segment is withdrawn")
        def segment_withdrawal(m: Any, k: int, t: int) -> Any:
            return m.withdrawn_mwh[k, t] >= m.segment_mwh[k, t] - m.segment_mwh[k, t + 1]

        @m.Constraint(steps, doc="(17d) withdrawals add up to the gross discharge and self-loss")
        def segment_discharge(m: Any, t: int) -> Any:
            withdrawn = sum(m.withdrawn_mwh[k, t] for k in segments)
            return withdrawn == drawn_mwh(t) + lost * m.energy_mwh[t]

        cost = sum(
            float(aging.cost_eur_mwh[k]) * m.withdrawn_mwh[k, t] for k in segments for t in steps
        )
    elif aging.model == "cuts":
        cost = _path_cost(m, data)
    if aging.cuts:
        m.aging_theta_eur = pyo.Var(domain=pyo.NonNegativeReals)

        @m.Constraint(range(len(aging.cuts)), doc="(17e) supplied aging cuts")
        def aging_cut(m: Any, i: int) -> Any:
            cut = aging.cuts[i]
            slope = sum(float(cut.gradient_eur_mwh[t]) * m.energy_mwh[t + 1] for t in steps)
            return m.aging_theta_eur >= cut.intercept_eur + slope

        cost = cost + m.aging_theta_eur
    if aging.floor_eur_mwh:  # (110)
        cost = cost + aging.floor_eur_mwh * sum(drawn_mwh(t) for t in steps)
    m.aging_eur = pyo.Expression(expr=cost)


def _path_cost(m: Any, data: ModelData) -> Any:
    """(38) gross throughput at the price of shallow cycles, and epigraph variables.

    One variable per layer of the cycle cost and one per step and price of a step. The rows (40) and
    (42) that hold them up are not part of the model: they are found where a solution violates them
    (models/aging_cuts.py), so that without them the model is a relaxation.
    """
    source, steps = data.aging.path_cost, range(data.grid.n_steps)
    if source is None:
        raise ConfigError('aging.model = "cuts" needs a path cost; expected Aging.path_cost')
    m.cycle_theta_eur = pyo.Var(range(source.size), domain=pyo.NonNegativeReals)
    prices = range(len(data.aging.step_prices))
    m.step_theta_eur = pyo.Var(prices, steps, domain=pyo.NonNegativeReals)
    m.held_up = [*m.cycle_theta_eur.values(), *m.step_theta_eur.values()]
    moved_mwh = data.grid.dt_h * sum(m.stored_mw[t] + m.drawn_mw[t] for t in steps)
    held_eur = sum(m.cycle_theta_eur.values()) + sum(m.step_theta_eur.values())
    return source.shallow_eur_mwh * moved_mwh + held_eur
