"""Price of a half cycle by the law that charges most for it, at every depth.

A law that was tested at deep cycles may be nearly free below them, and an optimiser finds that out.
The dearest of several laws cannot be exploited unless all of them can. Each law ages along a full
cycle of the depth; what it loses is linearised where cycling has lost what is assumed (docs/math.md
(113)), half of it for each half cycle.
"""

from __future__ import annotations

import numpy as np

from stochbess.battery.aging import AgingModel, advance, fresh
from stochbess.battery.cycle_curve import extrapolation_note, loss_to_eur
from stochbess.battery.half_cycle_stress import CellPath
from stochbess.battery.hull_curve import FloatArray, HullCurve, hull_curve
from stochbess.battery.judges import opinions

_NODES = 201


def worst_hull_curve(
    model: AgingModel,
    *,
    energy_mwh: float,
    replacement_cost_eur_kwh: float,
    usable_fade_frac: float,
    cycle_loss_frac: float,
    c_rate_per_h: float,
    temperature_degc: float = 25.0,
) -> HullCurve:
    """Convex hull of the dearest law of `model` over depths 0 to 1, as price of a half cycle.

    Arguments as of `naumann_hull_curve`; cells have `temperature_degc` throughout.

    Raises
    ------
    ConfigError : a parameter is outside the range in which the formulas mean something
    """
    depth = np.linspace(0.0, 1.0, _NODES)
    loss = np.zeros(_NODES)
    for i, deep in enumerate(depth[1:].tolist(), 1):
        soc: FloatArray = np.array([0.0, deep, 0.0])
        path = CellPath(deep / c_rate_per_h, soc, np.full(2, temperature_degc))
        growth = advance(model, fresh(model), path).increments.sum(axis=0)
        found = opinions(model, growth, cycle_loss_frac, cycle_loss_frac)
        loss[i] = max(opinion.cycle_frac for opinion in found) / 2.0
    price = loss_to_eur(loss, energy_mwh, replacement_cost_eur_kwh, usable_fade_frac)
    law = (
        f"dearest of {model.name}, C-rate {c_rate_per_h:g} per h, cycle loss {cycle_loss_frac:g}, "
        f"{replacement_cost_eur_kwh:g} EUR/kWh over {usable_fade_frac:g} of {energy_mwh:g} MWh"
    )
    return hull_curve(price, law, extrapolation_note(depth[1:], c_rate_per_h, temperature_degc))
