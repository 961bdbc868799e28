"""Scores of whole scenario sets against what was realised, series by series, over many days.

A set is scored on all its labels of a series at once; days count equally. A series of which a
realised value is missing on a day is left out on that day, and the number of days says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError
from stochbess.rng import stream
from stochbess.scenario_gen import calibration, scores
from stochbess.scenario_gen.realised import MARKET_COLUMN, Source, on_labels
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES, Array

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Ints = npt.NDArray[np.int64]

THRESHOLDS_MW = (5.0, 100.0, 300.0)
BINS = 10
LEVEL = 0.9
SEED = 1  # of the ranks within ties; the same set has the same score


@dataclass(frozen=True, eq=False)
class SeriesScore:
    """Scores of one series; means over days, in the unit of the series unless told otherwise.

    Attributes
    ----------
    days : days with a set and with all realised values
    crps : (70), mean over the labels
    energy_score, variogram_score : (71), (72) of the vector of a day; NaN for a single label
    spread_crps : CRPS of the daily spread (75); NaN for series that are not an energy price
    mae : mean absolute error of the median
    coverage_frac, width : of the central 90 % interval
    flatness : chi-square of the rank histogram per degree of freedom; about 1 for independent
        observations of calibrated scenarios
    ranks : counts of the rank histogram in ten bins
    """

    series: str
    days: int
    crps: float
    energy_score: float
    variogram_score: float
    spread_crps: float
    mae: float
    coverage_frac: float
    width: float
    flatness: float
    ranks: Ints


@dataclass(frozen=True)
class EventScore:
    """How well the share of scenarios above a threshold foretold activation.

    Attributes
    ----------
    rate_frac : how often it happened
    brier, log_score : (76), (77); probabilities are kept half a scenario away from 0 and 1
    brier_of_rate : Brier score of always saying `rate_frac`, known only afterwards
    calibration_error_frac : expected calibration error (78) in ten bins
    """

    series: str
    threshold_mw: float
    rate_frac: float
    brier: float
    brier_of_rate: float
    log_score: float
    calibration_error_frac: float


@dataclass(frozen=True)
class SetScores:
    """Scores of all series, and of the events of activation."""

    n_sets: int
    n_scenarios: tuple[int, ...]
    series: tuple[SeriesScore, ...]
    events: tuple[EventScore, ...]


def realised_values(market: MarketData, scenarios: ScenarioSet) -> dict[str, Array]:
    """Realised values on the labels of the set; a series that is not all known is left out."""
    found = {}
    for series, labels in scenarios.index.items():
        stem, column = MARKET_COLUMN.get(series, ("", ""))
        if stem not in market.series:
            continue
        if SERIES[series].grid == "block":
            minutes = 240
        else:
            gaps = np.diff(labels.asi8) // 60_000_000
            minutes = int(gaps.min()) if len(gaps) else 60
        values = on_labels(Source(market, stem, column), labels, minutes, market.timezone)
        if np.isfinite(values).all():
            found[series] = values
    return found


def score_sets(pairs: Iterable[tuple[ScenarioSet, Mapping[str, Array]]]) -> SetScores:
    """Scores of scenario sets against the realised values of their labels.

    Parameters
    ----------
    pairs : a set, and by series the realised values of its labels (`realised_values`)

    Raises
    ------
    DataError : no set has a series with realised values
    """
    rows: dict[str, list[Array]] = {}
    ranks: dict[str, list[Array]] = {}
    events: dict[str, list[tuple[Array, Array]]] = {}
    sizes = []
    for k, (found, real) in enumerate(pairs):
        sizes.append(len(found))
        rng = stream(SEED, f"scores.ranks.{k}")
        for series, observed in real.items():
            values, weight = found.values[series], found.probability
            rows.setdefault(series, []).append(_of_day(series, values, observed, weight))
            ranks.setdefault(series, []).append(calibration.pit(values, observed, weight, rng))
            if series.startswith("activation"):
                events.setdefault(series, []).append(_exceeded(values, observed, weight))
    if not rows:
        raise DataError(
            f"{len(sizes)} scenario sets and no realised value for any of their series. Name the "
            "market data that hold the days (--market-data, --zone)."
        )
    return SetScores(
        len(sizes),
        tuple(sorted(set(sizes))),
        tuple(_series_score(s, np.array(rows[s]), ranks[s]) for s in SERIES if s in rows),
        tuple(e for s in SERIES if s in events for e in _event_scores(s, events[s], min(sizes))),
    )


def _of_day(series: str, values: Array, observed: Array, weight: Array) -> Array:
    several = len(observed) > 1
    middle = calibration.quantiles(values, (0.5,), weight)[0]
    energy_price = series in ("day_ahead_eur_mwh", "intraday_eur_mwh")
    per_hour = max(1, round(len(observed) / 24))
    return np.array(
        [
            scores.crps_ensemble(values, observed, weight).mean(),
            scores.energy_score(values, observed, weight) if several else np.nan,
            scores.variogram_score(values, observed, weight) if several else np.nan,
            scores.spread_crps(values, observed, weight, per_hour) if energy_price else np.nan,
            np.abs(middle - observed).mean(),
            calibration.coverage(values, observed, LEVEL, weight),
            calibration.interval_width(values, LEVEL, weight),
        ]
    )


def _exceeded(values: Array, observed: Array, weight: Array) -> tuple[Array, Array]:
    """Probability and outcome of exceeding each threshold, shape (thresholds, labels)."""
    said = np.stack([weight @ (values > t) for t in THRESHOLDS_MW])
    happened = np.stack([(observed > t).astype(np.float64) for t in THRESHOLDS_MW])
    return np.clip(said, 0.0, 1.0), happened


def _series_score(series: str, rows: Array, ranks: list[Array]) -> SeriesScore:
    histogram = calibration.histogram_of_pit(np.concatenate(ranks), BINS)
    crps, energy, variogram, spread, mae, covered, width = (float(v) for v in rows.mean(axis=0))
    return SeriesScore(
        series,
        len(rows),
        crps,
        energy,
        variogram,
        spread,
        mae,
        covered,
        width,
        flatness=histogram.chi2 / (BINS - 1),
        ranks=histogram.counts,
    )


def _event_scores(
    series: str, parts: list[tuple[Array, Array]], n_scenarios: int
) -> list[EventScore]:
    said = np.concatenate([part[0] for part in parts], axis=1)
    happened = np.concatenate([part[1] for part in parts], axis=1)
    floor = min(0.25, 0.5 / n_scenarios)
    found = []
    for t, p, y in zip(THRESHOLDS_MW, said, happened, strict=True):
        rate = float(y.mean())
        found.append(
            EventScore(
                series,
                t,
                rate,
                scores.brier(p, y),
                rate * (1 - rate),
                scores.log_score(p, y, floor),
                calibration.expected_calibration_error(p, y),
            )
        )
    return found
