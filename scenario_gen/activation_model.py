"""Probability that the activated volume of a direction exceeds thresholds, at one gate rule.

Four parts predict each threshold: climatology (quarter hour by weekend), persistence (by the latest
known volume), a logistic regression and boosted trees. A linear pool (46) with non-negative weights
joins them; the weights minimise the log score of predictions that were made for later days than
those the parts had seen, with a prior on climatology. Where history is too short for that,
climatology stands alone. All of it is plain arrays. Long, because the parts, their pool and their
storage are one thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from stochbess.errors import DataError
from stochbess.scenario_gen.activation_distribution import (
    THRESHOLDS_MW,
    VolumeDistribution,
    VolumeShape,
    choose_thresholds,
    fit_shape,
)
from stochbess.scenario_gen.activation_features import (
    DAY_QH,
    Features,
    GateRule,
    is_weekend,
    quarter_hour_of_day,
)
from stochbess.scenario_gen.boosted_trees import TreeEnsemble, TreeSettings, fit_trees

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PARTS = ("climatology", "persistence", "logistic", "trees")
MIN_POOL_DAYS = 42  # of history, below which nothing is pooled
FOLD_STARTS_FRAC = (0.5, 0.75)  # predictions for the pool are made from there on
PRIOR_FRAC = 0.001  # weight of the prior on climatology, in rows per row
CELL_PRIOR_ROWS = 30.0
_CELLS = 2 * DAY_QH
_EDGES_MW = (0.0, 1.0, 5.0, 25.0, 60.0, 120.0, 240.0, 480.0)
_CLIP_SD = 4.0
_CLOSE = 1e-4  # probabilities keep that distance from 0 and 1

LEAD_TREES = TreeSettings(150, 0.04, 8, 200, 5.0, 0.3)
DAY_TREES = TreeSettings(60, 0.03, 6, 400, 20.0, 0.3)


@dataclass(frozen=True)
class ModelSettings:
    """What a fit may spend; defaults by horizon are `LEAD_SETTINGS` and `DAY_SETTINGS`.

    Attributes
    ----------
    trees : size of the boosted trees of each threshold
    logistic_c : inverse strength of the ridge penalty of the logistic regression
    half_life_days : in the regression and the trees, a row counts half as much as one that is that
        much younger
    rate_half_life_days : the same in climatology and persistence, which know of the level of the
        last weeks by nothing else
    thresholds_mw : wanted thresholds; see `choose_thresholds`
    """

    trees: TreeSettings
    logistic_c: float
    half_life_days: float
    rate_half_life_days: float
    thresholds_mw: tuple[float, ...] = THRESHOLDS_MW


LEAD_SETTINGS = ModelSettings(LEAD_TREES, 0.02, 90.0, 90.0)
DAY_SETTINGS = ModelSettings(DAY_TREES, 0.002, 90.0, 30.0)


@dataclass(frozen=True)
class FittedParts:
    """The four parts of one direction, for K thresholds and F features.

    Attributes
    ----------
    cell : climatology, shape (cells, K); cells are quarter hours of the day, then of the weekend
    bin : persistence by bin of the latest known volume, the last for none, shape (bins, K)
    centre, scale : of the features of the logistic regression, shape (F,)
    coefficient, intercept : shape (K, F) and (K,)
    trees : one ensemble per threshold
    """

    cell: Array
    bin: Array
    centre: Array
    scale: Array
    coefficient: Array
    intercept: Array
    trees: tuple[TreeEnsemble, ...]

    def predict(
        self, x: Array, latest_mw: Array, cell: Ints, damped: npt.NDArray[np.bool_]
    ) -> Array:
        """P(V > threshold) of every part, shape (parts, n, K)."""
        z = _standardised(x, self.centre, self.scale, damped)
        odds = z @ self.coefficient.T + self.intercept
        parts = [
            self.cell[cell],
            self.bin[_bin_of(latest_mw)],
            1.0 / (1.0 + np.exp(-odds)),
            np.stack([ensemble.probability(x) for ensemble in self.trees], axis=1),
        ]
        return np.clip(np.stack(parts), _CLOSE, 1.0 - _CLOSE)


@dataclass(frozen=True)
class ActivationModel:
    """Distribution of the activated volume of one direction, given the features of a gate rule.

    Attributes
    ----------
    direction : "up" or "down"
    rule : gate of each row
    timezone : of the zone
    names : features that the model was fitted on, in order
    shape : thresholds and nodes
    parts : the fitted parts
    weight : of the parts, by lead (rows beyond the last use the last), shape (leads, parts, K)
    n_rows : quarter hours that it was fitted on
    """

    direction: str
    rule: GateRule
    timezone: str
    names: tuple[str, ...]
    shape: VolumeShape
    parts: FittedParts
    weight: Array
    n_rows: int

    def part_probabilities(self, features: Features) -> Array:
        """P(V > threshold) by part, shape (parts, n, K); see `PARTS`."""
        if features.names != self.names:
            raise DataError(
                "the features are not those that the activation model was fitted on: "
                f"{sorted(set(features.names) ^ set(self.names)) or 'another order'}. A series of "
                "the zone appeared or vanished: fit the model again."
            )
        return self.parts.predict(*_inputs(features, self.direction, self.timezone))

    def predict(self, features: Features, lead: Ints | None = None) -> VolumeDistribution:
        """Distribution for every row of `features`.

        Parameters
        ----------
        lead : quarter hours by which each row lies beyond the one that its gate closes; None = 0
        """
        which = np.zeros(len(features.x), np.int64) if lead is None else lead
        weight = self.weight[np.minimum(which, len(self.weight) - 1)]
        pooled = np.einsum("npk,pnk->nk", weight, self.part_probabilities(features))
        return VolumeDistribution(self.shape, _ordered(pooled))

    def to_arrays(self, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
        """The model as named arrays of numbers and text, for a file without code in it."""
        plain: dict[str, npt.NDArray[Any]] = {
            "direction": np.array(self.direction),
            "rule_local": np.array(self.rule.local or ""),
            "rule_lead_min": np.array(self.rule.lead_min),
            "timezone": np.array(self.timezone),
            "names": np.array(self.names),
            "weight": self.weight,
            "n_rows": np.array(self.n_rows),
        }
        for name in ("thresholds_mw", "node_mw", "node_bin", "node_frac"):
            plain[f"shape.{name}"] = getattr(self.shape, name)
        for name in ("cell", "bin", "centre", "scale", "coefficient", "intercept"):
            plain[f"parts.{name}"] = getattr(self.parts, name)
        found = {f"{prefix}{name}": value for name, value in plain.items()}
        for k, ensemble in enumerate(self.parts.trees):
            found |= ensemble.to_arrays(f"{prefix}trees{k}.")
        return found

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = ""
    ) -> ActivationModel:
        """The model that `to_arrays` wrote.

        Raises
        ------
        DataError : an array is absent or damaged
        """
        try:
            shape = VolumeShape(
                *(
                    np.asarray(arrays[f"{prefix}shape.{name}"])
                    for name in ("thresholds_mw", "node_mw", "node_bin", "node_frac")
                )
            )

            def part(name: str) -> Array:
                return np.asarray(arrays[f"{prefix}parts.{name}"], np.float64)

            k = len(shape.thresholds_mw)
            trees = tuple(TreeEnsemble.from_arrays(arrays, f"{prefix}trees{i}.") for i in range(k))
            local = str(arrays[f"{prefix}rule_local"])
            return cls(
                str(arrays[f"{prefix}direction"]),
                GateRule(local or None, int(arrays[f"{prefix}rule_lead_min"])),
                str(arrays[f"{prefix}timezone"]),
                tuple(str(name) for name in arrays[f"{prefix}names"]),
                shape,
                FittedParts(
                    part("cell"),
                    part("bin"),
                    part("centre"),
                    part("scale"),
                    part("coefficient"),
                    part("intercept"),
                    trees,
                ),
                np.asarray(arrays[f"{prefix}weight"], np.float64),
                int(arrays[f"{prefix}n_rows"]),
            )
        except KeyError as error:
            raise DataError(
                f"stored activation model lacks the array {error}; fit the model again."
            ) from error


def fit_model(
    features: Sequence[Features],
    volume_mw: Array,
    direction: str,
    rule: GateRule,
    timezone: str,
    settings: ModelSettings,
    seed: int,
) -> ActivationModel:
    """Fits the parts and their pool on rows whose volumes are known.

    Parameters
    ----------
    features : rows as their gate sees them; further entries are the same rows as seen one quarter
        hour earlier each, on which only the weights of the pool are fitted
    volume_mw : activated volume of each row, shape (n,)
    seed : of the trees

    Raises
    ------
    DataError : no rows
    """
    first = features[0]
    if len(first.x) != len(volume_mw) or len(volume_mw) == 0:
        raise DataError(
            f"{len(first.x)} rows of features and {len(volume_mw)} volumes; expected as many, > 0"
        )
    thresholds = choose_thresholds(volume_mw, settings.thresholds_mw)
    label = (volume_mw[:, None] > thresholds).astype(np.float64)
    inputs = [_inputs(f, direction, timezone) for f in features]
    weight = _pool_weights(inputs, label, settings, seed)
    parts = _fit_parts(inputs[0], label, settings, seed)
    shape = fit_shape(volume_mw, thresholds)
    return ActivationModel(
        direction, rule, timezone, first.names, shape, parts, weight, len(volume_mw)
    )


_Inputs = tuple[Array, Array, Ints, npt.NDArray[np.bool_]]


def _inputs(features: Features, direction: str, timezone: str) -> _Inputs:
    """Features, latest known volume, climatology cell, and which features are heavy-tailed."""
    slot = quarter_hour_of_day(features.steps, timezone)
    cell = slot + DAY_QH * is_weekend(features.steps, timezone)
    damped = np.array([name.startswith(("volume_", "net_")) for name in features.names])
    return features.x, features.column(f"volume_{direction}_0"), cell, damped


def _rows(inputs: _Inputs, where: slice) -> _Inputs:
    return inputs[0][where], inputs[1][where], inputs[2][where], inputs[3]


def _fit_parts(inputs: _Inputs, label: Array, settings: ModelSettings, seed: int) -> FittedParts:
    x, latest, cell, damped = inputs
    centre, scale = _moments(_damped(x, damped))
    z = _standardised(x, centre, scale, damped)
    coefficient, intercept, ensembles = [], [], []
    age_days = np.arange(len(x))[::-1] / DAY_QH
    recency = 0.5 ** (age_days / settings.half_life_days)
    rate_recency = 0.5 ** (age_days / settings.rate_half_life_days)
    few = replace(settings.trees, min_leaf_rows=min(settings.trees.min_leaf_rows, len(x) // 20 + 1))
    for column in label.T:
        if column.min() == column.max():  # never or always: the parts say so, and nothing else
            coefficient.append(np.zeros(x.shape[1]))
            intercept.append(20.0 if column[0] else -20.0)
            ensembles.append(_constant(intercept[-1], x.shape[1]))
            continue
        line = LogisticRegression(C=settings.logistic_c, solver="newton-cholesky").fit(
            z, column, recency
        )
        coefficient.append(line.coef_[0])
        intercept.append(float(line.intercept_[0]))
        ensembles.append(fit_trees(x, column, "log_loss", few, seed, recency))
    return FittedParts(
        _cell_rates(cell, label, rate_recency),
        _bin_rates(_bin_of(latest), label, rate_recency),
        centre,
        scale,
        np.array(coefficient),
        np.array(intercept),
        tuple(ensembles),
    )


def _constant(odds: float, n_features: int) -> TreeEnsemble:
    none, zero = np.zeros(0, np.int64), np.zeros(0)
    return TreeEnsemble(
        np.array([odds]), none, none, zero, none, none, none, zero, np.array([n_features])
    )


def _cell_rates(cell: Ints, label: Array, recency: Array) -> Array:
    """Frequencies by quarter hour and weekend, drawn towards those of the four hours around."""
    overall = recency @ label / recency.sum()
    counts, sums = _counted(cell, label, recency, _CELLS)
    counts, sums = counts.reshape(2, DAY_QH, 1), sums.reshape(2, DAY_QH, -1)
    near = range(-8, 9)
    wide_n = np.sum([np.roll(counts, k, axis=1) for k in near], axis=0)
    wide = np.sum([np.roll(sums, k, axis=1) for k in near], axis=0)
    around = (wide + CELL_PRIOR_ROWS * overall) / (wide_n + CELL_PRIOR_ROWS)
    rate = (sums + CELL_PRIOR_ROWS * around) / (counts + CELL_PRIOR_ROWS)
    return np.asarray(rate.reshape(_CELLS, -1), np.float64)


def _bin_rates(group: Ints, label: Array, recency: Array) -> Array:
    """Frequencies by bin of the latest known volume, drawn towards the overall ones."""
    counts, sums = _counted(group, label, recency, len(_EDGES_MW) + 2)
    overall = recency @ label / recency.sum()
    rate = (sums + CELL_PRIOR_ROWS * overall) / (counts + CELL_PRIOR_ROWS)[:, None]
    return np.asarray(rate, np.float64)


def _counted(group: Ints, label: Array, recency: Array, n_groups: int) -> tuple[Array, Array]:
    """Weighted rows, and weighted labels, by group: shapes (groups,) and (groups, K)."""
    n = np.bincount(group, weights=recency, minlength=n_groups)
    sums = [np.bincount(group, weights=recency * y, minlength=n_groups) for y in label.T]
    return n.astype(np.float64), np.stack(sums, axis=1)


def _bin_of(latest_mw: Array) -> Ints:
    """Bin of the latest known volume; the last bin where there is none."""
    found = np.searchsorted(_EDGES_MW, np.nan_to_num(latest_mw), side="left")
    return np.where(np.isnan(latest_mw), len(_EDGES_MW) + 1, found).astype(np.int64)


def _damped(x: Array, damped: npt.NDArray[np.bool_]) -> Array:
    return np.where(damped, np.sign(x) * np.log1p(np.abs(x) / 10.0), x)


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of what is known of each column; 0 and 1 where nothing is."""
    known = np.isfinite(x)
    n = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, x, 0.0).sum(axis=0) / n
    spread = np.sqrt((np.where(known, x - centre, 0.0) ** 2).sum(axis=0) / n)
    return centre, np.where(spread > 1e-9, spread, 1.0)


def _standardised(x: Array, centre: Array, scale: Array, damped: npt.NDArray[np.bool_]) -> Array:
    """Features in standard deviations, cut at 4; what is unknown is the mean."""
    z = (_damped(x, damped) - centre) / scale
    return np.clip(np.nan_to_num(z, nan=0.0), -_CLIP_SD, _CLIP_SD)


def _pool_weights(
    inputs: Sequence[_Inputs], label: Array, settings: ModelSettings, seed: int
) -> Array:
    """Weights of the parts by lead, from predictions for days after those they were fitted on."""
    n = len(label)
    alone = np.zeros((len(inputs), len(PARTS), label.shape[1]))
    alone[:, 0] = 1.0
    if n < MIN_POOL_DAYS * DAY_QH:
        return alone
    edges = [int(share * n) for share in FOLD_STARTS_FRAC] + [n]
    predicted: list[list[Array]] = [[] for _ in inputs]
    seen: list[Array] = []
    for begin, end in pairwise(edges):
        past = slice(0, begin - 2 * DAY_QH)  # a gap, as the latest volumes are not known at a gate
        parts = _fit_parts(_rows(inputs[0], past), label[past], settings, seed)
        for lead, rows in enumerate(inputs):
            predicted[lead].append(parts.predict(*_rows(rows, slice(begin, end))))
        seen.append(label[begin:end])
    truth = np.concatenate(seen)
    for lead, blocks in enumerate(predicted):
        joined = np.concatenate(blocks, axis=1)
        for k in range(label.shape[1]):
            alone[lead, :, k] = pool_weights(joined[:, :, k], truth[:, k])
    return alone


def pool_weights(probability: Array, label: Array, prior_frac: float = PRIOR_FRAC) -> Array:
    """Weights (46) of a linear pool by expectation maximisation, shape (parts,), summing to 1.

    Parameters
    ----------
    probability : predictions of the parts in (0, 1), shape (parts, n); the first is climatology
    label : 0 or 1, shape (n,)
    prior_frac : pseudo-rows that climatology is credited with, in rows per row
    """
    likelihood = np.where(label > 0, probability, 1.0 - probability)
    credit = np.zeros(len(probability))
    credit[0] = prior_frac * len(label)
    weight = np.full(len(probability), 1.0 / len(probability))
    for _ in range(200):
        share = weight[:, None] * likelihood
        new = (share / share.sum(axis=0)).sum(axis=1) + credit
        new /= new.sum()
        if np.abs(new - weight).max() < 1e-5:
            return np.asarray(new, np.float64)
        weight = new
    return np.asarray(weight, np.float64)


def _ordered(exceed: Array) -> Array:
    """Probabilities sorted to fall along the thresholds (47)."""
    return np.asarray(-np.sort(-exceed, axis=1), np.float64)
