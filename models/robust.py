"""Activation as an uncertainty set, and what a delivered megawatt can be worth at most.

The robust formulation is the two-stage one under a set of called shares; nothing is added to the
model (docs/math.md, section Robust). This module turns scenarios into the set and bounds the dual
values of (2) from the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stochbess.models.data import Floats, Ints, ModelData

UP, DOWN = "activation_up_frac", "activation_down_frac"


@dataclass(frozen=True)
class ActivationBudget:
    """Called shares `nominal + deviation * z` with a budget on z, one z per period and direction.

    Attributes
    ----------
    nominal_up_frac, nominal_down_frac : (T,) shares where nothing deviates
    deviation_up_frac, deviation_down_frac : (T,) >= 0, added where a period is called high
    period_of_step : (T,) whole numbers from 0; the steps of a period deviate together
    most_up, most_down, most_all : most periods that deviate, per direction and in all; None = any
    """

    nominal_up_frac: Floats
    nominal_down_frac: Floats
    deviation_up_frac: Floats
    deviation_down_frac: Floats
    period_of_step: Ints
    most_up: int | None = None
    most_down: int | None = None
    most_all: int | None = None

    @property
    def n_periods(self) -> int:
        return int(self.period_of_step[-1]) + 1

    @property
    def opposed(self) -> Ints:
        """Periods that cannot be called high in both directions: the shares would exceed one."""
        both = self.nominal_up_frac + self.nominal_down_frac
        both = both + self.deviation_up_frac + self.deviation_down_frac
        over = np.zeros(self.n_periods, bool)
        over[self.period_of_step[both > 1 + 1e-12]] = True
        return np.flatnonzero(over).astype(np.int64)


def activation_budget(
    data: ModelData,
    series: Mapping[str, Floats],
    probability: Floats,
    *,
    high_quantile: float = 0.95,
    nominal_quantile: float | None = None,
    period_h: float = 1.0,
    most_up: int | None = None,
    most_down: int | None = None,
    most_all: int | None = None,
) -> ActivationBudget:
    """Set of called shares from scenarios (docs/math.md (96b)).

    `series` holds the shares of S scenarios, (S, T). Nominal is their mean, or the quantile
    `nominal_quantile` of every step; the deviation reaches up to `high_quantile`, and no further
    than the share that the other direction leaves. `period_h` is the length of time that deviates
    together, at least one step.
    """
    up, down = (np.asarray(series[name], float) for name in (UP, DOWN))

    def middle(share: Floats) -> Floats:
        if nominal_quantile is None:
            return np.asarray(probability @ share)
        return _quantile(share, probability, nominal_quantile)

    nominal_up, nominal_down = middle(up), middle(down)
    whole = np.maximum(1.0, nominal_up + nominal_down)
    nominal_up, nominal_down = nominal_up / whole, nominal_down / whole
    room = 1.0 - nominal_up - nominal_down
    grid = data.grid
    per_period = max(1, round(period_h / grid.dt_h))
    return ActivationBudget(
        nominal_up_frac=nominal_up,
        nominal_down_frac=nominal_down,
        deviation_up_frac=np.clip(_quantile(up, probability, high_quantile) - nominal_up, 0, room),
        deviation_down_frac=np.clip(
            _quantile(down, probability, high_quantile) - nominal_down, 0, room
        ),
        period_of_step=np.arange(grid.n_steps) // per_period,
        most_up=most_up,
        most_down=most_down,
        most_all=most_all,
    )


def _quantile(values: Floats, probability: Floats, level: float) -> Floats:
    """Least value of each column that at least `level` of the probability does not exceed."""
    order = np.argsort(values, axis=0, kind="stable")
    reached = np.cumsum(probability[order], axis=0) >= level - 1e-12
    first = np.argmax(reached, axis=0)
    return np.asarray(np.take_along_axis(values, order, axis=0)[first, np.arange(values.shape[1])])


def delivery_worth_eur_mw(data: ModelData, series: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Upper bounds of the dual values of (2a) and (2b) in every scenario and step, two (S, T).

    What it costs at most to deliver one megawatt less in a step without moving the stored energy;
    derived in docs/math.md (96e).
    """
    asset, res, fees, dt = data.asset, data.reserves, data.fees, data.grid.dt_h
    charge, discharge = asset.charge_limit_mw, asset.discharge_limit_mw
    eta = asset.charge_efficiency_frac * asset.discharge_efficiency_frac
    shared = (charge > 0) & (discharge > 0)
    span = np.where(shared, discharge + eta * charge, 1.0)
    less_charge_up = np.where(shared, charge / span, 0.0)  # MW of charge per MW not delivered up
    less_charge_down = np.where(shared, discharge / span, 0.0)
    dearest = float(data.aging.cost_eur_mwh.max(initial=0.0))
    dearest = dearest if data.aging.model == "segments" else 0.0
    per_mw = (
        np.abs(fees.import_fee_eur_mwh + fees.levy_eur_mwh)
        + eta * np.abs(fees.export_fee_eur_mwh - fees.levy_eur_mwh)
        + asset.charge_efficiency_frac * dearest
    )
    keep = (1 - fees.profit_tax_frac) * dt
    lost_up = np.asarray(series["activation_up_eur_mwh"]) + res.undelivered_eur_mwh
    lost_down = res.undelivered_eur_mwh - np.asarray(series["activation_down_eur_mwh"])
    long = np.maximum(-np.asarray(series["imbalance_long_eur_mwh"]), 0.0)
    short = np.maximum(np.asarray(series["imbalance_short_eur_mwh"]), 0.0)
    moved_up = 1 + (1 - eta) * less_charge_up
    up = lost_up + moved_up * (long + res.shortfall_eur_mwh_h) + less_charge_up * per_mw
    down = lost_down + short + res.shortfall_eur_mwh_h + less_charge_down * per_mw
    return keep * np.maximum(up, 0.0), keep * np.maximum(down, 0.0)
