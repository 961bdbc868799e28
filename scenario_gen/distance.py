"""Distances between weighted scenario sets and between trees.

The Kantorovich (Wasserstein-1) distance is the least cost of moving one set of weights onto another
when moving weight p from x to y costs p d(x, y). It sees values and probabilities but not *when* a
value becomes known. The nested distance does: its plan may use at each stage only what both trees
have revealed by then (Pflug & Pichler 2012, doi 10.1137/110825054; 2014, doi
10.1007/978-3-319-08843-3). d is the ground metric: Euclidean, or L1, of the vectors as they are
given; put them on a common scale first (`reduction.scaled_vectors`). Linear programs are solved by
HiGHS through scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from stochbess.errors import DataError
from stochbess.scenario_gen.scores import Array, finite, weights

Ints = npt.NDArray[np.int64]
Metric = Literal["euclidean", "l1"]
_CDIST = {"euclidean": "euclidean", "l1": "cityblock"}


def ground_distances(x: npt.ArrayLike, y: npt.ArrayLike, metric: Metric = "euclidean") -> Array:
    """d(x_i, y_j) between the rows of `x` (n, D) and `y` (m, D), shape (n, m)."""
    first, second = finite(x, "x"), finite(y, "y")
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise DataError(
            f"distance: vectors of shapes {first.shape} and {second.shape}; expected (n, D) and "
            "(m, D) with the same D"
        )
    if metric not in _CDIST:
        raise DataError(f"distance: metric {metric!r}; expected {' or '.join(_CDIST)}")
    return np.asarray(cdist(first, second, _CDIST[metric]), np.float64)


def transport_cost(
    cost: npt.ArrayLike,
    p: npt.ArrayLike | None = None,
    q: npt.ArrayLike | None = None,
) -> float:
    """Least cost (60) of moving the weights `p` onto `q` at the unit costs `cost`.

    Parameters
    ----------
    cost : shape (n, m), >= 0
    p, q : weights of shape (n,) and (m,) that sum to 1; None for equal weights

    Raises
    ------
    DataError : shapes, weights or costs that are none, or a program that HiGHS could not solve
    """
    c = finite(cost, "cost")
    if c.ndim != 2 or c.size == 0 or (c < 0).any():
        raise DataError(f"transport: cost of shape {c.shape}; expected (n, m) numbers >= 0")
    n, m = c.shape
    supply, demand = weights(p, n), weights(q, m)
    if min(n, m) == 1:
        return float(supply @ c @ demand)  # only one plan exists
    columns = np.arange(n * m)
    ones = np.ones(n * m)
    rows = sp.vstack(
        [
            sp.csr_array((ones, (columns // m, columns)), shape=(n, n * m)),
            sp.csr_array((ones, (columns % m, columns)), shape=(m, n * m)),
        ]
    )
    # The last row follows from the others; left out, a rounding error of 1e-16 is no contradiction.
    right = np.concatenate([supply / supply.sum(), demand / demand.sum()])
    found = linprog(
        c.ravel(), A_eq=rows.tocsr()[:-1], b_eq=right[:-1], bounds=(0, None), method="highs-ds"
    )
    if found.status != 0:
        raise DataError(f"transport of {n} onto {m} weights was not solved: {found.message}")
    return max(float(found.fun), 0.0)


def kantorovich_distance(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    p: npt.ArrayLike | None = None,
    q: npt.ArrayLike | None = None,
    metric: Metric = "euclidean",
) -> float:
    """Kantorovich distance (60) of the vectors `x` (n, D) with weights `p` and `y` (m, D) with `q`.

    In the unit of the vectors. n m variables: 366 against 366 take seconds, thousands do not fit.
    """
    return transport_cost(ground_distances(x, y, metric), p, q)


def nearest_kept(dissimilarity: Array, kept: Ints) -> Ints:
    """Position in `kept` of the one that each row is nearest to, shape (S,).

    A kept one stays with itself, else ties go to the first in `kept`.
    """
    nearest: Ints = np.argmin(dissimilarity[:, kept], axis=1).astype(np.int64)
    nearest[kept] = np.arange(len(kept))
    return nearest


def distance_to_kept(dissimilarity: Array, p: Array, kept: Ints) -> float:
    """Kantorovich distance (61) between all scenarios and the kept ones with the best weights."""
    return float(p @ dissimilarity[:, kept].min(axis=1))


@dataclass(frozen=True, eq=False)
class NumberTree:
    """A tree of vectors, the form in which distances are computed.

    Attributes
    ----------
    parent : shape (N,), -1 for the root (node 0); nodes are ordered by stage, and within a stage
        by their parents
    probability : absolute probability of every node, shape (N,)
    vectors : one array (nodes of the stage, D of the stage) per stage, the root being the first;
        D may differ between stages and be 0
    """

    parent: Ints
    probability: Array
    vectors: tuple[Array, ...]

    @cached_property
    def first(self) -> Ints:
        """Number of the first node of every stage, and N at the end."""
        counts = [len(v) for v in self.vectors]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def children(self, node: int) -> Ints:
        """Nodes whose parent is `node`; they stand side by side."""
        low, high = np.searchsorted(self.parent, [node, node + 1])
        return np.arange(low, high, dtype=np.int64)

    @cached_property
    def paths(self) -> Array:
        """Vectors from the root to each leaf side by side, shape (leaves, sum of D)."""
        parts = []
        node = np.arange(self.first[-2], self.first[-1])
        for stage in range(len(self.vectors) - 1, -1, -1):
            parts.append(self.vectors[stage][node - self.first[stage]])
            node = self.parent[node]
        return np.concatenate(parts[::-1], axis=1)


def nested_distance(a: NumberTree, b: NumberTree, metric: Metric = "l1") -> float:
    """Nested (process) distance of order 1 of two trees of equal height (67).

    Backwards from the distances of the leaf paths: the distance of two nodes of a stage is the
    least transport cost between their children under the conditional probabilities. At least the
    Kantorovich distance of the paths, and 0 for trees that differ in the numbering of nodes only.
    One small linear program per pair of nodes of a stage that both branch.

    Raises
    ------
    DataError : different heights or dimensions
    """
    if [v.shape[1] for v in a.vectors] != [v.shape[1] for v in b.vectors]:
        raise DataError(
            f"nested distance: stages hold {[v.shape[1] for v in a.vectors]} and "
            f"{[v.shape[1] for v in b.vectors]} numbers; expected trees over the same stages"
        )
    below = ground_distances(a.paths, b.paths, metric)
    for stage in range(len(a.vectors) - 2, -1, -1):
        nodes_a, nodes_b = _nodes(a, stage), _nodes(b, stage)
        if below.shape[0] == len(nodes_a):  # no branching: only one plan exists
            below = below @ _conditional_matrix(b, stage).T
            continue
        if below.shape[1] == len(nodes_b):
            below = _conditional_matrix(a, stage) @ below
            continue
        here = np.empty((len(nodes_a), len(nodes_b)))
        for i, node_a in enumerate(nodes_a):
            of_a, p = _conditional(a, int(node_a))
            for j, node_b in enumerate(nodes_b):
                of_b, q = _conditional(b, int(node_b))
                part = below[np.ix_(of_a - a.first[stage + 1], of_b - b.first[stage + 1])]
                here[i, j] = transport_cost(part, p, q)
        below = here
    return float(below[0, 0])


def _nodes(tree: NumberTree, stage: int) -> Ints:
    return np.arange(tree.first[stage], tree.first[stage + 1], dtype=np.int64)


def _conditional(tree: NumberTree, node: int) -> tuple[Ints, Array]:
    """Children of a node and their probabilities given the node."""
    children = tree.children(node)
    p = tree.probability[children]
    return children, np.asarray(p / p.sum(), np.float64)


def _conditional_matrix(tree: NumberTree, stage: int) -> Array:
    """Probability of the nodes of the next stage given each node of `stage`."""
    below = _nodes(tree, stage + 1)
    matrix = np.zeros((len(_nodes(tree, stage)), len(below)))
    row = tree.parent[below] - tree.first[stage]
    matrix[row, np.arange(len(below))] = tree.probability[below]
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True), np.float64)
