"""What each half cycle went through: its C-rate and cell temperature, also across windows.

Rainflow counting divides the path among the half cycles. A half cycle from one turning point to
another consists of the path between them *without* the cycles that were opened and closed on the
way; what is left is monotone, so its length is the depth of the half cycle and the lengths of all
half cycles add up to the length of the path. A half cycle is rated by the means along its own part
of the path, weighted with the energy that moves: a rest or a trickle hardly counts, whatever its
duration.

Open half cycles reach back into earlier windows. `OpenCycles` therefore carries, beside the turning
points of `rainflow.carry`, what the path between them has accumulated. With it the increments of
windows add up to those of the joined path, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stochbess.battery.rainflow import HalfCycles, carry_positions, half_cycles
from stochbess.errors import DataError

FloatArray = npt.NDArray[np.float64]
# Accumulated along the path per energy moved: C-rate and temperature.
_N_SUMS = 2
_REFERENCE_DEGC = 25.0
_ROUNDING_FRAC = 1e-9


def _no_levels() -> FloatArray:
    return np.zeros(0)


def _no_sums() -> FloatArray:
    return np.zeros((0, _N_SUMS))


@dataclass(frozen=True, eq=False)
class CellPath:
    """What the cells did in one window, in steps of equal length.

    Attributes
    ----------
    dt_h : length of a step [h]
    soc_frac : (T+1,) stored over usable energy at the boundaries of the steps
    temperature_degc : (T,) mean cell temperature in each step [degC]
    loop_frac : (T,) energy that is both stored and drawn within a step, over usable energy: depth
        of the cycle that a step hides whose gross flows go both ways. Default: none
    loop_c_rate_per_h : (T,) C-rate of that cycle [1/h]

    Raises
    ------
    DataError : shapes do not fit, or a value is not finite
    """

    dt_h: float
    soc_frac: FloatArray
    temperature_degc: FloatArray
    loop_frac: FloatArray = field(default_factory=_no_levels)
    loop_c_rate_per_h: FloatArray = field(default_factory=_no_levels)

    def __post_init__(self) -> None:
        n = self.temperature_degc.size
        if not self.loop_frac.size:
            object.__setattr__(self, "loop_frac", np.zeros(n))
        if not self.loop_c_rate_per_h.size:
            object.__setattr__(self, "loop_c_rate_per_h", np.zeros(n))
        if not self.dt_h > 0:
            raise DataError(f"cell path: dt_h = {self.dt_h}: expected hours above zero.")
        sizes = {
            "soc_frac": (self.soc_frac, n + 1),
            "temperature_degc": (self.temperature_degc, n),
            "loop_frac": (self.loop_frac, n),
            "loop_c_rate_per_h": (self.loop_c_rate_per_h, n),
        }
        for name, (values, expected) in sizes.items():
            if values.shape != (expected,) or not np.isfinite(values).all():
                raise DataError(
                    f"cell path: {name} has shape {values.shape} and "
                    f"{int((~np.isfinite(values)).sum())} values that are not finite; expected "
                    f"({expected},) finite numbers: stored energy at both ends of every step."
                )

    @property
    def n_steps(self) -> int:
        return int(self.temperature_degc.size)

    @property
    def change_frac(self) -> FloatArray:
        """(T,) change of SOC in each step."""
        return np.asarray(np.diff(self.soc_frac), np.float64)

    @property
    def mean_soc_frac(self) -> FloatArray:
        """(T,) SOC in the middle of each step."""
        return np.asarray((self.soc_frac[:-1] + self.soc_frac[1:]) / 2, np.float64)

    @property
    def c_rate_per_h(self) -> FloatArray:
        """(T,) C-rate of the net change, above zero when charging [1/h]."""
        return np.asarray(self.change_frac / self.dt_h, np.float64)


@dataclass(frozen=True, eq=False)
class OpenCycles:
    """Open turning points and what the half cycles between them have gone through.

    Attributes
    ----------
    levels : (M,) open turning points, oldest first, as `rainflow.carry` returns them (p.u.)
    sums : (M, 2) integral of C-rate [1/h] and of temperature [degC] over the energy moved (p.u.)
        on the own path of the half cycle that begins at each point; the last one is still running
    """

    levels: FloatArray = field(default_factory=_no_levels)
    sums: FloatArray = field(default_factory=_no_sums)

    def __post_init__(self) -> None:
        if self.sums.shape != (self.levels.size, _N_SUMS):
            raise DataError(
                f"open cycles: {self.levels.size} turning points, but sums of shape "
                f"{self.sums.shape}. Expected one row of {_N_SUMS} per turning point; "
                "OpenCycles.assumed makes them from bare turning points."
            )

    @classmethod
    def assumed(
        cls,
        levels: npt.ArrayLike,
        soc_frac: float,
        *,
        c_rate_per_h: float,
        temperature_degc: float,
    ) -> OpenCycles:
        """Bare turning points, with a C-rate and a temperature assumed for all of the past."""
        points = np.asarray(levels, np.float64)
        length = np.abs(np.diff(np.append(points, soc_frac)))
        return cls(points, np.outer(length, [c_rate_per_h, temperature_degc]))


@dataclass(frozen=True, eq=False)
class RatedHalfCycles:
    """Half cycles that a window adds, with their means; every attribute has shape (H,).

    Attributes
    ----------
    depth_frac, weight, is_discharge : as in `rainflow.HalfCycles`; what was booked earlier and is
        replaced by a deeper half cycle comes with weight -1
    c_rate_per_h, temperature_degc : means over the energy moved on the own path
    step : step of the window in which the half cycle is complete, or its replacement
    """

    depth_frac: FloatArray
    weight: FloatArray
    is_discharge: npt.NDArray[np.bool_]
    c_rate_per_h: FloatArray
    temperature_degc: FloatArray
    step: npt.NDArray[np.int64]


class _Timeline:
    """Sums along the joined path of past turning points and window, closed cycles taken out."""

    def __init__(self, path: CellPath, past: OpenCycles, cycles: HalfCycles) -> None:
        self.n_past = past.levels.size
        self.levels = np.concatenate([past.levels, path.soc_frac])
        moved = np.abs(path.change_frac)
        per_energy = np.stack([moved / path.dt_h, path.temperature_degc], axis=1)
        pieces = [np.zeros((1, _N_SUMS)), past.sums, moved[:, None] * per_energy]
        self.running = np.cumsum(np.concatenate(pieces), axis=0)
        self._take_out_closed(cycles)

    def _take_out_closed(self, cycles: HalfCycles) -> None:
        """Own sums of every closing half and what has been taken out up to each closure.

        Closures come in the order of the path. When one closes, everything from its first turning
        point to the point where that level is reached again leaves the timeline.
        """
        start = cycles.start_index + self.n_past
        end = cycles.end_index + self.n_past
        stop = cycles.stop_index + self.n_past
        self.closing = np.flatnonzero((end < start) & (cycles.weight > 0))
        self.stops = stop[self.closing]
        at = self._crossings(end[self.closing], self.stops)
        before = [self._last_closure(points) for points in (start[self.closing], end[self.closing])]
        running = self.running
        # plain floats: each closure needs the ones before it
        removed = [(0.0, 0.0)]
        own = []
        rows = zip(
            at.tolist(),
            running[start[self.closing]].tolist(),
            running[end[self.closing]].tolist(),
            before[0].tolist(),
            before[1].tolist(),
            strict=True,
        )
        for now, second, first, n_second, n_first in rows:
            last, since, earlier = removed[-1], removed[n_second], removed[n_first]
            own.append([now[i] - second[i] - (last[i] - since[i]) for i in range(_N_SUMS)])
            removed.append((now[0] - first[0] + earlier[0], now[1] - first[1] + earlier[1]))
        self.own_closing = np.array(own).reshape(-1, _N_SUMS)
        self.removed = np.array(removed)

    def _crossings(
        self, level_at: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]
    ) -> FloatArray:
        """Sums where the path, on its way into `stop`, is back at the level of `level_at`."""
        from_level, to_level = self.levels[stop - 1], self.levels[stop]
        change = to_level - from_level
        share = np.divide(
            self.levels[level_at] - from_level, change, out=np.ones_like(change), where=change != 0
        )
        before, after = self.running[stop - 1], self.running[stop]
        return np.asarray(before + share[:, None] * (after - before), np.float64)

    def _last_closure(self, position: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many cycles have closed up to and including each position."""
        return np.searchsorted(self.stops, position, side="right")

    def own(self, start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> FloatArray:
        """Sums between positions, closed cycles left out; `start` before `end`."""
        gone = self.removed[self._last_closure(end)] - self.removed[self._last_closure(start)]
        return np.asarray(self.running[end] - self.running[start] - gone, np.float64)


def rated_half_cycles(path: CellPath, past: OpenCycles) -> RatedHalfCycles:
    """Half cycles that `path` adds to a past with the open cycles `past`, each with its means.

    The closed cycles inside single steps (`path.loop_frac`) are among them.
    """
    cycles = half_cycles(path.soc_frac, past.levels)
    line = _Timeline(path, past, cycles)
    start, end = cycles.start_index + line.n_past, cycles.end_index + line.n_past
    forward = end > start
    sums = np.zeros((cycles.depth.size, _N_SUMS))
    sums[forward] = line.own(start[forward], end[forward])
    # a half cycle booked before the window knows nothing of the closures inside it
    booked = cycles.weight < 0
    sums[booked] = line.running[end[booked]] - line.running[start[booked]]
    sums[line.closing] = line.own_closing
    depth = cycles.depth
    # a depth of rounding size has no mean; any finite one will do
    mean = np.tile([0.0, _REFERENCE_DEGC], (depth.size, 1))
    np.divide(sums, depth[:, None], out=mean, where=depth[:, None] > _ROUNDING_FRAC)
    loop = np.flatnonzero(path.loop_frac > 0)
    twice = np.concatenate([loop, loop])
    return RatedHalfCycles(
        depth_frac=np.concatenate([depth, path.loop_frac[twice]]),
        weight=np.concatenate([cycles.weight, np.ones(twice.size)]),
        is_discharge=np.concatenate([cycles.is_discharge, np.repeat([False, True], loop.size)]),
        c_rate_per_h=np.concatenate([mean[:, 0], path.loop_c_rate_per_h[twice]]),
        temperature_degc=np.concatenate([mean[:, 1], path.temperature_degc[twice]]),
        step=np.concatenate([_steps(cycles), twice]),
    )


def _steps(cycles: HalfCycles) -> npt.NDArray[np.int64]:
    """Step to which each half cycle is attributed; a booked one goes with its replacement."""
    step = np.maximum(cycles.stop_index - 1, 0)
    new = cycles.weight > 0
    at = dict(zip(cycles.start_index[new].tolist(), step[new].tolist(), strict=True))
    for i in np.flatnonzero(~new):
        step[i] = at.get(int(cycles.start_index[i]), 0)
    return np.asarray(step, np.int64)


def carry_open(path: CellPath, past: OpenCycles) -> OpenCycles:
    """Open cycles after `path`, to be the `past` of the next window."""
    if not path.n_steps:
        return past
    position = carry_positions(path.soc_frac, past.levels)
    if not position:
        return OpenCycles()
    line = _Timeline(path, past, half_cycles(path.soc_frac, past.levels))
    bounds = np.array([*position, line.levels.size - 1])
    return OpenCycles(line.levels[bounds[:-1]], line.own(bounds[:-1], bounds[1:]))
