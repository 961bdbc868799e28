"""The scenario set: what the future may look like, as the optimisation sees it.

A `ScenarioSet` is checked when it is made and never changes afterwards. Labels are the UTC start of
an interval and are always matched by value, never by position. NaN and infinite values are refused.
Every value has the unit that `series.SERIES` gives; docs/scenarios.md repeats the table.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np
import pandas as pd

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.series import SERIES, Array, labels_of, require_known
from stochbess.timegrid import Horizon

PROBABILITY_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """Weighted joint scenarios of prices and activation.

    Attributes
    ----------
    names : unique name of every scenario, length S >= 1
    probability : weights > 0, shape (S,), summing to 1 within 1e-9; scenarios of weight zero are
        dropped and counted under `dropped_zero_weight` in the provenance
    values : series name -> float64 array of shape (S, n), read-only, in the unit of `SERIES`
    index : series name -> n strictly increasing UTC interval starts
    provenance : free text about the origin; not part of `sha256`

    Raises
    ------
    ScenarioError : anything that breaks the above, a value outside the range of its series, an
        unknown series name, NaN or an infinite value
    """

    names: tuple[str, ...]
    probability: Array
    values: dict[str, Array]
    index: dict[str, pd.DatetimeIndex]
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = tuple(self.names)
        weight = _checked_probability(self.probability, names)
        require_known(self.values)
        if set(self.values) != set(self.index):
            odd = ", ".join(sorted(set(self.values) ^ set(self.index)))
            raise ScenarioError(f"values and labels must name the same series; unpaired: {odd}")
        if not self.values:
            raise ScenarioError("a scenario set needs at least one series, found none")
        ordered = [s for s in SERIES if s in self.values]
        index = {s: _checked_labels(self.index[s], s) for s in ordered}
        values = {s: _checked_values(self.values[s], s, names, index[s]) for s in ordered}
        provenance = {str(k): str(v) for k, v in self.provenance.items()}
        kept = weight > 0
        if not kept.all():
            before = int(provenance.get("dropped_zero_weight", "0"))
            provenance["dropped_zero_weight"] = str(before + int((~kept).sum()))
            names = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
            weight = weight[kept]
            values = {s: v[kept] for s, v in values.items()}
        for array in (weight, *values.values()):
            array.flags.writeable = False
        for attribute, content in (
            ("names", names),
            ("probability", weight),
            ("values", values),
            ("index", index),
            ("provenance", provenance),
        ):
            object.__setattr__(self, attribute, content)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the series, in the order of `SERIES`."""
        return tuple(self.values)

    @cached_property
    def sha256(self) -> str:
        """Hash of names, probabilities, labels and values, in their order; provenance left out."""
        digest = hashlib.sha256(b"stochbess scenario set 1")
        _feed(digest, "\n".join(self.names).encode())
        _feed(digest, self.probability.astype("<f8").tobytes())
        for series, values in self.values.items():
            _feed(digest, series.encode())
            _feed(digest, self.index[series].asi8.astype("<i8").tobytes())
            _feed(digest, values.astype("<f8").tobytes())
        return digest.hexdigest()

    def select(self, names: Sequence[str]) -> ScenarioSet:
        """The scenarios `names`, in that order, with their probabilities scaled to sum to 1.

        Raises
        ------
        ScenarioError : no name given, a name twice, or a name that is not in the set
        """
        position = {name: i for i, name in enumerate(self.names)}
        for name in names:
            if name not in position:
                near = difflib.get_close_matches(name, self.names, n=2)
                hint = f" Did you mean {' or '.join(near)}?" if near else ""
                raise ScenarioError(f"no scenario {name!r} among {len(self)} scenarios.{hint}")
        if not names:
            raise ScenarioError("select needs at least one scenario name, got none")
        return self._taken([position[name] for name in names])

    def permuted(self, order: Sequence[int]) -> ScenarioSet:
        """The same scenarios in another order; `order` is a permutation of 0..S-1."""
        if sorted(order) != list(range(len(self))):
            raise ScenarioError(
                f"order must be a permutation of 0..{len(self) - 1}, got {list(order)}"
            )
        return self._taken(order)

    def mean(self) -> ScenarioSet:
        """One scenario, named ``mean``: the probability-weighted mean of every value.

        A mean activation never fills or empties a battery; see docs/scenarios.md before using it
        as an opponent.
        """
        return ScenarioSet(
            names=("mean",),
            probability=np.ones(1),
            # fsum is exact, so the mean does not depend on the order of the scenarios
            values={
                s: np.clip(_weighted_mean(self.probability, v), v.min(axis=0), v.max(axis=0))[None]
                for s, v in self.values.items()
            },
            index=self.index,
            provenance={**self.provenance, "mean_of_scenarios": str(len(self))},
        )

    def for_horizon(self, horizon: Horizon, required: Sequence[str]) -> ScenarioSet:
        """Return this set if it covers exactly `horizon` with at least the series `required`.

        Every series of the set is compared with the labels of the horizon, also one that is not
        required.

        Raises
        ------
        ScenarioError : a required series is absent, or labels are missing or extra
        """
        require_known(required)
        absent = [s for s in required if s not in self.values]
        if absent:
            raise ScenarioError(
                f"scenarios lack {', '.join(absent)}; they hold {', '.join(self.values)}. Add the "
                "series, or close the market that needs it (markets.*.enabled)."
            )
        for series, found in self.index.items():
            expected = labels_of(horizon, series)
            if not found.equals(expected):
                _raise_label_mismatch(series, found, expected, horizon)
        return self

    def _taken(self, order: Sequence[int]) -> ScenarioSet:
        weight = self.probability[list(order)]
        total = math.fsum(weight)
        return ScenarioSet(
            names=tuple(self.names[i] for i in order),
            probability=weight if total == 1.0 or len(order) == len(self) else weight / total,
            values={s: v[list(order)] for s, v in self.values.items()},
            index=self.index,
            provenance=self.provenance,
        )


def _weighted_mean(weight: Array, values: Array) -> Array:
    return np.array([math.fsum(column) for column in (weight[:, None] * values).T])


def _feed(digest: hashlib._Hash, content: bytes) -> None:
    digest.update(len(content).to_bytes(8, "little"))
    digest.update(content)


def _checked_probability(probability: object, names: tuple[str, ...]) -> Array:
    """A fresh float64 copy of the weights; see `ScenarioSet` for what is refused."""
    weight = _as_float(probability, "probability")
    if not names:
        raise ScenarioError("a scenario set needs at least one scenario, got none")
    if weight.shape != (len(names),):
        raise ScenarioError(
            f"probability has shape {weight.shape}, expected ({len(names)},): one per scenario"
        )
    for name in names:
        if not isinstance(name, str) or not name or any(ord(c) < 32 for c in name):
            raise ScenarioError(
                f"scenario name {name!r} is not usable: expected non-empty text on one line"
            )
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ScenarioError(f"scenario name {twice!r} occurs more than once; names must be unique")
    for name, p in zip(names, weight, strict=True):
        if not math.isfinite(p) or p < 0:
            raise ScenarioError(
                f"probability of scenario {name!r} is {float(p)!r}; expected a finite number >= 0"
            )
    total = math.fsum(weight)
    if abs(total - 1.0) > PROBABILITY_TOLERANCE:
        raise ScenarioError(
            f"probabilities sum to {total!r}, expected 1 within {PROBABILITY_TOLERANCE:g}. They "
            "are not rescaled silently: divide them by their sum if that is what you mean."
        )
    return weight


def _as_float(values: object, what: str) -> Array:
    try:
        array = np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"{what} is not a rectangular array of numbers: {error}") from error
    return array + 0.0  # -0.0 becomes 0.0: equal values, equal hash


def _checked_labels(labels: pd.DatetimeIndex, series: str) -> pd.DatetimeIndex:
    """UTC labels in microseconds, strictly increasing."""
    if not isinstance(labels, pd.DatetimeIndex):
        raise ScenarioError(
            f"labels of {series} are a {type(labels).__name__}, not a DatetimeIndex"
        )
    if labels.tz is None:
        raise ScenarioError(
            f"labels of {series} carry no time zone (first: {labels[:1].tolist()}). Expected UTC "
            "interval starts; local wall-clock times are ambiguous, convert them first."
        )
    utc = labels.tz_convert("UTC").as_unit("us")
    if len(utc) == 0 or utc.hasnans:
        raise ScenarioError(f"labels of {series} are empty or hold a missing time")
    if not (utc.is_unique and utc.is_monotonic_increasing):
        at = int(np.flatnonzero(np.diff(utc.asi8) <= 0)[0]) + 1
        raise ScenarioError(
            f"labels of {series} must strictly increase; {_utc(utc[at])} follows "
            f"{_utc(utc[at - 1])}"
        )
    return utc.rename("delivery_start_utc")


def _checked_values(
    values: object, series: str, names: tuple[str, ...], labels: pd.DatetimeIndex
) -> Array:
    array = _as_float(values, f"values of {series}")
    expected = (len(names), len(labels))
    if array.shape != expected:
        raise ScenarioError(
            f"values of {series} have shape {array.shape}, expected {expected}: (scenarios, labels)"
        )
    spec = SERIES[series]
    bad = ~np.isfinite(array)
    if bad.any():
        s, t = (int(i) for i in np.argwhere(bad)[0])
        raise ScenarioError(
            f"{series} of scenario {names[s]!r} is {float(array[s, t])!r} at {_utc(labels[t])} "
            f"({int(bad.sum())} such values in all); expected finite numbers"
        )
    bad = (array < spec.low) | (array > spec.high)
    if bad.any():
        s, t = (int(i) for i in np.argwhere(bad)[0])
        raise ScenarioError(
            f"{series} of scenario {names[s]!r} is {array[s, t]:g} at {_utc(labels[t])} "
            f"({int(bad.sum())} such values in all); expected {spec.low:g} to {spec.high:g} "
            f"{spec.unit}. Check the unit and the sign."
        )
    return array


def _raise_label_mismatch(
    series: str, found: pd.DatetimeIndex, expected: pd.DatetimeIndex, horizon: Horizon
) -> NoReturn:
    missing, extra = expected.difference(found), found.difference(expected)
    parts = []
    if len(missing):
        parts.append(f"{len(missing)} missing (first {_utc(missing[0])})")
    if len(extra):
        parts.append(f"{len(extra)} extra ({_utc(extra[0])} to {_utc(extra[-1])})")
    last = horizon.days[-1]
    days = str(horizon.first_day) if horizon.n_days == 1 else f"{horizon.first_day} to {last}"
    raise ScenarioError(
        f"{series}: {len(found)} labels do not match the {len(expected)} "
        f"{SERIES[series].grid.replace('_', '-')} labels of {days} {horizon.timezone} "
        f"({_utc(expected[0])} to {_utc(expected[-1])}): {', '.join(parts)}. Labels are matched by "
        "value; give the scenarios for exactly these intervals."
    )


def _utc(label: pd.Timestamp) -> str:
    return label.strftime("%Y-%m-%dT%H:%MZ")
