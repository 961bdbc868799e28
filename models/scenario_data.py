"""The data that differ between scenarios, declared as variables that are always fixed.

Fixed variables serve three readers of one model: a plain solve sees constants, the template
compiler sees symbols it can replicate over scenarios, mpi-sppy sees an ordinary scenario.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyomo.environ as pyo

from stochbess.models.data import Floats, ModelData


def scenario_series(data: ModelData) -> dict[str, int]:
    """Name and length of every scenario-dependent series that the formulation of `data` reads."""
    grid, reserves, energy = data.grid, data.reserves, data.energy
    lengths: dict[str, int] = {}
    if energy.day_ahead != "off":
        lengths["day_ahead_eur_mwh"] = grid.n_day_ahead
    if energy.curve_points:
        lengths["day_ahead_curve_frac"] = grid.n_day_ahead * energy.curve_points
    if energy.intraday:
        lengths["intraday_eur_mwh"] = grid.n_steps
    lengths["imbalance_long_eur_mwh"] = grid.n_steps
    lengths["imbalance_short_eur_mwh"] = grid.n_steps
    if reserves.any:
        lengths["fcr_eur_mw"] = grid.n_blocks
        lengths["fcr_activation_frac"] = grid.n_steps
        lengths["afrr_up_eur_mw_h"] = grid.n_blocks
        lengths["afrr_down_eur_mw_h"] = grid.n_blocks
        if reserves.menu is not None:
            for direction in ("up", "down"):
                lengths[f"afrr_{direction}_accepted"] = grid.n_blocks * reserves.menu.size
        lengths["activation_up_frac"] = grid.n_steps
        lengths["activation_down_frac"] = grid.n_steps
        lengths["activation_up_eur_mwh"] = grid.n_steps
        lengths["activation_down_eur_mwh"] = grid.n_steps
    return lengths


def declare_scenario_data(m: Any, data: ModelData) -> None:
    """Add `m.xi`, a block with one fixed variable per number of every scenario series."""
    m.xi = pyo.Block()
    for name, length in scenario_series(data).items():
        m.xi.add_component(name, pyo.Var(range(length), initialize=0.0))
        m.xi.component(name).fix()


def set_scenario(m: Any, values: Mapping[str, Floats]) -> None:
    """Fix the scenario data of `m` at `values` (one array per series, its own length)."""
    for variable in m.xi.component_objects(pyo.Var):
        for i, value in enumerate(values[variable.local_name]):
            variable[i].fix(float(value))
