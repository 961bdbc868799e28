"""Rainflow counting of a stored-energy path, with open turning points carried from day to day.

The four-point method closes every inner cycle as soon as both neighbouring ranges enclose it; what
remains, the residue, is counted as half cycles (ASTM E1049-85, section 5.4.4; the sum of weights
per depth equals the three-point counting of that standard). A closed cycle is two half cycles of
the same depth, one charge and one discharge, so every entry has weight one.

The residue is the memory of the counting. A window of a longer path is therefore counted *given*
the open turning points of the past: what the past has already booked enters with weight -1 unless
the window leaves it untouched. With these increments

    increment(day 1) + increment(day 2) + ... = rainflow of the concatenated path,

to rounding. For a convex cost of depth with cost(0) = 0 the sum over half cycles is convex in the
path when the first point, which is data, is held (Shi, Xu, Tan, Kirschen & Zhang 2019,
doi 10.1109/TAC.2018.2867507); `cost_gradient` is then a subgradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError

FloatArray = npt.NDArray[np.float64]
_Pair = tuple[int, int]


class DepthCost(Protocol):
    """Anything that prices a full cycle of a given depth."""

    def cost_eur(self, depth_frac: npt.ArrayLike) -> FloatArray:
        """Cost of full cycles of `depth_frac` [EUR]."""
        ...


@dataclass(frozen=True, eq=False)
class HalfCycles:
    """Half cycles of one window; every attribute has shape (H,).

    Attributes
    ----------
    depth : absolute change of the path over the half cycle, in the unit of the path (p.u.)
    weight : 1, or -1 for one booked before the window and replaced by a deeper one inside it
    start_index, end_index : turning points that bound it; >= 0 counts in the window, negative
        counts from the end of the carried turning points. The half that closes a cycle runs from
        the second turning point back to the *level* of the first, which is its `end_index`.
    stop_index : first point of the path at which the half cycle is complete: `end_index`, except
        for the half that closes a cycle, which is complete at or just before this later point
    is_discharge : True if the path falls from start to end
    """

    depth: FloatArray
    weight: FloatArray
    start_index: npt.NDArray[np.int64]
    end_index: npt.NDArray[np.int64]
    stop_index: npt.NDArray[np.int64]
    is_discharge: npt.NDArray[np.bool_]


def _finite(name: str, values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise DataError(f"{name}: shape {array.shape} found, expected one dimension (p.u. of SOC).")
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise DataError(
            f"{name}: value {array[where]} at position {where} of {array.size}. Rainflow counting "
            "expects finite stored energy in p.u.; repair or drop the schedule it comes from."
        )
    return array


def _count(values: Sequence[float]) -> tuple[dict[_Pair, int], list[int]]:
    """Closed half cycles, (start, end) -> stop, and the residue, as positions in `values`.

    Comparisons are between values, not between ranges: no rounding decides what is enclosed.
    """
    # a pair of positions occurs at most once: the dictionary is a list that can be looked up in
    closed: dict[_Pair, int] = {}
    stack: list[int] = []
    for position, value in enumerate(values):
        if stack and value == values[stack[-1]]:
            continue
        if len(stack) >= 2:
            before, last = values[stack[-2]], values[stack[-1]]
            if (value > last) == (last > before):
                stack.pop()  # the path goes on in the same direction: no turning point there
        stack.append(position)
        while len(stack) >= 4:
            a, b, c, d = (values[p] for p in stack[-4:])
            enclosed = (a <= c and d >= b) if b > c else (a >= c and d <= b)
            if not enclosed:
                break
            first, second = stack[-3], stack[-2]
            closed[first, second], closed[second, first] = second, position
            del stack[-3:-1]
    return closed, stack


def _all_halves(values: Sequence[float]) -> dict[_Pair, int]:
    closed, residue = _count(values)
    return closed | {pair: pair[1] for pair in pairwise(residue)}


def half_cycles(series: npt.ArrayLike, prefix: npt.ArrayLike = ()) -> HalfCycles:
    """Half cycles that `series` adds to a past with the open turning points `prefix`.

    Parameters
    ----------
    series : stored energy at the step boundaries, p.u. of usable energy; element 0 is the start
    prefix : open turning points before the start, oldest first, as returned by `carry`; whether
        the start itself is repeated at its end makes no difference

    Raises
    ------
    DataError : a value is NaN or infinite
    """
    past, window = _finite("prefix", prefix), _finite("series", series)
    values = [*past.tolist(), *window.tolist()]
    booked = _all_halves(values[: past.size + 1] if window.size else values)
    counted = _all_halves(values)
    new = [(*pair, stop) for pair, stop in counted.items() if pair not in booked]
    n_new = len(new)
    new += [(*pair, stop) for pair, stop in booked.items() if pair not in counted]
    bounds = np.asarray(new, np.int64).reshape(-1, 3)
    ends = bounds[:, :2]
    change = np.asarray(values, np.float64)[ends]
    weight = np.ones(len(new))
    weight[n_new:] = -1.0
    return HalfCycles(
        depth=np.abs(change[:, 1] - change[:, 0]),
        weight=weight,
        start_index=ends[:, 0] - past.size,
        end_index=ends[:, 1] - past.size,
        stop_index=bounds[:, 2] - past.size,
        is_discharge=change[:, 1] < change[:, 0],
    )


def carry_positions(series: npt.ArrayLike, prefix: npt.ArrayLike = ()) -> tuple[int, ...]:
    """Where the points that `carry` returns stand in `[*prefix, *series]`."""
    past, window = _finite("prefix", prefix), _finite("series", series)
    values = [*past.tolist(), *window.tolist()]
    if not window.size:
        return tuple(range(past.size))
    _, residue = _count(values)
    if len(residue) < 2:
        return ()
    levels = [values[position] for position in residue]
    first = int(np.argmax(np.abs(np.diff(levels))))
    return tuple(residue[first:-1])


def carry(series: npt.ArrayLike, prefix: npt.ArrayLike = ()) -> tuple[float, ...]:
    """Open turning points after `series`, oldest first, to be the next window's `prefix`.

    The present stored energy (the last element) is not a turning point and is not part of the
    answer. Half cycles older than the largest remaining one can never change again and are dropped.
    """
    positions = carry_positions(series, prefix)
    values = np.concatenate([_finite("prefix", prefix), _finite("series", series)])
    return tuple(values[list(positions)].tolist())


def cycle_cost(
    series: npt.ArrayLike, prefix: npt.ArrayLike, cost: Callable[[FloatArray], npt.ArrayLike]
) -> float:
    """Sum of weight * cost(depth) over all half cycles; `cost` is that of one *half* cycle."""
    cycles = half_cycles(series, prefix)
    return float(cycles.weight @ np.asarray(cost(cycles.depth), np.float64))


def cost_gradient(
    series: npt.ArrayLike, prefix: npt.ArrayLike, slope: Callable[[FloatArray], npt.ArrayLike]
) -> FloatArray:
    """Gradient of `cycle_cost` with respect to every element of `series`, same shape.

    Parameters
    ----------
    slope : derivative of the cost of one half cycle with respect to its depth

    Where the cost is not differentiable (plateaus, equal ranges) one subgradient is returned.
    """
    cycles = half_cycles(series, prefix)
    pull = cycles.weight * np.asarray(slope(cycles.depth), np.float64)
    pull = np.where(cycles.is_discharge, pull, -pull)
    gradient = np.zeros(np.asarray(series).size)
    for index, sign in ((cycles.start_index, 1.0), (cycles.end_index, -1.0)):
        inside = index >= 0
        np.add.at(gradient, index[inside], sign * pull[inside])
    return gradient


def discharge_cycle_cost(series: npt.ArrayLike, prefix: npt.ArrayLike, curve: DepthCost) -> float:
    """Aging cost that `series` adds when each *discharge* half cycle carries a full cycle's cost.

    This is the convention of a segment model (Xu, Zhao, Zheng, Litvinov & Kirschen 2018,
    doi 10.1109/TPWRS.2017.2733339): each full cycle has exactly one discharge half, charging is
    free, and a day that ends below its start pays for it at once.

    Returns
    -------
    EUR of the window, given the carried turning points `prefix`
    """
    cycles = half_cycles(series, prefix)
    down = cycles.is_discharge
    return float(cycles.weight[down] @ curve.cost_eur(cycles.depth[down]))
