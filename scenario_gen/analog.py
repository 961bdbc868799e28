"""Scenarios from analog days: what followed when the past looked like the present.

Every scenario is one delivery day (or one run of consecutive days) of the past, all series of that
day together, so that the dependence between markets and within the day is the observed one
(K nearest neighbours as a resampling scheme: Lall & Sharma 1996, doi:10.1029/95WR02966). Days are
weighted by their distance from the target day in weekday, season, level of the latest known prices
and, where they are known at the gate, forecasts of wind, solar and load.

LOOK-AHEAD: the gate is the only door. `analog_scenarios` cuts the market with `as_of(gate_utc)`
first and computes everything, also means and standard deviations, from what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stochbess.errors import NotEnoughHistoryError, ScenarioError
from stochbess.rng import stream
from stochbess.scenario_gen.analog_distance import Feature, day_features, distances
from stochbess.scenario_gen.analog_levels import (
    CAPACITY_SCALE_EXPONENT,
    ENERGY_SHIFT_FRAC,
    moved_values,
)
from stochbess.scenario_gen.day_history import DAY_AHEAD, DayHistory, Ints
from stochbess.scenario_gen.draws import day_names, gate_rule
from stochbess.scenario_gen.realised import (
    market_provenance,
    require_same_clock,
    source_of,
    source_provenance,
)
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES, Array, labels_of, require_known
from stochbess.timegrid import Horizon

if TYPE_CHECKING:
    from stochbess.market.data import MarketData


def analog_scenarios(
    market: MarketData,
    horizon: Horizon,
    gate_utc: datetime,
    needed: Sequence[str],
    n: int,
    seed: int,
    neighbours: int,
    min_history_days: int,
    forecast_known_gate_utc: datetime | None = None,
    activation_from: MarketData | None = None,
) -> ScenarioSet:
    """Equally probable scenarios of the series `needed`, drawn from past delivery days.

    Parameters
    ----------
    market : the whole market; only ``market.as_of(gate_utc)`` is looked at
    horizon : the delivery days; with several of them, runs of consecutive past days are drawn
    gate_utc : timezone-aware instant of the decision; what became known at or after it is unseen
    n : number of scenarios; drawn with replacement only if there are fewer days to draw from
    seed : root seed; the stream is ``scenarios.analog``
    neighbours : how many nearest days the draw is made from
    min_history_days : how many complete past days there must be
    forecast_known_gate_utc : assume that the forecasts for the first delivery day, and for every
        earlier day at the same local time before it, became known at this instant instead of when
        they were published. LOOK-AHEAD if it is before the gate and the publication is not; the
        provenance says so.
    activation_from : see `realised_scenario`; cut at the same gate

    Returns
    -------
    Scenarios ``analog-YYYY-MM-DD`` in the order of their (first) day. Values that are known at the
    gate are the known ones in every scenario.

    Raises
    ------
    NotEnoughHistoryError : fewer than `min_history_days` complete days, or no run of days
    DataError : the zone lacks a needed series
    ScenarioError : `n` or `neighbours` below 1, an unknown series
    """
    require_same_clock(market, horizon)
    require_known(needed)
    if n < 1 or neighbours < 1 or not needed:
        raise ScenarioError(
            f"analog scenarios need n >= 1, neighbours >= 1 and a series; got n = {n}, neighbours "
            f"= {neighbours} and {len(needed)} series"
        )
    if forecast_known_gate_utc is not None:
        market = market.assume_forecasts_known(gate_rule(forecast_known_gate_utc, horizon))
    history = _history(market, horizon, gate_utc, needed, activation_from)
    starts = _candidates(history, min_history_days)
    features = day_features(history)
    distance = distances(history, features, starts)
    nearest = np.lexsort((-starts, distance))[:neighbours]
    drawn, replaced = _draw(distance[nearest], n, seed)
    chosen = np.sort(starts[nearest[drawn]])
    values, known_note = moved_values(history, chosen)
    provenance = {
        "source": "analog",
        "gate_utc": f"{gate_utc.astimezone(UTC):%Y-%m-%dT%H:%MZ}",
        "seed": str(seed),
        "neighbours": f"{len(nearest)} of {len(starts)} candidates",
        "candidates": f"{history.day(starts[0])} to {history.day(starts[-1])}",
        "drawn": f"{n} {'with' if replaced else 'without'} replacement",
        "known_at_gate": known_note,
        **_provenance(history, features),
    }
    return ScenarioSet(
        names=day_names("analog", [history.day(row) for row in chosen]),
        probability=np.full(n, 1 / n),
        values=values,
        index={s: labels_of(horizon, s) for s in history.sources},
        provenance=provenance,
    )


def _provenance(history: DayHistory, features: Sequence[Feature]) -> dict[str, str]:
    legal = any(f.forecast and f.lag == 0 for f in features)
    known_by = "by assumption" if history.view.assumptions else "as published"
    return {
        **market_provenance(history.view),
        "conditioned_on": ", ".join(
            ["weekday", "season", *(f"{f.label} of D-{f.lag}" for f in features)]
        ),
        "forecasts": f"of the first delivery day, known at the gate {known_by}"
        if legal
        else "none of the delivery days was known at the gate",
        "levels": f"energy prices moved by {ENERGY_SHIFT_FRAC:g} of the difference in level, "
        f"capacity prices scaled by its ratio to the power {CAPACITY_SCALE_EXPONENT:g}",
        **source_provenance(history.sources, history.horizon),
    }


def _history(
    market: MarketData,
    horizon: Horizon,
    gate_utc: datetime,
    needed: Sequence[str],
    activation_from: MarketData | None,
) -> DayHistory:
    """The market as known at the gate; from here on nobody holds the uncut one."""
    view = market.as_of(gate_utc)
    sources = {}
    for series in (s for s in SERIES if s in needed):
        source = source_of(series, view, horizon, activation_from)
        sources[series] = source.known_at(gate_utc) if source.borrowed else source
    index = pd.DatetimeIndex(view.column("day_ahead", "price_eur_mwh").index)
    local = index[:1].tz_convert(view.timezone)
    if len(local) == 0 or local[0].date() >= horizon.first_day:
        raise NotEnoughHistoryError(
            f"zone {view.zone}: no day-ahead price of a day before {horizon.first_day} was known "
            "at the gate. Choose a later delivery day, or import earlier data."
        )
    return DayHistory(view, horizon, local[0].date(), sources)


def _candidates(history: DayHistory, min_history_days: int) -> Ints:
    """Rows at which a complete run of as many days as the horizon has begins."""
    complete = history.complete
    n_complete, length = int(complete.sum()), history.horizon.n_days
    if n_complete < max(min_history_days, 1):
        raise NotEnoughHistoryError(_too_short(history, min_history_days))
    runs = np.lib.stride_tricks.sliding_window_view(complete, length).all(axis=1)
    starts = np.flatnonzero(runs).astype(np.int64)
    if len(starts) == 0:
        raise NotEnoughHistoryError(
            f"zone {history.view.zone}: among {n_complete} complete days before "
            f"{history.horizon.first_day} there is no run of {length} consecutive ones. Shorten "
            "the horizon, or import the missing days."
        )
    return starts


def _too_short(history: DayHistory, min_history_days: int) -> str:
    counts, first_full = [], None
    for series in dict.fromkeys((*history.sources, DAY_AHEAD)):
        full = history.full(series)
        full[history.target :] = False
        first = f" since {history.day(int(full.argmax()))}" if full.any() else ""
        counts.append(f"{series} {int(full.sum())}{first}")
    n_complete = int(history.complete.sum())
    target = history.horizon.first_day
    if n_complete:
        first_full = history.day(int(history.complete.argmax()))
        earliest = target + timedelta(days=min_history_days - n_complete)
        advice = f"a delivery day from about {earliest} on, "
    else:
        advice = "a later delivery day, "
    return (
        f"zone {history.view.zone}, delivery {target}: {n_complete} complete past days were known "
        f"at the gate, expected at least {min_history_days}; first day with all series: "
        f"{first_full or 'none'}. Complete days of 24 hours by series: {'; '.join(counts)}. Choose "
        f"{advice}import earlier data, close the market whose series starts late, or lower "
        "scenarios.min_history_days."
    )


def _draw(distance: Array, n: int, seed: int) -> tuple[Ints, bool]:
    """Positions drawn with tricube weights of the distance, and whether with replacement.

    Without replacement by the keys log(u)/w (Efraimidis & Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003), from uniform numbers only.
    """
    rng = stream(seed, "scenarios.analog")
    bandwidth = max(float(distance.max()), np.finfo(float).tiny) * 1.001
    weight = (1.0 - (distance / bandwidth) ** 3) ** 3
    if n > len(distance):
        edges = np.cumsum(weight / weight.sum())
        position = np.searchsorted(edges, rng.random(n), side="right")
        return np.minimum(position, len(distance) - 1).astype(np.int64), True
    keys = np.log1p(-rng.random(len(distance))) / weight
    return np.argsort(-keys, kind="stable")[:n].astype(np.int64), False
