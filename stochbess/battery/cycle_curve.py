"""Price of cycling: from a cycle-aging law to the segment costs of a dispatch model.

Law: Naumann, Spingler & Jossen, J. Power Sources 451 (2020) 227666, commercial 3 Ah LFP cell,
coefficients as published with the open simulation tool SimSES (BSD-3). A half cycle of depth d
counts d/2 full equivalent cycles and the loss grows with their square root, so the *squared* loss
W = Q^2 is additive: one half cycle adds (k_C * k_D / 100)^2 * d / 2, whatever came before.

Pricing a day needs the increment of Q itself. It is linearised at the loss already incurred,
dQ = dW / (2 Q). The exact step is sqrt(Q^2 + dW) - Q; the linearisation lies above it by about the
fraction dW / (4 Q^2): 8.4e-5 for a half cycle of depth 0.8 at 0.5C from Q = 0.05, but 18 % for
the same half cycle from Q = 0.001. It is not for a fresh cell.

The law is not convex for depths 0.32 to 0.60. A model that must stay linear takes the lower convex
hull, which is up to 6.6 % below the law (at depth 0.42).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.errors import ConfigError

FloatArray = npt.NDArray[np.float64]

K_C_PER_C, K_C_0 = 0.0630, 0.0971
K_D_CUBIC, K_D_CENTRE, K_D_0 = 4.0253, 0.6, 1.0923
# Range of the tests behind the law as declared by BLAST-Lite for the same cell; the law itself
# holds no temperature.
TESTED_DEPTH_FRAC = (0.8, 1.0)
TESTED_TEMPERATURE_DEGC = (20.0, 40.0)
TESTED_CHARGE_C_RATE_PER_H, TESTED_DISCHARGE_C_RATE_PER_H = 1.0, 2.0
_HULL_GRID = 2000
ROUNDING_FRAC = 1e-6


def _in_range(name: str, value: float, low: float, high: float, hint: str) -> None:
    if not (low < value <= high and math.isfinite(value)):
        raise ConfigError(f"{name} = {value}: expected a number in ({low:g}, {high:g}]. {hint}")


def naumann_half_cycle_w(depth_frac: npt.ArrayLike, c_rate_per_h: float | FloatArray) -> FloatArray:
    """Increment of the squared capacity loss W = Q^2 by one half cycle.

    Parameters
    ----------
    depth_frac : depth of the half cycle, p.u. of usable energy; any shape
    c_rate_per_h : mean C-rate over the half cycle [1/h], one for all or one each
    """
    depth = np.asarray(depth_frac, np.float64)
    k_c = K_C_PER_C * c_rate_per_h + K_C_0
    k_d = K_D_CUBIC * (depth - K_D_CENTRE) ** 3 + K_D_0
    return np.asarray((k_c * k_d / 100.0) ** 2 * depth / 2.0, np.float64)


def naumann_half_cycle_loss(
    depth_frac: npt.ArrayLike, c_rate_per_h: float, cycle_loss_frac: float
) -> FloatArray:
    """Exact capacity loss of one half cycle [p.u.] after `cycle_loss_frac` was lost to cycling."""
    w = naumann_half_cycle_w(depth_frac, c_rate_per_h)
    # sqrt(Q^2 + w) - Q without cancellation; a fresh cell that does nothing loses nothing
    root = np.sqrt(cycle_loss_frac**2 + w)
    total = root + cycle_loss_frac
    return np.asarray(np.divide(w, total, out=np.zeros_like(w), where=total > 0), np.float64)


def naumann_cycle_increment(
    depth_frac: npt.ArrayLike, c_rate_per_h: float, cycle_loss_frac: float
) -> FloatArray:
    """Capacity loss of one full cycle (two half cycles) [p.u.], linearised at `cycle_loss_frac`.

    Raises
    ------
    ConfigError : `cycle_loss_frac` is not in (0, 1]; at 0 the linearisation has no value
    """
    _in_range(
        "aging.cycle_loss_frac",
        cycle_loss_frac,
        0.0,
        1.0,
        "The square-root law has no slope on a fresh cell; 0.05 prices the middle of a life.",
    )
    return np.asarray(
        2.0 * naumann_half_cycle_w(depth_frac, c_rate_per_h) / (2.0 * cycle_loss_frac), np.float64
    )


def lower_convex_hull(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Vertices of the largest convex function below the points; `x` strictly increasing."""
    kept: list[int] = []
    for i in range(x.size):
        while len(kept) >= 2:
            a, b = kept[-2], kept[-1]
            if (y[b] - y[a]) * (x[i] - x[b]) < (y[i] - y[b]) * (x[b] - x[a]):
                break
            kept.pop()
        kept.append(i)
    return x[kept], y[kept]


def hulled_cycle_increment(
    depth_frac: npt.ArrayLike, c_rate_per_h: float, cycle_loss_frac: float
) -> FloatArray:
    """Lower convex hull over depths 0 to 1 of `naumann_cycle_increment` [p.u.]."""
    depth = np.asarray(depth_frac, np.float64)
    grid = np.unique(np.concatenate([np.linspace(0.0, 1.0, _HULL_GRID + 1), np.ravel(depth)]))
    hull = lower_convex_hull(grid, naumann_cycle_increment(grid, c_rate_per_h, cycle_loss_frac))
    return np.asarray(np.interp(depth, *hull), np.float64)


def loss_to_eur(
    loss_frac: npt.ArrayLike,
    energy_mwh: float,
    replacement_cost_eur_kwh: float,
    usable_fade_frac: float,
) -> FloatArray:
    """Value of a capacity loss [EUR]: the replacement cost is used up at `usable_fade_frac`."""
    _in_range(
        "aging.usable_fade_frac", usable_fade_frac, 0.0, 1.0, "0.2 means 80 % at the end of life."
    )
    worth_eur = replacement_cost_eur_kwh * 1000.0 * energy_mwh / usable_fade_frac
    return np.asarray(np.asarray(loss_frac, np.float64) * worth_eur, np.float64)


def extrapolation_note(
    depths_frac: npt.ArrayLike, c_rate_per_h: float, temperature_degc: float = 25.0
) -> str | None:
    """Say in words where the tested range of the law is left, or None inside it.

    Parameters
    ----------
    depths_frac : depths at which the law is used; empty = none
    c_rate_per_h : C-rate of both directions [1/h]
    temperature_degc : cell temperature [degC]
    """
    depth = np.ravel(np.asarray(depths_frac, np.float64))
    notes: list[str] = []
    low, high = TESTED_DEPTH_FRAC
    if depth.size and (depth.min() < low or depth.max() > high):
        notes.append(f"depths {depth.min():.2g} to {depth.max():.2g} (tested {low:g} to {high:g})")
    if c_rate_per_h > TESTED_CHARGE_C_RATE_PER_H:
        notes.append(
            f"C-rate {c_rate_per_h:g} per h (tested to {TESTED_CHARGE_C_RATE_PER_H:g} charging, "
            f"{TESTED_DISCHARGE_C_RATE_PER_H:g} discharging)"
        )
    cold, warm = TESTED_TEMPERATURE_DEGC
    if not cold <= temperature_degc <= warm:
        notes.append(f"temperature {temperature_degc:g} degC (tested {cold:g} to {warm:g})")
    return "cycle aging extrapolated: " + "; ".join(notes) if notes else None


@dataclass(frozen=True, eq=False)
class SegmentCurve:
    """Piecewise-linear price of a full cycle by depth, as energy segments of equal width.

    Attributes
    ----------
    width_mwh : stored energy per segment [MWh]
    cost_eur_mwh : (K,) cost per MWh withdrawn from each segment, inside the battery, shallowest
        first, never decreasing [EUR/MWh]
    discharge_efficiency_frac : energy at the connection per stored energy withdrawn
    extrapolated : where the tested range of the law is left, or None
    """

    width_mwh: float
    cost_eur_mwh: FloatArray
    discharge_efficiency_frac: float
    extrapolated: str | None

    @property
    def n_segments(self) -> int:
        return int(self.cost_eur_mwh.size)

    @property
    def cost_at_connection_eur_mwh(self) -> FloatArray:
        """(K,) cost per MWh delivered at the AC connection [EUR/MWh]."""
        return np.asarray(self.cost_eur_mwh / self.discharge_efficiency_frac, np.float64)

    def cost_eur(self, depth_frac: npt.ArrayLike) -> FloatArray:
        """Cost of full cycles [EUR] of depth `depth_frac` in [0, 1]; any shape, linear beyond 1."""
        n = self.n_segments
        nodes_eur = np.concatenate([[0.0], np.cumsum(self.cost_eur_mwh) * self.width_mwh])
        depth = np.asarray(depth_frac, np.float64)
        beyond_eur = np.maximum(depth - 1.0, 0.0) * n * self.width_mwh * self.cost_eur_mwh[-1]
        inside_eur = np.interp(depth, np.arange(n + 1) / n, nodes_eur)
        return np.asarray(inside_eur + beyond_eur, np.float64)


def segment_costs_eur_mwh(
    *,
    n_segments: int,
    energy_mwh: float,
    discharge_efficiency_frac: float,
    replacement_cost_eur_kwh: float,
    usable_fade_frac: float,
    cycle_loss_frac: float,
    c_rate_per_h: float,
    temperature_degc: float = 25.0,
) -> SegmentCurve:
    """Segment costs whose partial sums are the hulled full-cycle cost at the depths k/K.

    The whole cost of a cycle sits on its discharge half. Between the nodes the chords lie above
    the hull: few segments overprice shallow cycles.

    Raises
    ------
    ConfigError : a parameter is outside the range in which the formulas mean something
    """
    if n_segments < 1:
        raise ConfigError(f"aging.n_segments = {n_segments}: expected at least 1 segment.")
    inf = float("inf")
    _in_range("battery.energy_mwh", energy_mwh, 0.0, inf, "Usable energy in MWh.")
    _in_range(
        "battery.discharge_efficiency_frac", discharge_efficiency_frac, 0.0, 1.0, "One way, AC."
    )
    _in_range("aging.c_rate_per_h", c_rate_per_h, 0.0, inf, "Power over usable energy.")
    if not 0.0 <= replacement_cost_eur_kwh < inf:
        raise ConfigError(
            f"battery.replacement_cost_eur_kwh = {replacement_cost_eur_kwh}: expected a finite "
            "cost that is not negative. Set 0 to switch the price of aging off."
        )
    depth = np.arange(n_segments + 1) / n_segments
    loss = hulled_cycle_increment(depth, c_rate_per_h, cycle_loss_frac)
    cost_eur = loss_to_eur(loss, energy_mwh, replacement_cost_eur_kwh, usable_fade_frac)
    width_mwh = energy_mwh / n_segments
    return SegmentCurve(
        width_mwh=width_mwh,
        cost_eur_mwh=np.maximum.accumulate(np.diff(cost_eur) / width_mwh),
        discharge_efficiency_frac=discharge_efficiency_frac,
        extrapolated=extrapolation_note(depth[1:], c_rate_per_h, temperature_degc),
    )


def fill_from_turning_points(
    open_turning_points_frac: npt.ArrayLike, soc_frac: float, n_segments: int
) -> FloatArray:
    """Fraction of each segment that is filled now, shape (K,), shallowest (cheapest) first.

    The history is replayed from an empty battery: charging fills the cheapest segment with room
    first, discharging takes from the cheapest segment with energy first. Without turning points
    the history is one charge from empty to `soc_frac`. The mean of the answer is `soc_frac`.

    Raises
    ------
    ConfigError : a turning point or the present stored energy is outside [0, 1] by more than the
        rounding of a solver
    """
    history = np.append(np.asarray(open_turning_points_frac, np.float64), soc_frac)
    if not ((history >= -ROUNDING_FRAC) & (history <= 1.0 + ROUNDING_FRAC)).all():
        raise ConfigError(
            f"battery.state: turning points {history[:-1].tolist()} and soc_frac {soc_frac}: "
            "expected every value in [0, 1] of usable energy."
        )
    fill = np.zeros(n_segments)
    level = 0.0
    for target in np.clip(history, 0.0, 1.0).tolist():
        room = 1.0 - fill if target > level else fill
        step = abs(target - level) * n_segments
        before = np.concatenate([[0.0], np.cumsum(room)[:-1]])
        taken = np.clip(step - before, 0.0, room)
        fill = np.clip(fill + taken if target > level else fill - taken, 0.0, 1.0)
        level = target
    return fill
