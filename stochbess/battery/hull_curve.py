"""Convex price of a half cycle by depth, split into layers that a decomposition can bound apart.

A law of cycle aging is given as the price of one half cycle over depths 0 to 1. Its lower convex
hull is what an optimiser may use: with a convex price that is zero at depth zero the rainflow cost
of a path is convex in the path (Shi, Xu, Tan, Kirschen & Zhang 2019,
doi 10.1109/TAC.2018.2867507), so that its subgradients are cuts that hold everywhere. The law
itself is kept beside the hull, to say what the hull leaves out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stochbess.battery.cycle_curve import (
    extrapolation_note,
    loss_to_eur,
    lower_convex_hull,
    naumann_cycle_increment,
)
from stochbess.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
_GRID = 2000
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Layer:
    """Part of a convex price that begins at some depth: slopes [EUR] (N-1,), prices [EUR] (N,)."""

    slope_eur: FloatArray
    cost_eur: FloatArray


@dataclass(frozen=True, eq=False)
class HullCurve:
    """Piecewise-linear convex price of a *half* cycle over equally spaced depths.

    Attributes
    ----------
    depth : (N,) nodes from 0 to 1, fraction of usable energy, equally spaced
    cost_eur : (N,) price of a half cycle at the nodes: convex, not decreasing, zero at depth zero
    law_eur : (N,) the law before it was made convex; nowhere below `cost_eur`
    law : name of the law and its parameters
    extrapolated : where the tested range of the law is left, or None
    """

    depth: FloatArray
    cost_eur: FloatArray
    law_eur: FloatArray
    law: str
    extrapolated: str | None = None

    @cached_property
    def slope_eur(self) -> FloatArray:
        """(N-1,) price per unit of depth between the nodes [EUR], never decreasing."""
        return np.maximum.accumulate(np.diff(self.cost_eur) / np.diff(self.depth))

    @property
    def shallow_eur(self) -> float:
        """Price per unit of depth of a very shallow half cycle [EUR]."""
        return float(self.slope_eur[0])

    @property
    def hull_gap_frac(self) -> float:
        """Largest distance of the hull below the law, as a fraction of the law."""
        inner = self.law_eur > 0
        gap = (self.law_eur - self.cost_eur)[inner] / self.law_eur[inner]
        return float(gap.max()) if gap.size else 0.0

    @cached_property
    def sha256(self) -> str:
        """Hash of the nodes and of the name of the law."""
        digest = hashlib.sha256(self.law.encode())
        digest.update(self.cost_eur.tobytes())
        return digest.hexdigest()

    def cell(self, depth_frac: FloatArray) -> npt.NDArray[np.int64]:
        """Interval of the nodes that holds each depth; depths above 1 belong to the last one."""
        last = self.depth.size - 2
        return np.minimum((depth_frac * (last + 1)).astype(np.int64), last)

    def half_cost_eur(self, depth_frac: npt.ArrayLike) -> FloatArray:
        """Price of half cycles [EUR], any shape; linear beyond depth 1."""
        return self._at(depth_frac, self.cost_eur, self.slope_eur)

    def half_law_eur(self, depth_frac: npt.ArrayLike) -> FloatArray:
        """Price of half cycles by the law itself [EUR]; linear beyond depth 1."""
        return self._at(depth_frac, self.law_eur, np.diff(self.law_eur) / np.diff(self.depth))

    def half_slope_eur(self, depth_frac: npt.ArrayLike) -> FloatArray:
        """A subgradient of the price of half cycles with respect to depth [EUR]."""
        return np.asarray(self.slope_eur[self.cell(np.asarray(depth_frac, np.float64))])

    def cost_full_eur(self, depth_frac: npt.ArrayLike) -> FloatArray:
        """Price of full cycles [EUR]: two half cycles of the same depth."""
        return 2.0 * self.half_cost_eur(depth_frac)

    def _at(self, depth_frac: npt.ArrayLike, cost: FloatArray, slope: FloatArray) -> FloatArray:
        depth = np.asarray(depth_frac, np.float64)
        cell = self.cell(depth)
        return np.asarray(cost[cell] + slope[cell] * (depth - self.depth[cell]), np.float64)

    def layers(self, n_layers: int) -> tuple[Layer, ...]:
        """The price above the shallow one, as a sum of at most `n_layers` convex prices.

        Every layer takes the rise of the slope between two depths. The depths share the integral of
        the square root of the curvature equally, which is how a piecewise-linear approximation
        places its nodes; where the price is straight no layer begins.
        """
        rise = np.concatenate([[0.0], np.diff(self.slope_eur)])
        weight = np.sqrt(np.where(rise > _ROUNDING * self.slope_eur[-1], rise, 0.0))
        total = float(weight.sum())
        if total == 0.0:
            return ()
        share = np.searchsorted(np.cumsum(weight) / total, np.arange(1, n_layers) / n_layers)
        inner = self.slope_eur[share]
        levels = np.concatenate([[self.slope_eur[0]], inner, [self.slope_eur[-1]]])
        levels = np.unique(levels)
        out = []
        for low, high in pairwise(levels.tolist()):
            slope = np.clip(self.slope_eur, low, high) - low
            cost = np.concatenate([[0.0], np.cumsum(slope * np.diff(self.depth))])
            out.append(Layer(slope, cost))
        return tuple(out)


def hull_curve(law_eur: npt.ArrayLike, law: str, extrapolated: str | None = None) -> HullCurve:
    """Convex price below a law that is given at equally spaced depths from 0 to 1.

    Parameters
    ----------
    law_eur : (N,) price of a half cycle [EUR] at depths i / (N - 1); zero at depth zero
    law : name and parameters, for provenance

    Raises
    ------
    ConfigError : fewer than three nodes, a price that is not finite, negative, or not zero at zero
    """
    price = np.asarray(law_eur, np.float64)
    if price.ndim != 1 or price.size < 3 or not np.isfinite(price).all():
        raise ConfigError(
            f"price of a half cycle by {law}: expected at least 3 finite values over depths 0 to 1."
        )
    if abs(price[0]) > _ROUNDING or price.min() < 0.0:
        raise ConfigError(
            f"price of a half cycle by {law}: {price[0]:g} EUR at depth 0 and {price.min():g} EUR "
            "at least; expected zero at depth zero and no negative price."
        )
    depth = np.linspace(0.0, 1.0, price.size)
    cost = np.interp(depth, *lower_convex_hull(depth, price))
    return HullCurve(depth, cost, price, law, extrapolated)


def naumann_hull_curve(
    *,
    energy_mwh: float,
    replacement_cost_eur_kwh: float,
    usable_fade_frac: float,
    cycle_loss_frac: float,
    c_rate_per_h: float,
    temperature_degc: float = 25.0,
) -> HullCurve:
    """Hull of the cycle-aging law of `stochbess.battery.cycle_curve`, as price of a half cycle.

    Raises
    ------
    ConfigError : a parameter is outside the range in which the formulas mean something
    """
    depth = np.linspace(0.0, 1.0, _GRID + 1)
    loss = naumann_cycle_increment(depth, c_rate_per_h, cycle_loss_frac) / 2.0
    price = loss_to_eur(loss, energy_mwh, replacement_cost_eur_kwh, usable_fade_frac)
    law = (
        f"Naumann 2020, C-rate {c_rate_per_h:g} per h, cycle loss {cycle_loss_frac:g}, "
        f"{replacement_cost_eur_kwh:g} EUR/kWh over {usable_fade_frac:g} of {energy_mwh:g} MWh"
    )
    return hull_curve(price, law, extrapolation_note(depth[1:], c_rate_per_h, temperature_degc))
