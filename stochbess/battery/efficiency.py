"""From power at the connection to power out of the store: constant efficiencies, or circuit and
inverter.

Signs as everywhere: above zero is export and discharge. What the store gives is the open-circuit
voltage times the current; the cells keep the part that their resistance takes, the inverter its
no-load, linear and quadratic losses. At zero power the inverter is off and loses nothing, so its
loss jumps by the no-load part when it switches on.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stochbess.battery.cell import Cell, current_a, sony_lfp
from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
_W_PER_MW = 1e6
_ROUNDING_FRAC = 1e-9  # keeps the largest power on the near side of the root


class PowerFlow(NamedTuple):
    """Where the power goes; arrays of the broadcast shape, MW, above zero discharging.

    net_mw = stored_mw - cell_loss_mw - inverter_loss_mw, in both directions.
    """

    net_mw: FloatArray
    stored_mw: FloatArray
    cell_loss_mw: FloatArray
    inverter_loss_mw: FloatArray


class Conversion(NamedTuple):
    """Scalar use in a recursion: floats in, floats out, both directions above zero discharging.

    to_store : (net_mw, soc, degc) -> (stored_mw, cell_loss_mw); infinite beyond `most_mw`
    to_grid : (stored_mw, soc, degc) -> (net_mw, stored_mw, cell_loss_mw), the way back; stored_mw
        comes back as zero where it does not even cover the no-load loss
    most_mw : (soc, degc) -> largest net power that the cells can deliver
    """

    to_store: Callable[[float, float, float], tuple[float, float]]
    to_grid: Callable[[float, float, float], tuple[float, float, float]]
    most_mw: Callable[[float, float], float]


class Efficiency(Protocol):
    """How power at the connection becomes power out of the store."""

    def power_flow(
        self,
        net_mw: npt.ArrayLike,
        soc_frac: npt.ArrayLike,
        temperature_degc: npt.ArrayLike,
        resistance_growth_frac: float = 0.0,
    ) -> PowerFlow: ...

    def conversion(self, resistance_growth_frac: float = 0.0) -> Conversion: ...

    def note(self, temperature_degc: FloatArray) -> str | None:
        """Where the tables behind it are left, in words, or None inside them."""
        ...


def _share(name: str, value: float, low: float = 0.0) -> None:
    if not low <= value <= 1.0:
        raise ConfigError(f"{name} = {value}: expected a fraction from {low:g} to 1.")


@dataclass(frozen=True)
class ConstantEfficiency:
    """The efficiencies of the decision model: the same at every power, SOC and temperature.

    `cell_loss_frac` is the part of the losses that heats the cells and not the inverter.
    """

    charge_frac: float = 0.95
    discharge_frac: float = 0.95
    cell_loss_frac: float = 0.5

    def __post_init__(self) -> None:
        _share("battery.charge_efficiency_frac", self.charge_frac, 1e-6)
        _share("battery.discharge_efficiency_frac", self.discharge_frac, 1e-6)
        _share("battery.cell_loss_frac", self.cell_loss_frac)

    def power_flow(
        self,
        net_mw: npt.ArrayLike,
        soc_frac: npt.ArrayLike,
        temperature_degc: npt.ArrayLike,
        resistance_growth_frac: float = 0.0,
    ) -> PowerFlow:
        """Power flow; SOC, temperature and growth give the shape only."""
        net, *_ = np.broadcast_arrays(np.asarray(net_mw, np.float64), soc_frac, temperature_degc)
        stored = np.where(net < 0, net * self.charge_frac, net / self.discharge_frac)
        loss = stored - net
        cell = self.cell_loss_frac * loss
        return PowerFlow(net, stored, cell, loss - cell)

    def conversion(self, resistance_growth_frac: float = 0.0) -> Conversion:
        charge, discharge, part = self.charge_frac, self.discharge_frac, self.cell_loss_frac

        def to_store(net_mw: float, soc: float, degc: float) -> tuple[float, float]:
            stored = net_mw * charge if net_mw < 0 else net_mw / discharge
            return stored, part * (stored - net_mw)

        def to_grid(stored_mw: float, soc: float, degc: float) -> tuple[float, float, float]:
            net = stored_mw / charge if stored_mw < 0 else stored_mw * discharge
            return net, stored_mw, part * (stored_mw - net)

        def most_mw(soc: float, degc: float) -> float:
            return math.inf

        return Conversion(to_store, to_grid, most_mw)

    def note(self, temperature_degc: FloatArray) -> str | None:
        return None


@dataclass(frozen=True)
class PartLoad:
    """Loss of an inverter over its rated power: no_load + quadratic p^2, p the power it puts out.

    The efficiency p / (p + no_load + quadratic p^2) of Notton, Lazarov & Stoyanov (2010).
    """

    no_load_frac: float
    quadratic_frac: float

    def input_frac(self, output_frac: npt.ArrayLike) -> FloatArray:
        """Power taken in for a power put out, both over rated power; 0 is off."""
        p = np.asarray(output_frac, np.float64)
        on = p + self.no_load_frac + self.quadratic_frac * p**2
        return np.asarray(np.where(p > 0, on, 0.0), np.float64)

    def output_frac(self, input_frac: npt.ArrayLike) -> FloatArray:
        """Power put out for a power taken in; 0 up to the no-load loss, all of which is lost."""
        over = np.maximum(np.asarray(input_frac, np.float64) - self.no_load_frac, 0.0)
        return np.asarray(2 * over / (1 + np.sqrt(1 + 4 * self.quadratic_frac * over)), np.float64)

    def efficiency_frac(self, output_frac: npt.ArrayLike) -> FloatArray:
        p = np.asarray(output_frac, np.float64)
        return np.asarray(p / (p + self.no_load_frac + self.quadratic_frac * p**2), np.float64)


# Notton, Lazarov & Stoyanov, Renewable Energy 35 (2010) 541, type 2.
NOTTON_2 = PartLoad(0.0072, 0.0345)
# Fits to a Sungrow SC1000TL in the field, as published with SimSES.
SUNGROW_CHARGE = PartLoad(0.007702, 0.017291)
SUNGROW_DISCHARGE = PartLoad(0.005512, 0.018773)


@dataclass(frozen=True, eq=False)
class Circuit:
    """Cells with open-circuit voltage and resistance behind an inverter with part-load losses.

    Attributes
    ----------
    energy_mwh : usable energy; the cells are so many that they hold it between SOC 0 and 1
    rated_mw : rated power of the inverter at the connection
    resistance_scale : resistance over that of the tables, at equal capacity
    """

    energy_mwh: float
    rated_mw: float
    cell: Cell = field(default_factory=sony_lfp)
    charge: PartLoad = NOTTON_2
    discharge: PartLoad = NOTTON_2
    resistance_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("energy_mwh", "rated_mw", "resistance_scale"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"battery circuit: {name} = {value}: expected a number above 0.")

    @property
    def n_cells(self) -> float:
        """Cells of the table that hold the usable energy; need not be whole."""
        return self.energy_mwh * _W_PER_MW / self.cell.energy_wh

    def power_flow(
        self,
        net_mw: npt.ArrayLike,
        soc_frac: npt.ArrayLike,
        temperature_degc: npt.ArrayLike,
        resistance_growth_frac: float = 0.0,
    ) -> PowerFlow:
        """Exact power flow; arguments broadcast.

        Raises
        ------
        DataError : the cells cannot deliver a power at all
        """
        net = np.asarray(net_mw, np.float64)
        taken = -self.charge.output_frac(-net / self.rated_mw)
        given = self.discharge.input_frac(net / self.rated_mw)
        dc_mw = self.rated_mw * np.where(net < 0, taken, given)
        ocv = self.cell.ocv_at(soc_frac)
        scale = self.resistance_scale * (1.0 + resistance_growth_frac)
        ohm = scale * np.where(
            net < 0,
            self.cell.resistance_at(soc_frac, temperature_degc, charging=True),
            self.cell.resistance_at(soc_frac, temperature_degc, charging=False),
        )
        per_cell = _W_PER_MW / self.n_cells
        current = current_a(dc_mw * per_cell, ocv, ohm)
        if np.isnan(current).any():
            raise DataError(
                f"battery circuit: {float(np.max(net)):g} MW asked for at SOC "
                f"{float(np.min(soc_frac)):.3g} is more than the cells can deliver at any current. "
                "Limit the power or lower resistance_scale."
            )
        stored = current * ocv / per_cell
        net, stored, dc_mw = np.broadcast_arrays(net, stored, dc_mw)
        return PowerFlow(net, stored, stored - dc_mw, dc_mw - net)

    def loss_curve(
        self,
        net_mw: npt.ArrayLike,
        soc_frac: float,
        temperature_degc: float,
        resistance_growth_frac: float = 0.0,
    ) -> FloatArray:
        """(K,) power lost in cells and inverter [MW] at powers `net_mw` (K,), above zero exporting.

        Convex on each side of zero, with a jump of the no-load loss at zero: the inverter is off
        at exactly 0. Imports up to the no-load loss are lost as a whole.
        """
        flow = self.power_flow(net_mw, soc_frac, temperature_degc, resistance_growth_frac)
        return np.asarray(flow.stored_mw - flow.net_mw, np.float64)

    def conversion(self, resistance_growth_frac: float = 0.0) -> Conversion:
        """`power_flow` and its inverse for one step at a time, without arrays."""
        use = _CircuitStep(self, self.resistance_scale * (1.0 + resistance_growth_frac))
        return Conversion(use.to_store, use.to_grid, use.most_mw)

    def note(self, temperature_degc: FloatArray) -> str | None:
        low, high = float(self.cell.degc[0]), float(self.cell.degc[-1])
        coldest, hottest = float(temperature_degc.min()), float(temperature_degc.max())
        if low <= coldest and hottest <= high:
            return None
        return (
            f"resistance: cell temperature {coldest:.3g} to {hottest:.3g} degC, table from {low:g} "
            f"to {high:g}; that of the nearest is used, too little in the cold"
        )


class _CircuitStep:
    """The circuit on plain floats: the formulas of `Circuit.power_flow`, one step at a time."""

    def __init__(self, circuit: Circuit, scale: float) -> None:
        cell = circuit.cell
        self.rated_mw = circuit.rated_mw
        self.per_cell = _W_PER_MW / circuit.n_cells
        self.ocv_at = _scalar_ocv(cell)
        self.charge_ohm = _scalar_table(cell.degc, scale * cell.charge_ohm)
        self.discharge_ohm = _scalar_table(cell.degc, scale * cell.discharge_ohm)
        self.charge_loss = circuit.charge.no_load_frac, circuit.charge.quadratic_frac
        self.discharge_loss = circuit.discharge.no_load_frac, circuit.discharge.quadratic_frac

    def to_store(self, net_mw: float, soc: float, degc: float) -> tuple[float, float]:
        rated = self.rated_mw
        if net_mw > 0:
            no_load, quadratic = self.discharge_loss
            p = net_mw / rated
            dc_mw = rated * (p + no_load + quadratic * p * p)
            ohm = self.discharge_ohm(soc, degc)
        else:
            dc_mw = -rated * _put_out(-net_mw / rated, *self.charge_loss)
            ohm = self.charge_ohm(soc, degc)
        ocv = self.ocv_at(soc)
        power = dc_mw * self.per_cell
        inside = ocv * ocv - 4.0 * ohm * power
        if inside < 0:
            return math.inf, math.inf
        stored = 2.0 * power / (ocv + math.sqrt(inside)) * ocv / self.per_cell
        return stored, stored - dc_mw

    def to_grid(self, stored_mw: float, soc: float, degc: float) -> tuple[float, float, float]:
        ocv, rated = self.ocv_at(soc), self.rated_mw
        current = stored_mw * self.per_cell / ocv
        ohm = self.discharge_ohm(soc, degc) if stored_mw > 0 else self.charge_ohm(soc, degc)
        dc_mw = current * (ocv - ohm * current) / self.per_cell
        if stored_mw > 0:
            net = rated * _put_out(dc_mw / rated, *self.discharge_loss)
            return (net, stored_mw, stored_mw - dc_mw) if net > 0 else (0.0, 0.0, 0.0)
        if stored_mw == 0:
            return 0.0, 0.0, 0.0
        no_load, quadratic = self.charge_loss
        q = -dc_mw / rated
        return -rated * (q + no_load + quadratic * q * q), stored_mw, stored_mw - dc_mw

    def most_mw(self, soc: float, degc: float) -> float:
        ocv = self.ocv_at(soc)
        dc_mw = ocv * ocv / (4.0 * self.discharge_ohm(soc, degc)) / self.per_cell
        share = dc_mw * (1 - _ROUNDING_FRAC) / self.rated_mw
        return self.rated_mw * _put_out(share, *self.discharge_loss)


def _put_out(taken: float, no_load: float, quadratic: float) -> float:
    over = taken - no_load
    return 2 * over / (1 + math.sqrt(1 + 4 * quadratic * over)) if over > 0 else 0.0


def _scalar_ocv(cell: Cell) -> Callable[[float], float]:
    soc_nodes, ocv_nodes = cell.soc_frac.tolist(), cell.ocv_v.tolist()
    slopes = (np.diff(cell.ocv_v) / np.diff(cell.soc_frac)).tolist()
    last = len(slopes) - 1

    def ocv_at(soc: float) -> float:
        if soc <= soc_nodes[0]:
            return float(ocv_nodes[0])
        if soc >= soc_nodes[-1]:
            return float(ocv_nodes[-1])
        i = min(bisect_right(soc_nodes, soc) - 1, last)
        return float(ocv_nodes[i] + slopes[i] * (soc - soc_nodes[i]))

    return ocv_at


def _scalar_table(degc: FloatArray, table: FloatArray) -> Callable[[float, float], float]:
    rows: list[list[float]] = table.tolist()
    n_soc, n_degc = table.shape[0] - 1, table.shape[1] - 1
    first, per_node = float(degc[0]), n_degc / float(degc[-1] - degc[0])

    def look_up(soc: float, at_degc: float) -> float:
        x: float = min(max(soc, 0.0), 1.0) * n_soc
        y: float = min(max((at_degc - first) * per_node, 0.0), float(n_degc))
        i, j = min(int(x), n_soc - 1), min(int(y), n_degc - 1)
        u, v = x - i, y - j
        low, high = rows[i], rows[i + 1]
        cold = (1 - u) * low[j] + u * high[j]
        warm = (1 - u) * low[j + 1] + u * high[j + 1]
        return float((1 - v) * cold + v * warm)

    return look_up
