"""Activated volumes of whole days, and their distribution at one instant.

A simulated day is the path of a past day, quarter hour by quarter hour moved from the distribution
that the model gave for that day to the one that it gives for the target day (48): rank there,
quantile here. So the autocorrelation, the quarter hours in which both directions are called, and
whatever ties the path to the prices of the same past day survive, while the target day has its own
marginals. A model fitted at one gate rule serves every later day at that rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import DataError, NotEnoughHistoryError
from stochbess.rng import stream
from stochbess.scenario_gen.activation_distribution import VolumeDistribution
from stochbess.scenario_gen.activation_features import (
    DIRECTIONS,
    QUARTER_HOUR,
    Features,
    GateRule,
    build_features,
    local_day_steps,
    quarter_hour_of_day,
)
from stochbess.scenario_gen.activation_model import (
    DAY_SETTINGS,
    LEAD_SETTINGS,
    ActivationModel,
    ModelSettings,
    fit_model,
)

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_DAYS = 14  # of known volumes
DEFAULT_LEADS = 4  # quarter hours ahead of the one that closes, that have weights of their own


@dataclass(frozen=True)
class ActivationFit:
    """Models of both directions at one gate rule.

    Attributes
    ----------
    zone : whose volumes they were fitted on
    models : by direction
    sources : series that the features come from, and those that the zone lacks
    history : first and last quarter hour of the fit, as text
    """

    zone: str
    models: Mapping[str, ActivationModel]
    sources: str
    history: str

    @property
    def rule(self) -> GateRule:
        return self.models["up"].rule

    @property
    def timezone(self) -> str:
        return self.models["up"].timezone

    @property
    def sha256(self) -> str:
        """Hash of everything in the fit."""
        digest = hashlib.sha256(b"stochbess activation 1")
        for name, array in sorted(self.to_arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def predict(
        self, view: MarketData, steps: pd.DatetimeIndex, lead: Ints | None = None
    ) -> dict[str, VolumeDistribution]:
        """Distribution of both directions for quarter hours, each as seen by its own gate."""
        return self._predicted(build_features(view, steps, self.rule), lead)

    def _predicted(
        self, features: Features, lead: Ints | None = None
    ) -> dict[str, VolumeDistribution]:
        return {d: model.predict(features, lead) for d, model in self.models.items()}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The fit as named arrays of numbers and text."""
        found: dict[str, npt.NDArray[Any]] = {
            "zone": np.array(self.zone),
            "sources": np.array(self.sources),
            "history": np.array(self.history),
        }
        for direction, model in self.models.items():
            found |= model.to_arrays(f"{direction}.")
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ActivationFit:
        """The fit that `to_arrays` wrote; DataError if an array is absent or damaged."""
        models = {d: ActivationModel.from_arrays(arrays, f"{d}.") for d in DIRECTIONS}
        try:
            texts = [str(arrays[name]) for name in ("zone", "sources", "history")]
        except KeyError as error:
            raise DataError(f"stored activation fit lacks {error}; fit it again.") from error
        return cls(texts[0], models, texts[1], texts[2])


def fit_activation(
    view: MarketData,
    timezone: str,
    seed: int,
    rule: GateRule | str = "D-1 08:00",
    settings: ModelSettings | None = None,
    leads: int = DEFAULT_LEADS,
) -> ActivationFit:
    """Fits the distribution of the activated volumes as seen from the gate rule.

    Parameters
    ----------
    view : market data cut with `as_of` at the gate of the decision; all volumes in it are fitted on
    timezone : of the zone
    seed : root seed; the stream is ``activation.fit``
    rule : ``"D-1 08:00"`` for whole days (local time, D the delivery day), or `GateRule()` for 25
        minutes before each quarter hour. Use the rule of the gate at which days are drawn
    settings : size of the models; None = `DAY_SETTINGS` or `LEAD_SETTINGS`
    leads : for a rule in minutes, how many further quarter hours get weights of their own

    Raises
    ------
    NotEnoughHistoryError : fewer than 14 days of volumes were known
    DataError : the zone has no volumes; see `with_borrowed_activation`
    """
    rule = GateRule(rule) if isinstance(rule, str) else rule
    if settings is None:
        settings = DAY_SETTINGS if rule.local else LEAD_SETTINGS
    volumes = known_volumes(view)
    steps = pd.DatetimeIndex(volumes.index)
    if len(steps) < MIN_DAYS * 96:
        raise NotEnoughHistoryError(
            f"zone {view.zone}: {len(steps)} quarter hours of activated volume were known at the "
            f"gate, expected at least {MIN_DAYS * 96} ({MIN_DAYS} days). Choose a later delivery "
            "day or import earlier volumes."
        )
    n_rules = 1 if rule.local else max(leads, 1)
    rules = [replace(rule, lead_min=rule.lead_min + 15 * k) for k in range(n_rules)]
    features = [build_features(view, steps, r) for r in rules]
    trees_seed = int(stream(seed, "activation.fit").integers(2**31))
    models = {
        d: fit_model(
            features,
            volumes[f"{d}_mw"].to_numpy(np.float64),
            d,
            rule,
            timezone,
            settings,
            trees_seed,
        )
        for d in DIRECTIONS
    }
    history = (
        f"{steps[0]:%Y-%m-%dT%H:%MZ} to {steps[-1]:%Y-%m-%dT%H:%MZ}, {len(steps)} quarter hours"
    )
    return ActivationFit(view.zone, models, features[0].sources, history)


def known_volumes(view: MarketData) -> pd.DataFrame:
    """Known volumes of both directions, columns `up_mw` and `down_mw`, no NaN.

    Raises
    ------
    DataError : the zone has no activated volumes
    """
    if "afrr_activation" not in view.series:
        raise DataError(
            f"zone {view.zone} has no activated aFRR volumes (afrr_activation). Close aFRR "
            "(markets.afrr.enabled), or borrow those of another market "
            "(markets.afrr.activation_fallback)."
        )
    return view.series["afrr_activation"].frame[["up_mw", "down_mw"]]


@dataclass(frozen=True)
class ActivationPaths:
    """Simulated volumes of a target day.

    Attributes
    ----------
    steps : quarter hours of the target day, UTC starts
    up_mw, down_mw : shape (paths, quarter hours)
    substituted : (residual day, day whose path was taken) where volumes of the former were unknown
    """

    steps: pd.DatetimeIndex
    up_mw: Array
    down_mw: Array
    substituted: tuple[tuple[date, date], ...]

    @property
    def note(self) -> str:
        """What a report must say of them."""
        replaced = len(self.substituted)
        taken = f"; {replaced} of {len(self.up_mw)} residual days had no known volumes and took "
        taken += "those of the nearest day of their kind that had"
        return "paths of past days, mapped to the distribution of the target day" + (
            taken if replaced else ""
        )


def draw_activation(
    fit: ActivationFit,
    view: MarketData,
    target_day: date,
    residual_days: Sequence[date],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Volumes up and down [MW], each of shape (paths, quarter hours); see `activation_paths`."""
    paths = activation_paths(fit, view, target_day, residual_days, rng)
    return paths.up_mw, paths.down_mw


def activation_paths(
    fit: ActivationFit,
    view: MarketData,
    target_day: date,
    residual_days: Sequence[date],
    rng: np.random.Generator,
) -> ActivationPaths:
    """One path per residual day: its ranks, at the quantiles of the target day (48).

    Parameters
    ----------
    fit : of a gate rule in local time; `view` must be cut at that gate of the target day
    residual_days : past local days, the same index as that of the price errors; may repeat
    rng : for ranks within the mass at zero only

    Raises
    ------
    NotEnoughHistoryError : no day of completely known volumes
    DataError : no residual day
    """
    if not residual_days:
        raise DataError("activation paths need at least one residual day, got none")
    steps = local_day_steps(target_day, fit.timezone)
    complete = known_days(view, fit.timezone)
    taken = [_nearest(day, complete, view.zone) for day in residual_days]
    ranks = _ranks(fit, view, sorted(set(taken)), rng)
    target = fit.predict(view, steps)
    slot = quarter_hour_of_day(steps, fit.timezone)
    found = {}
    for d in DIRECTIONS:
        level = np.stack([ranks[day][d].at(slot) for day in taken])
        found[d] = np.ascontiguousarray(target[d].quantile(np.ascontiguousarray(level.T)).T)
    swapped = tuple((a, b) for a, b in zip(residual_days, taken, strict=True) if a != b)
    return ActivationPaths(steps, found["up"], found["down"], swapped)


def known_days(view: MarketData, timezone: str) -> tuple[date, ...]:
    """Local days on which the volume of every quarter hour was known, ascending."""
    index = pd.DatetimeIndex(known_volumes(view).index)
    local = np.asarray(index.tz_convert(timezone).date)
    days, count = np.unique(local, return_counts=True)
    whole = [len(local_day_steps(day, timezone)) for day in days]
    return tuple(d for d, n, full in zip(days, count, whole, strict=True) if n == full)


def _nearest(day: date, complete: Sequence[date], zone: str) -> date:
    """The day itself if its volumes are known, else the nearest known one of its kind."""
    if day in complete:
        return day
    if not complete:
        raise NotEnoughHistoryError(
            f"zone {zone}: on no day were all activated volumes known at the gate. Choose a later "
            "delivery day or import earlier volumes."
        )
    alike = [d for d in complete if max(d.weekday(), 4) == max(day.weekday(), 4)]
    return min(alike or complete, key=lambda d: (abs((d - day).days), d))


@dataclass(frozen=True)
class _DayRanks:
    slots: Ints
    rank: Array

    def at(self, slot: Ints) -> Array:
        """Ranks at wall-clock quarter hours; those of the next one where the day lacks one."""
        row = np.searchsorted(self.slots, slot, side="left")
        return self.rank[np.minimum(row, len(self.slots) - 1)]


def _ranks(
    fit: ActivationFit, view: MarketData, days: Sequence[date], rng: np.random.Generator
) -> dict[date, dict[str, _DayRanks]]:
    """Where the volumes of past days lie in what the model gives for these days."""
    blocks = [local_day_steps(day, fit.timezone) for day in days]
    steps = pd.DatetimeIndex(blocks[0].append(blocks[1:]))
    predicted = fit.predict(view, steps)
    volumes = known_volumes(view).loc[steps]
    slot = quarter_hour_of_day(steps, fit.timezone)
    rank = {
        d: predicted[d].rank(volumes[f"{d}_mw"].to_numpy(np.float64), rng.random(len(steps)))
        for d in DIRECTIONS
    }
    edge = np.cumsum([0] + [len(block) for block in blocks])
    found: dict[date, dict[str, _DayRanks]] = {}
    for day, begin, end in zip(days, edge[:-1], edge[1:], strict=True):
        # The first of a repeated hour counts; a stable sort keeps slots and ranks together.
        slots, first = np.unique(slot[begin:end], return_index=True)
        found[day] = {d: _DayRanks(slots, rank[d][begin:end][first]) for d in DIRECTIONS}
    return found


@dataclass(frozen=True)
class LeadForecast:
    """Distributions of the next quarter hours at one instant.

    Attributes
    ----------
    gate_utc : the instant; nothing known at or after it was used
    steps : quarter hours, UTC starts; the first is the next whose bids can still be changed
    up, down : their distributions, one row per quarter hour
    """

    gate_utc: datetime
    steps: pd.DatetimeIndex
    up: VolumeDistribution
    down: VolumeDistribution


def at_25_minutes(
    fit: ActivationFit, market: MarketData, gate_utc: datetime, n_ahead: int = 1
) -> LeadForecast:
    """Distributions of the first quarter hour that starts 25 min or more after `gate_utc`, and on.

    Parameters
    ----------
    fit : of `GateRule()`; may be older than the gate, not younger
    market : cut at the gate here, so that it may reach further
    n_ahead : how many quarter hours; beyond the leads of the fit, the weights of its last lead

    Raises
    ------
    DataError : `fit` is of a gate rule in local time, or `n_ahead` below 1
    """
    if fit.rule.local is not None or n_ahead < 1:
        raise DataError(
            f"forecasts at an instant need a fit of GateRule() and n_ahead >= 1; got the rule "
            f"{fit.rule} and n_ahead = {n_ahead}"
        )
    view = market.as_of(gate_utc)
    earliest = pd.Timestamp(gate_utc).tz_convert("UTC") + pd.Timedelta(minutes=fit.rule.lead_min)
    first = earliest.as_unit("us").ceil(QUARTER_HOUR)
    steps = pd.date_range(first, periods=n_ahead, freq=QUARTER_HOUR, unit="us")
    predicted = fit.predict(view, steps, np.arange(n_ahead, dtype=np.int64))
    return LeadForecast(gate_utc, steps, predicted["up"], predicted["down"])
