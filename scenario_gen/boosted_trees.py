"""Gradient-boosted trees as plain arrays: fitted by scikit-learn, stored and evaluated without it.

Histogram gradient boosting (Friedman 2001, doi:10.1214/aos/1013203451; implementation of
scikit-learn) grows the trees. What is kept is a `TreeEnsemble`: flat arrays of the nodes, which go
into a file as they are and are evaluated with numpy, so that nothing has to be unpickled. Its
values are those of scikit-learn to the last bit (tests/test_boosted_trees.py).

NaN in a feature is a value of its own: every split has learned which way it goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import ThreadpoolController

from stochbess.errors import DataError

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Loss = Literal["log_loss", "squared_error", "absolute_error", "quantile"]

_CHUNK_CELLS = 2_000_000  # rows x trees walked at once: bounds the memory of a prediction


@dataclass(frozen=True)
class TreeSettings:
    """Size of an ensemble and how fast it learns.

    Attributes
    ----------
    n_trees : number of boosting rounds, >= 1; there is no early stopping
    learning_rate : shrinkage of each tree, in (0, 1]
    max_leaves : leaves of a tree, >= 2
    min_leaf_rows : rows that a leaf must hold, >= 1
    l2 : penalty on the values of the leaves, >= 0
    max_features_frac : share of the features that a split may choose from, in (0, 1]
    max_bins : histogram bins of a feature, 2 to 255
    """

    n_trees: int = 120
    learning_rate: float = 0.05
    max_leaves: int = 15
    min_leaf_rows: int = 100
    l2: float = 1.0
    max_features_frac: float = 1.0
    max_bins: int = 255


@dataclass(frozen=True)
class TreeEnsemble:
    """Sum of regression trees; nodes of all trees one after the other.

    Attributes
    ----------
    baseline : value before the first tree, shape (1,)
    root : node at which each tree begins, shape (trees,)
    feature, threshold : column and limit of the split of a node; a row goes left if its value is
        not above the limit. Shape (nodes,); -1 and 0.0 in a leaf
    missing_left : 1 where NaN goes left, shape (nodes,)
    left, right : nodes that follow; the node itself in a leaf, shape (nodes,)
    value : output of a leaf (learning rate included), 0.0 elsewhere, shape (nodes,)
    n_features : number of columns expected, shape (1,)
    """

    baseline: Array
    root: Ints
    feature: Ints
    threshold: Array
    missing_left: Ints
    left: Ints
    right: Ints
    value: Array
    n_features: Ints

    def raw(self, x: Array) -> Array:
        """Output of the ensemble for the rows of `x`, shape (rows,): log odds for `log_loss`.

        Raises
        ------
        DataError : `x` is not of shape (rows, n_features)
        """
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != int(self.n_features[0]):
            raise DataError(
                f"features have shape {x.shape}; the trees were fitted on "
                f"{int(self.n_features[0])} columns. Build them with the same list of features."
            )
        total = np.full(len(x), float(self.baseline[0]))
        step = max(1, _CHUNK_CELLS // max(len(self.root), 1))
        for first in range(0, len(x), step):
            leaves = self._leaves(x[first : first + step])
            for tree in range(len(self.root)):  # one by one, in the order in which they were grown
                total[first : first + step] += self.value[leaves[:, tree]]
        return total

    def probability(self, x: Array) -> Array:
        """Logistic function of `raw`: the probability of class 1 under `log_loss`."""
        return np.asarray(1.0 / (1.0 + np.exp(-self.raw(x))), np.float64)

    def to_arrays(self, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
        """The ensemble as named arrays, for a file without code in it."""
        return {f"{prefix}{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> TreeEnsemble:
        """The ensemble that `to_arrays` wrote.

        Raises
        ------
        DataError : an array is absent, or the nodes point outside or backwards
        """
        names = [field.name for field in fields(cls)]
        absent = [name for name in names if f"{prefix}{name}" not in arrays]
        if absent:
            raise DataError(
                f"stored trees lack {', '.join(prefix + name for name in absent)}; expected the "
                "arrays of TreeEnsemble.to_arrays. Fit the model again."
            )

        def real(name: str) -> Array:
            return np.asarray(arrays[f"{prefix}{name}"], np.float64)

        def whole(name: str) -> Ints:
            return np.asarray(arrays[f"{prefix}{name}"], np.int64)

        found = cls(
            baseline=real("baseline"),
            root=whole("root"),
            feature=whole("feature"),
            threshold=real("threshold"),
            missing_left=whole("missing_left"),
            left=whole("left"),
            right=whole("right"),
            value=real("value"),
            n_features=whole("n_features"),
        )
        _require_sound(found)
        return found

    def _leaves(self, x: Array) -> Ints:
        """Leaf that each row reaches in each tree, shape (rows, trees)."""
        node = np.broadcast_to(self.root, (len(x), len(self.root))).copy()
        rows, trees = np.indices(node.shape).reshape(2, -1)
        while len(rows):
            at = node[rows, trees]
            inner = self.feature[at] >= 0
            rows, trees, at = rows[inner], trees[inner], at[inner]
            seen = x[rows, self.feature[at]]
            left = np.where(np.isnan(seen), self.missing_left[at] == 1, seen <= self.threshold[at])
            node[rows, trees] = np.where(left, self.left[at], self.right[at])
        return node


def _require_sound(trees: TreeEnsemble) -> None:
    n = len(trees.feature)
    per_node = (trees.threshold, trees.missing_left, trees.left, trees.right, trees.value)
    inner = trees.feature >= 0
    forward = np.arange(n)[inner]
    sound = (
        all(len(a) == n for a in per_node)
        and len(trees.baseline) == 1
        and len(trees.n_features) == 1
        and bool(((trees.root >= 0) & (trees.root < n)).all())
        and bool((trees.feature < trees.n_features[0]).all())
        and bool(((trees.left[inner] > forward) & (trees.left[inner] < n)).all())
        and bool(((trees.right[inner] > forward) & (trees.right[inner] < n)).all())
        and bool(np.isfinite(trees.value).all())
    )
    if not sound:
        raise DataError(
            "stored trees are damaged: lengths differ, or nodes lead outside the ensemble or back "
            "to where they came from. Fit the model again."
        )


def fit_trees(
    x: Array,
    y: Array,
    loss: Loss,
    settings: TreeSettings,
    seed: int,
    weight: Array | None = None,
    quantile: float | None = None,
    monotone: Sequence[int] | None = None,
) -> TreeEnsemble:
    """Fits an ensemble and takes it out of scikit-learn.

    Parameters
    ----------
    x : features, shape (rows, features); NaN is allowed, infinite values are not. A column
        without any value stays unused
    y : shape (rows,); 0 or 1 for `log_loss`, any finite number otherwise
    loss : `log_loss` (two classes), or a loss of regression
    seed : for the choice of features at splits and of rows for the bins
    weight : weights of the rows >= 0, shape (rows,)
    quantile : level for the loss `quantile`, in (0, 1)
    monotone : 1, 0 or -1 for each feature: output may only rise, do anything, or only fall

    Raises
    ------
    DataError : no rows, shapes that do not match, or only one class
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or len(x) == 0 or y.shape != (len(x),):
        raise DataError(
            f"trees need features (rows, columns) and one target per row; got {x.shape} and "
            f"{y.shape}"
        )
    # scikit-learn fails on a column of nothing but NaN; of one constant it makes no split.
    x = np.where(np.isnan(x).all(axis=0), 0.0, x)
    edges = None
    if weight is not None:
        # Weighted bins cost a sort per bin in scikit-learn: bin here, translate the limits back.
        edges = [_bin_edges(column, settings.max_bins) for column in x.T]
        codes = [np.searchsorted(e, c, side="left") for e, c in zip(edges, x.T, strict=True)]
        x = np.where(np.isnan(x), np.nan, np.column_stack(codes))
    options = {
        "loss": loss,
        "max_iter": settings.n_trees,
        "learning_rate": settings.learning_rate,
        "max_leaf_nodes": settings.max_leaves,
        "min_samples_leaf": settings.min_leaf_rows,
        "l2_regularization": settings.l2,
        "max_features": settings.max_features_frac,
        "max_bins": settings.max_bins,
        "monotonic_cst": None if monotone is None else list(monotone),
        "early_stopping": False,
        "random_state": seed % 2**32,
    }
    if loss == "log_loss":
        if set(np.unique(y).tolist()) != {0.0, 1.0}:
            raise DataError(
                "log_loss needs both classes 0 and 1 in the target, found "
                f"{np.unique(y)[:5].tolist()}"
            )
        y = y.astype(np.int64)
        model: Any = HistGradientBoostingClassifier(**options)
    else:
        model = HistGradientBoostingRegressor(**options, quantile=quantile)
    # Threads of two processes that wait for each other made small fits eighty times slower.
    with _thread_pools().limit(limits=1):
        model.fit(x, y, sample_weight=weight)
    trees = exported(model)
    if edges is None:
        return trees
    # An infinite limit parts what is known from what is not.
    limits = [
        edges[column][int(limit)] if column >= 0 and np.isfinite(limit) else limit
        for column, limit in zip(trees.feature, trees.threshold, strict=True)
    ]
    return replace(trees, threshold=np.array(limits, np.float64))


def _bin_edges(column: Array, max_bins: int) -> Array:
    """Upper ends of all bins of a feature but the last, ascending and distinct."""
    known = column[~np.isnan(column)]
    distinct = np.unique(known)
    if len(distinct) <= max_bins:
        return (distinct[:-1] + distinct[1:]) / 2
    levels = np.linspace(0, 1, max_bins + 1)[1:-1]
    return np.unique(np.quantile(known, levels))


@cache
def _thread_pools() -> ThreadpoolController:
    """The native thread pools of this process."""
    return ThreadpoolController()


def exported(model: Any) -> TreeEnsemble:
    """The trees of a fitted scikit-learn model with one output and numerical features only.

    Raises
    ------
    DataError : more than two classes, or a categorical feature
    """
    grown = model._predictors
    if any(len(stage) != 1 for stage in grown):
        raise DataError("trees with several outputs cannot be exported: fit one model per class")
    nodes = [stage[0].nodes for stage in grown]
    if any(tree["is_categorical"].any() for tree in nodes):
        raise DataError("trees with categorical splits cannot be exported: encode as numbers")
    root = np.concatenate([[0], np.cumsum([len(tree) for tree in nodes])])[:-1].astype(np.int64)
    parts: dict[str, list[npt.NDArray[Any]]] = {
        name: [] for name in ("feature", "threshold", "missing_left", "left", "right", "value")
    }
    for start, tree in zip(root, nodes, strict=True):
        leaf = tree["is_leaf"].astype(bool)
        own = np.arange(len(tree)) + start
        parts["feature"].append(np.where(leaf, -1, tree["feature_idx"]))
        parts["threshold"].append(np.where(leaf, 0.0, tree["num_threshold"]))
        parts["missing_left"].append(np.where(leaf, 0, tree["missing_go_to_left"]))
        parts["left"].append(np.where(leaf, own, tree["left"].astype(np.int64) + start))
        parts["right"].append(np.where(leaf, own, tree["right"].astype(np.int64) + start))
        parts["value"].append(np.where(leaf, tree["value"], 0.0))
    flat = {name: np.concatenate(blocks) for name, blocks in parts.items()}
    return TreeEnsemble.from_arrays(
        {
            **flat,
            "baseline": np.asarray(model._baseline_prediction, np.float64).reshape(-1),
            "root": root,
            "n_features": np.array([model.n_features_in_]),
        }
    )
