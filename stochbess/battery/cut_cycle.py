"""Affine minorants of the rainflow cost of a stored-energy path: the numbers of an aging cut.

For a convex price of depth that is zero at depth zero the rainflow cost is convex in the path, and
its subgradient gives a cut that holds for every path with the same start and the same past
(docs/math.md (39), (40)). The price is split into layers by depth. Each layer has its own cost, its
own cut and its own variable: the sum of the layers is the price, but bounding the layers apart
describes the cost far better with the same number of solves than one bound on the sum.

Cuts hold no prices of energy and no probabilities: one that is found in one scenario holds in all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stochbess.battery.hull_curve import HullCurve, Layer
from stochbess.battery.rainflow import HalfCycles, half_cycles
from stochbess.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
N_LAYERS = 8


@dataclass(frozen=True, eq=False)
class CycleCost:
    """Rainflow cost of a window of stored energy, given the past, and its minorants.

    The cost has two parts. Its *deep* part is the sum over layers of the rainflow cost of the path.
    Its *shallow* part is `shallow_eur_mwh` per MWh that passes into or out of the store; along a
    path without charge and discharge inside one step that is the total variation of the path times
    the price of a very shallow half cycle, and deep and shallow part add up to the rainflow cost.

    Attributes
    ----------
    curve : price of a half cycle by depth
    usable_mwh : stored energy at depth 1 [MWh]
    floor_mwh : stored energy that the past counts as zero [MWh]; no effect without a past
    past_frac : open turning points before the window, above the floor, oldest first
    n_layers : into how many layers the price is split, at most
    deep_factor : scales the deep part, e.g. for a C-rate other than that of the curve
    """

    curve: HullCurve
    usable_mwh: float
    floor_mwh: float = 0.0
    past_frac: tuple[float, ...] = ()
    n_layers: int = N_LAYERS
    deep_factor: float = 1.0

    def __post_init__(self) -> None:
        if not (self.usable_mwh > 0 and np.isfinite(self.usable_mwh)):
            raise ConfigError(
                f"usable energy of {self.usable_mwh} MWh: expected a positive number, over which "
                "depths of cycles are counted."
            )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return self.curve.layers(self.n_layers)

    @property
    def size(self) -> int:
        """Number of layers K."""
        return len(self.layers)

    @property
    def shallow_eur_mwh(self) -> float:
        """Price per MWh into or out of the store, whatever the depth [EUR/MWh]."""
        return self.curve.shallow_eur / self.usable_mwh

    @cached_property
    def provenance(self) -> str:
        """Hash of law, parameters, energy scale and past: cuts of equal provenance may be mixed."""
        digest = hashlib.sha256(self.curve.sha256.encode())
        scale = [self.usable_mwh, self.floor_mwh, self.size, self.deep_factor]
        digest.update(np.array(scale).tobytes())
        digest.update(np.array(self.past_frac).tobytes())
        return digest.hexdigest()

    # -- the cost -------------------------------------------------------------------------------
    def rainflow_eur(self, energy_mwh: FloatArray) -> float:
        """Rainflow cost of the path on the convex price [EUR]: shallow and deep, by depth alone."""
        cycles = self._count(energy_mwh)[0]
        return float(cycles.weight @ self.curve.half_cost_eur(cycles.depth))

    def rainflow_law_eur(self, energy_mwh: FloatArray) -> float:
        """Rainflow cost of the path by the law itself, which need not be convex [EUR]."""
        cycles = self._count(energy_mwh)[0]
        return float(cycles.weight @ self.curve.half_law_eur(cycles.depth))

    def deep_eur(self, energy_mwh: FloatArray) -> FloatArray:
        """(K,) rainflow cost of the path in every layer [EUR]; `energy_mwh` (T + 1,)."""
        return self.deep_factor * self._by_layer(self._count(energy_mwh)[0])[0]

    def minorants(self, energy_mwh: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Cost (K,) [EUR] and subgradient (K, T + 1) [EUR/MWh] of every layer at a path.

        `cost[k] + gradient[k] @ (other - energy_mwh)` is at most `deep_eur(other)[k]` for every
        path `other` that starts where this one does.
        """
        cycles, position = self._count(energy_mwh)
        cost, slope = self._by_layer(cycles)
        pull = np.where(cycles.is_discharge, 1.0, -1.0) * cycles.weight * slope / self.usable_mwh
        gradient = np.zeros((len(cost), len(energy_mwh)))
        for index, sign in ((cycles.start_index, 1.0), (cycles.end_index, -1.0)):
            inside = index >= 0
            at = position[index[inside]]
            for k in range(len(cost)):
                gradient[k] += np.bincount(at, sign * pull[k, inside], len(energy_mwh))
        return self.deep_factor * cost, self.deep_factor * gradient

    def _count(self, energy_mwh: FloatArray) -> tuple[HalfCycles, npt.NDArray[np.int64]]:
        """Half cycles of the turning points of a path, and where these are in the path."""
        position = turning_positions(energy_mwh)
        depth = (energy_mwh[position] - self.floor_mwh) / self.usable_mwh
        return half_cycles(depth, self.past_frac), position

    def _by_layer(self, cycles: HalfCycles) -> tuple[FloatArray, FloatArray]:
        """Cost of every layer (K,) and its slope at every half cycle (K, H)."""
        cell = self.curve.cell(cycles.depth)
        within = cycles.depth - self.curve.depth[cell]
        slope = np.array([layer.slope_eur[cell] for layer in self.layers])
        slope = slope.reshape(self.size, cycles.depth.size)
        start = np.array([layer.cost_eur[cell] for layer in self.layers]).reshape(slope.shape)
        return (start + slope * within) @ cycles.weight, slope


def turning_positions(path: FloatArray) -> npt.NDArray[np.int64]:
    """Positions of the first element, the turning points, and the last element of a path.

    Rainflow counting gives the same half cycles on these alone.
    """
    moves = np.flatnonzero(np.diff(path))
    falls = path[moves + 1] < path[moves]
    turns = moves[1:][falls[1:] != falls[:-1]]
    return np.unique(np.concatenate([[0], turns, [len(path) - 1]])).astype(np.int64)


def cycle_cost_of(
    curve: HullCurve,
    usable_mwh: float,
    floor_frac: float,
    open_turning_points_frac: Sequence[float],
) -> CycleCost:
    """`CycleCost` of a battery with the open turning points of its state, absolute in SOC."""
    floor_mwh = floor_frac * usable_mwh
    past = tuple(float(point) - floor_frac for point in open_turning_points_frac)
    return CycleCost(curve, usable_mwh, floor_mwh, past)
