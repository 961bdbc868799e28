"""A plant's loss curve as straight pieces, with what that leaves out stated as numbers.

Per direction: the lower convex envelope of the loss from zero power on, and chords of it. A loss
that jumps where the inverter switches on has an envelope that is straight up to the power at which
the mean loss is least; below it the envelope is too low. Chords are never below the envelope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.battery.cycle_curve import lower_convex_hull
from stochbess.battery.efficiency import Circuit
from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
_NODES = 20001  # of the envelope; its straight part ends on one of them


@dataclass(frozen=True, eq=False)
class LossPieces:
    """One direction at one SOC and temperature (docs/math.md (105)).

    Attributes
    ----------
    node_mw, store_mw : (J + 1,) power at the connection and of the store; both begin at 0
    chord_error_mw : most that a chord lies above the envelope
    envelope_error_mw : most that the envelope lies below the loss of the plant
    exact_from_mw : power from which the envelope is the loss of the plant
    """

    node_mw: FloatArray
    store_mw: FloatArray
    chord_error_mw: float
    envelope_error_mw: float
    exact_from_mw: float

    @property
    def width_mw(self) -> FloatArray:
        return np.diff(self.node_mw)

    @property
    def slope(self) -> FloatArray:
        """(J,) power of the store per power at the connection."""
        return np.asarray(np.diff(self.store_mw) / np.diff(self.node_mw))

    @property
    def efficiency_frac(self) -> float:
        """Mean efficiency at the largest power."""
        ratio = float(self.store_mw[-1] / self.node_mw[-1])
        return min(ratio, 1 / ratio)


def loss_pieces(
    circuit: Circuit,
    limit_mw: float,
    n_pieces: int,
    *,
    charging: bool,
    soc_frac: float = 0.5,
    temperature_degc: float = 25.0,
    resistance_growth_frac: float = 0.0,
) -> LossPieces:
    """Loss of cells and inverter up to `limit_mw` at the connection, in `n_pieces` chords.

    The first piece is the straight part of the envelope, the others are equally wide: the best
    choice for a quadratic. The nodes of n pieces are among those of 2 n - 1.

    Raises
    ------
    ConfigError : less than one piece, no power, or more power than the cells can carry
    """
    if n_pieces < 1 or not limit_mw > 0:
        raise ConfigError(
            f"loss pieces: {n_pieces} pieces up to {limit_mw:g} MW; expected at least one piece "
            "and a power above 0 (battery.losses.pieces, battery.power_mw)."
        )
    power = np.linspace(0.0, limit_mw, _NODES)
    step = float(power[1])
    # The inverter's no-load loss shows just above zero power.
    power = np.insert(power, 1, 1e-9 * limit_mw)

    def loss_mw(at_mw: FloatArray) -> FloatArray:
        net = -at_mw if charging else at_mw
        try:
            return circuit.loss_curve(net, soc_frac, temperature_degc, resistance_growth_frac)
        except DataError as error:
            raise ConfigError(
                f"battery.losses: {limit_mw:g} MW is more than the cells carry at SOC "
                f"{soc_frac:g}, {temperature_degc:g} degC and a resistance growth of "
                f"{resistance_growth_frac:g}. Raise battery.losses.at_soc_frac or lower the power."
            ) from error

    loss = loss_mw(power)
    hull_mw, hull_loss = lower_convex_hull(power, loss)
    first = float(hull_mw[1])
    straight = first if first > 1.5 * step else 0.0
    if n_pieces == 1 or straight >= limit_mw:
        node = np.array([0.0, limit_mw])
    elif straight:
        node = np.concatenate(([0.0], np.linspace(straight, limit_mw, n_pieces)))
    else:
        node = np.linspace(0.0, limit_mw, n_pieces + 1)
    node_loss = loss_mw(node)
    envelope = np.interp(power, hull_mw, hull_loss)
    return LossPieces(
        node_mw=node,
        store_mw=node - node_loss if charging else node + node_loss,
        chord_error_mw=float(np.max(np.interp(power, node, node_loss) - envelope)),
        envelope_error_mw=float(np.max(loss - envelope)),
        exact_from_mw=straight,
    )
