"""Convex prices of what happens within one step: calendar aging by SOC, plating by charge power.

Calendar aging depends on the SOC of a step and on its temperature. At a fixed temperature it is a
function of one number per step, but not a convex one: for the law of Naumann the squared loss bends
the wrong way between SOC 0.06 and 0.50, and a tangent there would claim more than the truth. What
may be bounded by tangents is its convex hull over the range that a schedule may use. Over the whole
range the hull is up to 44 % below; over the small range of a trust region it is close.

Plating at low temperature grows exponentially with the charging current: convex by itself, so that
its tangents hold everywhere at the temperature they were made for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from stochbess.battery.cycle_curve import lower_convex_hull
from stochbess.battery.schimpe import Schimpe
from stochbess.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
Quantity = Literal["energy", "charge"]
_NODES = 401


@dataclass(frozen=True, eq=False)
class StepCost:
    """Convex piecewise-linear price of every step, in one quantity of that step.

    Attributes
    ----------
    reads : "energy" = mean stored energy of the step [MWh], "charge" = charge power [MW]
    top : largest node of the quantity; nodes are equally spaced from 0
    cost_eur : (T, N) price at the nodes, convex along each row, linear beyond the nodes
    """

    reads: Quantity
    top: float
    cost_eur: FloatArray

    @cached_property
    def _slope(self) -> FloatArray:
        return np.asarray(np.diff(self.cost_eur, axis=1) / self._width, np.float64)

    @property
    def _width(self) -> float:
        return self.top / float(self.cost_eur.shape[1] - 1)

    def at(self, quantity: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Price (T,) [EUR] and a subgradient (T,) [EUR per unit] of every step."""
        last = self.cost_eur.shape[1] - 2
        cell = np.clip((quantity / self._width).astype(np.int64), 0, last)
        step = np.arange(len(cell))
        slope = self._slope[step, cell]
        return self.cost_eur[step, cell] + slope * (quantity - cell * self._width), slope


def calendar_cost(
    rate_per_h: Callable[[FloatArray, FloatArray], FloatArray],
    price_eur: float,
    temperature_degc: FloatArray,
    usable_mwh: float,
    dt_h: float,
    region_mwh: tuple[FloatArray, FloatArray] | None = None,
) -> StepCost:
    """Hull of the price of calendar aging over the range that the stored energy may take.

    Parameters
    ----------
    rate_per_h : growth per hour of the state that ages, at SOC (1, N) and temperature (T, 1)
    price_eur : value of one unit of that state [EUR], see `price_of_w_eur`
    temperature_degc : (T,) mean temperature of each step, held
    region_mwh : lowest and highest stored energy at the T + 1 boundaries; None = the whole range

    A mean of two energies within the region lies within the region of their step. Between its 401
    nodes the price is a chord, up to 3e-5 of it above the hull.
    """
    nodes = np.linspace(0.0, 1.0, _NODES)
    rate = rate_per_h(nodes[None, :], np.asarray(temperature_degc, np.float64)[:, None])
    law = price_eur * dt_h * np.broadcast_to(rate, (len(temperature_degc), _NODES))
    _check("calendar aging", law)
    low = np.zeros(len(law), np.int64)
    high = np.full(len(law), _NODES - 1)
    if region_mwh is not None:
        below, above = (np.asarray(side, np.float64) / usable_mwh for side in region_mwh)
        low = np.floor((below[:-1] + below[1:]) / 2 * (_NODES - 1) + 1e-9).astype(np.int64)
        high = np.ceil((above[:-1] + above[1:]) / 2 * (_NODES - 1) - 1e-9).astype(np.int64)
        low, high = np.clip(low, 0, _NODES - 2), np.clip(high, 1, _NODES - 1)
        high = np.maximum(high, low + 1)
    ends = zip(law, low.tolist(), high.tolist(), strict=True)
    cost = np.array([_hulled(nodes, row, first, last) for row, first, last in ends])
    return StepCost("energy", usable_mwh, cost)


def _hulled(x: FloatArray, y: FloatArray, low: int, high: int) -> FloatArray:
    """Lower convex hull of y over the nodes low to high, with its end slopes beyond them."""
    inside = slice(low, high + 1)
    out = np.empty_like(y)
    out[inside] = np.interp(x[inside], *lower_convex_hull(x[inside], y[inside]))
    first, last = out[low + 1] - out[low], out[high] - out[high - 1]
    out[:low] = out[low] - first * np.arange(low, 0, -1)
    out[high + 1 :] = out[high] + last * np.arange(1, len(y) - high)
    return out


def plating_cost(
    price_eur: float,
    temperature_degc: FloatArray,
    usable_mwh: float,
    charge_efficiency_frac: float,
    charge_limit_mw: float,
    dt_h: float,
    law: Schimpe | None = None,
) -> StepCost:
    """Price of low-temperature cycling by charge power: exponential in the C-rate of charging.

    The law is that of Schimpe et al. 2018 (doi 10.1149/2.1181714jes), 0 to 55 degC, referred to 1
    per h; `price_eur` is the value of one unit of the squared loss.
    """
    law = Schimpe() if law is None else law
    power = np.linspace(0.0, charge_limit_mw, _NODES)
    c_rate = charge_efficiency_frac * power / usable_mwh
    degc = np.asarray(temperature_degc, np.float64)[:, None]
    charged_ah = c_rate * dt_h * law.capacity_ah
    cost = price_eur * law.low_rate_per_sqrt_ah(degc, c_rate[None, :]) ** 2 * charged_ah
    _check("plating", cost)
    return StepCost("charge", charge_limit_mw, np.asarray(cost, np.float64))


def price_of_w_eur(
    energy_mwh: float,
    replacement_cost_eur_kwh: float,
    usable_fade_frac: float,
    loss_frac: float,
) -> float:
    """Value of one unit of squared loss W = Q^2 at the loss Q already incurred: pi / (2 Q) [EUR].

    pi is the replacement cost over the fade at which it is used up.

    Raises
    ------
    ConfigError : the loss or the fade is not in (0, 1]
    """
    for name, value in (("usable fade", usable_fade_frac), ("loss so far", loss_frac)):
        if not 0.0 < value <= 1.0:
            raise ConfigError(f"{name} = {value}: expected a fraction above 0 and at most 1.")
    worth_eur = replacement_cost_eur_kwh * 1000.0 * energy_mwh / usable_fade_frac
    return worth_eur / (2.0 * loss_frac)


def _check(name: str, cost: FloatArray) -> None:
    bad = ~(np.isfinite(cost) & (cost >= 0.0))
    if bad.any():
        raise ConfigError(
            f"price of {name}: {int(bad.sum())} of {bad.size} values are negative or not finite; "
            "expected finite prices that are not negative. Check law, temperature and price."
        )
