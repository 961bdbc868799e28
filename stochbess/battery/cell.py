"""Open-circuit voltage and resistance of an LFP/graphite cell, and the current behind a power.

Tables: 3 Ah cell Sony/Murata US26650FTC1, from the open simulation tool SimSES (BSD-3), thinned out
and rounded. Hysteresis (19 to 23 mV) and the entropic heat are left out. The resistance is known at
10, 25 and 40 degC; outside, that of the nearest is used, which is optimistic in the cold. A larger
cell is so many small ones in parallel; container cells of 280 Ah have less resistance per capacity,
so the losses here are an upper bound (`Circuit.resistance_scale`).

SOC here is stored over usable *energy*. Looking it up in tables over charge misplaces it by at most
1.1 points of SOC, which is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_OCV = (
    (0.00, 2.2862), (0.01, 2.7833), (0.02, 2.8952), (0.05, 3.0647), (0.10, 3.1967), (0.15, 3.2120),
    (0.20, 3.2343), (0.25, 3.2547), (0.30, 3.2703), (0.35, 3.2826), (0.40, 3.2921), (0.50, 3.2995),
    (0.60, 3.3035), (0.65, 3.3063), (0.70, 3.3108), (0.75, 3.3185), (0.80, 3.3345), (0.85, 3.3403),
    (0.90, 3.3425), (0.95, 3.3447), (0.98, 3.3487), (0.99, 3.3618), (1.00, 3.5305),
)  # fmt: skip
# mOhm at 10, 25 and 40 degC for SOC 0, 0.1, ..., 1
_CHARGE_MOHM = (
    (53.55, 37.58, 30.48), (53.55, 37.58, 30.48), (59.22, 41.40, 33.09), (58.45, 41.40, 33.15),
    (59.28, 41.78, 32.64), (62.65, 44.77, 35.25), (67.55, 47.70, 37.67), (70.79, 49.79, 38.94),
    (69.20, 46.80, 35.57), (80.65, 53.42, 39.95), (80.65, 53.42, 39.95),
)  # fmt: skip
_DISCHARGE_MOHM = (
    (194.95, 61.69, 44.09), (194.95, 61.69, 44.09), (80.77, 50.37, 38.43), (75.06, 48.85, 37.54),
    (74.81, 51.76, 40.02), (69.39, 47.83, 38.38), (65.12, 44.27, 35.12), (61.50, 41.79, 32.89),
    (64.82, 46.56, 37.72), (61.43, 42.55, 33.98), (61.43, 42.55, 33.98),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell as tables.

    Attributes
    ----------
    capacity_ah : nominal charge
    soc_frac, ocv_v : (K,) nodes of the open-circuit voltage, straight lines between them
    degc : (M,) temperatures of the resistance tables [degC], in steps of equal width
    charge_ohm, discharge_ohm : (N, M) resistance at N values of SOC in equal steps from 0 to 1
    """

    capacity_ah: float
    soc_frac: FloatArray
    ocv_v: FloatArray
    degc: FloatArray
    charge_ohm: FloatArray
    discharge_ohm: FloatArray

    @property
    def mean_ocv_v(self) -> float:
        """Energy over charge from empty to full [V]."""
        return float(np.trapezoid(self.ocv_v, self.soc_frac))

    @property
    def energy_wh(self) -> float:
        return self.mean_ocv_v * self.capacity_ah

    def ocv_at(self, soc_frac: npt.ArrayLike) -> FloatArray:
        """Open-circuit voltage [V]; that of the nearest end outside [0, 1]."""
        return np.asarray(np.interp(np.asarray(soc_frac, np.float64), self.soc_frac, self.ocv_v))

    def resistance_at(
        self, soc_frac: npt.ArrayLike, temperature_degc: npt.ArrayLike, *, charging: bool
    ) -> FloatArray:
        """Resistance [Ohm], bilinear in the table; arguments broadcast."""
        table = self.charge_ohm if charging else self.discharge_ohm
        i, u = _place(np.asarray(soc_frac, np.float64), 0.0, 1.0, table.shape[0])
        first, last = float(self.degc[0]), float(self.degc[-1])
        j, v = _place(np.asarray(temperature_degc, np.float64), first, last, table.shape[1])
        cold = (1 - u) * table[i, j] + u * table[i + 1, j]
        warm = (1 - u) * table[i, j + 1] + u * table[i + 1, j + 1]
        return np.asarray((1 - v) * cold + v * warm, np.float64)


def _place(
    x: FloatArray, first: float, last: float, n: int
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Interval of an even grid of `n` nodes that holds x, and the share of the way through it."""
    at = np.clip((x - first) / (last - first), 0.0, 1.0) * (n - 1)
    index = np.minimum(at.astype(np.int64), n - 2)
    return index, np.asarray(at - index, np.float64)


def sony_lfp() -> Cell:
    """The cell of the tables above."""
    ocv = np.array(_OCV)
    return Cell(
        capacity_ah=3.0,
        soc_frac=ocv[:, 0],
        ocv_v=ocv[:, 1],
        degc=np.array([10.0, 25.0, 40.0]),
        charge_ohm=np.array(_CHARGE_MOHM) / 1000.0,
        discharge_ohm=np.array(_DISCHARGE_MOHM) / 1000.0,
    )


def current_a(
    power_w: npt.ArrayLike, ocv_v: npt.ArrayLike, resistance_ohm: npt.ArrayLike
) -> FloatArray:
    """Current at which a cell delivers `power_w` at its terminals, both above zero discharging.

    The smaller root of power = current * (ocv - resistance * current), in the form without
    cancellation. NaN where the cell cannot deliver so much: power > ocv^2 / (4 resistance).
    """
    power, ocv = np.asarray(power_w, np.float64), np.asarray(ocv_v, np.float64)
    inside = ocv**2 - 4.0 * np.asarray(resistance_ohm, np.float64) * power
    root = np.sqrt(np.where(inside >= 0, inside, np.nan))
    return np.asarray(2.0 * power / (ocv + root), np.float64)
