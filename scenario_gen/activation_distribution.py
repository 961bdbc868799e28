"""The distribution of an activated volume: a mass at zero and a piecewise linear rest.

The probabilities of exceeding a few thresholds come from a model; between two thresholds the volume
has the shape that past volumes between them had. On the common ascending nodes so given, the
survival function (44) of each row is linear between nodes, so that quantiles, means and called
shares (45) are exact and cost one interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

THRESHOLDS_MW = (0.0, 5.0, 30.0, 100.0, 200.0, 300.0, 500.0)
NODES_PER_BIN = 12
RARE_ROWS = 40  # a threshold needs that many volumes above it and not above it
_FALLBACK_LEVELS = (0.2, 0.4, 0.6, 0.75, 0.87, 0.95)


@dataclass(frozen=True)
class VolumeShape:
    """Thresholds and what past volumes looked like between them.

    Attributes
    ----------
    thresholds_mw : ascending from 0, shape (K,)
    node_mw : ascending from 0, shape (M,)
    node_bin : bin k of a node, the one above threshold k, shape (M,)
    node_frac : share of the volumes of that bin that is not above the node, shape (M,)
    """

    thresholds_mw: Array
    node_mw: Array
    node_bin: Ints
    node_frac: Array

    def survival(self, exceed: Array) -> Array:
        """P(V > node) for rows of P(V > threshold), shape (n, K) -> (n, M)."""
        padded = np.concatenate([exceed, np.zeros((len(exceed), 1))], axis=1)
        upper, lower = padded[:, self.node_bin], padded[:, self.node_bin + 1]
        return np.asarray(upper - (upper - lower) * self.node_frac, np.float64)


def choose_thresholds(volume_mw: Array, wanted_mw: Sequence[float] = THRESHOLDS_MW) -> Array:
    """The thresholds of `wanted_mw` that enough volumes lie on both sides of; 0 always.

    Where fewer than four of them are left (a zone of other size), quantiles of the positive volumes
    take their place.
    """
    n_above = np.array([(volume_mw > t).sum() for t in wanted_mw])
    usable = (n_above >= RARE_ROWS) & (len(volume_mw) - n_above >= RARE_ROWS)
    chosen = [t for t, fit in zip(wanted_mw, usable, strict=True) if fit and t > 0]
    positive = volume_mw[volume_mw > 0]
    if len(chosen) < 4 and len(positive) >= 2 * RARE_ROWS:
        chosen = np.unique(np.quantile(positive, _FALLBACK_LEVELS)).tolist()
    return np.array([0.0, *chosen])


def fit_shape(volume_mw: Array, thresholds_mw: Array) -> VolumeShape:
    """Nodes of the volumes `volume_mw` (>= 0, shape (n,)) in the bins of `thresholds_mw`.

    Raises
    ------
    DataError : no volume at all, a negative or a missing one
    """
    if len(volume_mw) == 0 or not np.isfinite(volume_mw).all() or volume_mw.min() < 0:
        raise DataError(
            f"activated volumes must be finite and >= 0, at least one; got {len(volume_mw)} with "
            f"minimum {volume_mw.min() if len(volume_mw) else 'none'}"
        )
    edges = np.append(thresholds_mw, max(volume_mw.max(), thresholds_mw[-1] + 1.0))
    mw, bins, frac = [], [], []
    for k, (low, high) in enumerate(pairwise(edges)):
        inside = volume_mw[(volume_mw > low) & (volume_mw <= high)]
        levels = np.linspace(0, 1, NODES_PER_BIN + 1)[1:-1]
        middle = np.quantile(inside, levels) if len(inside) >= NODES_PER_BIN else levels * 0 + high
        if len(inside) < NODES_PER_BIN:
            middle = low + levels * (high - low)
        node, first = np.unique(np.clip(middle, low, high), return_index=True)
        keep = (node > low) & (node < high)
        # The first node is the threshold itself: nothing of the bin is below it.
        mw += [low, *node[keep]]
        bins += [k] * (1 + int(keep.sum()))
        frac += [0.0, *levels[first][keep]]
    mw.append(float(edges[-1]))
    bins.append(len(thresholds_mw) - 1)
    frac.append(1.0)
    return VolumeShape(
        np.asarray(thresholds_mw, np.float64),
        np.array(mw),
        np.array(bins, np.int64),
        np.array(frac),
    )


@dataclass(frozen=True)
class VolumeDistribution:
    """Distribution of the activated volume of one direction, one per quarter hour.

    Attributes
    ----------
    shape : nodes that all rows share
    exceed : P(V > threshold), falling along the thresholds, shape (n, K)
    """

    shape: VolumeShape
    exceed: Array

    def __post_init__(self) -> None:
        if self.exceed.ndim != 2 or self.exceed.shape[1] != len(self.shape.thresholds_mw):
            raise DataError(
                f"probabilities have shape {self.exceed.shape}, expected one column for each of "
                f"{len(self.shape.thresholds_mw)} thresholds"
            )

    def __len__(self) -> int:
        return len(self.exceed)

    @property
    def survival(self) -> Array:
        """P(V > node), shape (n, M)."""
        return self.shape.survival(self.exceed)

    def exceedance(self, threshold_mw: float) -> Array:
        """P(V > threshold) for any threshold >= 0, shape (n,)."""
        return _along_rows(threshold_mw, self.shape.node_mw, self.survival)

    def rank(self, volume_mw: Array, uniform: Array) -> Array:
        """Probability integral transform of a volume per row, shape (n,), in [0, 1].

        Below a zero volume lies nothing; its rank is `uniform` (in [0, 1]) times the mass there,
        so that ranks of true volumes are uniform.
        """
        at = _pairwise(volume_mw, self.shape.node_mw, 1.0 - self.survival)
        return np.where(volume_mw > 0, at, uniform * (1.0 - self.exceed[:, 0]))

    def quantile(self, level: Array) -> Array:
        """Smallest volume [MW] whose distribution function reaches `level` in each row.

        `level` in [0, 1], shape (n,) or (n, m); the result has its shape.
        """
        levels = level[:, None] if level.ndim == 1 else level
        cdf, node = 1.0 - self.survival, self.shape.node_mw
        found = np.stack(
            [np.interp(want, _rising(row), node) for want, row in zip(levels, cdf, strict=True)]
        )
        found = np.where(levels <= cdf[:, :1], 0.0, found)
        return found[:, 0] if level.ndim == 1 else found

    def mean_mw(self) -> Array:
        """Expected volume [MW], shape (n,)."""
        width = np.diff(self.shape.node_mw)
        survival = self.survival
        return np.asarray((survival[:, 1:] + survival[:, :-1]) @ width / 2, np.float64)

    def called_share(self, depth_mw: float, width_mw: float) -> Array:
        """Expected share (45) of a bid at this depth that is called, shape (n,), in [0, 1].

        Raises
        ------
        DataError : a negative depth or a width that is not positive
        """
        if depth_mw < 0 or width_mw <= 0:
            raise DataError(
                f"merit-order depth {depth_mw} MW and width {width_mw} MW: expected depth >= 0 and "
                "width > 0"
            )
        ends = [depth_mw, depth_mw + width_mw]
        inner = self.shape.node_mw[(self.shape.node_mw > ends[0]) & (self.shape.node_mw < ends[1])]
        at = np.concatenate([ends[:1], inner, ends[1:]])
        survival = self.survival
        value = np.stack([_along_rows(v, self.shape.node_mw, survival) for v in at], axis=1)
        area = (value[:, 1:] + value[:, :-1]) @ np.diff(at) / 2
        return np.asarray(area / width_mw, np.float64)


def called_frac(volume_mw: Array, depth_mw: float, width_mw: float) -> Array:
    """Share (23) of a bid that a volume calls: clip((V - depth) / width, 0, 1)."""
    return np.asarray(np.clip((volume_mw - depth_mw) / width_mw, 0.0, 1.0), np.float64)


def _along_rows(at: float, node: Array, survival: Array) -> Array:
    """Each row of `survival` (n, M) at one place, 0 beyond the last node."""
    j = int(np.clip(np.searchsorted(node, at, side="right") - 1, 0, len(node) - 2))
    share = (at - node[j]) / (node[j + 1] - node[j])
    inside = survival[:, j] + share * (survival[:, j + 1] - survival[:, j])
    return np.where(at >= node[-1], 0.0, inside)


def _pairwise(at: Array, node: Array, rows: Array) -> Array:
    """Row i of `rows` (n, M) at place `at[i]`, held beyond the ends."""
    j = np.clip(np.searchsorted(node, at, side="right") - 1, 0, len(node) - 2)
    share = np.clip((at - node[j]) / (node[j + 1] - node[j]), 0.0, 1.0)
    i = np.arange(len(at))
    return np.asarray(rows[i, j] + share * (rows[i, j + 1] - rows[i, j]), np.float64)


def _rising(cdf: Array) -> Array:
    """A distribution function that np.interp can invert: flat pieces rise by a hair."""
    rising = np.maximum.accumulate(cdf) + np.arange(len(cdf)) * 1e-13
    return np.asarray(rising, np.float64)
