"""Scenario reduction: fewer scenarios that stay close to all, with the distance as certificate.

A subset is kept and the weight of every other scenario goes to the nearest kept one. The error is
the Kantorovich distance between the full and the reduced set. It bounds how far the expectation of
any function moves that changes by at most 1 per unit of the ground metric (Dupacova, Groewe-Kuska &
Roemisch 2003, doi 10.1007/s10107-002-0331-0). Which subset is best is a p-median problem, hard
in general: `forward` and `backward` are the greedy rules of Heitsch & Roemisch (2003, doi
10.1023/A:1021805924152), `swap` improves both by exchanging kept and dropped scenarios until no
single exchange helps (Kaufman & Rousseeuw 1990, doi 10.1002/9780470316801; all exchanges at once as
in Schubert & Rousseeuw 2021, doi 10.1016/j.is.2021.101804). Nothing is random; ties go to the
scenario that stands first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np
import numpy.typing as npt

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.distance import (
    Ints,
    Metric,
    distance_to_kept,
    ground_distances,
    nearest_kept,
)
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.scores import Array, finite, weights
from stochbess.scenario_gen.series import SERIES

Method = Literal["swap", "forward", "backward"]
Scale = Literal["spread", "none"] | Mapping[str, float]
METHODS: tuple[Method, ...] = ("swap", "forward", "backward")
ENUMERATED = 1000  # with at most so many subsets, `swap` tries them all: 6 of 12 are 924
TIE = 1e-12  # relative to the largest dissimilarity: sums that differ by less are equal


@dataclass(frozen=True, eq=False)
class Reduction:
    """A reduced scenario set and how far it is from the full one.

    Attributes
    ----------
    set : the kept scenarios in their old order, with redistributed probabilities; its provenance
        names method, ground metric and distance
    kept : positions of the kept scenarios in the full set, increasing, shape (n,)
    assigned : position in `kept` that each scenario's weight went to, shape (S,)
    distance : Kantorovich distance (61) to the full set, in the unit of the ground metric: 1 is one
        standard deviation for scale "spread", the unit of the series for "none"
    relative : the same over the distance of the best single scenario; 0 to 1 for `swap`
    method, metric : how it was made
    """

    set: ScenarioSet
    kept: Ints
    assigned: Ints
    distance: float
    relative: float
    method: str
    metric: str


def reduce_scenarios(
    scenarios: ScenarioSet,
    n: int,
    method: Method = "swap",
    scale: Scale = "spread",
    metric: Metric = "euclidean",
    dissimilarity: npt.ArrayLike | None = None,
) -> Reduction:
    """Keep `n` scenarios of the joint vector across all series.

    Parameters
    ----------
    scenarios : the full set; its probabilities are respected
    n : number of scenarios to keep, 1 to S
    method : "swap" (best), "forward" or "backward"
    scale : how the series are made comparable, see `scaled_vectors`
    metric : ground metric, "euclidean" or "l1"
    dissimilarity : shape (S, S), >= 0 with zero diagonal, used instead of `scale` and `metric`;
        row i, column j is the cost of putting j in the place of i (see `cost_space`)

    Raises
    ------
    ScenarioError : n out of range, an unknown method or scale, a matrix of another shape
    """
    size = len(scenarios)
    if not 1 <= n <= size:
        raise ScenarioError(f"cannot keep {n} of {size} scenarios; expected 1 to {size}")
    if dissimilarity is None:
        vectors = scaled_vectors(scenarios, scale, metric)
        matrix, named = (
            ground_distances(vectors, vectors, metric),
            f"{metric}, {named_scale(scale)}",
        )
    else:
        matrix, named = checked_dissimilarity(dissimilarity, size), "given dissimilarity"
    p = np.asarray(scenarios.probability, np.float64)
    kept = select(matrix, p, n, method)
    assigned = nearest_kept(matrix, kept)
    distance = float(p @ matrix[np.arange(size), kept[assigned]])
    single = float((p @ matrix).min())
    relative = distance / single if single > 0 else 0.0
    reduced = _with_weight(scenarios, kept, redistributed(p, assigned, n))
    provenance = {
        **scenarios.provenance,
        "reduced_from": str(size),
        "reduction_method": method,
        "reduction_metric": named,
        "reduction_distance": f"{distance:.6g}",
        "reduction_relative": f"{relative:.6g}",
        "reduced_set_sha256": scenarios.sha256,
    }
    reduced = ScenarioSet(
        reduced.names, reduced.probability, reduced.values, reduced.index, provenance
    )
    return Reduction(reduced, kept, assigned, distance, relative, method, named)


def select(dissimilarity: Array, p: Array, n: int, method: Method = "swap") -> Ints:
    """Positions of `n` scenarios to keep, increasing; see the head of the module for the methods.

    `dissimilarity` has shape (S, S), `p` shape (S,), and 1 <= n <= S.
    """
    if method not in METHODS:
        raise ScenarioError(f"unknown method {method!r}; expected {', '.join(METHODS)}")
    if n == len(p):
        return np.arange(n, dtype=np.int64)
    if method == "forward":
        return np.sort(forward_selection(dissimilarity, p, n))
    if method == "backward":
        return backward_reduction(dissimilarity, p, n)
    if comb(len(p), n) <= ENUMERATED:
        return best_by_enumeration(dissimilarity, p, n)
    starts = (forward_selection(dissimilarity, p, n), backward_reduction(dissimilarity, p, n))
    found = [improve_by_swaps(dissimilarity, p, start) for start in starts]
    reached = np.array([distance_to_kept(dissimilarity, p, kept) for kept in found])
    return found[_smallest(reached, dissimilarity)]


def best_by_enumeration(dissimilarity: Array, p: Array, n: int) -> Ints:
    """The best of all subsets of `n` scenarios, increasing; for few scenarios only."""
    subsets = np.array(list(combinations(range(len(p)), n)), np.int64)
    total = p @ dissimilarity[:, subsets].min(axis=2)
    return np.asarray(subsets[_smallest(total, dissimilarity)], np.int64)


def forward_selection(dissimilarity: Array, p: Array, n: int) -> Ints:
    """Fast forward selection (63): picks in their order, each the best addition to those before."""
    nearest = np.full(len(p), np.inf)
    picks: list[int] = []
    for _ in range(n):
        total = p @ np.minimum(nearest[:, None], dissimilarity)
        total[picks] = np.inf
        pick = _smallest(total, dissimilarity)
        picks.append(pick)
        nearest = np.minimum(nearest, dissimilarity[:, pick])
    return np.array(picks, np.int64)


def backward_reduction(dissimilarity: Array, p: Array, n: int) -> Ints:
    """Simultaneous backward reduction (64): drop the scenario whose loss costs least, S - n times.

    Returns the kept positions, increasing.
    """
    kept = np.ones(len(p), np.bool_)
    first, second = _two_nearest(dissimilarity, np.flatnonzero(kept))
    rows = np.arange(len(p))
    for _ in range(len(p) - n):
        loss = p * (dissimilarity[rows, second] - dissimilarity[rows, first])
        total: Array = np.bincount(first, loss, len(p)).astype(np.float64)
        total[~kept] = np.inf
        drop = _smallest(total, dissimilarity)
        kept[drop] = False
        left = np.flatnonzero(kept)
        moved = np.flatnonzero((first == drop) | (second == drop))
        if len(left) > 1:
            first[moved], second[moved] = _two_nearest(dissimilarity[moved], left)
    return np.flatnonzero(kept).astype(np.int64)


def improve_by_swaps(dissimilarity: Array, p: Array, start: Ints) -> Ints:
    """Exchange one kept against one dropped scenario while that shortens the distance (65).

    Every exchange is the best of all n (S - n); ends where none helps, mostly but not always at the
    optimum. Returns positions, increasing.
    """
    kept = np.sort(start)
    tie = TIE * float(dissimilarity.max(initial=0.0))
    rows = np.arange(len(p))
    while True:
        if len(kept) == 1:
            # The best single scenario needs no search.
            return np.array([_smallest(p @ dissimilarity, dissimilarity)], np.int64)
        first, second = _two_nearest(dissimilarity, kept)
        near, next_near = dissimilarity[rows, first], dissimilarity[rows, second]
        with_new = np.minimum(dissimilarity, near[:, None])
        gain = p @ (with_new - near[:, None])  # adding j, dropping nothing
        without = p[:, None] * (np.minimum(dissimilarity, next_near[:, None]) - with_new)
        of_kept = (first[None, :] == kept[:, None]).astype(np.float64)
        change = of_kept @ without + gain  # (n, S): kept m out, j in
        change[:, kept] = np.inf
        best = _smallest(change.ravel(), dissimilarity)
        if change.flat[best] >= -tie:
            return kept
        out, new = divmod(best, len(p))
        kept[out] = new
        kept = np.sort(kept)


def redistributed(p: Array, assigned: Ints, n: int) -> Array:
    """Weights of the kept scenarios (62): each has the weight of all that were assigned to it."""
    return np.bincount(assigned, p, n).astype(np.float64)


def scaled_vectors(
    scenarios: ScenarioSet, scale: Scale = "spread", metric: Metric = "euclidean"
) -> Array:
    """Joint vectors of the scenarios on a common scale, shape (S, sum of labels).

    "spread": every series is divided by its standard deviation around the mean scenario (root of
    the mean variance over its labels) and by the root of its number of labels (the number itself
    for "l1"), so that EUR/MWh and MW, 6 blocks and 96 quarter hours count alike; a series that is
    the same in all scenarios counts nothing. "none": as they are, for series of one unit only.
    A mapping gives factors by series: values are multiplied by them, a series without one is left
    out.

    Raises
    ------
    ScenarioError : units that would be mixed, an unknown series, a factor that is not >= 0
    """
    factors = scale_factors(scenarios, scale, metric)
    return np.concatenate([scenarios.values[s] * f for s, f in factors.items()], axis=1)


def scale_factors(
    scenarios: ScenarioSet, scale: Scale = "spread", metric: Metric = "euclidean"
) -> dict[str, float]:
    """Factor of every series that counts, see `scaled_vectors`, in the order of the set."""
    if isinstance(scale, Mapping):
        unknown = [s for s in scale if s not in scenarios.values]
        if unknown or not scale or not all(0 <= f < np.inf for f in scale.values()):
            raise ScenarioError(
                f"scale {dict(scale)}: expected factors >= 0 for series of the set, which holds "
                f"{', '.join(scenarios.series)}"
            )
        return {s: float(scale[s]) for s in scenarios.series if s in scale}
    if scale == "none":
        units = sorted({SERIES[s].unit for s in scenarios.series})
        if len(units) > 1:
            raise ScenarioError(
                f"scale 'none' would add {' and '.join(units)}. Use 'spread', or give a factor "
                "for each series."
            )
        return dict.fromkeys(scenarios.series, 1.0)
    if scale != "spread":
        raise ScenarioError(f"unknown scale {scale!r}; expected spread, none or a mapping")
    found = {}
    for series, values in scenarios.values.items():
        mean = scenarios.probability @ values
        spread = float(np.sqrt(np.mean(scenarios.probability @ (values - mean) ** 2)))
        n = values.shape[1]
        size = spread * (n if metric == "l1" else np.sqrt(n))
        # Rounding of the mean must not blow a constant series up.
        found[series] = 1 / size if spread > 1e-9 * float(np.abs(values).max()) else 0.0
    return found


def checked_dissimilarity(matrix: npt.ArrayLike, size: int) -> Array:
    """`matrix` as (S, S) float64 with zero diagonal and no negative number, or ScenarioError."""
    found = finite(matrix, "dissimilarity")
    if found.shape != (size, size) or (found < 0).any() or np.diagonal(found).any():
        raise ScenarioError(
            f"dissimilarity of shape {found.shape}; expected ({size}, {size}) numbers >= 0 with a "
            "diagonal of zeros"
        )
    return found


def named_scale(scale: Scale) -> str:
    """`scale` in words, for provenance."""
    if isinstance(scale, Mapping):
        return "factors " + ", ".join(f"{s}={f:g}" for s, f in sorted(scale.items()))
    return f"scale {scale}"


def _with_weight(scenarios: ScenarioSet, kept: Ints, weight: Array) -> ScenarioSet:
    return ScenarioSet(
        tuple(scenarios.names[i] for i in kept),
        weights(weight, len(kept)),
        {s: v[kept] for s, v in scenarios.values.items()},
        scenarios.index,
        scenarios.provenance,
    )


def _two_nearest(dissimilarity: Array, kept: npt.NDArray[np.integer]) -> tuple[Ints, Ints]:
    """The two kept scenarios nearest to every row; both the same if only one is kept."""
    part = dissimilarity[:, kept]
    rows = np.arange(len(part))
    first = part.argmin(axis=1)
    if len(kept) == 1:
        return kept[first].astype(np.int64), kept[first].astype(np.int64)
    rest = part.copy()
    rest[rows, first] = np.inf
    return kept[first].astype(np.int64), kept[rest.argmin(axis=1)].astype(np.int64)


def _smallest(total: Array, dissimilarity: Array) -> int:
    """Position of the smallest number, the first of those that differ by rounding only."""
    tie = TIE * float(dissimilarity.max(initial=0.0))
    return int(np.flatnonzero(total <= total.min() + tie)[0])
